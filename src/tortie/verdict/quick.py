"""Many questions about one state that does not change meanwhile: the decisions of `judge` and `judge_host`, without the walk.

Rules are turned into lists of checks once an endpoint, direction and family; a rule that cannot match in a family is left out.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from tortie.base.net import Family, Prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint, Tier
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId, SetId
from tortie.intent.policy import Action, Direction, Icmp, Match, Policy, PortRange, Profile, Rule, rules
from tortie.intent.sets import PortMember
from tortie.intent.state import State
from tortie.verdict.evaluate import refusal
from tortie.verdict.host import HostHook, exempt, tiers_at, undecided
from tortie.verdict.judgement import Judgement
from tortie.verdict.match import family_mismatch
from tortie.verdict.packet import PROTOCOLS_WITH_PORTS, Packet
from tortie.verdict.settings import Settings, settings_of
from tortie.verdict.tiers import by_rule, missing_policy, missing_profile, no_profile, tier_default

_Check = Callable[[Packet], bool]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A rule: if all checks hold, `judgement` is the answer; None passes on to the next stage."""

    checks: tuple[_Check, ...]
    judgement: Judgement | None


@dataclass(frozen=True, slots=True)
class _Stage:
    """One tier or one profile: entries in order, then `end`; None goes on to the next stage."""

    entries: tuple[_Entry, ...]
    end: Judgement | None


class _Members(dict[int, bool]):
    """Whether a set holds an address (of one family, by value), worked out once an address."""

    def __init__(self, nets: Iterable[Prefix], family: Family) -> None:
        super().__init__()
        self._by_shift: dict[int, set[int]] = {}
        for net in nets:
            if net.family is family:
                shift = family.bits - net.length
                self._by_shift.setdefault(shift, set()).add(net.value >> shift)

    def __missing__(self, value: int) -> bool:
        answer = any(value >> shift in values for shift, values in self._by_shift.items())
        self[value] = answer
        return answer


@dataclass(slots=True)
class _Plans:
    """What was worked out; shared by judges of one state."""

    members: dict[tuple[SetId, Family], _Members] = field(default_factory=dict)
    owners: dict[tuple[PolicyId | ProfileId, Direction, Family, str], tuple[_Entry, ...]] = field(default_factory=dict)
    workloads: dict[tuple[EndpointId, Direction, Family], tuple[_Stage, ...]] = field(default_factory=dict)
    hosts: dict[tuple[HostEndpointId, HostHook, Direction, Family], tuple[_Stage, ...]] = field(default_factory=dict)


class QuickJudge:
    """`judge` and `judge_host` of one state, whose judgements carry no trace. The state must not change any more."""

    def __init__(self, state: State, *, plans: _Plans | None = None) -> None:
        self.state = state
        self.settings: Settings = settings_of(state.config)
        self._plans = _Plans() if plans is None else plans

    def configured(self, config: dict[str, str]) -> "QuickJudge":
        """A judge of the same state under another node's configuration; what was worked out is shared."""
        return QuickJudge(replace(self.state, config=config), plans=self._plans)

    def at_workload(self, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
        """As `judge`, without the walk."""
        found = self.state.endpoints.get(endpoint)
        refused = refusal(found, endpoint, direction=direction, packet=packet, settings=self.settings)
        if refused is not None:
            return refused
        assert found is not None
        key = (endpoint, direction, packet.family)
        stages = self._plans.workloads.get(key)
        if stages is None:
            stages = self._plans.workloads[key] = self._of_workload(found, direction, packet.family)
        return _run(stages, packet)

    def at_host(self, endpoint: HostEndpoint, *, hook: HostHook, direction: Direction, packet: Packet) -> Judgement:
        """As `judge_host`, without the walk."""
        skipped = exempt(endpoint, hook=hook, direction=direction, packet=packet, settings=self.settings)
        if skipped is not None:
            return skipped
        key = (endpoint.id, hook, direction, packet.family)
        stages = self._plans.hosts.get(key)
        if stages is None:
            stages = self._plans.hosts[key] = self._of_host(endpoint, hook, direction, family=packet.family)
        return _run(stages, packet)

    def _of_workload(self, endpoint: Endpoint, direction: Direction, family: Family) -> tuple[_Stage, ...]:
        return (
            *self._tiers(endpoint.tiers, direction, family),
            *self._profiles(endpoint.profiles, direction, family),
        )

    def _of_host(self, endpoint: HostEndpoint, hook: HostHook, direction: Direction, *, family: Family) -> tuple[_Stage, ...]:
        stages = tuple(self._tiers(tiers_at(endpoint, hook), direction, family))
        if hook is HostHook.NORMAL:
            return (*stages, *self._profiles(endpoint.profiles, direction, family))
        return (*stages, _Stage((), Judgement(True, undecided(hook, asked=bool(stages)))))

    def _tiers(self, tiers: Iterable[Tier], direction: Direction, family: Family) -> Iterator[_Stage]:
        for tier in tiers:
            listed = tier.policies(direction)
            if not listed:
                continue
            entries: list[_Entry] = []
            enforced = False
            for policy_id in listed:
                policy = self.state.policies.get(policy_id)
                if policy is None:
                    entries.append(_Entry((), Judgement(False, missing_policy(tier.name, policy_id))))
                elif not policy.staged:
                    enforced = True
                    entries += self._owner(policy, direction, family, tier=tier.name)
            end = None if tier.default_pass or not enforced else Judgement(False, tier_default(tier.name))
            yield _Stage(tuple(entries), end)

    def _profiles(self, profiles: tuple[ProfileId, ...], direction: Direction, family: Family) -> Iterator[_Stage]:
        for profile_id in profiles:
            profile = self.state.profiles.get(profile_id)
            if profile is None:
                yield _Stage((), Judgement(False, missing_profile(profile_id)))
            else:
                yield _Stage(self._owner(profile, direction, family), None)
        yield _Stage((), Judgement(False, no_profile(profiles)))

    def _owner(self, owner: Policy | Profile, direction: Direction, family: Family, *, tier: str = "") -> tuple[_Entry, ...]:
        key = (owner.id, direction, family, tier)
        entries = self._plans.owners.get(key)
        if entries is None:
            entries = self._plans.owners[key] = tuple(self._entries(owner, direction, family, tier=tier))
        return entries

    def _entries(self, owner: Policy | Profile, direction: Direction, family: Family, *, tier: str) -> Iterator[_Entry]:
        for rule in rules(owner, direction):
            if rule.action is Action.LOG:
                continue
            judgement = Judgement(rule.action is Action.ALLOW, by_rule(owner.id, rule, tier=tier))
            if rule.unenforceable is not None:
                if rule.action is Action.DENY:
                    yield _Entry((), judgement)
                    return
                continue
            if family_mismatch(rule, family) is not None:
                continue
            yield _Entry(tuple(self._checks(rule, family)), None if rule.action is Action.PASS else judgement)

    def _checks(self, rule: Rule, family: Family) -> Iterator[_Check]:
        if rule.protocol is not None:
            yield partial(_has_protocol, rule.protocol)
        if rule.not_protocol is not None:
            yield partial(_has_not_protocol, rule.not_protocol)
        if rule.icmp is not None:
            yield partial(_is_icmp, rule.icmp)
        if rule.not_icmp is not None:
            yield partial(_is_not_icmp, rule.not_icmp)
        yield from self._side(rule.source, family, source=True)
        yield from self._side(rule.destination, family, source=False)

    def _side(self, match: Match, family: Family, *, source: bool) -> Iterator[_Check]:
        inside = _source_in if source else _destination_in
        outside = _source_out if source else _destination_out
        if match.nets:
            yield partial(inside, _Members(match.nets, family))
        if match.not_nets:
            yield partial(outside, _Members(match.not_nets, family))
        for set_id in match.sets:
            yield partial(inside, self._set(set_id, family))
        for set_id in match.not_sets:
            yield partial(outside, self._set(set_id, family))
        if match.ports or match.named_ports:
            yield partial(_has_port, match.ports, [self.state.members[each] for each in match.named_ports], source)
        if match.not_ports or match.not_named_ports:
            sets = [self.state.members[each] for each in match.not_named_ports]
            yield partial(_has_not_port, match.not_ports, sets, source)

    def _set(self, set_id: SetId, family: Family) -> _Members:
        key = (set_id, family)
        if key not in self._plans.members:
            nets = (member for member in self.state.members[set_id] if isinstance(member, Prefix))
            self._plans.members[key] = _Members(nets, family)
        return self._plans.members[key]


def _run(stages: tuple[_Stage, ...], packet: Packet) -> Judgement:
    for stage in stages:
        for entry in stage.entries:
            for check in entry.checks:
                if not check(packet):
                    break
            else:
                if entry.judgement is not None:
                    return entry.judgement
                break
        else:
            if stage.end is not None:
                return stage.end
    raise AssertionError("the last stage of every plan has an end")


def _has_protocol(number: int, packet: Packet) -> bool:
    return packet.protocol == number


def _has_not_protocol(number: int, packet: Packet) -> bool:
    return packet.protocol != number


def _is_icmp(icmp: Icmp, packet: Packet) -> bool:
    return packet.icmp_type == icmp.type and (icmp.code is None or packet.icmp_code == icmp.code)


def _is_not_icmp(icmp: Icmp, packet: Packet) -> bool:
    return not _is_icmp(icmp, packet)


def _source_in(members: _Members, packet: Packet) -> bool:
    return members[packet.source.value]


def _source_out(members: _Members, packet: Packet) -> bool:
    return not members[packet.source.value]


def _destination_in(members: _Members, packet: Packet) -> bool:
    return members[packet.destination.value]


def _destination_out(members: _Members, packet: Packet) -> bool:
    return not members[packet.destination.value]


def _has_port(ports: tuple[PortRange, ...], named: list[set[PortMember | Prefix]], source: bool, packet: Packet) -> bool:
    port = packet.source_port if source else packet.destination_port
    if port is None or packet.protocol not in PROTOCOLS_WITH_PORTS:
        return False
    if any(first <= port <= last for first, last in ports):
        return True
    member = PortMember(packet.source if source else packet.destination, packet.protocol, port)
    return any(member in members for members in named)


def _has_not_port(ports: tuple[PortRange, ...], named: list[set[PortMember | Prefix]], source: bool, packet: Packet) -> bool:
    return not _has_port(ports, named, source, packet)
