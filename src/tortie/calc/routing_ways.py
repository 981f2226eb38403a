"""The decision: which way leads to a node's addresses, and who programs it. The whole of it stands in docs/routing.md."""

from typing import NamedTuple

from tortie.base.net import Address, Family
from tortie.calc.routing_facts import NodeFacts, PoolFacts
from tortie.calc.routing_settings import RoutingSettings
from tortie.intent.routes import Overlay, Owner, Way

_SWITCHES = {Way.VXLAN: "VXLANEnabled", Way.IPIP: "IpInIpEnabled"}
_NAMES = {Way.VXLAN: "VXLAN", Way.IPIP: "IPIP"}


class Decision(NamedTuple):
    """What a ClusterRoute says besides where it leads."""

    way: Way
    owner: Owner
    next_hop: Address | None
    reason: str
    by_exception: bool = False
    """BIRD programs it although the pool's routes are otherwise the agent's."""


class Ways:
    """Decides as one node, with everything that is the same for all destinations."""

    def __init__(self, node: str, settings: RoutingSettings, overlay: Overlay | None) -> None:
        self._node = node
        self._settings = settings
        self._overlay = overlay

    def local(self, pool: PoolFacts | None, family: Family) -> Decision:
        """To a block of this node. It must not lead back to the fabric, so that the agent steps in where BIRD does not."""
        where = "outside all IP pools" if pool is None else f"of pool {pool.name}"
        by_bird = self._speaks(family) and (
            pool is None or (pool.way is None and self._settings.no_encap is Owner.BIRD)
        )  # as BIRD's kernel filter has it
        owner = Owner.BIRD if by_bird else Owner.AGENT
        return Decision(Way.LOCAL, owner, None, f"a block {where} that this node has: addresses that no pod has lead nowhere")

    def remote(self, name: str, node: NodeFacts | None, pool: PoolFacts | None, family: Family) -> Decision:
        """To what another node has. `pool` contains it; `node` is None while nothing is known of it."""
        if pool is None or pool.way is None:
            return self._plain(name, node, pool, family)
        mode = f"pool {pool.name} has {_NAMES[pool.way]} {'CrossSubnet' if pool.cross_subnet else 'Always'}"
        if self._settings.forced(pool.way, family) is False:
            return _none(f"{mode}, but {_SWITCHES[pool.way]} is false on this node")
        missing = self._missing(name, node, family)
        address = node.address(family) if node is not None else None
        if missing or node is None or address is None:
            return _none(f"{mode}, but {missing}")
        if pool.cross_subnet and self._same_subnet(address):
            return Decision(Way.DIRECT, Owner.AGENT, address, f"{mode}, and {name} ({address}) is in this node's subnet")
        waiting = self._waiting(pool.way, name, node, family)
        if waiting:
            plain = self._plain(name, node, pool, family)
            if plain.way is not Way.NONE:
                reason = f"{mode}, but {waiting}; until then as without encapsulation: {plain.reason}"
                return plain._replace(reason=reason, by_exception=plain.owner is Owner.BIRD)
            if pool.way is Way.VXLAN:
                return _none(f"{mode}, but {waiting}")
        next_hop = node.of(family).vxlan if pool.way is Way.VXLAN else address
        elsewhere = f", and {name} ({address}) is in another subnet" if pool.cross_subnet else ""
        return Decision(pool.way, Owner.AGENT, next_hop, f"{mode}{elsewhere}")

    def _plain(self, name: str, node: NodeFacts | None, pool: PoolFacts | None, family: Family) -> Decision:
        """Without encapsulation."""
        if pool is None and not self._settings.bird:
            return _none("no IP pool contains it, and there is no BIRD")
        what = "no IP pool contains it" if pool is None else f"pool {pool.name} has no encapsulation"
        if pool is not None and pool.way is not None:
            what = "the packet as it is"
        owner = self._settings.no_encap if pool is not None else Owner.BIRD
        if owner is Owner.BIRD:
            if not self._speaks(family):
                return _none(
                    f"{what}: BIRD programs it, but this node has no IPv{family.value} address, so that there is no BGP"
                )
            return Decision(Way.BGP, Owner.BIRD, None, f"{what}: BIRD programs what BGP has learned")
        if owner is Owner.NOBODY:
            return _none(f"{what}: {self._settings.why_nobody}")
        missing = self._missing(name, node, family)
        address = node.address(family) if node is not None else None
        if missing or address is None:
            return _none(f"{what}, but {missing}")
        if not self._same_subnet(address):
            if self._settings.bird_stands_in:
                reason = f"{what}, {name} ({address}) is in another subnet, and BIRD claims these routes as the agent does"
                return Decision(Way.BGP, Owner.BIRD, None, reason, by_exception=True)
            return _none(
                f"{what}, the agent programs it, and {name} ({address}) is in another subnet, where only BGP or an"
                " encapsulation leads"
            )
        return Decision(Way.DIRECT, Owner.AGENT, address, f"{what}, and {name} ({address}) is in this node's subnet")

    def _waiting(self, way: Way, name: str, node: NodeFacts, family: Family) -> str:
        """What a tunnel still lacks. IPIP needs nothing of the other node but its own address."""
        ours = self._overlay.tunnel(way, family) if self._overlay is not None else None
        kind = f"{_NAMES[way]} tunnel address of IPv{family.value}"
        if ours is None or ours.address is None:
            if ours is not None and ours.pools:
                return f"this node has no {kind} yet"
            return f"no pool gives this node a {kind}" if way is Way.VXLAN else ""
        if way is Way.VXLAN and node.of(family).vxlan is None:
            return f"{name} has no {kind} yet"
        return ""

    def _missing(self, name: str, node: NodeFacts | None, family: Family) -> str:
        """Which node's address is not known."""
        if node is None:
            return f"there is no Node {name}"
        if node.address(family) is None:
            return f"{name} has no IPv{family.value} address"
        return "" if self._speaks_family(family) else f"this node has no IPv{family.value} address"

    def _speaks_family(self, family: Family) -> bool:
        return self._overlay is not None and self._overlay.underlay(family) is not None

    def _speaks(self, family: Family) -> bool:
        """BIRD on this node has sessions of this family."""
        return self._settings.bird and self._speaks_family(family)

    def _same_subnet(self, address: Address) -> bool:
        own = self._overlay.underlay(address.family) if self._overlay is not None else None
        return own is not None and own.subnet.contains(address)


def _none(reason: str) -> Decision:
    return Decision(Way.NONE, Owner.NOBODY, None, reason)
