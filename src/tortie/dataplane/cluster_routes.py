"""What the kernel is to have for the routes of the cluster that are the agent's: one answer a destination."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from tortie.base import log
from tortie.base.net import FAMILIES, Address, Family, Prefix
from tortie.dataplane.overlay import OverlayManager
from tortie.intent.messages import ClusterRouteUpdate, Message, OverlayUpdate, VtepUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, Way
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links
from tortie.kernel.route import BLACKHOLE, UNREACHABLE, Route

_log = log.get(__name__)
SETTLE_SECONDS = 1.0
"""For so long a destination whose way leads into a tunnel, or no longer does, keeps the way that it had: its node hears of the
change at another moment than we, and its end must be there first. From tunnel to tunnel there are moments without any, while a
node has no address in the new one yet: they pass meanwhile."""
METRICS: Mapping[Family, int] = {Family.V4: 0, Family.V6: 1023}
"""Better than BIRD's 1024, so that both may stand side by side while a destination changes hands; in IPv6, 0 means 1024."""
_LAST_METRIC = 1 << 20
"""Of what stands where a tunnel's route should: behind anybody's route to the destination, before the node's default route."""


class ClusterRoutes:
    """Routes by their way. A change marks the destinations that it concerns; `take_dirty` hands them out once.

    Without `links` no uplink is found. The uplink of a family is the interface that carries the node's own address.
    """

    def __init__(self, links: Links | None, overlays: Sequence[OverlayManager]) -> None:
        self._links = links
        self._overlays = {overlay.way: overlay for overlay in overlays if overlay.way is not None}
        self._routes: dict[Prefix, ClusterRoute] = {}
        self._of_way: defaultdict[tuple[Way, Family], set[Prefix]] = defaultdict(set)
        self._dirty: set[Prefix] = set()
        self._withheld: dict[Prefix, str] = {}
        self._settling: dict[Prefix, float] = {}
        self._answers: dict[Prefix, Route | None] = {}
        self._overlay: Overlay | None = None
        self._devices: frozenset[str] = frozenset()
        self._uplinks: dict[Family, str] = {}
        self._watched: frozenset[Address] = frozenset()
        self._places: dict[Address, tuple[int, ...]] = {}
        self._looked = False

    def on_update(self, message: Message) -> None:
        """Note what a message changes."""
        match message:
            case ClusterRouteUpdate(dst=dst, route=route):
                before = self._routes.pop(dst, None)
                unsettled = self._settling.pop(dst, 0.0) > time.monotonic()
                if before is not None and route is not None and self._must_settle(before, route, unsettled=unsettled):
                    self._settling[dst] = time.monotonic() + SETTLE_SECONDS
                if before is not None:
                    self._of_way[before.way, dst.family].discard(dst)
                if route is not None:
                    self._routes[dst] = route
                    self._of_way[route.way, dst.family].add(dst)
                self._dirty.add(dst)
            case OverlayUpdate(overlay=overlay):
                self._overlay = overlay
                self._looked = False
                self.ask_again()
            case VtepUpdate():
                self._mark(Way.VXLAN)
            case _:
                pass

    def _must_settle(self, before: ClusterRoute, route: ClusterRoute, *, unsettled: bool) -> bool:
        if before.node != route.node or before.way is route.way:
            return unsettled and before.node == route.node
        enters = route.way in self._overlays and before.way is not Way.NONE
        leaves = before.way in self._overlays and route.dst not in self._withheld  # else there is nothing to keep
        return unsettled or enters or leaves

    def settles(self, dst: Prefix) -> bool:
        """True while what is programmed for a destination should stay as it is; it will be asked for again."""
        until = self._settling.get(dst)
        if until is not None and time.monotonic() >= until:
            del self._settling[dst]
            return False
        return until is not None

    def due_in(self) -> float | None:
        """Seconds until something has settled; None if nothing settles."""
        return max(min(self._settling.values()) - time.monotonic(), 0.0) if self._settling else None

    def ask_again(self) -> None:
        """Whatever depends on devices may be otherwise."""
        for way in (Way.DIRECT, *self._overlays):
            self._mark(way)

    def ways_changed(self, next_hops: Set[Address]) -> None:
        """Routes by these next hops may be otherwise."""
        self._dirty.update(dst for dst, route in self._routes.items() if route.next_hop in next_hops)

    def _mark(self, way: Way) -> None:
        for family in FAMILIES:
            self._dirty |= self._of_way[way, family]

    def owner(self, dst: Prefix) -> Owner | None:
        """Who programs the route to a destination; None where there is no such destination."""
        route = self._routes.get(dst)
        return None if route is None else route.owner

    def watch(self, addresses: Iterable[Address]) -> None:
        """`has_address` will be asked about these."""
        self._watched = frozenset(addresses)
        self._looked = False

    def addresses_changed(self) -> bool:
        """True if a route depends on where these are now."""
        try:
            if self._looked and self._find_addresses() == self._places:
                return False
        except KernelError as error:
            _log.debug("addresses cannot be read: %s", error)
        self._looked = False
        return True

    def distrust(self) -> None:
        """Look for the uplinks again at the next turn."""
        self._looked = False

    def links_changed(self, names: Iterable[str]) -> bool:
        """True if one of these is, or may be, an uplink."""
        concerned = not self._devices.isdisjoint(names) or any(self._missing_uplink(family) for family in FAMILIES)
        if concerned:
            self._looked = False
        return concerned

    def has_address(self, address: Address) -> bool:
        """True if one of the node's interfaces has it, as far as known since `take_dirty`."""
        return address in self._places

    def take_dirty(self) -> set[Prefix]:
        """The destinations whose answer may have changed. Asked once a turn: what is withheld is among them every time."""
        if not self._looked:
            self._look()
        for way, overlay in self._overlays.items():
            for family in FAMILIES:
                sample = next(iter(self._of_way[way, family]), None)
                if sample is not None and overlay.route(self._routes[sample]) != self._answers.get(sample):
                    self._dirty |= self._of_way[way, family]  # its device or its MTU is another now
        dirty, self._dirty = self._dirty.union(self._withheld), set()
        return dirty

    def kernel_route(self, dst: Prefix) -> Route | None:
        """The kernel's route; None where there is none of ours, or cannot be one now (`problems` says why).

        What is for a tunnel that is not there goes nowhere: by the default route it would leave without the tunnel.
        """
        self._withheld.pop(dst, None)
        self._answers.pop(dst, None)
        route = self._routes.get(dst)
        if route is None or route.owner is not Owner.AGENT:
            return None
        family = dst.family
        match route.way:
            case Way.LOCAL:
                return None if dst.is_single else Route(dst=dst, kind=BLACKHOLE, metric=METRICS[family])
            case Way.DIRECT:
                uplink = self._uplinks.get(family)
                if uplink is None or route.next_hop is None:
                    self._withheld[dst] = self._missing_uplink(family) or f"node {route.node} has no address"
                    return None
                return Route(dst=dst, via=route.next_hop, device=uplink, onlink=True, metric=METRICS[family])
            case Way.IPIP | Way.VXLAN:
                overlay = self._overlays.get(route.way)
                found = overlay.route(route) if overlay is not None else None
                self._answers[dst] = found
                if found is None:
                    self._withheld[dst] = f"the way by {route.way} to node {route.node} is not there yet"
                    return Route(dst=dst, kind=UNREACHABLE, metric=_LAST_METRIC)
                return found
            case _:
                return None

    @property
    def problems(self) -> dict[str, str]:
        """Routes that cannot be programmed, by their reasons: a thousand destinations behind one uplink are one problem."""
        by_reason: dict[str, list[Prefix]] = {}
        for dst, reason in self._withheld.items():
            by_reason.setdefault(reason, []).append(dst)
        found = {}
        for reason, dsts in by_reason.items():
            first = min(dsts)
            more = f" (and {len(dsts) - 1} other routes)" if len(dsts) > 1 else ""
            found[f"route {first}"] = f"not programmed{more}: {reason}"
        return found

    # ---- uplinks ----
    def _missing_uplink(self, family: Family) -> str:
        """Why there is no uplink although routes need one; "" otherwise."""
        if family in self._uplinks or not self._of_way[Way.DIRECT, family]:
            return ""
        own = self._underlay(family)
        if own is None:
            return f"this node has no IPv{family.value} address"
        return f"no interface that is up has this node's own address {own}"

    def _underlay(self, family: Family) -> Address | None:
        own = self._overlay.underlay(family) if self._overlay is not None else None
        return own.address if own is not None else None

    def _look(self) -> None:
        """Find the uplinks. What cannot be read now is as it was."""
        if self._links is None:
            return
        try:
            places = self._find_addresses()
            links = {link.index: link for link in self._links.list()}
        except KernelError as error:
            _log.warning("the interfaces cannot be read, uplinks stay as they are: %s", error)
            return
        uplinks: dict[Family, str] = {}
        for family in FAMILIES:
            own = self._underlay(family)
            for index in places.get(own, ()) if own is not None else ():
                link = links.get(index)
                if link is not None and link.up and not link.loopback:
                    uplinks.setdefault(family, link.name)
        for family in FAMILIES:
            if uplinks.get(family) != self._uplinks.get(family):
                self._dirty |= self._of_way[Way.DIRECT, family]
        self._places, self._uplinks, self._looked = places, uplinks, True
        self._devices = frozenset(uplinks.values())

    def _find_addresses(self) -> dict[Address, tuple[int, ...]]:
        """The interfaces, by index, that carry an address that matters to us."""
        if self._links is None:
            return {}
        matter = {*self._watched, *(self._underlay(family) for family in FAMILIES)}
        found: dict[Address, tuple[int, ...]] = {}
        for each in sorted(self._links.addresses(), key=lambda each: each.index):
            address = each.interface.address
            if address in matter:
                found[address] = (*found.get(address, ()), each.index)
        return found
