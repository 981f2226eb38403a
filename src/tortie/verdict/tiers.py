"""Tiers, policies, profiles: one walk over all that has a say at an endpoint (policy-semantics.md, sections 4 to 7)."""

from collections.abc import Iterable

from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Action, Direction, Policy, Profile, Rule, rules
from tortie.intent.state import State
from tortie.verdict.judgement import Decider, Decision, Judgement, OwnerStep, RuleStep, TierStep
from tortie.verdict.match import failed_criterion
from tortie.verdict.packet import Packet

_PROFILES = ""
"""Stands for the profiles where a tier's name would stand."""


def ask_tiers(
    state: State, tiers: Iterable[Tier], *, direction: Direction, packet: Packet
) -> tuple[list[TierStep], Judgement | None]:
    """The steps of all tiers that govern the direction, up to one that decides; None where none does."""
    trace: list[TierStep] = []
    for tier in tiers:
        if not tier.policies(direction):
            continue
        step, decision, action = _ask_tier(state, tier, direction, packet)
        trace.append(step)
        if decision is not None:
            return trace, Judgement(action is Action.ALLOW, decision, tuple(trace))
    return trace, None


def ask_profiles(
    state: State, profiles: tuple[ProfileId, ...], *, direction: Direction, packet: Packet, trace: Iterable[TierStep]
) -> Judgement:
    """Profiles in order, behind the tiers of `trace`. A profile that is missing denies, and so does the end of them."""
    step, decision, action = _ask_profiles(state, profiles, direction, packet)
    return Judgement(action is Action.ALLOW, decision, (*trace, step))


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
            decision = missing_policy(tier.name, policy_id)
            return TierStep(tier.name, tuple(steps), "denied: a policy is not known yet"), decision, Action.DENY
        step = _ask_owner(state, policy, direction, packet)
        steps.append(step)
        if step.staged:
            continue
        enforced = True
        if step.verdict is Action.PASS:
            return TierStep(tier.name, tuple(steps), "passed on to the next tier"), None, None
        if step.verdict is not None:
            decision = by_rule(step.owner, step.rules[-1].rule, tier=tier.name)
            return TierStep(tier.name, tuple(steps), f"{step.verdict.value.lower()} by a rule"), decision, step.verdict
    if not enforced:
        return TierStep(tier.name, tuple(steps), "only staged policies: on to the next tier"), None, None
    if tier.default_pass:
        return TierStep(tier.name, tuple(steps), "no rule matched; the tier's default action is Pass"), None, None
    outcome = TierStep(tier.name, tuple(steps), "no rule matched; the tier's default action is Deny")
    return outcome, tier_default(tier.name), Action.DENY


def _ask_profiles(
    state: State, profiles: tuple[ProfileId, ...], direction: Direction, packet: Packet
) -> tuple[TierStep, Decision, Action]:
    steps: list[OwnerStep] = []
    for profile_id in profiles:
        profile = state.profiles.get(profile_id)
        if profile is None:
            steps.append(OwnerStep(profile_id, missing=True))
            return TierStep(_PROFILES, tuple(steps), "denied: a profile is missing"), missing_profile(profile_id), Action.DENY
        step = _ask_owner(state, profile, direction, packet)
        steps.append(step)
        if step.verdict in (Action.ALLOW, Action.DENY):
            decision = by_rule(step.owner, step.rules[-1].rule)
            return TierStep(_PROFILES, tuple(steps), f"{step.verdict.value.lower()} by a rule"), decision, step.verdict
    return TierStep(_PROFILES, tuple(steps), f"denied: {_end_of_profiles(profiles)}"), no_profile(profiles), Action.DENY


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


def by_rule(owner: PolicyId | ProfileId, rule: Rule, *, tier: str = "") -> Decision:
    """A rule of `owner` that matched; `tier` "" if it is a profile's."""
    what = str(owner) if isinstance(owner, PolicyId) else f"profile {owner.name}"
    reason = f"{what} {rule.origin.direction.value.lower()} rule {rule.origin.index} says {rule.action.value}"
    if rule.unenforceable is not None:
        reason += f" (it cannot be enforced and therefore denies everything: {rule.unenforceable})"
    decider = Decider.POLICY_RULE if isinstance(owner, PolicyId) else Decider.PROFILE_RULE
    return Decision(decider, reason, tier, owner, rule.origin.index, rule)


def tier_default(tier: str) -> Decision:
    """The end of a tier whose default action is Deny."""
    return Decision(Decider.TIER_DEFAULT, f"no rule matched and tier {tier} denies by default", tier)


def missing_policy(tier: str, policy: PolicyId) -> Decision:
    """A policy that an endpoint names and the state does not hold."""
    return Decision(Decider.MISSING_POLICY, f"{policy} is not known yet", tier, policy)


def missing_profile(profile: ProfileId) -> Decision:
    """A profile that an endpoint names and the state does not hold."""
    reason = f"profile {profile.name} does not exist, and a missing profile denies"
    return Decision(Decider.NO_PROFILE, reason, owner=profile)


def no_profile(profiles: tuple[ProfileId, ...]) -> Decision:
    """The end of everything."""
    return Decision(Decider.NO_PROFILE, f"{_end_of_profiles(profiles)}, and the end of all rules denies")


def _end_of_profiles(profiles: tuple[ProfileId, ...]) -> str:
    return "no profile matched" if profiles else "the endpoint has no profile"
