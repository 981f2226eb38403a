"""One rule against one packet: None when every criterion holds, else the first that does not, in words."""

from collections.abc import Iterable

from tortie.base.net import Address, Family, Prefix, masked
from tortie.intent.policy import Action, Icmp, Match, PortRange, Rule
from tortie.intent.sets import PortMember
from tortie.intent.state import State
from tortie.verdict.packet import ICMP, ICMPV6, PROTOCOLS_WITH_PORTS, Packet, protocol_name

_SCAN_LIMIT = 64
"""Sets up to this size are scanned; larger ones are asked once per prefix length."""


def failed_criterion(state: State, rule: Rule, packet: Packet) -> str | None:
    """None if `rule` matches `packet`, else why not. A rule that cannot be enforced fails closed."""
    if rule.unenforceable is not None:
        if rule.action is Action.DENY:
            return None
        return f"the rule cannot be enforced, so what it would {rule.action.value.lower()} is not: {rule.unenforceable}"
    return (
        family_mismatch(rule, packet.family)
        or _protocol(rule, packet)
        or _icmp(rule, packet)
        or _side(state, rule.source, packet, "source")
        or _side(state, rule.destination, packet, "destination")
    )


def family_mismatch(rule: Rule, family: Family) -> str | None:
    """Why a rule is not for a family at all, None if it is."""
    if rule.ip_version is not None and rule.ip_version != family:
        return f"the rule is for IPv{rule.ip_version}, the packet is IPv{family.value}"
    # ICMP exists in IPv4 only and ICMPv6 in IPv6 only, whatever numbers a packet carries.
    bound = {ICMP: Family.V4, ICMPV6: Family.V6}.get(rule.protocol or 0)
    if bound is not None and bound is not family:
        return f"{protocol_name(rule.protocol or 0)} is IPv{bound.value} only, the packet is IPv{family.value}"
    for side, match in (("source", rule.source), ("destination", rule.destination)):
        for field, nets in (("nets", match.nets), ("notNets", match.not_nets)):
            if nets and not any(net.family is family for net in nets):
                return f"{side}.{field} lists no IPv{family.value} network, so the rule is not for this family"
    return None


def _protocol(rule: Rule, packet: Packet) -> str | None:
    if rule.protocol is not None and rule.protocol != packet.protocol:
        return f"protocol is {protocol_name(packet.protocol)}, the rule is for {protocol_name(rule.protocol)}"
    if rule.not_protocol is not None and rule.not_protocol == packet.protocol:
        return f"protocol is {protocol_name(packet.protocol)}, which notProtocol excludes"
    return None


def _icmp(rule: Rule, packet: Packet) -> str | None:
    got = f"ICMP type {packet.icmp_type} code {packet.icmp_code}"
    if rule.icmp is not None and not _is_icmp(rule.icmp, packet):
        return f"{got} is not {_icmp_text(rule.icmp)}"
    if rule.not_icmp is not None and _is_icmp(rule.not_icmp, packet):
        return f"{got} is what notICMP excludes"
    return None


def _is_icmp(want: Icmp, packet: Packet) -> bool:
    return packet.icmp_type == want.type and (want.code is None or packet.icmp_code == want.code)


def _icmp_text(icmp: Icmp) -> str:
    return f"type {icmp.type}" + ("" if icmp.code is None else f" code {icmp.code}")


def _side(state: State, match: Match, packet: Packet, side: str) -> str | None:
    source = side == "source"
    address = packet.source if source else packet.destination
    if match.nets and not _in_nets(match.nets, address):
        return f"{side} {address} is outside {_join(match.nets)}"
    if match.not_nets and _in_nets(match.not_nets, address):
        return f"{side} {address} is inside {_join(match.not_nets)}, which notNets excludes"
    for set_id in match.sets:
        if not in_set(state, set_id, address):
            return f"{side} {address} is not selected by {_origin(state, set_id)}"
    for set_id in match.not_sets:
        if in_set(state, set_id, address):
            return f"{side} {address} is selected by {_origin(state, set_id)}, which notSelector excludes"
    return _ports(state, match, packet, side)


def _ports(state: State, match: Match, packet: Packet, side: str) -> str | None:
    source = side == "source"
    address = packet.source if source else packet.destination
    port = packet.source_port if source else packet.destination_port
    if packet.protocol not in PROTOCOLS_WITH_PORTS:
        port = None

    def named(sets: Iterable[str]) -> bool:
        if port is None:
            return False
        member = PortMember(address, packet.protocol, port)
        return any(member in state.members[set_id] for set_id in sets)

    if (match.ports or match.named_ports) and not (_in_ports(match.ports, port) or named(match.named_ports)):
        wanted = [_port_text(entry) for entry in match.ports] + [_origin(state, set_id) for set_id in match.named_ports]
        return f"{side} port {_of(port)} is not {' or '.join(wanted)}"
    if _in_ports(match.not_ports, port) or named(match.not_named_ports):
        return f"{side} port {_of(port)} is what notPorts excludes"
    return None


def in_set(state: State, set_id: str, address: Address) -> bool:
    """True if a NET set holds the address. A set that the state lacks raises KeyError: calc broke its promise."""
    members = state.members[set_id]
    if len(members) <= _SCAN_LIMIT:
        return any(isinstance(member, Prefix) and member.contains(address) for member in members)
    return any(masked(address, length) in members for length in range(address.family.bits, -1, -1))


def _in_nets(nets: Iterable[Prefix], address: Address) -> bool:
    return any(net.contains(address) for net in nets)


def _in_ports(ports: Iterable[PortRange], port: int | None) -> bool:
    return port is not None and any(entry.first <= port <= entry.last for entry in ports)


def _of(port: int | None) -> str:
    return "(none)" if port is None else str(port)


def _port_text(entry: PortRange) -> str:
    return str(entry.first) if entry.first == entry.last else f"{entry.first}:{entry.last}"


def _join(nets: tuple[Prefix, ...]) -> str:
    shown = ", ".join(str(net) for net in nets[:4])
    return shown if len(nets) <= 4 else f"{shown} and {len(nets) - 4} more"


def _origin(state: State, set_id: str) -> str:
    return state.sets[set_id].origin or set_id
