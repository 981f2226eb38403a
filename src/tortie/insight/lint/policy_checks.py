"""One policy at a time: whom it selects, what its directions do, tiers, names (DNS), hosts, what conversion left out."""

from collections.abc import Iterable, Iterator, Sequence

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.kubernetes import KubernetesNetworkPolicy
from tortie.api.policy import GlobalNetworkPolicy
from tortie.api.resource import Key
from tortie.api.tier import PREDEFINED, Tier
from tortie.convert.cluster_policies import cluster_policy_problems
from tortie.convert.policies import network_policy_problems
from tortie.insight.classes import Memberships, Numbering
from tortie.insight.ends import End, find, of_workload
from tortie.insight.interesting import strangers
from tortie.insight.lint.findings import Finding
from tortie.insight.lint.order_checks import enforced_of
from tortie.insight.lint.subject import Subject, WrittenPolicy
from tortie.insight.question import EPHEMERAL_PORT
from tortie.insight.subjects import Groups
from tortie.insight.world import Workload
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Action, Direction, enforced_twin, rules
from tortie.verdict.evaluate import judge
from tortie.verdict.judgement import Judgement
from tortie.verdict.packet import UDP, Packet

_DNS_PORT = 53
_DNS_LABELS = (("k8s-app", "kube-dns"), ("k8s-app", "coredns"), ("app.kubernetes.io/name", "coredns"))


def check_policies(subject: Subject) -> Iterator[Finding]:
    """TL020 to TL024, TL030, TL033, TL050, TL051, TL060 and TL061."""
    tiers = {update.key.name for update in subject.world.updates if isinstance(update.value, Tier)}
    for policy in subject.policies:
        yield from _selects(subject, policy)
        yield from _directions(subject, policy)
        yield from _tier(subject, policy, tiers | PREDEFINED.keys())
        yield from _staged(subject, policy)
        yield from _untracked(subject, policy)
    used = {policy.policy.spec.tier for policy in subject.policies}
    for name in sorted(tiers - used - PREDEFINED.keys()):
        yield subject.finding_of("TL033", Key("Tier", "", name), "metadata.name", f"no policy is in tier {name}")
    yield from _names(subject)
    yield from _left_out(subject)


def _selects(subject: Subject, policy: WrittenPolicy) -> Iterator[Finding]:
    if not (subject.workloads or subject.hosts) or policy.staged not in ("", "Set") or policy.hosts:
        return
    spec = policy.policy.spec
    for_hosts = isinstance(policy.policy, GlobalNetworkPolicy) and (
        policy.is_for_hosts_only or policy.policy.spec.apply_on_forward
    )
    if for_hosts:
        kinds = [name for name in ("doNotTrack", "preDNAT", "applyOnForward") if _flag(policy, name)]
        message = f"no host endpoint is selected, so {' and '.join(kinds)} has no effect"
        if subject.workloads and not policy.is_for_hosts_only and policy.workloads:
            message += "; the pods that it selects are treated as without"
        yield subject.finding("TL051", policy.id, "spec.selector", message)
    elif not policy.workloads:
        field = (
            "selector" if spec.selector else "namespaceSelector" if _namespace_selector(policy) else "serviceAccountSelector"
        )
        yield subject.finding("TL020", policy.id, f"spec.{field}", "no endpoint is selected, so the policy has no effect")


def _flag(policy: WrittenPolicy, name: str) -> bool:
    field = {"doNotTrack": "do_not_track", "preDNAT": "pre_dnat", "applyOnForward": "apply_on_forward"}[name]
    return bool(getattr(policy.policy.spec, field, False))


def _namespace_selector(policy: WrittenPolicy) -> str:
    return policy.policy.spec.namespace_selector if isinstance(policy.policy, GlobalNetworkPolicy) else ""


def _directions(subject: Subject, policy: WrittenPolicy) -> Iterator[Finding]:
    for direction in Direction:
        word, listed = direction.value.lower(), policy.rules[direction]
        if direction not in policy.governs:
            if listed:
                message = f"types leaves out {direction.value}, so its {len(listed)} {word} rules have no effect"
                yield subject.finding("TL021", policy.id, f"spec.{word}", message, fix=f"Add {direction.value} to types.")
        elif not listed and _has_rules_elsewhere(policy, direction):
            names = _all_denied(subject, policy, direction)
            if names:
                pods = Groups(subject.workloads).words(names)
                message = (
                    f"{direction.value} is governed and has no rules: all {word} of {pods} is denied in tier {_tier_of(policy)}"
                )
                yield subject.finding("TL022", policy.id, "spec.types", message)
    written = [each.written for direction in policy.governs for each in policy.rules[direction]]
    if written and all(rule.action == "Log" for rule in written):
        message = "all of its rules say Log: it decides nothing, and what it logs meets the tier's default action"
        yield subject.finding("TL023", policy.id, "spec", message)


def _has_rules_elsewhere(policy: WrittenPolicy, direction: Direction) -> bool:
    """A policy without any rule is a default deny, and meant; one with rules in the other direction alone may not be."""
    return any(policy.rules[other] for other in policy.governs if other is not direction)


def _tier_of(policy: WrittenPolicy) -> str:
    return policy.policy.spec.tier or "default"


def _all_denied(subject: Subject, policy: WrittenPolicy, direction: Direction) -> list[str]:
    """The pods on which no policy of the tier allows or passes anything in a direction."""
    if policy.staged:
        return []
    state, found = subject.world.state, []
    for name in policy.workloads:
        workload = subject.world.workloads[name]
        for tier in state.endpoints[workload.id].tiers:
            if tier.name != _tier_of(policy) or tier.default_pass:
                continue
            listed = [rule for each in enforced_of(state, tier, direction) for rule in rules(each, direction)]
            if not any(rule.action in (Action.ALLOW, Action.PASS) for rule in listed):
                found.append("/".join(name))
    return found


def _tier(subject: Subject, policy: WrittenPolicy, tiers: Iterable[str]) -> Iterator[Finding]:
    name = _tier_of(policy)
    if name not in tiers:
        message = f"there is no tier {name}: the policy is asked after all others, and what it does not decide is denied"
        yield subject.finding("TL030", policy.id, "spec.tier", message)


def _staged(subject: Subject, policy: WrittenPolicy) -> Iterator[Finding]:
    if policy.staged == "Delete" and all(each.id != enforced_twin(policy.id) for each in subject.enforced):
        message = f"there is no {enforced_twin(policy.id)} that could be taken away"
        yield subject.finding("TL061", policy.id, "spec.stagedAction", message)


def _untracked(subject: Subject, policy: WrittenPolicy) -> Iterator[Finding]:
    """Whatever any untracked policy of the same hosts allows in the other direction may be for the replies."""
    if not _flag(policy, "doNotTrack"):
        return
    others = [each for each in subject.enforced if _flag(each, "doNotTrack") and set(each.hosts) & set(policy.hosts)]
    for direction in Direction:
        opposite = Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS
        if _allows(policy, direction) and not any(_allows(each, opposite) for each in (policy, *others)):
            word = opposite.value.lower()
            message = f"{direction.value.lower()} is allowed without tracking, and no {word} rule allows the replies"
            yield subject.finding("TL050", policy.id, f"spec.{word}", message)


def _allows(policy: WrittenPolicy, direction: Direction) -> bool:
    return direction in policy.governs and any(each.written.action == "Allow" for each in policy.rules[direction])


# ---- names ----
def _names(subject: Subject) -> Iterator[Finding]:
    """TL024: pods whose egress is governed and that reach UDP port 53 of nobody who could be a name server."""
    world = subject.world
    servers = [workload for name, workload in sorted(world.workloads.items()) if _is_dns(workload, subject.workloads[name])]
    nodes = [find(world, f"node/{name}") for name in sorted(world.state.hosts)]
    targets = [*map(of_workload, servers or world.workloads.values()), *nodes, *strangers([world])]
    memberships, numbers = Memberships(world), Numbering()
    few = list({numbers[memberships.of_end(end)]: end for end in targets}.values())
    known: dict[int, PolicyId | None] = {}
    blamed: dict[PolicyId, list[str]] = {}
    for name, workload in sorted(world.workloads.items()):
        endpoint = world.state.endpoints[workload.id]
        if workload in servers or not any(enforced_of(world.state, tier, Direction.EGRESS) for tier in endpoint.tiers):
            continue
        number = numbers[memberships.of_end(of_workload(workload))]
        if number not in known:
            known[number] = _who_blocks(subject, workload, endpoint, few)
        culprit = known[number]
        if culprit is not None:
            blamed.setdefault(culprit, []).append("/".join(name))
    for policy, pods in blamed.items():
        message = f"{Groups(subject.workloads).words(pods)} cannot reach UDP port 53 of anybody"
        yield subject.finding("TL024", policy, "spec.egress", message)


def _is_dns(workload: Workload, labels: dict[str, str]) -> bool:
    if any(labels.get(label) == value for label, value in _DNS_LABELS):
        return True
    return any(port.protocol == UDP and port.number == _DNS_PORT for port in workload.ports)


def _who_blocks(subject: Subject, workload: Workload, endpoint: Endpoint, targets: Sequence[End]) -> PolicyId | None:
    """The policy on whose account every question of the pod is dropped; None if one passes."""
    blocked: PolicyId | None = None
    for target in targets:
        if target.workload == workload:
            continue
        for source in workload.addresses:
            destination = next((each for each in target.addresses if each.family is source.family), None)
            if destination is None:
                continue
            packet = Packet(
                family=source.family, source=source, destination=destination,
                protocol=UDP, source_port=EPHEMERAL_PORT, destination_port=_DNS_PORT,
            )  # fmt: skip
            judgement = judge(subject.world.state, workload.id, direction=Direction.EGRESS, packet=packet)
            if judgement.allowed:
                return None
            blocked = blocked or _culprit(subject, endpoint, judgement)
    return blocked


def _culprit(subject: Subject, endpoint: Endpoint, judgement: Judgement) -> PolicyId | None:
    decision = judgement.decided_by
    if isinstance(decision.owner, PolicyId):
        return decision.owner
    for tier in endpoint.tiers:
        policies = enforced_of(subject.world.state, tier, Direction.EGRESS)
        if tier.name == decision.tier and policies:
            return policies[0].id
    return None


# ---- what conversion left out ----
def _left_out(subject: Subject) -> Iterator[Finding]:
    for key, value in sorted(subject.written.items()):
        problems: tuple[str, ...] = ()
        if isinstance(value, KubernetesNetworkPolicy):
            problems = network_policy_problems(value)
        elif isinstance(value, ClusterNetworkPolicy):
            problems = cluster_policy_problems(value)
        for problem in problems:
            field = problem.split(maxsplit=1)[0].rstrip(":,")
            yield subject.finding_of("TL060", key, field if field.startswith("spec") else "spec", problem)
