"""Tiers, policies, profiles: what happens to a packet at an endpoint, and why (policy-semantics.md, sections 4 to 7)."""

from tortie.intent.endpoint import Endpoint, Tier
from tortie.intent.keys import EndpointId, PolicyId, ProfileId
from tortie.intent.policy import Action, Direction, Policy, Profile, rules
from tortie.intent.state import State
from tortie.verdict.judgement import Decider, Decision, Judgement, OwnerStep, RuleStep, TierStep
from tortie.verdict.match import failed_criterion
from tortie.verdict.packet import Packet

_PROFILES = ""
"""Stands for the profiles where a tier's name would stand."""


def judge(state: State, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
    """Judge a new connection's first packet at one endpoint.

    EGRESS means that the endpoint sends the packet, and then its source address must be the endpoint's own. An endpoint
    that the state does not hold denies: its policy is not known.
    """
    found = state.endpoints.get(endpoint)
    if found is None:
        return _denied(Decider.UNKNOWN_ENDPOINT, f"endpoint {endpoint.namespace}/{endpoint.name} is not known")
    if direction is Direction.EGRESS and not _may_send_from(state, found, packet):
        own = ", ".join(str(prefix.network) for prefix in found.addresses) or "none"
        return _denied(Decider.SPOOFED, f"source {packet.source} is not an address of {found.workload} (it has {own})")
    trace: list[TierStep] = []
    for tier in found.tiers:
        if not tier.policies(direction):
            continue
        step, decision, action = _ask_tier(state, tier, direction, packet)
        trace.append(step)
        if decision is not None:
            return Judgement(action is Action.ALLOW, decision, tuple(trace))
    step, decision, action = _ask_profiles(state, found, direction, packet)
    return Judgement(action is Action.ALLOW, decision, (*trace, step))


def _denied(decider: Decider, reason: str) -> Judgement:
    return Judgement(False, Decision(decider, reason))


def _may_send_from(state: State, endpoint: Endpoint, packet: Packet) -> bool:
    allowed = endpoint.addresses
    if state.config.get("WorkloadSourceSpoofing", "").lower() == "any":
        allowed = (*allowed, *endpoint.allowed_source_prefixes)
    return any(prefix.contains(packet.source) for prefix in allowed)


def _ask_tier(
    state: State, tier: Tier, direction: Direction, packet: Packet
) -> tuple[TierStep, Decision | None, Action | None]:
    """The tier's step, and the decision if it made one; None sends the packet on to the next tier."""
    steps: list[OwnerStep] = []
    enforced = False
    for policy_id in tier.policies(direction):
        policy = state.policies.get(policy_id)
        if policy is None:
            steps.append(OwnerStep(policy_id, missing=True))
            decision = Decision(Decider.MISSING_POLICY, f"{policy_id} is not known yet", tier.name, policy_id)
            return TierStep(tier.name, tuple(steps), "denied: a policy is not known yet"), decision, Action.DENY
        step = _ask_owner(state, policy, direction, packet)
        steps.append(step)
        if step.staged:
            continue
        enforced = True
        if step.verdict is Action.PASS:
            return TierStep(tier.name, tuple(steps), "passed on to the next tier"), None, None
        if step.verdict is not None:
            decision = _by_rule(Decider.POLICY_RULE, tier.name, step)
            return TierStep(tier.name, tuple(steps), f"{step.verdict.value.lower()} by a rule"), decision, step.verdict
    if not enforced:
        return TierStep(tier.name, tuple(steps), "only staged policies: on to the next tier"), None, None
    if tier.default_pass:
        return TierStep(tier.name, tuple(steps), "no rule matched; the tier's default action is Pass"), None, None
    reason = f"no rule matched and tier {tier.name} denies by default"
    outcome = TierStep(tier.name, tuple(steps), "no rule matched; the tier's default action is Deny")
    return outcome, Decision(Decider.TIER_DEFAULT, reason, tier.name), Action.DENY


def _ask_profiles(state: State, endpoint: Endpoint, direction: Direction, packet: Packet) -> tuple[TierStep, Decision, Action]:
    """Profiles in order. A profile that is missing denies; when none decides, the packet is denied."""
    steps: list[OwnerStep] = []
    for profile_id in endpoint.profiles:
        profile = state.profiles.get(profile_id)
        if profile is None:
            steps.append(OwnerStep(profile_id, missing=True))
            reason = f"profile {profile_id.name} does not exist, and a missing profile denies"
            decision = Decision(Decider.NO_PROFILE, reason, owner=profile_id)
            return TierStep(_PROFILES, tuple(steps), "denied: a profile is missing"), decision, Action.DENY
        step = _ask_owner(state, profile, direction, packet)
        steps.append(step)
        if step.verdict in (Action.ALLOW, Action.DENY):
            decision = _by_rule(Decider.PROFILE_RULE, _PROFILES, step)
            return TierStep(_PROFILES, tuple(steps), f"{step.verdict.value.lower()} by a rule"), decision, step.verdict
    reason = "no profile matched" if endpoint.profiles else "the endpoint has no profile"
    step_out = TierStep(_PROFILES, tuple(steps), f"denied: {reason}")
    return step_out, Decision(Decider.NO_PROFILE, f"{reason}, and the end of all rules denies"), Action.DENY


def _ask_owner(state: State, owner: Policy | Profile, direction: Direction, packet: Packet) -> OwnerStep:
    """Ask the rules in order; the first that matches and is not Log ends it."""
    asked: list[RuleStep] = []
    staged = isinstance(owner, Policy) and owner.staged
    for rule in rules(owner, direction):
        failed = failed_criterion(state, rule, packet)
        asked.append(RuleStep(rule, failed or ""))
        if failed is None and rule.action is not Action.LOG:
            return OwnerStep(owner.id, tuple(asked), rule.action, staged)
    return OwnerStep(owner.id, tuple(asked), None, staged)


def _by_rule(decider: Decider, tier: str, step: OwnerStep) -> Decision:
    rule = step.rules[-1].rule
    what = _named(step.owner)
    reason = f"{what} {rule.origin.direction.value.lower()} rule {rule.origin.index} says {rule.action.value}"
    if rule.unenforceable is not None:
        reason += f" (it cannot be enforced and therefore denies everything: {rule.unenforceable})"
    return Decision(decider, reason, tier, step.owner, rule.origin.index, rule)


def _named(owner: PolicyId | ProfileId) -> str:
    return str(owner) if isinstance(owner, PolicyId) else f"profile {owner.name}"
