"""The main table: routes to local workloads, out of their interfaces, and the routes of the cluster that are the agent's."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from tortie.base.net import Address, Prefix
from tortie.dataplane.cluster_routes import ClusterRoutes
from tortie.dataplane.hand_over import HandOver
from tortie.dataplane.overlay import OverlayManager
from tortie.dataplane.render.config import Config
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import ClusterRouteUpdate, Message
from tortie.intent.routes import Owner
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.link import Links
from tortie.kernel.route import Route
from tortie.kernel.route_table import RouteTable
from tortie.kernel.rtnetlink import SCOPE_LINK

_SLICE = 500


class RouteManager:
    """Not a manager like the others: it goes last, and takes the endpoints that have their interface, not messages alone.

    A workload of this node has its address whatever else is said of that; of two endpoints with one address the lowest id has
    the route. Whose interface is not there yet waits in the driver.
    """

    def __init__(
        self,
        routes: RouteTable,
        conntrack: Conntrack,
        *,
        overlays: Sequence[OverlayManager] = (),
        links: Links | None = None,
    ) -> None:
        self._routes = routes
        self._conntrack = conntrack
        self._cluster = ClusterRoutes(links, overlays)
        self._hand_over = HandOver(routes)
        self._first = True
        self._config = Config()
        self._told: dict[EndpointId, Endpoint] | None = None
        self._local: dict[Prefix, Route] = {}
        self._dirty: set[Prefix] = set()
        self._sources: tuple[object, ...] = ()

    def configure(self, config: Config) -> None:
        """Metric, protocol and source address are configured, and whether anything is programmed at all."""
        self._config = config
        self._told = None
        self._routes.configure(
            protocol=config.routes.cluster_protocol,
            workload_protocol=config.routes.protocol,
            sweep_workloads=config.routes.remove_external,
        )
        self._cluster.watch(source for source in config.routes.sources if source is not None)
        self._cluster.ask_again()
        if not config.routes.sync:
            self._routes.distrust()

    def on_update(self, message: Message) -> None:
        """Note what a message changes about the cluster's routes."""
        if isinstance(message, ClusterRouteUpdate):
            after = message.route.owner if message.route is not None else None
            self._hand_over.moved(message.dst, self._cluster.owner(message.dst), after, first=self._first)
        self._cluster.on_update(message)

    async def apply(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Want a route for each address of a workload, and what the cluster's routes ask for, and no other; then program.
        Raises one ExceptionGroup for all that were refused.

        Connections of an address that has no owner any more, or a new one, are forgotten before a new route comes: policy has
        judged them for the old owner only.
        """
        dirty = self._cluster.take_dirty()
        if self._routes_sources() != self._sources:
            self._sources = self._routes_sources()
            self._told = None
            dirty.update(self._routes.desired)
        if endpoints != self._told:
            dirty |= self._learn(endpoints)
            self._told = dict(endpoints)
        self._dirty |= dirty
        for count, dst in enumerate(list(self._dirty), 1):
            if dst not in self._local and self._cluster.settles(dst):
                continue
            route = self._local.get(dst) or self._cluster.kernel_route(dst)
            if route is not None:
                self._routes.put(self._as_configured(route))
            elif self._cluster.owner(dst) is Owner.BIRD:
                self._routes.hand_over(dst)
            else:
                self._routes.remove(dst)
            self._dirty.discard(dst)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        self._first = False
        if self._config.routes.sync:
            try:
                await self._routes.apply_in_slices(self._conntrack.forget)
            finally:
                given_up = await self._hand_over.settle()
            if given_up:
                await self._routes.apply_in_slices(self._conntrack.forget)

    def _learn(self, endpoints: Mapping[EndpointId, Endpoint]) -> set[Prefix]:
        """Note the addresses of all workloads; those whose route is another now."""
        local: dict[Prefix, Route] = {}
        for endpoint_id in sorted(endpoints):
            for route in self._routes_of(endpoints[endpoint_id]):
                local.setdefault(route.dst, route)
        changed = {dst for dst in local.keys() | self._local.keys() if local.get(dst) != self._local.get(dst)}
        self._local = local
        return changed

    def _routes_of(self, endpoint: Endpoint) -> Iterable[Route]:
        for address in endpoint.addresses:
            metric = self._config.route_metric(address.family)
            yield Route(dst=address, device=endpoint.interface, metric=metric, scope=SCOPE_LINK)

    def _as_configured(self, route: Route) -> Route:
        protocol = self._routes.protocol_of(route.device)
        source = route.source
        if source is None and route.device is not None:
            hint = self._config.routes.source(route.dst.family)
            source = hint if hint in self._sources else None
        if protocol == route.protocol and source == route.source:
            return route
        return replace(route, protocol=protocol, source=source)

    def _routes_sources(self) -> tuple[object, ...]:
        """The source addresses that are configured and there: with one that is not, the kernel would take no route."""
        return tuple(each for each in self._config.routes.sources if each is not None and self._cluster.has_address(each))

    @property
    def problems(self) -> Mapping[str, str]:
        """Routes that are not as they should be, and why."""
        found = self._cluster.problems | self._hand_over.problems
        for source in self._config.routes.sources:
            if source is not None and source not in self._sources:
                found[f"route source {source}"] = "no interface of this node has this address: routes are without it"
        return found

    @property
    def protocols(self) -> frozenset[int]:
        """Protocols of routes that are ours."""
        return self._routes.protocols

    @property
    def wanted(self) -> int:
        """How many routes the last `apply` wanted."""
        return len(self._routes.desired)

    def links_changed(self, names: Set[str]) -> bool:
        """The kernel may have dropped routes of these interfaces, or can take them now. True if we want any there."""
        concerned = [self._routes.link_changed(name) for name in names]
        return self._cluster.links_changed(names) or any(concerned)

    def addresses_changed(self) -> bool:
        """Addresses of interfaces came or went. True if a route of ours depends on them."""
        if not self._cluster.addresses_changed():
            return False
        self._routes.distrust()  # the kernel takes routes with an address that they speak from, and says nothing
        return True

    def overlays_changed(self) -> None:
        """An overlay's devices may be others now."""
        self._cluster.ask_again()

    def ways_changed(self, next_hops: Set[Address]) -> None:
        """The ways to these nodes take packets of another size now."""
        self._cluster.ways_changed(next_hops)

    def routes_changed(self, destinations: Iterable[Prefix]) -> bool:
        """Another process touched routes to these destinations. True if any is one that we want: read it back."""
        touched = set(destinations)
        concerned = any(destination in self._routes.desired for destination in touched)
        if concerned:
            self._routes.distrust()
        return self._hand_over.concerns(touched) or concerned

    def due_in(self) -> float | None:
        """Seconds until unclaimed routes may go, BIRD may have its own, or a new way may be taken; None if nothing waits."""
        parts = (self._routes, self._hand_over, self._cluster) if self._config.routes.sync else ()
        waiting = [part.due_in() for part in parts]
        return min((seconds for seconds in waiting if seconds is not None), default=None)

    @property
    def taking_over(self) -> bool:
        """True while a destination that was BIRD's has no route of ours yet: BIRD should keep what it has."""
        return self._config.routes.sync and self._hand_over.taking_over

    @property
    def handing_over(self) -> bool:
        """True while routes of ours stay until BIRD has its own, or others are ready: what they lead into must stay too."""
        return self._hand_over.in_progress or self._cluster.due_in() is not None

    def invalidate(self) -> None:
        """Read the kernel's routes back at the next apply, and look for the uplinks."""
        self._cluster.distrust()
        self._routes.distrust()
