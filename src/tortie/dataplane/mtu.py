"""How large a packet may be: on this node's uplink, in each kind of tunnel, and as it leaves a pod. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from tortie.base.net import Family
from tortie.intent.routes import Overlay, Way

SMALLEST = 576
"""No host may be asked for less, and nothing here goes below it."""
_ETHERNET = 1500

_OVERHEAD = MappingProxyType({(Way.IPIP, Family.V4): 20, (Way.VXLAN, Family.V4): 50, (Way.VXLAN, Family.V6): 70})
"""Headers outside of what a tunnel carries, by the family of the outer packet."""
_WIREGUARD_OVERHEAD = MappingProxyType({Family.V4: 60, Family.V6: 80})


def overhead(way: Way, family: Family) -> int:
    """By how much longer a packet is in this tunnel."""
    return _OVERHEAD[way, family]


@dataclass(frozen=True, slots=True)
class Mtus:
    """What there is room for. `host` is found by the agent; the others are set by configuration, 0 where that is silent."""

    host: int = _ETHERNET
    ipip: int = 0
    vxlan: int = 0
    vxlan_v6: int = 0
    wireguard_v4: int = 0
    wireguard_v6: int = 0

    def tunnel(self, way: Way, family: Family) -> int:
        """The MTU of the device of this overlay, and of routes into it: as configured, else what the uplink leaves."""
        configured = self.ipip if way is Way.IPIP else self.vxlan if family is Family.V4 else self.vxlan_v6
        return configured or max(SMALLEST, self.host - overhead(way, family))

    def wireguard(self, family: Family) -> int:
        """The MTU of WireGuard's device of this family."""
        configured = self.wireguard_v4 if family is Family.V4 else self.wireguard_v6
        return configured or max(SMALLEST, self.host - _WIREGUARD_OVERHEAD[family])

    def pods(self, overlay: Overlay | None) -> int:
        """What a pod may send: no more than the narrowest way that is in use."""
        return self.narrowest(overlay)[0]

    def narrowest(self, overlay: Overlay | None) -> tuple[int, str]:
        """What a pod may send, and which way makes it so, in words."""
        return min(self._in_use(overlay), default=(self.host, "the uplink"))

    def _in_use(self, overlay: Overlay | None) -> Iterator[tuple[int, str]]:
        if overlay is None:
            return
        for end in overlay.tunnels:
            yield self.tunnel(end.way, end.family), f"{end.way} of IPv{end.family.value}"
        for wireguard in overlay.wireguard:
            yield self.wireguard(wireguard.family), f"wireguard of IPv{wireguard.family.value}"
