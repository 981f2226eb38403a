"""Messages in, kernel out: the netfilter dataplane of one node.

    on_messages ─► queue ─► managers (mark dirty) ─► managers' apply ─► bandwidth ─► one nft transaction
                                             ─► devices ─► peerings ─► arp ─► overlays ─► routes ─► what is left of overlays

Policy comes before reachability: routes wait for the transaction. A node whose transaction fails keeps what it has, and
drops what it does not know.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from tortie.base.errors import TortieError
from tortie.base.net import Address, Prefix
from tortie.dataplane.arp_manager import ArpManager
from tortie.dataplane.bandwidth_manager import BandwidthManager
from tortie.dataplane.device_manager import DeviceManager
from tortie.dataplane.dscp_manager import DscpManager
from tortie.dataplane.endpoint_manager import EndpointManager
from tortie.dataplane.floating_manager import FloatingManager
from tortie.dataplane.host_manager import HostManager
from tortie.dataplane.manager import Manager
from tortie.dataplane.mtu import Mtus
from tortie.dataplane.nat_manager import NatManager
from tortie.dataplane.overlay import OverlayManager
from tortie.dataplane.peering_manager import PeeringManager
from tortie.dataplane.policy_manager import PolicyManager
from tortie.dataplane.populated import Populated
from tortie.dataplane.quarantine import Quarantine
from tortie.dataplane.reachability_manager import ReachabilityManager
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.route_manager import RouteManager
from tortie.dataplane.set_manager import SetManager
from tortie.dataplane.static_manager import StaticManager
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId, HostEndpointId
from tortie.intent.messages import ConfigUpdate, EndpointUpdate, InSync, Message, OverlayUpdate
from tortie.intent.routes import Overlay
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.forwarding import Forwarding
from tortie.kernel.link import Links
from tortie.kernel.nft.table import ApplyStats, NftRefused, NftTable
from tortie.kernel.qdisc import Shaper
from tortie.kernel.route_table import RouteTable

_SLICE = 100
LINGER_SECONDS = 3.0
"""How long a tunnel that is not in use any more still takes what other nodes send into it."""


class LinuxDataplane:
    """Programs one network namespace: that of the drivers it is given. One `apply` at a time.

    Without `forwarding` the workloads' devices come prepared, as those of the CNI plugin do. Without `shaper` there are no
    bandwidth limits. Without `links` no host endpoint finds its interface by address, and no workload its BGP peer. `arp` is a
    table of family arp; without it nothing guards answers to ARP. Routes of an overlay that has no manager here are not
    programmed. Without `reachability` nobody in the node's subnet finds a workload by its address alone.
    """

    def __init__(
        self,
        table: NftTable,
        routes: RouteTable,
        *,
        conntrack: Conntrack,
        forwarding: Forwarding | None = None,
        shaper: Shaper | None = None,
        links: Links | None = None,
        arp: NftTable | None = None,
        overlays: Sequence[OverlayManager] = (),
        reachability: ReachabilityManager | None = None,
    ) -> None:
        self._table = table
        self._quarantine = Quarantine(table)
        populated = Populated()
        self._endpoints = EndpointManager(table)
        self._hosts = HostManager(table, links)
        self._devices = DeviceManager(forwarding) if forwarding is not None else None
        self._bandwidth = BandwidthManager(shaper) if shaper is not None else None
        self._peerings = PeeringManager(links) if links is not None else None
        self._arp = ArpManager(arp) if arp is not None else None
        self._overlays = tuple(overlays)
        self._routes = RouteManager(routes, conntrack, overlays=self._overlays, links=links)
        self._floating = FloatingManager(table)
        self._reachability = reachability
        self._managers: tuple[Manager, ...] = (
            StaticManager(table),
            SetManager(table, populated),
            PolicyManager(table, populated),
            self._endpoints,
            self._hosts,
            NatManager(table),
            self._floating,
            DscpManager(table),
        )
        self._queue: deque[Message] = deque()
        self._config: Config | None = None
        self._host_mtu = Mtus().host
        self._in_sync = False
        self._transaction: ApplyStats | None = ApplyStats()
        self._programmed: dict[EndpointId, Endpoint] = {}
        self._ends: Overlay | None = None
        self._lingering_until: float | None = None

    def on_messages(self, messages: Iterable[Message]) -> None:
        """Take note. Cheap at any time, during an `apply` too: what comes then is for the next one."""
        self._queue.extend(messages)

    def host_mtu_changed(self, mtu: int) -> None:
        """The uplink takes packets of this size: tunnels and routes into them follow at the next `apply`."""
        self._host_mtu = mtu
        if self._config is not None:
            self._configure(self._config)

    async def apply(self) -> None:
        """Make the kernel match the messages so far. Writes nothing before InSync was among them.

        Safe to repeat, which is also how a failure is retried. Raises NftError if the transaction failed; routes are then
        left as they are. Raises an ExceptionGroup with one error for each endpoint, policy or route that could not be
        programmed, all others being so.
        """
        failures = await self._distribute()
        if self._in_sync:
            failures += await self._program()
        if failures:
            raise ExceptionGroup("the dataplane is not complete", failures)

    async def _program(self) -> list[Exception]:
        failures: list[Exception] = []
        self._transaction = None
        for manager in self._managers:
            try:
                await manager.apply()
            except ExceptionGroup as group:
                failures.append(group)
        active, rendered = dict(self._endpoints.active), self._endpoints.rendered
        if self._bandwidth is not None:
            try:
                self._bandwidth.apply(active)
            except ExceptionGroup as group:
                failures.append(group)
        self._transaction = await self._transact()
        self._programmed = rendered
        try:
            if self._devices is not None:
                spoofing = self._config is not None and self._config.source_spoofing
                self._devices.apply(
                    {each.interface: spoofing and bool(each.allowed_source_prefixes) for each in active.values()}
                )
        except ExceptionGroup as group:
            failures.append(group)
        try:
            if self._peerings is not None:
                self._peerings.apply({each.interface for each in active.values()})
        except ExceptionGroup as group:
            failures.append(group)
        try:
            if self._arp is not None:
                await self._arp.apply(active)
        except ExceptionGroup as group:
            failures.append(group)
        for overlay in self._overlays:
            try:
                await overlay.apply()
            except ExceptionGroup as group:
                failures.append(group)
        try:
            await self._routes.apply(self._floating.routed(active))
        except ExceptionGroup as group:
            failures.append(group)
        try:
            if self._reachability is not None:
                self._reachability.apply(self._floating.routed(active))
        except ExceptionGroup as group:
            failures.append(group)
        for overlay in () if self._routes.handing_over or self._lingers() else self._overlays:
            try:
                await overlay.retire()
            except ExceptionGroup as group:
                failures.append(group)
        return failures

    async def _transact(self) -> ApplyStats:
        """One transaction; without what the kernel refuses, if that is what it fails for."""
        self._quarantine.retry()
        while True:
            try:
                return await self._table.apply()
            except NftRefused as error:
                if not self._quarantine.isolate(error, self._config or Config()):
                    raise

    @property
    def refused(self) -> Mapping[str, str]:
        """nft objects that the kernel refuses, and why. What depends on them is denied; all else is in force."""
        return self._quarantine.reasons

    @property
    def problems(self) -> dict[EndpointId, str]:
        """Endpoints that are not put into force, and why."""
        return self._endpoints.unpoliced

    @property
    def floating_problems(self) -> dict[EndpointId, str]:
        """Endpoints whose floating addresses are not in force, and why; all else of them is."""
        return self._floating.problems

    @property
    def host_endpoints(self) -> dict[str, HostEndpointId]:
        """The host endpoint of each interface that has one, and under "*" that of all others."""
        return self._hosts.active

    @property
    def host_problems(self) -> dict[HostEndpointId, str]:
        """Host endpoints, or parts of them, that are not in force, and why."""
        return self._hosts.problems

    @property
    def overlay_problems(self) -> dict[str, str]:
        """What is not as it should be with tunnels and routes, by what it concerns, and why."""
        found = dict(self._routes.problems)
        for overlay in self._overlays:
            found |= overlay.problems
        return found

    @property
    def in_sync(self) -> bool:
        """True once InSync was among the messages: an `apply` writes."""
        return self._in_sync

    @property
    def transaction(self) -> ApplyStats | None:
        """What the last `apply` did to the table; None when the kernel refused it."""
        return self._transaction

    @property
    def taking_over(self) -> bool:
        """True while a route that was BIRD's is not in the kernel as ours yet: BIRD should keep what it has."""
        return self._routes.taking_over

    @property
    def route_protocols(self) -> frozenset[int]:
        """Protocols of routes that are ours."""
        return self._routes.protocols

    @property
    def routes(self) -> int:
        """How many routes are wanted."""
        return self._routes.wanted

    @property
    def programmed_endpoints(self) -> dict[EndpointId, Endpoint]:
        """Every endpoint for which `programmed` is true."""
        return {each: endpoint for each, endpoint in self._programmed.items() if self._endpoints.active.get(each) == endpoint}

    def programmed(self, endpoint_id: EndpointId) -> bool:
        """True if the endpoint, as it was told to us last, has its chains and dispatch entries in the kernel."""
        if any(isinstance(message, EndpointUpdate) and message.id == endpoint_id for message in self._queue):
            return False
        current = self._endpoints.active.get(endpoint_id)
        return current is not None and self._programmed.get(endpoint_id) == current

    def due_in(self) -> float | None:
        """Seconds until `apply` should be called although nothing changed: routes that nobody claims have had their grace,
        addresses are to be announced again, or a tunnel that is not in use may go."""
        due = [self._routes.due_in(), self._reachability.due_in() if self._reachability is not None else None]
        if self._lingering_until is not None:
            due.append(max(self._lingering_until - time.monotonic(), 0.0))
        return min((each for each in due if each is not None), default=None)

    def links_changed(self, names: Set[str]) -> bool:
        """Interfaces came, went, or changed. True if something of ours belongs there: the next `apply` looks at them."""
        if self._devices is not None:
            self._devices.links_changed(names)
        if self._peerings is not None:
            self._peerings.links_changed(names)
        limited = self._bandwidth is not None and self._bandwidth.links_changed(names)
        found = self._hosts.links_changed(names)
        tunnelled = [overlay.links_changed(names) for overlay in self._overlays]
        if any(tunnelled):
            self._routes.overlays_changed()
        answered = self._reachability is not None and self._reachability.links_changed(names)
        return self._routes.links_changed(names) or limited or found or any(tunnelled) or answered

    def addresses_changed(self) -> bool:
        """Addresses of interfaces came or went. True if that concerns a host endpoint, an overlay or a route: the next
        `apply` looks at them."""
        concerned = [self._hosts.addresses_changed(), self._routes.addresses_changed()]
        if self._reachability is not None:
            concerned.append(self._reachability.addresses_changed())
        return any((*concerned, *[overlay.addresses_changed() for overlay in self._overlays]))

    def ways_changed(self, next_hops: Set[Address]) -> None:
        """The ways to these nodes take packets of another size now: the next `apply` has their routes follow."""
        self._routes.ways_changed(next_hops)

    def routes_changed(self, destinations: Iterable[Prefix]) -> bool:
        """Another process touched routes to these. True if one of ours is among them: the next `apply` repairs it."""
        return self._routes.routes_changed(destinations)

    def invalidate(self, reason: str) -> None:
        """Somebody else may have changed what is ours: the next `apply` reads it back."""
        self.invalidate_table(reason)
        self.invalidate_routes()

    def invalidate_table(self, reason: str) -> None:
        """The same for the nft tables alone."""
        self._table.invalidate(reason)
        if self._arp is not None:
            self._arp.invalidate(reason)

    def invalidate_routes(self) -> None:
        """The same for the routes alone, and for the devices that they lead to."""
        if self._devices is not None:
            self._devices.invalidate()
        if self._peerings is not None:
            self._peerings.invalidate()
        if self._reachability is not None:
            self._reachability.invalidate()
        if self._bandwidth is not None:
            self._bandwidth.invalidate()
        self._hosts.invalidate()
        for overlay in self._overlays:
            overlay.invalidate()
        self._routes.invalidate()

    async def _distribute(self) -> list[Exception]:
        """Hand the queue to the managers. A configuration that is not understood leaves the one before it in force."""
        failures: list[Exception] = []
        taken = 0
        while self._queue:
            message = self._queue.popleft()
            match message:
                case InSync():
                    self._in_sync = True
                case ConfigUpdate(values=values):
                    try:
                        self._configure(parse(dict(values)))
                    except TortieError as error:
                        failures.append(error)
                case _:
                    if isinstance(message, OverlayUpdate):
                        self._note_ends(message.overlay)
                    for manager in self._managers:
                        manager.on_update(message)
                    if self._peerings is not None:
                        self._peerings.on_update(message)
                    if self._reachability is not None:
                        self._reachability.on_update(message)
                    for overlay in self._overlays:
                        overlay.on_update(message)
                    self._routes.on_update(message)
            taken += 1
            if taken % _SLICE == 0:
                await asyncio.sleep(0)
        return failures

    def _note_ends(self, overlay: Overlay | None) -> None:
        """Others hear at another moment than we that a tunnel is not in use any more: till then it takes what they send."""
        before = {(end.way, end.family) for end in self._ends.tunnels} if self._ends is not None else set()
        if before - {(end.way, end.family) for end in (overlay.tunnels if overlay is not None else ())}:
            self._lingering_until = time.monotonic() + LINGER_SECONDS
        self._ends = overlay

    def _lingers(self) -> bool:
        if self._lingering_until is not None and time.monotonic() >= self._lingering_until:
            self._lingering_until = None
        return self._lingering_until is not None

    def _configure(self, config: Config) -> None:
        config = replace(config, mtus=replace(config.mtus, host=self._host_mtu))
        if config != self._config:
            self._config = config
            for manager in self._managers:
                manager.configure(config)
            for overlay in self._overlays:
                overlay.configure(config)
            self._routes.configure(config)
            if self._reachability is not None:
                self._reachability.configure(config)
