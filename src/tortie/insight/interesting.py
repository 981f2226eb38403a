"""What is worth asking: one port for each way in which rules can treat ports, one address for each way they treat strangers.

Every destination port that is not listed is treated like one that is; every address outside the cluster likewise.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tortie.api.hostendpoint import HostEndpoint
from tortie.base.net import FAMILIES, Address, Family, Prefix, parse_address, parse_prefix
from tortie.insight.classes import Memberships, nets_of, rules_of, settings_in
from tortie.insight.ends import End
from tortie.insight.errors import InsightError
from tortie.insight.matrix import question_text
from tortie.insight.question import Question
from tortie.insight.world import World
from tortie.intent.policy import Icmp, Match, PortRange
from tortie.intent.sets import PortMember
from tortie.verdict.packet import ICMP, ICMPV6, IPIP, PROTOCOLS_WITH_PORTS, TCP, UDP, protocol_name, protocol_number

_HIGHEST_PORT = 65535
_NEIGHBOUR_SOLICITATION = 135
_UNHEARD_OF = 253
"""A protocol number set aside for experiments: stands for all that no rule names."""
_STRANGERS = {Family.V4: parse_address("203.0.113.1"), Family.V6: parse_address("3fff::1")}
"""Addresses for documentation: the first choice for somebody outside."""


@dataclass(frozen=True, slots=True)
class Interest:
    """A question that stands for `text`: `tcp/80`, `tcp/8000-8080` or `tcp/any other`."""

    question: Question
    text: str


def interests(worlds: Sequence[World]) -> list[Interest]:
    """For TCP, UDP, ICMP, and every other protocol that any rule of the worlds names; last one for all others."""
    found: list[Interest] = []
    named = {TCP, UDP, *_protocols(worlds)}
    for protocol in sorted(named & PROTOCOLS_WITH_PORTS):
        found += _ports(worlds, protocol)
    found += _icmp(worlds)
    for protocol in sorted(named - PROTOCOLS_WITH_PORTS - {ICMP, ICMPV6}):
        found.append(Interest(Question(protocol=protocol), protocol_name(protocol).lower()))
    spare = next(number for number in range(_UNHEARD_OF, 0, -1) if number not in named)
    found.append(Interest(Question(protocol=spare), "any other protocol"))
    return found


def asked(questions: Iterable[Question]) -> list[Interest]:
    """Questions that a person chose."""
    return [Interest(question, question_text(question)) for question in questions]


def require_named_ports(worlds: Iterable[World], questions: Iterable[Question]) -> None:
    """Raise InsightError for a question about a port that nobody calls so: no table and no difference would ever show it."""
    known = sorted({port for world in worlds for port in _named_ports(world)})
    for question in questions:
        if isinstance(question.port, str) and (question.protocol, question.port) not in known:
            listed = ", ".join(f"{protocol_name(protocol).lower()}/{name}" for protocol, name in known) or "none"
            raise InsightError(f"{question_text(question)}: nobody declares a port of that name; named ports: {listed}")


def _named_ports(world: World) -> Iterator[tuple[int, str]]:
    for workload in world.workloads.values():
        yield from ((port.protocol, port.name) for port in workload.ports)
    for service in world.services.values():
        for each in service.ports:
            if each.name and (number := protocol_number(each.protocol)) is not None:
                yield number, each.name
    for update in world.updates:
        if isinstance(update.value, HostEndpoint):
            for declared in update.value.spec.ports:
                if (number := protocol_number(declared.protocol)) is not None:
                    yield number, declared.name


def _protocols(worlds: Iterable[World]) -> set[int]:
    found: set[int] = set()
    for world in worlds:
        for rule in rules_of(world):
            found.update(number for number in (rule.protocol, rule.not_protocol) if number is not None)
        if world.state.host_endpoints:
            found.add(IPIP)  # which nodes treat by the sender
        for members in world.state.members.values():
            found.update(member.protocol for member in members if isinstance(member, PortMember))
    return found


def _ports(worlds: Sequence[World], protocol: int) -> Iterator[Interest]:
    """Ports that no range tells apart are one interest."""
    ranges = sorted({each for world in worlds for each in _ranges(world, protocol)})
    starts = sorted({1, *(each.first for each in ranges), *(each.last + 1 for each in ranges)} - {_HIGHEST_PORT + 1})
    pieces: dict[frozenset[PortRange], list[PortRange]] = {}
    for first, following in zip(starts, [*starts[1:], _HIGHEST_PORT + 1], strict=True):
        covering = frozenset(each for each in ranges if each.first <= first <= each.last)
        pieces.setdefault(covering, []).append(PortRange(first, following - 1))
    name = protocol_name(protocol).lower()
    rest = pieces.pop(frozenset(), [])
    for parts in pieces.values():
        text = ",".join(str(part.first) if part.first == part.last else f"{part.first}-{part.last}" for part in parts)
        yield Interest(Question(protocol=protocol, port=parts[0].first), f"{name}/{text}")
    if rest:
        # A high port reads less like something in particular than port 1.
        yield Interest(Question(protocol=protocol, port=rest[-1].last), f"{name}/any other" if ranges else f"{name}/any")


def _ranges(world: World, protocol: int) -> Iterator[PortRange]:
    for rule in rules_of(world):
        if rule.protocol in (None, protocol):
            yield from rule.destination.ports
            yield from rule.destination.not_ports
    for members in world.state.members.values():
        for member in members:
            if isinstance(member, PortMember) and member.protocol == protocol:
                yield PortRange(member.port, member.port)
    for workload in world.workloads.values():
        for port in workload.ports:
            if port.protocol == protocol:
                yield PortRange(port.number, port.number)
    for settings in settings_in(world):
        for failsafe in (*settings.failsafe_inbound, *settings.failsafe_outbound):
            if failsafe.protocol == protocol:
                yield PortRange(failsafe.port, failsafe.port)
        if protocol == UDP:
            tunnels = (settings.vxlan_port, *(port for _, port in settings.wireguard_ports))
            yield from (PortRange(port, port) for port in tunnels)


def _icmp(worlds: Iterable[World]) -> Iterator[Interest]:
    """An echo request always; types and codes that rules name; and a type that no rule names."""
    yield Interest(Question(protocol=ICMP), "icmp")
    named: set[Icmp] = set()
    for world in worlds:
        if world.state.host_endpoints:
            named.add(Icmp(_NEIGHBOUR_SOLICITATION, None))  # which a node always answers to its pods
        for rule in rules_of(world):
            named.update(each for each in (rule.icmp, rule.not_icmp) if each is not None)
    for icmp in sorted(named, key=lambda each: (each.type, -1 if each.code is None else each.code)):
        question = Question(protocol=ICMP, port=icmp.type, icmp_code=icmp.code or 0)
        yield Interest(question, f"icmp/{icmp.type}" + ("" if icmp.code is None else f"/{icmp.code}"))
        if icmp.code is not None:
            other = next(code for code in range(256) if all(each != (icmp.type, code) for each in named))
            yield Interest(Question(protocol=ICMP, port=icmp.type, icmp_code=other), f"icmp/{icmp.type}/any other")
    if named:
        spare = next(kind for kind in range(254, 0, -1) if all(each.type != kind for each in named))
        yield Interest(Question(protocol=ICMP, port=spare), "icmp/any other")


def strangers(worlds: Sequence[World]) -> list[End]:
    """Addresses that belong to no pod and no node, one for each way in which the rules of all worlds treat such addresses."""
    taken = {address for world in worlds for address in _own(world)}
    memberships = [Memberships(world) for world in worlds]
    found: dict[Hashable, Address] = {}
    for family in FAMILIES:
        for address in (_STRANGERS[family], *_candidates(worlds, family)):
            if address not in taken and not _is_special(address):
                found.setdefault((family, *(each.of_address(address) for each in memberships)), address)
    return [End(str(address), (address,)) for address in found.values()]


def _candidates(worlds: Iterable[World], family: Family) -> list[Address]:
    """The first address of every network, and the first one after it: one of them lies in each piece between networks."""
    nets: set[Prefix] = set()
    for world in worlds:
        nets |= nets_of(world)
        nets.update(each for members in world.state.members.values() for each in members if isinstance(each, Prefix))
    highest = (1 << family.bits) - 1
    values = {net.value for net in nets if net.family is family}
    values |= {net.last.value + 1 for net in nets if net.family is family and net.last.value < highest}
    return [Address(family, value) for value in sorted(values) if value]


def _own(world: World) -> Iterator[Address]:
    for workload in world.workloads.values():
        yield from workload.addresses
    for host in world.state.hosts.values():
        yield from (each.address for each in (host.ipv4, host.ipv6) if each is not None)


_SPECIAL = tuple(map(parse_prefix, ("127.0.0.0/8", "224.0.0.0/3", "::1/128", "fe80::/10", "ff00::/8")))


def _is_special(address: Address) -> bool:
    return any(net.contains(address) for net in _SPECIAL)


def asks_source_ports(world: World) -> bool:
    """True if any rule looks at source ports: questions have one, so that not all that such a rule does is asked."""
    return any(_has_ports(rule.source) for rule in rules_of(world))


def _has_ports(side: Match) -> bool:
    return bool(side.ports or side.not_ports or side.named_ports or side.not_named_ports)
