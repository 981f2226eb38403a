"""Routes of one network namespace: listing, and changing many at once.

Ours are recognised by their protocol (`PROTOCOL`, conventions.md).
"""

import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tortie.base.net import FAMILIES, Address, Family, Prefix
from tortie.kernel import rtnetlink
from tortie.kernel.errors import Invalid, KernelError, NotFound, kernel_error
from tortie.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    attribute,
    parse_attributes,
    u32,
)
from tortie.kernel.rtnetlink import (
    AF_INET6,
    FAMILY_NUMBERS,
    ROUTE_HEADER,
    SCOPE_HOST,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    open_requests,
    open_subscription,
    unpack_address,
    unpack_u32,
)

PROTOCOL = 80
"""Protocol of every route of ours, as Calico's."""
GUARD_PROTOCOL = 81
"""Of routes that hold a place: what is to happen to packets for which a better route of ours has vanished with its device."""
METRIC = 1024
"""Metric of a route to a local workload, as Calico's."""
MAIN_TABLE = 254

UNICAST, BLACKHOLE, THROW, UNREACHABLE = "unicast", "blackhole", "throw", "unreachable"
_KINDS = {
    UNICAST: 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5,
    BLACKHOLE: 6, UNREACHABLE: 7, "prohibit": 8, THROW: 9,
}  # fmt: skip
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_DEVICELESS = frozenset((BLACKHOLE, THROW, UNREACHABLE, "prohibit"))
_SCOPE_NAMES = {SCOPE_LINK: " scope link", SCOPE_HOST: " scope host"}

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_CACHEINFO, _RTA_TABLE, _RTA_VIA, _RTA_PREF = 8, 9, 12, 15, 18, 20
_RTAX_MTU = 2
_RTNH_F_ONLINK = 4
_IPV6_DEFAULT_METRIC = 1024
_TABLE_COMPATIBLE_LIMIT = 256
_WINDOW = 200
_TAILS = {Family.V4: b"", Family.V6: attribute(_RTA_CACHEINFO, bytes(32)) + attribute(_RTA_PREF, b"\0")}
"""What the kernel tells of a route of ours besides what was given. A wrong guess costs time only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route. `scope` None is the usual one of its kind. Several next hops (only ever a foreign route's) read as kind
    "multipath" without `via` and `device`."""

    dst: Prefix
    via: Address | None = None
    device: str | None = None
    protocol: int = PROTOCOL
    metric: int = 0
    scope: int | None = None
    kind: str = UNICAST
    onlink: bool = False
    table: int = MAIN_TABLE
    source: Address | None = None
    mtu: int = 0
    """Packets that this route takes are no longer; 0 leaves that to the device."""

    def as_kernel(self) -> "Route":
        """The same route as the kernel would list it: IPv6 knows no scope and has a default metric."""
        if self.dst.family is Family.V6:
            if self.metric and self.scope == SCOPE_UNIVERSE:
                return self
            return replace(self, scope=SCOPE_UNIVERSE, metric=self.metric or _IPV6_DEFAULT_METRIC)
        if self.scope is not None:
            return self
        direct = self.kind == UNICAST and self.via is None
        return replace(self, scope=SCOPE_HOST if self.kind == "local" else SCOPE_LINK if direct else SCOPE_UNIVERSE)

    def __str__(self) -> str:
        words = [str(self.dst)] if self.kind == UNICAST else [self.kind, str(self.dst)]
        words += [f"via {self.via}"] if self.via is not None else []
        words += [f"dev {self.device}"] if self.device is not None else []
        words += [f"table {self.table}"] if self.table != MAIN_TABLE else []
        words.append(f"proto {self.protocol}")
        words += [f"metric {self.metric}"] if self.metric else []
        words += [f"src {self.source}"] if self.source is not None else []
        words += [f"mtu {self.mtu}"] if self.mtu else []
        return " ".join(words) + _SCOPE_NAMES.get(self.scope or 0, "") + (" onlink" if self.onlink else "")


@dataclass(frozen=True, slots=True)
class RouteFailure:
    """A route that the kernel did not take, and why."""

    route: Route
    error: KernelError


class Routes:
    """The routes of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)
        self.port_id = self._socket.port_id
        self._names: dict[int, str] = {}
        self._known: dict[tuple[int, int | None], dict[bytes, Route]] = {}

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def __enter__(self) -> "Routes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def list(
        self, *, table: int = MAIN_TABLE, protocol: int | None = None, families: Sequence[Family] = FAMILIES
    ) -> tuple[Route, ...]:
        """Routes of one table (0: of all), optionally of one protocol; the kernel does the choosing."""
        messages: list[Message] = []
        for family in families:
            header = _header(family, table=table, protocol=protocol or 0)
            request = Request(rtnetlink.RTM_GETROUTE, 0, header + (u32(_RTA_TABLE, table) if table else b""))
            try:
                messages += self._socket.dump(request, action=f"list IPv{family.value} routes of table {table}")
            except NotFound:  # a table exists from its first route on
                continue
        names = self._device_names() if messages else {}
        return tuple(_parse(message.body, names) for message in messages if message.type == rtnetlink.RTM_NEWROUTE)

    def list_in_parts(self, *, table: int, protocol: int | None = None, remember: bool = True) -> Iterator[Sequence[Route]]:
        """The same, some hundreds at a time, for who must not be held up. Between two parts others may run, but nobody may use
        this object. Raises Busy if routes changed meanwhile: then it is to be begun again.

        What was listed last to be remembered, or written since, is known by its bytes: such a Route is the same object again.
        """
        names = self._device_names()
        if names != self._names:
            self._known.clear()
            self._names = names
        known, found = self._known.get((table, protocol), {}), dict[bytes, Route]()
        yield []
        for family in FAMILIES:
            header = _header(family, table=table, protocol=protocol or 0)
            request = Request(rtnetlink.RTM_GETROUTE, 0, header + u32(_RTA_TABLE, table))
            action = f"list IPv{family.value} routes of table {table}"
            try:
                for bodies in self._socket.dump_in_parts(request, action=action, kind=rtnetlink.RTM_NEWROUTE):
                    part: list[Route] = []
                    for body in bodies:
                        route = known.get(body)
                        if route is None:
                            route = _parse(body, names)
                        found[body] = route
                        part.append(route)
                    yield part
            except NotFound:  # a table exists from its first route on
                continue
        if remember:
            self._known[table, protocol] = found

    def add(self, routes: Iterable[Route]) -> tuple[RouteFailure, ...]:
        """Add new routes; AlreadyExists is among the failures where table, destination and metric are taken."""
        return self._send(routes, rtnetlink.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)

    def replace(self, routes: Iterable[Route]) -> tuple[RouteFailure, ...]:
        """Add routes, each in place of whatever has its table, destination and metric."""
        return self._send(routes, rtnetlink.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)

    def delete(self, routes: Iterable[Route]) -> tuple[RouteFailure, ...]:
        """Remove exactly these (same protocol, device and gateway); one that is not there is fine."""
        failures = self._send(routes, rtnetlink.RTM_DELROUTE, 0)
        return tuple(failure for failure in failures if not isinstance(failure.error, NotFound))

    def _send(self, routes: Iterable[Route], kind: int, flags: int) -> tuple[RouteFailure, ...]:
        """Failures of one bad route do not stop the others."""
        failures: list[RouteFailure] = []
        ready: list[Route] = []
        bodies: list[bytes] = []
        indices: dict[str | None, int | None] = {None: 0}
        verb = "delete" if kind == rtnetlink.RTM_DELROUTE else "add"
        for route in routes:
            device = route.device
            if device is not None and device not in indices:
                indices[device] = self._index_of(device)
            index = indices[device]
            if index is None:
                failures.append(RouteFailure(route, kernel_error(errno.ENODEV, f"{verb} route {route}", f"device {device}")))
            else:
                normal = route.as_kernel()
                body = _body(normal, index)
                ready.append(route)
                bodies.append(body)
                if kind == rtnetlink.RTM_NEWROUTE:
                    for protocol in (route.protocol, None):
                        known = self._known.get((route.table, protocol))
                        if known is not None:
                            known[body + _TAILS[route.dst.family]] = normal
        for begin in range(0, len(bodies), _WINDOW):
            for answer in self._socket.failures(kind, flags, bodies[begin : begin + _WINDOW]):
                route = ready[begin + answer.sequence]
                failures.append(RouteFailure(route, kernel_error(answer.errno, f"{verb} route {route}", answer.detail)))
        return tuple(failures)

    def _index_of(self, device: str) -> int | None:
        try:
            found = self._socket.request(rtnetlink.get_link_by_name(device), action=f"read link {device}")
        except (NotFound, Invalid):  # absent, or not a possible name: either way there is no such device
            return None
        return rtnetlink.link_index(found[0])

    def _device_names(self) -> dict[int, str]:
        messages = self._socket.dump(rtnetlink.get_all_links(), action="list links")
        return {rtnetlink.link_index(message): rtnetlink.link_name(message) for message in messages}


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A route that another process added, replaced or removed. The device is not named: it may be gone already."""

    route: Route
    present: bool


class RouteMonitor:
    """Notice of routes that others change. IPv4 routes that vanish with their device are not told (the kernel does not)."""

    def __init__(self, netns_fd: int | None = None, *, ignore_port: int | None = None) -> None:
        """`ignore_port` is the `port_id` of our own Routes."""
        groups = (rtnetlink.GROUP_IPV4_ROUTE, rtnetlink.GROUP_IPV6_ROUTE)
        self._subscription = open_subscription(netns_fd, groups)
        self._ignore_port = ignore_port

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._subscription.fileno()

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._subscription.close()

    def read(self) -> tuple[RouteChange, ...]:
        """What happened since the last call, in order. Overflow: some was lost, list the routes again."""
        kinds = (rtnetlink.RTM_NEWROUTE, rtnetlink.RTM_DELROUTE)
        return tuple(
            RouteChange(_parse(message.body, {}), message.type == rtnetlink.RTM_NEWROUTE)
            for message in self._subscription.read()
            if message.type in kinds and (not message.port or message.port != self._ignore_port)
        )


def _header(
    family: Family, *, length: int = 0, table: int, protocol: int, scope: int = 0, kind: int = 0, flags: int = 0
) -> bytes:
    short = table if table < _TABLE_COMPATIBLE_LIMIT else 0
    return ROUTE_HEADER.pack(FAMILY_NUMBERS[family], length, 0, 0, short, protocol, scope, kind, flags)


def _body(route: Route, index: int) -> bytes:
    dst = route.dst
    header = _header(
        dst.family,
        length=dst.length,
        table=route.table,
        protocol=route.protocol,
        scope=route.scope or SCOPE_UNIVERSE,
        kind=_KINDS[route.kind],
        flags=_RTNH_F_ONLINK if route.onlink else 0,
    )
    # The kernel takes attributes in any order; in this one, and without the mark of nesting, it lists them.
    parts = [header, u32(_RTA_TABLE, route.table)]
    if dst.length:
        parts.append(attribute(_RTA_DST, dst.network.packed))
    metric = u32(_RTA_PRIORITY, route.metric) if route.metric else b""
    mtu = attribute(_RTA_METRICS, u32(_RTAX_MTU, route.mtu)) if route.mtu else b""
    source = attribute(_RTA_PREFSRC, route.source.packed) if route.source is not None else b""
    parts += (metric, mtu, source) if dst.family is Family.V4 else (source, mtu, metric)
    if route.via is not None:
        if route.via.family is dst.family:
            parts.append(attribute(_RTA_GATEWAY, route.via.packed))
        else:
            parts.append(attribute(_RTA_VIA, FAMILY_NUMBERS[route.via.family].to_bytes(2, sys.byteorder) + route.via.packed))
    if index:
        parts.append(u32(_RTA_OIF, index))
    return b"".join(parts)


def _mtu(metrics: bytes) -> int:
    found = parse_attributes(metrics)
    return unpack_u32(found[_RTAX_MTU]) if _RTAX_MTU in found else 0


def _parse(body: bytes, names: dict[int, str]) -> Route:
    number, length, _, _, short_table, protocol, scope, kind_number, flags = ROUTE_HEADER.unpack_from(body)
    found = parse_attributes(body, ROUTE_HEADER.size)
    family = Family.V6 if number == AF_INET6 else Family.V4
    kind = "multipath" if _RTA_MULTIPATH in found else _KIND_NAMES.get(kind_number, str(kind_number))
    index = unpack_u32(found[_RTA_OIF]) if _RTA_OIF in found else 0
    via = found.get(_RTA_GATEWAY) or found.get(_RTA_VIA, b"")[2:]
    return Route(
        dst=Prefix(family, int.from_bytes(found.get(_RTA_DST, b""), "big"), length),
        via=unpack_address(via) if via else None,
        device=names.get(index) if kind not in _DEVICELESS else None,  # IPv6 hangs those on the loopback device
        protocol=protocol,
        metric=unpack_u32(found[_RTA_PRIORITY]) if _RTA_PRIORITY in found else 0,
        scope=scope,
        kind=kind,
        onlink=bool(flags & _RTNH_F_ONLINK),
        table=unpack_u32(found[_RTA_TABLE]) if _RTA_TABLE in found else short_table,
        source=unpack_address(found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else None,
        mtu=_mtu(found[_RTA_METRICS]) if _RTA_METRICS in found else 0,
    )
