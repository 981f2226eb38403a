"""Which way a packet takes: through which nodes, in and out by whose interfaces, under which addresses.

Interfaces of nodes are not in any resource. By whose host endpoint traffic between nodes goes is therefore an assumption, and
`Route.notes` says which one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tortie.base.net import Address, Family
from tortie.insight.ends import End, node_of
from tortie.insight.world import World
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.host_endpoints import EVERY_INTERFACE, resolve
from tortie.verdict.journey import AtInterface, AtNode, AtWorkload, Crossing, Side
from tortie.verdict.packet import Packet

_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Route:
    """The crossings of a packet, in order. `notes` tell what was assumed."""

    crossings: tuple[Crossing, ...]
    notes: tuple[str, ...] = ()


def route(
    world: World,
    source: End,
    destination: End,
    *,
    packet: Packet,
    before_dnat: Packet | None = None,
    translated_last: bool = False,
) -> Route:
    """The way of a packet between two ends. `before_dnat`: as it was sent, if a node translates the destination: its first
    one, or with `translated_last` its last.

    An end that talks to itself inside its own network namespace crosses nothing, and so do two strangers.
    """
    leaving, arriving = node_of(source), node_of(destination)
    if source.workload is not None and source.workload == destination.workload and before_dnat is None:
        return Route(())
    if leaving and leaving == arriving and not (source.node and destination.node):
        return Route((_crossing(world, leaving, _side(source), _side(destination), packet=packet, before_dnat=before_dnat),))
    if leaving and leaving == arriving:
        outside = AtInterface(_loopback(world, leaving))
        return Route(
            (
                _crossing(world, leaving, AtNode(), outside, packet=packet, before_dnat=before_dnat),
                _crossing(world, leaving, outside, AtNode(), packet=packet),
            )
        )
    crossings: list[Crossing] = []
    notes: list[str] = []
    if leaving:
        sent, translated = (before_dnat, None) if before_dnat is not None and translated_last else (packet, before_dnat)
        used = packet.source if source.node else node_address(world, leaving, packet.family)
        out = _interface(world, leaving, used, notes=notes)
        crossings.append(_crossing(world, leaving, _side(source), out, packet=sent, before_dnat=translated))
        behind = _masqueraded(world, source, sent)
        if arriving and behind.source != packet.source:
            notes.append(f"behind node/{leaving} the packet comes from {behind.source} (natOutgoing)")
        packet = replace(packet, source=behind.source)
        before_dnat = behind if before_dnat is not None and translated_last else None
    if arriving:
        used = packet.destination if destination.node else node_address(world, arriving, packet.family)
        into = _interface(world, arriving, used, notes=notes)
        crossings.append(_crossing(world, arriving, into, _side(destination), packet=packet, before_dnat=before_dnat))
    return Route(tuple(crossings), tuple(notes))


def host_endpoint_at(world: World, node: str, address: Address | None) -> tuple[HostEndpoint | None, str]:
    """Whose interface of a node it is that has `address`, and a sentence for a person if that is not certain.

    The one that expects the address; else the only one with a name; else the one for all interfaces.
    """
    here = sorted(_of_node(world, node), key=lambda each: each.id)
    for each in here:
        if address is not None and address in each.expected_addresses and each.interface != EVERY_INTERFACE:
            return each, ""
    named = [each for each in here if each.interface not in ("", EVERY_INTERFACE)]
    wildcard = _wildcard(here)
    if len(named) == 1:
        other = f" rather than by {wildcard.id.name}" if wildcard else ""
        return named[0], f"traffic of node/{node} is assumed to pass by {named[0].interface} ({named[0].id.name}){other}"
    if named:
        names = ", ".join(each.interface for each in named)
        instead = f"host endpoint {wildcard.id.name} is assumed" if wildcard else "none of them is assumed"
        return wildcard, f"which of {names} of node/{node} is used is not known, as no expectedIPs tell: {instead}"
    return wildcard, ""


def node_address(world: World, node: str, family: Family) -> Address | None:
    """A node's own address of a family."""
    host = world.state.hosts.get(node)
    found = None if host is None else host.ipv4 if family is Family.V4 else host.ipv6
    return None if found is None else found.address


def _crossing(
    world: World, node: str, enters: Side, leaves: Side, *, packet: Packet, before_dnat: Packet | None = None
) -> Crossing:
    wildcard = _wildcard(_of_node(world, node)) if world.state.host_endpoints else None
    # The node's address for BGP counts only where it is asked for: who has it takes a look at all of the node's workloads.
    peerings = world.peerings(node) if packet.destination in world.virtual else ()
    return Crossing(
        node=node,
        enters=enters,
        leaves=leaves,
        packet=packet,
        wildcard=wildcard,
        before_dnat=before_dnat,
        peerings=peerings,
    )


def _interface(world: World, node: str, address: Address | None, *, notes: list[str]) -> AtInterface:
    if not world.state.host_endpoints:
        return AtInterface()
    endpoint, note = host_endpoint_at(world, node, address)
    if note:
        notes.append(note)
    return AtInterface(endpoint)


def _loopback(world: World, node: str) -> HostEndpoint | None:
    owners = resolve(_of_node(world, node), {_LOOPBACK: frozenset()})
    return owners.get(_LOOPBACK) or owners.get(EVERY_INTERFACE)


def _of_node(world: World, node: str) -> list[HostEndpoint]:
    return [each for each in world.state.host_endpoints.values() if each.id.node == node]


def _wildcard(endpoints: Iterable[HostEndpoint]) -> HostEndpoint | None:
    return resolve(endpoints, {}).get(EVERY_INTERFACE)


def _side(end: End) -> Side:
    return AtNode() if end.workload is None else AtWorkload(end.workload.id)


def _masqueraded(world: World, source: End, packet: Packet) -> Packet:
    """The packet behind the sender's node: if a pool has natOutgoing, from that node's or the configured address."""
    if source.workload is None:
        return packet
    pools = world.state.pools.values()
    if not any(pool.nat_outgoing and pool.cidr.contains(packet.source) for pool in pools):
        return packet
    if any(pool.cidr.contains(packet.destination) for pool in pools):
        return packet
    if world.config(source.workload.node).get("NATOutgoingExclusions", "").lower() == "ippoolsandhostips" and any(
        node_address(world, name, packet.family) == packet.destination for name in world.state.hosts
    ):
        return packet
    address = world.settings(source.workload.node).nat_address if packet.family is Family.V4 else None
    address = address or node_address(world, source.workload.node, packet.family)
    return packet if address is None else replace(packet, source=address)
