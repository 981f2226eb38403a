"""Ends that policy cannot tell apart: same tiers and profiles, same sets and networks, same named ports.

A table over all pairs of endpoints costs what its distinct pairs of classes cost. An end's class holds everything that an
explanation may depend on, except whether both ends are on one node: pairs of two classes that agree in that get the same
answer for every port.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from tortie.base.net import FAMILIES, Address, Family, Prefix, masked, single
from tortie.insight.ends import End, node_of
from tortie.insight.world import World
from tortie.intent.policy import Match, Policy, Profile, Rule
from tortie.intent.sets import PortMember
from tortie.verdict.settings import Settings, settings_of

EndT = TypeVar("EndT")


class Memberships:
    """What one world's rules can tell of an address: the sets and networks that hold it, and its ports in sets of ports."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_prefix: dict[Prefix, set[Hashable]] = {}
        self._ports: dict[Address, set[Hashable]] = {}
        for set_id, members in world.state.members.items():
            for member in members:
                if isinstance(member, PortMember):
                    self._ports.setdefault(member.address, set()).add((set_id, member.protocol, member.port))
                else:
                    self._by_prefix.setdefault(member, set()).add(set_id)
        for net in nets_of(world):
            self._by_prefix.setdefault(net, set()).add(net)
        self._lengths = {family: sorted({net.length for net in self._by_prefix if net.family is family}) for family in FAMILIES}

    def of_address(self, address: Address) -> Hashable:
        """Equal for two addresses that no rule tells apart."""
        found: set[Hashable] = set()
        for length in self._lengths[address.family]:
            found |= self._by_prefix.get(masked(address, length), set())
        return frozenset(found), frozenset(self._ports.get(address, ()))

    def of_end(self, end: End, *, named_ports: bool = False, placed: bool = False) -> Hashable:
        """The end's class. `named_ports`: questions name ports, so that what the end calls its ports counts too. `placed`: so
        does its node, and what is a BGP peer there (see `depends_on_place`)."""
        addresses: dict[Family, Hashable] = {}
        for address in end.addresses:
            addresses.setdefault(address.family, (address.family, self.of_address(address)))
        where = tuple(addresses.values())
        if end.service is not None or end.floating is not None or end.virtual or end.nowhere:
            return end.text  # what stands behind it, or why nothing does, is nobody else's
        if end.workload is None:
            return (end.node, where)
        endpoint = self._world.state.endpoints.get(end.workload.id)
        if endpoint is None:
            return (end.workload.id, where)
        node = end.workload.node if self._world.by_node or placed else self._of_node(end.workload.node)
        peerings = self._world.peerings(end.workload.node) if placed else ()
        here = [each for each in peerings if each.interface == endpoint.interface]
        ports = end.workload.ports if named_ports else ()
        return (endpoint.tiers, endpoint.profiles, endpoint.allowed_source_prefixes, node, tuple(here), ports, where)

    def _of_node(self, name: str) -> Hashable:
        """How rules see the node's addresses, which may stand for a pod's that leaves the cluster."""
        host = self._world.state.hosts.get(name)
        if host is None:
            return ()
        return tuple(None if each is None else self.of_address(each.address) for each in (host.ipv4, host.ipv6))


def depends_on_place(destination: End) -> bool:
    """True for what is another end from each node: a backend, the address for BGP peers, one of several owners."""
    several = destination.floating is not None and len(destination.floating.owners) > 1
    return destination.virtual or destination.service is not None or several


def on_one_node(source: End, destination: End) -> bool:
    """True if a packet between them stays on one node."""
    return node_of(source) == node_of(destination) != ""


def few_of(ends: Sequence[EndT], node: Callable[[EndT], str]) -> list[EndT]:
    """Two of each node: among them is a pair of any kind that there is among all."""
    by_node: dict[str, list[EndT]] = {}
    for end in ends:
        some = by_node.setdefault(node(end), [])
        if len(some) < 2:
            some.append(end)
    return [end for some in by_node.values() for end in some]


def rules_of(world: World) -> Iterator[Rule]:
    """Every rule of every active policy and profile, both directions."""
    owners: list[Policy | Profile] = [*world.state.policies.values(), *world.state.profiles.values()]
    for owner in owners:
        yield from owner.ingress
        yield from owner.egress


def sides_of(rule: Rule) -> tuple[Match, Match]:
    """Source and destination."""
    return rule.source, rule.destination


def nets_of(world: World) -> set[Prefix]:
    """Every network that an explanation may look at, besides the members of sets."""
    state = world.state
    found: set[Prefix] = set(state.service_nets) | set(state.pools)
    for endpoint in state.host_endpoints.values():
        found.update(single(address) for address in endpoint.expected_addresses)
    for rule in rules_of(world):
        for side in sides_of(rule):
            found.update(side.nets, side.not_nets)
    for settings in settings_in(world):
        found.update(each.net for each in (*settings.failsafe_inbound, *settings.failsafe_outbound) if each.net is not None)
        found.update(settings.external_nodes)
    return found


def settings_in(world: World) -> Iterator[Settings]:
    """What the configuration of any node says about packets of nodes; nothing where no host endpoint asks for it."""
    if world.state.host_endpoints:
        for config in (world.state.config, *world.configs.values()):
            yield settings_of(config)


class Numbering:
    """Classes as small numbers, by first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __getitem__(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))
