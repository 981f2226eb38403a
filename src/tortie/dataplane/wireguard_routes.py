"""WireGuard's own table of routes, and the rule before the main table that leads there. One family.

Behind each route into the device stands a worse one that drops. The kernel takes the first one away when the device goes (a
wireguard-go that died, a hand that deleted it), and packets would else be looked up in the main table, and leave in clear.
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from itertools import takewhile

from tortie.base.net import Family, Prefix, masked
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.routes import ClusterRoute, Way
from tortie.kernel.errors import KernelError
from tortie.kernel.route import BLACKHOLE, GUARD_PROTOCOL, MAIN_TABLE, PROTOCOL, THROW, Route, RouteChange, Routes
from tortie.kernel.route_table import RouteTable
from tortie.kernel.rule import FoundRule, Rule, RuleChange, Rules, RuleTable

_GUARD_METRIC = 1 << 20


class WireguardRoutes:
    """The table and the rule: routes come before the rule, and go after it. `apply` may be repeated."""

    def __init__(self, family: Family, routes: Routes, rules: Rules, *, table: int, priority: int) -> None:
        self._family = family
        self._table = table
        self._priority = priority
        self._rules = rules
        self._kernel = routes
        self._routes = RouteTable(routes, table=table)
        self._guards = RouteTable(routes, table=table, protocol=GUARD_PROTOCOL)
        self._rule = RuleTable(rules, family=family, priority=priority, table=table)
        self._swept = False
        self._looked = False
        self.strangers: tuple[Route, ...] = ()
        """Others' routes in the table, as found when it was last read back: they take packets that are not theirs to take."""
        self.overtaken: tuple[FoundRule, ...] = ()
        """Others' rules before ours that look up the main table: what they match never comes to WireGuard."""

    def want(self, routes: Iterable[Route], *, mark: int) -> None:
        """These routes, for all packets without the mark."""
        wanted: dict[Prefix, Route] = {route.dst: route for route in routes}
        _want(self._routes, wanted)
        _want(self._guards, {dst: _guard(route) for dst, route in wanted.items() if route.device is not None})
        rule = Rule(family=self._family, priority=self._priority, table=self._table, mark=mark, mask=mark, invert=True)
        self._rule.want([rule])

    def want_nothing(self) -> None:
        """No rule and no route."""
        self._rule.want([])
        _want(self._routes, {})
        _want(self._guards, {})

    def apply(self) -> None:
        """Bring the kernel to it. Raises an ExceptionGroup or a KernelError."""
        if not self._swept:
            self._sweep()
        if not self._routes.desired:
            self.strangers, self.overtaken, self._looked = (), (), False
        elif not self._looked:
            self._look_for_others()
        if self._routes.desired:
            self._guards.apply()
            self._routes.apply()
            self._rule.apply()
        else:
            self._rule.apply()
            self._routes.apply()
            self._guards.apply()

    def guarded(self) -> frozenset[Prefix]:
        """What led into the device when somebody last saw to it, be the device there or not. Raises KernelError."""
        found = self._kernel.list(table=self._table, families=(self._family,), protocol=GUARD_PROTOCOL)
        return frozenset(route.dst for route in found)

    def distrust(self) -> None:
        """Read the kernel back at the next `apply`."""
        self._routes.distrust()
        self._guards.distrust()
        self._rule.distrust()
        self._looked = False

    def link_changed(self, device: str) -> None:
        """The kernel may have dropped routes of this device."""
        self._routes.link_changed(device)

    def rules_changed(self, changes: Iterable[RuleChange]) -> bool:
        """Another process did this to rules. True if it concerns ours: the next `apply` repairs it, or says what it cannot."""
        changes = list(changes)
        overtaken = any(self._overtakes(change.found) for change in changes)
        self._looked = self._looked and not overtaken
        return self._rule.rules_changed(changes) or overtaken

    def routes_changed(self, changes: Iterable[RouteChange]) -> bool:
        """Another process did this to routes. True if it was in our table: it is read back at the next `apply`."""
        concerned = any((change.route.table, change.route.dst.family) == (self._table, self._family) for change in changes)
        if concerned:
            self._routes.distrust()
            self._guards.distrust()
            self._looked = False
        return concerned

    def _look_for_others(self) -> None:
        """What their rules before ours take never comes here; what their routes here take does not go on to the main table."""
        ours = (PROTOCOL, GUARD_PROTOCOL)
        try:
            found = self._kernel.list(table=self._table, families=(self._family,))
            rules = self._rules.list(families=(self._family,))
        except KernelError:
            return  # the next `apply` tries again
        before = takewhile(lambda each: (each.priority, each.table) != (self._priority, self._table), rules)
        self.overtaken = tuple(filter(self._overtakes, before))
        self.strangers = tuple(route for route in found if route.protocol not in ours and route.kind != THROW)
        self._looked = True

    def _overtakes(self, found: FoundRule) -> bool:
        return found.family is self._family and found.priority <= self._priority and found.table == MAIN_TABLE

    def _sweep(self) -> None:
        """An agent before us may have had another priority: its rules go, by our protocol, their table and form."""
        try:
            for found in self._rules.list(families=(self._family,)):
                ours = found.protocol == PROTOCOL and found.table == self._table and found.avoids_a_mark
                if ours and found.priority != self._priority:
                    self._rules.delete(found)
        except KernelError:
            return  # the next `apply` tries again; nothing depends on it
        self._swept = True


class Here:
    """What is on this node, of one family: WireGuard's table is asked before the main one, and must not lead it elsewhere.

    A pod's address may lie in a block that another node has (it is borrowed), or another Node may say that it is its own.
    """

    def __init__(self) -> None:
        self._blocks: set[Prefix] = set()
        self._pods: dict[EndpointId, frozenset[Prefix]] = {}
        self._elsewhere: Set[Prefix] = frozenset()
        self._lengths: tuple[int, ...] = ()

    def on_route(self, dst: Prefix, route: ClusterRoute | None) -> bool:
        """A destination has another way now. True if that changes what is here."""
        if (route is not None and route.way is Way.LOCAL) == (dst in self._blocks):
            return False
        self._blocks.symmetric_difference_update((dst,))
        return True

    def on_endpoint(self, endpoint_id: EndpointId, endpoint: Endpoint | None, family: Family) -> bool:
        """A workload came, changed or went. True if that matters to the table as it is."""
        addresses = endpoint.addresses if endpoint is not None else ()
        new = frozenset(each for each in addresses if each.family is family)
        old = self._pods.pop(endpoint_id, frozenset())
        if new:
            self._pods[endpoint_id] = new
        return any(self._is_led_away(each) for each in new ^ old)

    def nets(self, elsewhere: Set[Prefix]) -> list[Prefix]:
        """What must be said to be here, as long as the table leads to all of `elsewhere`: blocks, and some pods' addresses."""
        self._elsewhere, self._lengths = elsewhere, tuple(sorted({each.length for each in elsewhere}, reverse=True))
        return sorted(self._blocks | {each for nets in self._pods.values() for each in nets if self._is_led_away(each)})

    def _is_led_away(self, pod: Prefix) -> bool:
        there = next((length for length in self._lengths if masked(pod.network, length) in self._elsewhere), -1)
        return there >= 0 and there >= max((each.length for each in self._blocks if each.contains(pod)), default=-1)


def _want(table: RouteTable, wanted: dict[Prefix, Route]) -> None:
    for dst in table.desired.keys() - wanted.keys():
        table.remove(dst)
    for route in wanted.values():
        table.put(route)


def _guard(route: Route) -> Route:
    return replace(route, kind=BLACKHOLE, device=None, source=None, scope=None, protocol=GUARD_PROTOCOL, metric=_GUARD_METRIC)
