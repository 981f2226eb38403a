"""Ends of tunnels: this node's own, and where other nodes' VXLAN is."""

from collections.abc import Iterable, Iterator

from tortie.base.net import Family, Prefix
from tortie.calc.routing_facts import NodeFacts, PoolFacts, families_of
from tortie.calc.routing_settings import RoutingSettings
from tortie.intent.routes import Overlay, TunnelEnd, Vtep, Way, WireguardEnd

_TUNNELS = ((Way.VXLAN, Family.V4), (Way.VXLAN, Family.V6), (Way.IPIP, Family.V4))


def overlay(node: str, local: NodeFacts | None, settings: RoutingSettings, pools: Iterable[PoolFacts]) -> Overlay | None:
    """This node's own ends; None while it has no address.

    A disabled pool gives no addresses, but what has one of it is still to be reached: it keeps its overlay in use.
    """
    families = families_of(local)
    if local is None or not families:
        return None
    known = list(pools)
    tunnels = []
    for way, family in _TUNNELS:
        of_it = [each for each in known if each.way is way and each.pool.cidr.family is family]
        forced = settings.forced(way, family)
        if family in families and (bool(of_it) if forced is None else forced):
            tunnels.append(_end(local, way, family, of_it))
    wireguard = tuple(_wireguard(local, family, settings, known) for family in families if family in settings.encrypts)
    four, six = local.of(Family.V4).interface, local.of(Family.V6).interface
    return Overlay(node=node, ipv4=four, ipv6=six, tunnels=tuple(tunnels), wireguard=wireguard)


def _end(local: NodeFacts, way: Way, family: Family, pools: Iterable[PoolFacts]) -> TunnelEnd:
    end = local.of(family)
    known = list(pools)
    return TunnelEnd(
        way=way,
        family=family,
        address=end.vxlan if way is Way.VXLAN else end.ipip,
        pools=_giving(local, known),
        mac=end.vxlan_mac if way is Way.VXLAN else "",
        keeps=_cidrs(known),
    )


def _wireguard(local: NodeFacts, family: Family, settings: RoutingSettings, pools: Iterable[PoolFacts]) -> WireguardEnd:
    """With host encryption the node's own address is the tunnel's; before there is a key there is no tunnel."""
    end = local.of(family)
    wants = bool(end.wireguard_key) and not settings.host_encryption
    of_it = [each for each in pools if wants and each.pool.cidr.family is family]
    return WireguardEnd(
        family=family,
        address=None if settings.host_encryption else end.wireguard,
        port=dict(settings.wireguard_ports)[family],
        pools=_giving(local, of_it),
        keeps=_cidrs(of_it),
        host_encryption=settings.host_encryption,
        strict=settings.strict,
    )


def _giving(local: NodeFacts, pools: Iterable[PoolFacts]) -> tuple[Prefix, ...]:
    return _cidrs(each for each in pools if each.gives_tunnels and each.selects(local.labels))


def _cidrs(pools: Iterable[PoolFacts]) -> tuple[Prefix, ...]:
    return tuple(sorted(each.pool.cidr for each in pools))


def vteps(node: NodeFacts, ours: Overlay | None) -> Iterator[Vtep]:
    """Another node's complete ends of those VXLANs that this node takes part in."""
    for end in ours.tunnels if ours is not None else ():
        theirs, underlay = node.of(end.family), node.address(end.family)
        if end.way is Way.VXLAN and theirs.vxlan is not None and underlay is not None:
            yield Vtep(node.name, end.family, theirs.vxlan, theirs.vxlan_mac, underlay)
