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


@dataclass(frozen=True, slots=True)
class Translation:
    """A node puts another destination into the packet."""

    sent: Packet
    """The packet as its sender wrote it."""
    node: str = ""
    """Which node does; "": the first on the way."""
    hides_sender: bool = False
    """True if what goes on to another node gets that node's address as its source."""


def route(world: World, source: End, destination: End, *, packet: Packet, translation: Translation | None = None) -> Route:
    """The way of a packet between two ends. `packet` is what it becomes by `translation`, if there is one.

    An end that talks to itself inside its own network namespace crosses nothing, and so do two strangers.
    """
    leaving, arriving = node_of(source), node_of(destination)
    if source.workload is not None and source.workload == destination.workload and translation is None:
        return Route(())
    nodes: list[str] = []
    for node in (leaving, "" if translation is None else translation.node, arriving):
        if node and nodes[-1:] != [node]:
            nodes.append(node)
    if source.node and destination.node and len(nodes) == 1:
        outside, sent = AtInterface(_loopback(world, leaving)), None if translation is None else translation.sent
        return Route(
            (
                _crossing(world, leaving, AtNode(), outside, packet=packet, before_dnat=sent),
                _crossing(world, leaving, outside, AtNode(), packet=packet),
            )
        )
    return _through(world, source, destination, nodes=nodes, packet=packet, translation=translation)


def _through(
    world: World, source: End, destination: End, *, nodes: list[str], packet: Packet, translation: Translation | None
) -> Route:
    """In by the first of these nodes and out by the last, unless the ends are there."""
    translator = nodes.index(translation.node) if translation is not None and translation.node else 0
    crossings: list[Crossing] = []
    notes: list[str] = []
    for index, node in enumerate(nodes):
        came = replace(translation.sent, source=packet.source) if translation is not None and index <= translator else packet
        goes = came if index < translator else packet
        enters, leaves = _side(source), _side(destination)
        if index or not node_of(source):
            enters = _interface(world, node, _own(world, node, came, goes), notes=notes)
        if index < len(nodes) - 1 or not node_of(destination):
            used = came.source if source.node and not index else node_address(world, node, packet.family)
            leaves = _interface(world, node, used, notes=notes)
        before = came if translation is not None and index == translator else None
        crossings.append(_crossing(world, node, enters, leaves, packet=goes, before_dnat=before))
        if index == len(nodes) - 1:
            break
        behind, why = goes.source if index else _masqueraded(world, source, goes).source, "natOutgoing"
        if translation is not None and translation.hides_sender and index == translator:
            behind, why = node_address(world, node, packet.family) or behind, "kube-proxy"
        if behind != packet.source:
            notes.append(f"behind node/{node} the packet comes from {behind} ({why})")
            packet = replace(packet, source=behind)
    return Route(tuple(crossings), tuple(dict.fromkeys(notes)))


def _own(world: World, node: str, *packets: Packet) -> Address | None:
    """The address of a node by which a packet comes in: the one it is sent to if that is the node's, else the node's first."""
    for packet in packets:
        address = packet.destination
        if address == node_address(world, node, packet.family):
            return address
        if any(address in each.expected_addresses for each in _of_node(world, node)):
            return address
    return node_address(world, node, packets[0].family)


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
