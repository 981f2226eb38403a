"""What never comes to be asked: rules behind wider rules, in one policy and across policies; tiers that let nothing on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from tortie.api.resource import Key
from tortie.insight.lint.covering import contradiction, covers
from tortie.insight.lint.findings import Finding
from tortie.insight.lint.subject import Subject, WrittenPolicy, rule_field
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId
from tortie.intent.policy import ANY, Action, Direction, Policy, Rule, rules
from tortie.intent.state import State

_Place = tuple[PolicyId, Direction, int]
"""A rule as its author numbered it; a Kubernetes rule stands for several of ours."""


def check_order(subject: Subject) -> Iterator[Finding]:
    """TL011 to TL013, TL031 and TL032."""
    within = dict(_within(subject))
    for place, by in within.items():
        policy, direction, index = place
        message = f"rule {by} of this policy is asked first and matches every packet that this rule matches"
        yield subject.finding("TL011", policy, rule_field(direction, index), message)
    yield from _across(subject, within)
    yield from _tiers(subject)


# ---- one policy ----
def _within(subject: Subject) -> Iterator[tuple[_Place, int]]:
    """Rules that an earlier rule of the same policy covers, and which."""
    for policy in subject.policies:
        for direction in policy.governs:
            listed = policy.rules[direction]
            origins = {set_id: origin for each in listed for set_id, origin in each.origins.items()}
            for index in dict.fromkeys(each.index for each in listed):
                own = [each.rule for each in listed if each.index == index and each.rule is not None]
                earlier = [each for each in listed if each.index < index and each.rule is not None]
                own = [rule for rule in own if rule.unenforceable is None and contradiction(rule) is None]
                found = [next((each.index for each in earlier if _takes(each.rule, rule, origins)), None) for rule in own]
                if found and None not in found:
                    yield (policy.id, direction, index), max(number for number in found if number is not None)


def _takes(wide: Rule | None, narrow: Rule, origins: dict[str, str]) -> bool:
    return wide is not None and wide.action is not Action.LOG and covers(wide, narrow, origins)


# ---- across policies ----
@dataclass(slots=True)
class _Fate:
    """How one rule fares on the endpoints where its policy applies."""

    alive: bool = False
    by: dict[str, None] = field(default_factory=dict)


def _across(subject: Subject, within: dict[_Place, int]) -> Iterator[Finding]:
    """Policies that also select host endpoints are left out: there they may meet other policies, or none."""
    fates = _fates(subject)
    for policy in subject.enforced:
        if policy.hosts or not policy.workloads:
            continue
        mine = {place: fate for place, fate in fates.items() if place[0] == policy.id}
        dead = {place: fate for place, fate in mine.items() if not fate.alive}
        if not dead:
            continue
        if all(place in dead or place in within for place in _places(policy)):
            by = ", ".join(dict.fromkeys(name for fate in dead.values() for name in fate.by))
            yield subject.finding("TL013", policy.id, "spec", f"on every endpoint all its packets are taken earlier, by {by}")
            continue
        for (policy_id, direction, index), fate in dead.items():
            if (policy_id, direction, index) not in within:
                message = f"on every endpoint its packets are taken earlier, by {', '.join(fate.by)}"
                yield subject.finding("TL012", policy_id, rule_field(direction, index), message)


def _places(policy: WrittenPolicy) -> Iterator[_Place]:
    for direction in policy.governs:
        for each in policy.rules[direction]:
            yield policy.id, direction, each.index


def _fates(subject: Subject) -> dict[_Place, _Fate]:
    state = subject.world.state
    origins = {set_id: ipset.origin for set_id, ipset in state.sets.items()}
    fates: dict[_Place, _Fate] = {}
    for tiers in {endpoint.tiers for endpoint in state.endpoints.values()}:
        for direction in Direction:
            final: list[Rule] = []
            for tier in tiers:
                here: list[Rule] = []
                for policy in enforced_of(state, tier, direction):
                    for rule in rules(policy, direction):
                        _meet(fates, rule, _first(final, here, rule=rule, origins=origins))
                    here += [rule for rule in rules(policy, direction) if rule.action is not Action.LOG]
                # Behind a Pass rule nothing of this tier is certain: what it passes on comes to later tiers unasked.
                final += takewhile(lambda rule: rule.action is not Action.PASS, here)
    return fates


def _first(*lists: Iterable[Rule], rule: Rule, origins: Mapping[str, str]) -> Rule | None:
    """The first of earlier rules that covers one."""
    return next((each for earlier in lists for each in earlier if covers(each, rule, origins)), None)


def _meet(fates: dict[_Place, _Fate], rule: Rule, taken_by: Rule | None) -> None:
    owner = rule.origin.owner
    assert isinstance(owner, PolicyId)
    fate = fates.setdefault((owner, rule.origin.direction, rule.origin.index), _Fate())
    if rule.unenforceable is not None or contradiction(rule) is not None:
        fate.alive = True  # said elsewhere
    elif taken_by is not None:
        fate.by.setdefault(_name(taken_by))
    else:
        fate.alive = True


def _name(rule: Rule) -> str:
    return f"{rule.origin.owner} {rule.origin.direction.value.lower()} rule {rule.origin.index}"


def enforced_of(state: State, tier: Tier, direction: Direction) -> list[Policy]:
    """The policies of a tier that decide, in order."""
    found = (state.policies.get(policy_id) for policy_id in tier.policies(direction))
    return [policy for policy in found if policy is not None and not policy.staged]


# ---- tiers ----
@dataclass(slots=True)
class _Cut:
    """What one tier does in one direction: to how many endpoints, and which later policy is not asked."""

    denies_all: int = 0
    cuts_off: int = 0
    later: PolicyId | None = None


def _tiers(subject: Subject) -> Iterator[Finding]:
    state = subject.world.state
    cuts: dict[tuple[str, Direction], _Cut] = {}
    for endpoint in state.endpoints.values():
        for direction in Direction:
            for place, tier in enumerate(endpoint.tiers):
                _look(state, cuts, endpoint.tiers, place, direction=direction, tier=tier)
    for (name, direction), cut in sorted(cuts.items(), key=lambda item: (item[0][0], item[0][1].value)):
        key, word = Key("Tier", "", name), direction.value.lower()
        if cut.denies_all:
            message = f"it denies all {word} of {_endpoints(cut.denies_all)}: none of its rules there says Allow or Pass"
            yield subject.finding_of("TL032", key, "spec.defaultAction", message)
        elif cut.cuts_off:
            message = f"no {word} rule says Pass, so on {_endpoints(cut.cuts_off)} later tiers are never asked: {cut.later}"
            yield subject.finding_of("TL031", key, "spec.defaultAction", message)


def _look(
    state: State,
    cuts: dict[tuple[str, Direction], _Cut],
    tiers: Sequence[Tier],
    place: int,
    *,
    direction: Direction,
    tier: Tier,
) -> None:
    """Only tiers that people made: that the default tier ends what nobody allowed is its purpose."""
    policies = enforced_of(state, tier, direction)
    if tier.name == "default" or tier.default_pass or not policies:
        return
    listed = [rule for policy in policies for rule in rules(policy, direction)]
    if any(rule.action is Action.PASS for rule in listed) or any(_denies_all(rule) for rule in listed):
        return
    cut = cuts.setdefault((tier.name, direction), _Cut())
    later = [policy for each in tiers[place + 1 :] for policy in enforced_of(state, each, direction)]
    if not any(rule.action is Action.ALLOW for rule in listed):
        cut.denies_all += 1
    elif later:
        cut.cuts_off += 1
        cut.later = cut.later or later[0].id


def _denies_all(rule: Rule) -> bool:
    """True for a Deny without any criterion: then denying everything is what somebody wrote."""
    bare = rule.protocol is None and rule.not_protocol is None and rule.ip_version is None
    return rule.action is Action.DENY and bare and rule.source == ANY and rule.destination == ANY


def _endpoints(count: int) -> str:
    return "1 endpoint" if count == 1 else f"{count} endpoints"
