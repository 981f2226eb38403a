"""Routes to local workloads: one for each address, out of the workload's interface."""

from collections.abc import Iterable, Mapping, Sequence, Set

from tortie.base.net import Prefix
from tortie.dataplane.overlay import OverlayManager
from tortie.dataplane.render.config import Config
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import Message
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.route import Route
from tortie.kernel.route_table import RouteTable
from tortie.kernel.rtnetlink import SCOPE_LINK


class RouteManager:
    """Not a manager like the others: it goes last, and takes the endpoints that have their interface, not messages.

    Of two endpoints with one address the lowest id has the route. Whose interface is not there yet waits in the driver.
    """

    def __init__(self, routes: RouteTable, conntrack: Conntrack, *, overlays: Sequence[OverlayManager] = ()) -> None:
        self._routes = routes
        self._overlays = tuple(overlays)
        self._conntrack = conntrack
        self._config = Config()
        self._told: dict[EndpointId, Endpoint] | None = None

    def configure(self, config: Config) -> None:
        """The metric is configured."""
        self._config = config
        self._told = None

    def on_update(self, message: Message) -> None:
        """Note what a message changes about the cluster's routes."""

    def addresses_changed(self) -> bool:
        """Addresses of interfaces came or went. True if a route of ours depends on them."""
        return False

    @property
    def problems(self) -> Mapping[str, str]:
        """Routes that are not as they should be, and why."""
        return {}

    async def apply(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Want a route for each address, and no other; then program. One ExceptionGroup for all that were refused.

        Connections of an address that has no owner any more, or a new one, are forgotten: policy has judged them for the
        old owner only.
        """
        if endpoints != self._told:
            self._want(endpoints)
            self._told = dict(endpoints)
        await self._routes.apply_in_slices(self._conntrack.forget)

    def _want(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        wanted: dict[Prefix, Route] = {}
        for endpoint_id in sorted(endpoints):
            for route in self._routes_of(endpoints[endpoint_id]):
                wanted.setdefault(route.dst, route)
        for dst in list(self._routes.desired):
            if dst not in wanted:
                self._routes.remove(dst)
        for route in wanted.values():
            self._routes.put(route)

    @property
    def wanted(self) -> int:
        """How many routes the last `apply` wanted."""
        return len(self._routes.desired)

    def links_changed(self, names: Set[str]) -> bool:
        """The kernel may have dropped routes of these interfaces, or can take them now. True if we want any there."""
        for name in names:
            self._routes.link_changed(name)
        return any(route.device in names for route in self._routes.desired.values())

    def routes_changed(self, destinations: Iterable[Prefix]) -> bool:
        """Another process touched routes to these destinations. True if any is one that we want: read it back."""
        concerned = any(destination in self._routes.desired for destination in destinations)
        if concerned:
            self._routes.distrust()
        return concerned

    def due_in(self) -> float | None:
        """Seconds until unclaimed routes may be removed; None if there are none."""
        return self._routes.due_in()

    def invalidate(self) -> None:
        """Read the kernel's routes back at the next apply."""
        self._routes.distrust()

    def _routes_of(self, endpoint: Endpoint) -> Iterable[Route]:
        for address in endpoint.addresses:
            metric = self._config.route_metric(address.family)
            yield Route(dst=address, device=endpoint.interface, metric=metric, scope=SCOPE_LINK)
