"""The driver that keeps our routes of one table as desired. Ours are recognised by their protocol (conventions.md)."""

import errno
import time
from collections.abc import Mapping

from tortie.base.delta import diff
from tortie.base.net import Prefix
from tortie.kernel.errors import AlreadyExists, Invalid, KernelError
from tortie.kernel.route import MAIN_TABLE, PROTOCOL, Route, RouteFailure, Routes

_Place = tuple[Prefix, int]
"""What the kernel keeps one route for: destination and metric."""


class RouteTable:
    """Our routes of one table, kept as desired: put and remove, then `apply`. Safe to apply again at any time.

    What the kernel has of ours is read on first use, after a failure and after `distrust`. Foreign routes are never touched,
    not even where they stand in the way: that is a failure. A route whose device is absent or down stays `pending` until
    `link_changed` names the device, or `distrust`. A route of
    ours that nobody has put, found on a workload's device, may be of a pod that the CNI plugin is just adding: it is removed
    only after `grace_seconds`; `due_in` says when.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        table: int = MAIN_TABLE,
        protocol: int = PROTOCOL,
        workload_prefixes: tuple[str, ...] = ("cali",),
        grace_seconds: float = 10.0,
    ) -> None:
        self._routes = routes
        self._table = table
        self._protocol = protocol
        self._workload_prefixes = workload_prefixes
        self._grace_seconds = grace_seconds
        self._desired: dict[Prefix, Route] = {}
        self._actual: dict[_Place, Route] | None = None
        self._unclaimed: dict[_Place, float] = {}
        self._waiting: dict[Prefix, Route] = {}
        self._settled = False
        self._displaced: set[Prefix] = set()

    @property
    def desired(self) -> Mapping[Prefix, Route]:
        """What was put and not removed."""
        return self._desired

    @property
    def pending(self) -> frozenset[Prefix]:
        """Destinations whose device was absent or down at the last `apply`."""
        return frozenset(self._waiting)

    def put(self, route: Route) -> None:
        """Want this route, in place of any other that we wanted for its destination. Raises Invalid for a foreign one."""
        if route.table != self._table or route.protocol != self._protocol:
            raise Invalid(f"route {route}: this table holds protocol {self._protocol} of table {self._table}", errno.EINVAL)
        wanted = route.as_kernel()
        if self._desired.get(route.dst) != wanted:
            self._desired[route.dst] = wanted
            self._settled = False

    def remove(self, dst: Prefix) -> None:
        """Do not want a route to this destination any more; it need not have been put."""
        if self._desired.pop(dst, None) is not None:
            self._settled = False

    def take_displaced(self) -> frozenset[Prefix]:
        """Destinations that the kernel led elsewhere, or nowhere any more, until an `apply` since the last call."""
        taken = frozenset(self._displaced)
        self._displaced.clear()
        return taken

    def distrust(self) -> None:
        """Read the kernel again at the next `apply`."""
        self._actual = None
        self._waiting.clear()
        self._settled = False

    def link_changed(self, device: str) -> None:
        """A device came, went, or changed its state: the kernel may have dropped its routes without a word."""
        self._waiting = {dst: route for dst, route in self._waiting.items() if route.device != device}
        self._settled = False
        if self._actual is not None:
            self._actual = {place: route for place, route in self._actual.items() if route.device != device}

    def due_in(self) -> float | None:
        """Seconds until `apply` should be called again to remove what nobody claimed; None if there is no such thing."""
        if not self._unclaimed:
            return None
        return max(0.0, min(self._unclaimed.values()) + self._grace_seconds - time.monotonic())

    def apply(self) -> None:
        """Bring the kernel to what is desired. Goes on past failures, then raises them together as an ExceptionGroup."""
        if self._settled and not self._unclaimed:
            return
        try:
            failures = self._step()
            if any(isinstance(failure.error, AlreadyExists) for failure in failures):
                self.distrust()  # somebody (the CNI plugin) was faster: perhaps it is just what we want
                failures = self._step()
        except KernelError as error:
            self.distrust()  # how far it came, only the kernel knows
            raise ExceptionGroup("routes could not be read or changed", [error]) from error
        for failure in failures:
            if _is_waiting(failure.error):
                self._waiting[failure.route.dst] = failure.route
        errors = [_explain(failure) for failure in failures if not _is_waiting(failure.error)]
        if errors:
            self.distrust()
            raise ExceptionGroup(f"{len(errors)} routes were refused", errors)
        self._settled = True

    def _step(self) -> tuple[RouteFailure, ...]:
        """One comparison and its consequences; additions before removals, so that no destination is without a route."""
        actual = self._read_back() if self._actual is None else self._actual
        self._actual = actual
        self._waiting = {dst: route for dst, route in self._waiting.items() if self._desired.get(dst) == route}
        desired = {_place(route): route for dst, route in self._desired.items() if dst not in self._waiting}
        delta = diff(desired, actual)
        unwanted = self._give_up(delta.remove)
        failures = self._routes.add(delta.add.values()) + self._routes.replace(delta.change.values())
        failures += self._routes.delete(unwanted.values())
        failed = {_place(failure.route) for failure in failures}
        for place in (*delta.add, *delta.change):
            if place not in failed:
                if place in actual and actual[place].device != desired[place].device:
                    self._displaced.add(place[0])
                actual[place] = desired[place]
        for place in unwanted.keys() - failed:
            del actual[place]
            kept = self._desired.get(place[0])
            if kept is None or kept.device != unwanted[place].device:  # not merely another metric
                self._displaced.add(place[0])
        return failures

    def _give_up(self, undesired: Mapping[_Place, Route]) -> dict[_Place, Route]:
        """Those to remove now; the others have still to be claimed."""
        oldest = time.monotonic() - self._grace_seconds
        waiting = ((place, since) for place, since in self._unclaimed.items() if place in undesired and since > oldest)
        self._unclaimed = dict(waiting)
        return {place: route for place, route in undesired.items() if place not in self._unclaimed}

    def _read_back(self) -> dict[_Place, Route]:
        found = {_place(route): route for route in self._routes.list(table=self._table, protocol=self._protocol)}
        wanted = {_place(route) for route in self._desired.values()}
        now = time.monotonic()
        self._unclaimed = {
            place: self._unclaimed.get(place, now)
            for place, route in found.items()
            if place not in wanted and route.device is not None and route.device.startswith(self._workload_prefixes)
        }
        return found


def _place(route: Route) -> _Place:
    return route.dst, route.metric


def _is_waiting(error: KernelError) -> bool:
    return error.errno in (errno.ENODEV, errno.ENETDOWN)


def _explain(failure: RouteFailure) -> KernelError:
    if not isinstance(failure.error, AlreadyExists):
        return failure.error
    route = failure.route
    text = f"add route {route}: another program's route to {route.dst} has metric {route.metric} too; remove one of them"
    return AlreadyExists(text, errno.EEXIST)
