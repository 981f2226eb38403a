"""IPIP between the nodes of the cluster: the device tunl0, by the kernel's module or by our own eBPF programs."""

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Protocol

from tortie.base import log
from tortie.base.net import Address, Family, Prefix, single
from tortie.dataplane.mtu import overhead
from tortie.dataplane.path_mtus import PathMtus
from tortie.dataplane.render.config import Config
from tortie.intent.messages import ClusterRouteUpdate, Message, OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, TunnelEnd, Way
from tortie.kernel.bpf.path_errors import PathError
from tortie.kernel.errors import KernelError, NotFound
from tortie.kernel.ipip import DEVICE, IpipEnd
from tortie.kernel.route import Route

_log = log.get(__name__)
_HAS_NODES_ADDRESS = (Way.DIRECT, Way.IPIP)


class Carrier(Protocol):
    """One way to have IPIP on this node (kernel.ipip.KernelIpip, kernel.bpf.tunnel.BpfIpip)."""

    @property
    def name(self) -> str:
        """As people are told."""

    def why_not(self) -> str:
        """Why it cannot be had here; "" if it can."""

    def apply(self, end: IpipEnd) -> None:
        """Make the kernel have just this. May be repeated. Raises KernelError."""

    def retire(self) -> None:
        """Remove everything of ours. May be repeated. Raises KernelError."""

    def distrust(self) -> None:
        """Look at what the kernel has with the next `apply`."""

    def concerned_by(self, name: str) -> bool:
        """True if a change of this device is a change of ours."""


class IpipManager:
    """An overlay manager (overlay.OverlayManager). IPv4 alone.

    Of its carriers the first that can be had carries for as long as IPIP is in use; what another one has left is
    removed before. `excluded` are not asked, but what they have left is removed too.
    """

    way: Way | None = Way.IPIP

    def __init__(self, carriers: Sequence[Carrier], *, excluded: Sequence[Carrier] = ()) -> None:
        self._carriers = tuple(carriers)
        self._excluded = tuple(excluded)
        self._carrier: Carrier | None = None
        self._config = Config()
        self._overlay: Overlay | None = None
        self._routes: dict[Prefix, ClusterRoute] = {}
        self._paths = PathMtus()
        self._problem = ""
        self._ready = False
        self._dirty = True
        self._unretired = True

    @property
    def carrier(self) -> str:
        """Who carries IPIP here: kernel or ebpf; "" while it is not in use."""
        return self._carrier.name if self._carrier is not None and self._ready else ""

    def describe(self) -> dict[str, str]:
        """Who carries, and what keeps it from being carried."""
        return {"carrier": self.carrier, "problem": self._problem}

    def configure(self, config: Config) -> None:
        """The MTU, and who else may tunnel to us."""
        self._config = config
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Our own end, and whose each destination is."""
        match message:
            case OverlayUpdate(overlay=overlay):
                self._overlay = overlay
                self._dirty = self._unretired = True
            case ClusterRouteUpdate(dst=dst, route=route) if dst.family is Family.V4:
                if route is None:
                    self._routes.pop(dst, None)
                else:
                    self._routes[dst] = route
                self._dirty = True
            case _:
                pass

    async def apply(self) -> None:
        """Have the tunnel, if it is in use. Without it its routes wait."""
        if not self._dirty:
            return
        end = self._end()
        if end is None:
            self._dirty, self._problem = False, ""
            return
        try:
            carrier = self._carrier = self._carrier or self._choose()
            carrier.apply(end)
        except KernelError as error:
            self._problem = str(error)
            # What carried before goes on carrying while a change is refused, unless the tunnel itself is gone.
            self._ready = self._ready and not isinstance(error, NotFound)
            raise ExceptionGroup("IPIP is not complete", [error]) from error
        self._dirty, self._problem, self._ready = False, "", True

    async def retire(self) -> None:
        """Remove the tunnel if it is not in use."""
        if not self._unretired:
            return
        if not self._in_use:
            self._ready, self._carrier = False, None
            self._retire(self._carriers + self._excluded)
            self._problem = ""
        self._unretired = False

    def route(self, route: ClusterRoute) -> Route | None:
        """By the other node's address, as if it were on the other end of a cable."""
        if not self._ready or route.next_hop is None or not self._in_use:
            return None
        return Route(dst=route.dst, via=route.next_hop, device=DEVICE, onlink=True, mtu=self._mtu_to(route.next_hop))

    def hear(self, errors: Iterable[PathError]) -> frozenset[Address]:
        """What is said of packets that are too large. Only of ways from this node to others that we tunnel to is it believed;
        those to which the route is another now."""
        if (ends := self._ends()) is None:
            return frozenset()
        (own, _), now = ends, time.monotonic()
        nodes = {route.next_hop for route in self._routes.values() if route.way is Way.IPIP}
        changed: set[Address] = set()
        for error in errors:
            if error.source != own or error.target not in nodes:
                continue
            before = self._mtu_to(error.target)
            if self._paths.learn(error.target, error.mtu, now=now) and self._mtu_to(error.target) != before:
                _log.info("the network takes packets of %d bytes on the way to %s: the route follows", error.mtu, error.target)
                changed.add(error.target)
        return frozenset(changed)

    def forget_paths(self) -> frozenset[Address]:
        """Try anew the ways of which nothing was heard for long. The nodes to which the route is another now."""
        return self._paths.forget(now=time.monotonic()) if self._in_use else self._paths.clear()

    def _mtu_to(self, node: Address) -> int:
        mtu, path = self._config.mtus.tunnel(Way.IPIP, Family.V4), self._paths.get(node)
        return mtu if path is None else min(mtu, path - overhead(Way.IPIP, Family.V4))

    def links_changed(self, names: Set[str]) -> bool:
        """The device, and the uplinks that our programs stand at."""
        if not self._in_use or not any(self._is_concerned_by(name) for name in names):
            return False
        self.invalidate()
        return True

    def addresses_changed(self) -> bool:
        """The node's own address may be on another interface."""
        if not self._in_use:
            return False
        self.invalidate()
        return True

    def invalidate(self) -> None:
        """Look at everything."""
        for carrier in self._carriers:
            carrier.distrust()
        self._dirty = self._unretired = True

    @property
    def problems(self) -> Mapping[str, str]:
        """Under the device's name."""
        return {DEVICE: self._problem} if self._problem else {}

    def _is_concerned_by(self, name: str) -> bool:
        return name == DEVICE or (self._carrier is not None and self._carrier.concerned_by(name))

    def _choose(self) -> Carrier:
        reasons: list[str] = []
        self._retire(self._excluded)
        for carrier in self._carriers:
            if not (reason := carrier.why_not()):
                self._retire([other for other in self._carriers if other is not carrier])
                return carrier
            reasons.append(f"{carrier.name}: {reason}")
        raise KernelError(f"there is no way to carry IPIP on this node: {'; '.join(reasons)}")

    def _retire(self, carriers: Sequence[Carrier]) -> None:
        failures: list[Exception] = []
        reasons: list[str] = []
        for carrier in carriers:
            try:
                carrier.retire()
            except KernelError as error:
                failures.append(error)
                reasons.append(f"{carrier.name}: {error}")
        if failures:
            trouble = "IPIP that is not in use could not be removed"
            self._problem = f"{trouble}: {'; '.join(reasons)}"
            raise ExceptionGroup(trouble, failures)

    @property
    def _in_use(self) -> bool:
        return self._ends() is not None

    def _ends(self) -> tuple[Address, TunnelEnd] | None:
        """This node's own address and its end of the tunnel; None while IPIP is not in use, or there is no such address."""
        overlay = self._overlay
        tunnel = overlay.tunnel(Way.IPIP, Family.V4) if overlay is not None else None
        if overlay is None or tunnel is None or overlay.ipv4 is None:
            return None
        return overlay.ipv4.address, tunnel

    def _end(self) -> IpipEnd | None:
        """None while IPIP is not in use. Pods' packets do not wait for the tunnel's own address."""
        if (ends := self._ends()) is None:
            return None
        underlay, tunnel = ends
        return IpipEnd(
            underlay=underlay,
            address=tunnel.address,
            mtu=self._config.mtus.tunnel(Way.IPIP, Family.V4),
            owners=self._owners(underlay),
            external=tuple(each for each in self._config.external_nodes if each.family is Family.V4),
        )

    def _owners(self, underlay: Address) -> dict[Prefix, Address]:
        """The node of every destination whose node's address is told by any route to it; and every such node itself."""
        addresses = {
            route.node: route.next_hop
            for route in self._routes.values()
            if route.next_hop is not None and route.way in _HAS_NODES_ADDRESS
        }
        owners = {single(address): address for address in addresses.values()}
        for dst, route in self._routes.items():
            if route.way is Way.LOCAL:
                owners[dst] = underlay
            elif route.node in addresses:
                owners[dst] = addresses[route.node]
        return owners
