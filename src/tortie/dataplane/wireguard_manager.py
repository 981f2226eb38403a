"""WireGuard between the nodes of the cluster: a device and a table of routes for each family.

    packet ─► rule (not marked) ─► WireGuard's table ─┬─► device ─► (marked) main table ─► the other node
                                                      ├─► throw: on to the main table, as if there were no WireGuard
                                                      └─► unreachable (strict)

Nothing is interrupted by switching: packets go into the device only once there is a session with the other node, or after a
grace without one; and when it is switched off the device still takes what others send for a while after ours go another way.
What once was encrypted goes nowhere in clear while its node has a key.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tortie.base.net import FAMILIES, Address, Family, single
from tortie.dataplane.render.config import Config
from tortie.dataplane.wireguard_device import Wanted, WireguardDevice
from tortie.dataplane.wireguard_routes import Here, WireguardRoutes
from tortie.dataplane.wireguard_status import PeerReport, Seen, is_usable, report
from tortie.intent.messages import ClusterRouteUpdate, EndpointUpdate, Message, OverlayUpdate, WireguardPeerUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Way, WireguardEnd, WireguardPeer
from tortie.kernel.errors import KernelError, Unsupported
from tortie.kernel.link import Links
from tortie.kernel.route import THROW, Route, RouteChange, Routes
from tortie.kernel.rtnetlink import SCOPE_LINK
from tortie.kernel.rule import FoundRule, RuleChange, Rules
from tortie.kernel.wireguard.device import Peer
from tortie.kernel.wireguard.devices import WireguardDevices
from tortie.kernel.wireguard.key_files import KeyFiles

SESSION_SECONDS = 3.0
"""So long packets take the way without WireGuard (strict: none) while there is no session yet with a node that has a key."""
LINGER_SECONDS = 3.0
"""So long a device that is switched off still takes packets."""
_PATIENCE = 3
_FEW = 3
_UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Place:
    """What cannot change while a device lives."""

    device: str
    table: int
    priority: int


class _Family:
    """What there is of one family."""

    def __init__(self, place: Place, device: WireguardDevice, routes: WireguardRoutes) -> None:
        self.place = place
        self.device = device
        self.routes = routes
        self.available = False
        self.is_told = False
        """True once the public key is known, or that there is none."""
        self.ready: set[str] = set()
        """Nodes whose networks lead into the device."""
        self.waiting: dict[str, float] = {}
        """Nodes with which a session is awaited, and since when."""
        self.failed = 0
        """How often in a row the device could not be made as it should be."""
        self.sent: dict[str, int] = {}
        self.off_since: float | None = None
        self.was_on = False


class WireguardManager:
    """Both families. An overlay manager (overlay.OverlayManager) without routes in the main table."""

    way: Way | None = None

    def __init__(self, links: Links, *, wireguard: WireguardDevices, files: KeyFiles, routes: Routes, rules: Rules) -> None:
        self._links = links
        self._wireguard = wireguard
        self._files = files
        self._routes = routes
        self._rules = rules
        self._config = Config()
        self._overlay: Overlay | None = None
        self._peers: dict[Family, dict[str, WireguardPeer]] = {family: {} for family in FAMILIES}
        self._here = {family: Here() for family in FAMILIES}
        self._published: dict[Family, str] = {}
        self._families = {family: self._build(family) for family in FAMILIES}
        self._leaving: list[_Family] = []
        self._problems: dict[str, str] = {}
        self._dirty: set[Family] = set(FAMILIES)
        self._unretired: set[Family] = set(FAMILIES)

    # ---- what the dataplane asks ----
    def configure(self, config: Config) -> None:
        """Names, tables, the rule's priority, the mark, MTU and keepalive."""
        self._config = config
        for family in FAMILIES:
            if self._families[family].place != self._place(family):
                self._leaving.append(self._families[family])
                self._families[family] = self._build(family)
        self._touch(FAMILIES)

    def on_update(self, message: Message) -> None:
        """Our own ends, other nodes, and what is here and must not be looked for elsewhere."""
        match message:
            case OverlayUpdate(overlay=overlay):
                self._overlay = overlay
                self._touch(FAMILIES)
            case WireguardPeerUpdate(node=node, family=family, peer=peer):
                self._peers[family].pop(node, None)
                if peer is not None:
                    self._peers[family][node] = peer
                self._dirty.add(family)
            case ClusterRouteUpdate(dst=dst, route=route):
                if self._here[dst.family].on_route(dst, route):
                    self._dirty.add(dst.family)
            case EndpointUpdate(id=endpoint_id, endpoint=endpoint):
                self._dirty.update(each for each in FAMILIES if self._here[each].on_endpoint(endpoint_id, endpoint, each))
            case _:
                pass

    async def apply(self) -> None:
        """Devices, peers, routes, and the rule last; where WireGuard is not in use, the rule and the routes go at once."""
        failures: list[Exception] = []
        failures += await self._leave()
        for family in sorted(self._dirty):
            found = len(failures)
            try:
                end = self._end(family)
                failures += self._switch_off(family) if end is None else await self._ensure(family, end)
            except KernelError as error:
                failures.append(error)
            if len(failures) == found:
                self._dirty.discard(family)
        if failures:
            raise ExceptionGroup("WireGuard is not complete", failures)

    async def retire(self) -> None:
        """Remove devices that are not in use and have lingered, with their keys."""
        failures: list[Exception] = []
        for family in sorted(self._unretired):
            state = self._families[family]
            if self._end(family) is not None:
                self._unretired.discard(family)
            elif not self._lingers(state):
                try:
                    await state.device.remove()
                    state.was_on, state.off_since = False, None
                    self._unretired.discard(family)
                except KernelError as error:
                    failures.append(error)
        if failures:
            raise ExceptionGroup("WireGuard devices that are not in use could not be removed", failures)

    def route(self, route: ClusterRoute) -> Route | None:
        """The main table has none of ours."""
        return None

    def links_changed(self, names: Set[str]) -> bool:
        """Our devices."""
        concerned = False
        for family, state in self._families.items():
            if state.place.device in names:
                state.device.distrust()
                state.routes.link_changed(state.place.device)
                self._touch((family,))
                concerned = True
        return concerned

    def addresses_changed(self) -> bool:
        """Somebody may have taken a device's address away."""
        used = [family for family in FAMILIES if self._end(family) is not None]
        self._dirty.update(used)
        return bool(used)

    def rules_changed(self, changes: Collection[RuleChange]) -> bool:
        """Another process touched rules. True if one is ours: without it packets would go past the device, in clear."""
        concerned = [family for family, state in self._families.items() if state.routes.rules_changed(changes)]
        self._touch(concerned)
        return bool(concerned)

    def routes_changed(self, changes: Collection[RouteChange]) -> bool:
        """Another process touched routes. True if that was in a table that is in use."""
        used = ((family, state.routes) for family, state in self._families.items() if self._end(family) is not None)
        concerned = [family for family, routes in used if routes.routes_changed(changes)]
        self._touch(concerned)
        return bool(concerned)

    def invalidate(self) -> None:
        """Look at everything."""
        for state in self._families.values():
            state.device.distrust()
            state.routes.distrust()
        self._touch(FAMILIES)

    @property
    def problems(self) -> Mapping[str, str]:
        """By device, by device and node, by device and table, and by device and rule."""
        found = dict(self._problems)
        for family, state in self._families.items():
            if state.routes.strangers:
                found[f"{state.place.device} table {state.place.table}"] = _told(state.routes.strangers)
            if state.routes.overtaken:
                found[f"{state.place.device} rule"] = _told_of_rules(state.routes.overtaken)
            if state.device.silence and self._end(family) is not None:
                found.setdefault(state.place.device, state.device.silence)
            for line in self._peer_lines(family, state):
                if line.problem:
                    found[f"{state.place.device} {line.node}"] = line.problem
        return found

    # ---- what the agent asks ----
    @property
    def public_keys(self) -> Mapping[Family, str]:
        """Our keys as others must know them, "" for none; a family about which nothing is known yet is not there."""
        return {
            family: state.device.public_key if state.available and self._end(family) is not None else ""
            for family, state in self._families.items()
            if state.is_told
        }

    def published(self, keys: Mapping[Family, str]) -> None:
        """The datastore tells others these keys: from now on a session can be expected."""
        if keys != self._published:
            self._published = dict(keys)
            self._dirty.update(FAMILIES)

    def rotate(self) -> None:
        """A new key for every device in use, at the next `apply`."""
        for family in FAMILIES:
            if self._end(family) is not None:
                self._families[family].device.rotate()
                self._dirty.add(family)

    @property
    def restless(self) -> bool:
        """True while something is awaited: then `look` is worth calling often."""
        return any(state.waiting or state.device.restless or self._lingers(state) for state in self._families.values())

    def look(self) -> bool:
        """Read how devices and peers are now. True if an `apply` has something to do."""
        for family, state in self._families.items():
            if self._end(family) is None:
                if state.was_on and not self._lingers(state):
                    self._unretired.add(family)
                    return True
                continue
            state.sent = {key: peer.sent_bytes for key, peer in state.device.states.items()}
            if state.device.look():
                self._touch((family,))
            if any(self._may_enter(state, node) for node in state.waiting):
                self._dirty.add(family)
        return bool(self._dirty)

    def describe(self) -> list[dict[str, Any]]:
        """For the status file: each device in use, and every other node."""
        return [
            {
                "device": state.place.device,
                "family": family.value,
                "inKernel": state.available and self._wireguard.in_kernel(state.place.device),
                "publicKey": state.device.public_key if state.available else "",
                "port": end.port,
                "address": "" if end.address is None else str(end.address),
                "hostEncryption": end.host_encryption,
                "strict": end.strict,
                "problem": self._problems.get(state.place.device, ""),
                "peers": [each.as_json() for each in self._peer_lines(family, state)],
            }
            for family, state in self._families.items()
            if (end := self._end(family)) is not None
        ]

    # ---- one family ----
    async def _leave(self) -> list[Exception]:
        """Remove what has other names now, before the new takes its port."""
        failures: list[Exception] = []
        for old in list(self._leaving):
            found = self._settle(old.routes.want_nothing, old.routes)
            try:
                if old.place.device not in {each.place.device for each in self._families.values()}:
                    await old.device.remove()
            except KernelError as error:
                found.append(error)
            if not found:
                self._leaving.remove(old)
            failures += found
        return failures

    async def _ensure(self, family: Family, end: WireguardEnd) -> list[Exception]:
        state = self._families[family]
        state.off_since = None
        wanted = Wanted(
            end.port,
            mark=self._config.marks.wireguard,
            mtu=self._config.mtus.wireguard(family),
            address=end.address,
            threaded=self._config.wireguard.threaded,
        )
        usable = {peer.public_key: peer for peer in self._peers[family].values() if is_usable(peer)}
        adopted, failures = not state.available, list[Exception]()
        guarded = state.routes.guarded() if adopted else frozenset()
        try:
            await state.device.ensure(wanted, {key: self._peer(peer) for key, peer in usable.items()})
            state.available = state.was_on = state.is_told = True
            state.failed = 0
            self._note(state, end, state.device.remark)
        except Unsupported as error:
            state.available, state.is_told = False, True
            self._note(state, end, str(error))
        except KernelError as error:
            state.failed += 1
            state.is_told = state.is_told or state.failed >= _PATIENCE  # others must not go on with a key that nobody has
            self._note(state, end, str(error))
            if not end.strict:
                return [error]  # what the kernel has stays: an agent before us may have left it working
            failures.append(error)  # and nothing new may go in clear: what the device does not know yet it drops
        if state.device.is_readdressed:
            state.device.is_readdressed = False
            state.routes.link_changed(state.place.device)
        if adopted and state.available:  # an agent before us may have led packets into it: that is not taken back
            found = state.device.found
            state.ready |= {peer.node for key, peer in usable.items() if key in found or guarded.intersection(peer.allowed)}
        self._decide(state, {peer.node for peer in usable.values()}, family)
        if not state.available and not end.strict:
            return self._settle(state.routes.want_nothing, state.routes)
        routes = list(self._routes_of(family, end))
        mark = self._config.marks.wireguard
        return [*failures, *self._settle(lambda: state.routes.want(routes, mark=mark), state.routes)]

    def _note(self, state: _Family, end: WireguardEnd, problem: str) -> None:
        name = state.place.device
        self._problems.pop(name, None)
        if problem:
            without = "other nodes are not reached" if end.strict else "packets to other nodes are not encrypted"
            self._problems[name] = problem if state.available else f"{problem}: {without}"

    def _decide(self, state: _Family, usable: set[str], family: Family) -> None:
        """Whose networks lead into the device, and who is still awaited."""
        if not state.available:
            state.ready.clear()
            state.waiting.clear()
            return
        state.ready &= usable
        state.ready |= {node for node in usable - state.ready if self._may_enter(state, node)}
        told = self._published.get(family) == state.device.public_key
        if told:
            state.device.is_known()
        now = time.monotonic()
        state.waiting = {node: state.waiting.get(node, now) for node in usable - state.ready} if told else {}

    def _may_enter(self, state: _Family, node: str) -> bool:
        family = next(family for family, each in self._families.items() if each is state)
        peer = self._peers[family].get(node)
        known = state.device.states.get(peer.public_key) if peer is not None else None
        if known is not None and known.last_handshake:
            return True
        since = state.waiting.get(node)
        return since is not None and time.monotonic() - since >= SESSION_SECONDS

    def _switch_off(self, family: Family) -> list[Exception]:
        state = self._families[family]
        state.ready.clear()
        state.waiting.clear()
        state.is_told = True
        self._problems.pop(state.place.device, None)
        if state.was_on and state.off_since is None:
            state.off_since = time.monotonic()
        state.available = False
        self._unretired.add(family)
        return self._settle(state.routes.want_nothing, state.routes)

    def _settle(self, change: Callable[[], None], routes: WireguardRoutes) -> list[Exception]:
        try:
            change()
            routes.apply()
        except ExceptionGroup as group:
            return list(group.exceptions)
        except KernelError as error:
            return [error]
        return []

    def _routes_of(self, family: Family, end: WireguardEnd) -> Iterator[Route]:
        """A later route to the same destination counts: what is here is never looked for elsewhere."""
        state = self._families[family]
        table, device, source = state.place.table, state.place.device, self._source(family, end)
        for node, peer in sorted(self._peers[family].items()):
            enters = state.available and is_usable(peer) and node in state.ready
            for dst in peer.allowed:
                if enters:
                    yield Route(dst=dst, device=device, table=table, scope=SCOPE_LINK, source=source)
                elif end.strict and dst != single(peer.endpoint):
                    yield Route(dst=dst, kind=_UNREACHABLE, table=table)  # packets that both sent would make handshakes cross
                else:  # a node that has no key could not even hand one in if it were not reached in clear
                    yield Route(dst=dst, kind=THROW, table=table)
        for dst in self._here[family].nets({dst for peer in self._peers[family].values() for dst in peer.allowed}):
            yield Route(dst=dst, kind=THROW, table=table)

    def _source(self, family: Family, end: WireguardEnd) -> Address | None:
        """Where the device has no address of its own, the node speaks with the one that others expect in it."""
        underlay = self._overlay.underlay(family) if self._overlay is not None else None
        return underlay.address if end.host_encryption and end.address is None and underlay is not None else None

    def _peer(self, peer: WireguardPeer) -> Peer:
        return Peer(
            peer.public_key,
            (peer.endpoint, peer.port),
            # Without host encryption no packet is led to the node itself, but its answers to our pods come through.
            allowed=frozenset((*peer.allowed, single(peer.endpoint))),
            keepalive_seconds=self._config.wireguard.keepalive_seconds,
        )

    def _peer_lines(self, family: Family, state: _Family) -> list[PeerReport]:
        end = self._end(family)
        if end is None:
            return []
        device = state.device
        seen = Seen(state.available, frozenset(state.ready), device.states, sent_before=state.sent)
        return [report(peer, end, seen) for _, peer in sorted(self._peers[family].items())]

    # ---- parts ----
    def _end(self, family: Family) -> WireguardEnd | None:
        if self._overlay is None or not self._config.marks.wireguard:
            return None
        return next((each for each in self._overlay.wireguard if each.family is family), None)

    def _place(self, family: Family) -> Place:
        index, config = FAMILIES.index(family), self._config.wireguard
        return Place(config.devices[index], config.tables[index], config.priority)

    def _build(self, family: Family) -> _Family:
        place = self._place(family)
        device = WireguardDevice(place.device, self._links, wireguard=self._wireguard, files=self._files)
        routes = WireguardRoutes(family, self._routes, self._rules, table=place.table, priority=place.priority)
        return _Family(place, device, routes)

    def _touch(self, families: Collection[Family]) -> None:
        self._dirty.update(families)
        self._unretired.update(families)

    @staticmethod
    def _lingers(state: _Family) -> bool:
        return state.off_since is not None and time.monotonic() - state.off_since < LINGER_SECONDS


def _told(strangers: Sequence[Route]) -> str:
    """What others' routes in a table of ours do, and what can be done about them."""
    return (
        f"others have routes in WireGuard's table, and all packets of this node that match follow them: {_few(strangers)}: "
        "remove them, or give routeTableRanges indices that nobody else uses"
    )


def _told_of_rules(rules: Sequence[FoundRule]) -> str:
    """The same of others' rules before ours."""
    listed = [each.rule or f"IPv{each.family.value} rule {each.priority} to the main table" for each in rules]
    return (
        f"rules of others come before WireGuard's, and what they match leaves in clear: {_few(listed)}: "
        "remove them, or give wireguardRoutingRulePriority a smaller number"
    )


def _few(found: Sequence[object]) -> str:
    return ", ".join(map(str, found[:_FEW])) + (f" and {len(found) - _FEW} more" if len(found) > _FEW else "")
