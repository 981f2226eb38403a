"""The driver that keeps our routes of one table as desired. Ours are recognised by their protocol (conventions.md)."""

import asyncio
import contextlib
import errno
import functools
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from tortie.base.net import Address, Prefix
from tortie.kernel.errors import AlreadyExists, Busy, Invalid, KernelError
from tortie.kernel.route import MAIN_TABLE, PROTOCOL, Route, RouteFailure, Routes

KERNEL_PROTOCOL, BIRD_PROTOCOL = 2, 12
"""Never swept, wherever they lead: what the kernel makes of addresses, and what BIRD learned from a workload."""

_SLICE = 250
_READINGS = 10
_FEW = 50
_COMPARED = 2000
_FORGETTINGS = 4
_Place = tuple[Prefix, int]
"""What the kernel keeps one route for: destination and metric."""
Forget = Callable[[Collection[Address]], object]
_T = TypeVar("_T")
_Steps = Generator[Callable[[], Any] | None, Any, _T]
"""Gives None where others may run, or work to be done, whose result it is to be sent."""


@dataclass(slots=True)
class _Changes:
    """What one comparison asks for."""

    add: list[Route] = field(default_factory=list)
    change: list[Route] = field(default_factory=list)
    remove: list[Route] = field(default_factory=list)
    after: list[Route] = field(default_factory=list)
    """To add once the connections of their addresses are forgotten."""
    left: set[Prefix] = field(default_factory=set)
    """Addresses whose connections are to be forgotten."""


class RouteTable:
    """Our routes of one table, kept as desired: put and remove, then `apply`. Safe to apply again at any time.

    What the kernel has of ours is read on first use, after a failure and after `distrust`. Foreign routes are never touched,
    not even where they stand in the way: that is a failure. A route whose device is absent or down stays `pending` until
    `link_changed` names the device, or `distrust`. A route of
    ours that nobody has put, found on a workload's device, may be of a pod that the CNI plugin is just adding: it is removed
    only after `grace_seconds`; `due_in` says when. One desired route a destination; of another metric, ours may stand
    beside it only until the next `apply`.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        table: int = MAIN_TABLE,
        protocol: int = PROTOCOL,
        workload_prefixes: tuple[str, ...] = ("cali",),
        grace_seconds: float = 10.0,
        earlier: Iterable[int] = (),
    ) -> None:
        """`earlier`: protocols that were ours in earlier lives; what has one of them is ours still."""
        self._routes = routes
        self._table = table
        self._protocol = self._workload_protocol = protocol
        self._ours = {protocol, *earlier}
        self._ours_at_workloads: set[int] = set()
        self._sweep_workloads = False
        self._workload_prefixes = workload_prefixes
        self._grace_seconds = grace_seconds
        self._desired: dict[Prefix, Route] = {}
        self._by_device: defaultdict[str | None, set[Prefix]] = defaultdict(set)
        self._actual: dict[Prefix, tuple[Route, ...]] | None = None
        self._dirty: set[Prefix] = set()
        self._unclaimed: dict[_Place, float] = {}
        self._waiting: dict[Prefix, Route] = {}
        self._left: set[Prefix] = set()
        self._handed: set[Prefix] = set()
        self._applying = False
        self._doubted = False

    @property
    def desired(self) -> Mapping[Prefix, Route]:
        """What was put and not removed."""
        return self._desired

    @property
    def pending(self) -> frozenset[Prefix]:
        """Destinations whose device was absent or down at the last `apply`."""
        return frozenset(self._waiting)

    @property
    def protocols(self) -> frozenset[int]:
        """Whatever has one of these is ours: our protocol, and those before it that the kernel still has routes of."""
        return frozenset(self._ours)

    def configure(self, *, protocol: int, workload_protocol: int | None = None, sweep_workloads: bool = False) -> None:
        """Our protocol from now on; what we have under an earlier one (`PROTOCOL` always counts) is moved over in place.

        Routes into workloads' devices may have a protocol of their own, which elsewhere is others'. With `sweep_workloads` all
        routes into workloads' devices are ours, whatever their protocol (but the kernel's own and BIRD's): those that nobody
        wants are removed after `grace_seconds`.
        """
        before = (self._protocol, self._workload_protocol, self._sweep_workloads)
        self._protocol = protocol
        self._workload_protocol = protocol if workload_protocol is None else workload_protocol
        self._sweep_workloads = sweep_workloads
        self._ours |= {protocol, PROTOCOL}
        self._ours_at_workloads |= {self._workload_protocol}
        if (self._protocol, self._workload_protocol, self._sweep_workloads) != before:
            for dst, route in self._desired.items():
                self._desired[dst] = replace(route, protocol=self.protocol_of(route.device))
            self.distrust()

    def protocol_of(self, device: str | None) -> int:
        """Which protocol a route that is put must have."""
        return self._workload_protocol if self._is_workload(device) else self._protocol

    def put(self, route: Route) -> None:
        """Want this route, in place of any other that we wanted for its destination. Raises Invalid for a foreign one."""
        protocol = self.protocol_of(route.device)
        if route.table != self._table or route.protocol != protocol:
            raise Invalid(f"route {route}: this table holds protocol {protocol} of table {self._table}", errno.EINVAL)
        dst, wanted = route.dst, route.as_kernel()
        before = self._desired.get(dst)
        if before == wanted:
            return
        if before is None:
            self._by_device[wanted.device].add(dst)
        elif before.device != wanted.device:
            self._by_device[before.device].discard(dst)
            self._by_device[wanted.device].add(dst)
            if self._has_moved(dst, before.device, wanted.device):
                self._left.add(dst)
        self._desired[dst] = wanted
        self._dirty.add(dst)
        self._handed.discard(dst)

    def remove(self, dst: Prefix) -> None:
        """Do not want a route to this destination any more; it need not have been put."""
        if dst in self._handed:
            self._handed.discard(dst)
            self._dirty.add(dst)
        before = self._desired.pop(dst, None)
        if before is None:
            return
        self._by_device[before.device].discard(dst)
        if self._has_moved(dst, before.device, None):
            self._left.add(dst)
        self._dirty.add(dst)

    def hand_over(self, dst: Prefix) -> None:
        """Do not want a route any more, but leave what the kernel has of ours until `remove`, or for good with a new `put`."""
        self.remove(dst)
        self._handed.add(dst)
        self._dirty.add(dst)

    @property
    def handed(self) -> Set[Prefix]:
        """Of the destinations handed over those where the kernel had a route of ours at the last `apply`."""
        return self._handed

    def holds(self, dst: Prefix) -> bool:
        """True if the desired route was in the kernel at the last `apply`."""
        wanted = self._desired.get(dst)
        return wanted is not None and self._actual is not None and wanted in self._actual.get(dst, ())

    async def destinations(self, protocol: int) -> set[Prefix]:
        """Where routes of somebody else lead. Not beside an `apply`."""
        found: set[Prefix] = set()
        for _ in range(_READINGS):
            try:
                for part in self._routes.list_in_parts(table=self._table, protocol=protocol, remember=False):
                    found.update(route.dst for route in part)
                    await asyncio.sleep(0)
                break
            except Busy:
                continue
        return found

    def distrust(self) -> None:
        """Read the kernel again at the next `apply`."""
        self._doubted = True
        self._actual = None
        self._waiting.clear()

    def link_changed(self, device: str) -> bool:
        """A device came, went, or changed its state: the kernel may have dropped its routes without a word. True if any of
        ours belong there."""
        concerned = self._by_device.get(device)
        if not concerned:
            return False
        if self._applying or len(concerned) > _FEW:
            self.distrust()
            return True
        for dst in concerned:
            self._waiting.pop(dst, None)
            if self._actual is not None:
                for route in self._actual.get(dst, ()):
                    if route.device == device:
                        _take(self._actual, route)
        self._dirty |= concerned
        return True

    def due_in(self) -> float | None:
        """Seconds until `apply` should be called again to remove what nobody claimed; None if there is no such thing."""
        if not self._unclaimed:
            return None
        return max(0.0, min(self._unclaimed.values()) + self._grace_seconds - time.monotonic())

    def apply(self) -> None:
        """Bring the kernel to what is desired. Goes on past failures, then raises them together as an ExceptionGroup."""
        steps, answer = self._steps(None), None
        with contextlib.suppress(StopIteration):
            while True:
                work = steps.send(answer)
                answer = None if work is None else work()

    async def apply_in_slices(self, forget: Forget | None = None) -> None:
        """The same; lets others run every few milliseconds: what may take the kernel long is done in a thread. What is put
        meanwhile may have to wait for the next call.

        `forget` is told, in that thread, of addresses that left a workload's device, or moved to one, so that their connections
        are forgotten: after their old routes are gone and before the new ones come. The KernelError that it raises is raised in
        the end; after the fourth time the new routes come nevertheless.
        """
        steps, answer = self._steps(forget), None
        try:
            while True:
                work = steps.send(answer)
                if work is not None:
                    answer = await _in_thread(work)
                else:
                    answer = None
                    await asyncio.sleep(0)
        except StopIteration:
            return
        finally:
            steps.close()

    # ---- one apply ----
    def _steps(self, forget: Forget | None) -> _Steps[None]:
        if self._actual is not None and not (self._dirty or self._left or self._due()):
            return
        done = self._doubted = False
        self._applying = True
        try:
            errors: list[KernelError] = []
            failures = yield from self._step(forget, errors)
            if any(isinstance(failure.error, AlreadyExists) for failure in failures):
                self._actual = None  # somebody (the CNI plugin) was faster: perhaps it is just what we want
                failures = yield from self._step(forget, errors)
            done = True
        except KernelError as error:
            raise ExceptionGroup("routes could not be read or changed", [error]) from error
        finally:
            self._applying = False
            if self._doubted or not done:  # how far it came, only the kernel knows
                self.distrust()
        if self._actual is not None and not self._ours <= {self._protocol, PROTOCOL}:
            left = {route.protocol for have in self._actual.values() for route in have}
            self._ours = {self._protocol, PROTOCOL} | (self._ours & left)
        refused = [_explain(failure) for failure in failures if not _is_waiting(failure.error)]
        if refused:
            self.distrust()
        if refused or errors:
            raise ExceptionGroup(f"{len(refused) + len(errors)} changes of routes failed", [*refused, *errors])

    def _step(self, forget: Forget | None, errors: list[KernelError]) -> _Steps[list[RouteFailure]]:
        """One comparison and its consequences; additions before removals, so that no destination is without a route."""
        if self._actual is None:
            actual = yield from self._read_back()
            unwanted = (dst for dst in list(actual) if dst not in self._desired)
            dirty: Iterable[Prefix] = itertools.chain(list(self._desired), unwanted)
        else:
            actual, dirty = self._actual, self._dirty
            self._dirty.update(self._due())
        self._dirty = set()
        self._waiting = {dst: route for dst, route in self._waiting.items() if self._desired.get(dst) == route}
        changes = yield from self._compare(actual, dirty)
        failures: list[RouteFailure] = []
        yield from self._write(self._routes.add, changes.add, actual, failures)
        yield from self._write(self._routes.replace, changes.change, actual, failures)
        for part in _parts(changes.remove):
            failed = self._routes.delete(part)
            kept = {_place(failure.route) for failure in failed}
            for route in part:
                if _place(route) not in kept:
                    _take(actual, route)
            failures += failed
            yield None
        self._left |= changes.left
        yield from self._forget(forget, errors)
        yield from self._write(self._routes.add, changes.after, actual, failures)
        self._unclaimed = {
            (dst, metric): since
            for (dst, metric), since in self._unclaimed.items()
            if dst not in self._desired and any(route.metric == metric for route in actual.get(dst, ()))
        }
        for failure in failures:
            if _is_waiting(failure.error):
                self._waiting[failure.route.dst] = failure.route
        return failures

    def _compare(self, actual: Mapping[Prefix, tuple[Route, ...]], dirty: Iterable[Prefix]) -> _Steps[_Changes]:
        changes = _Changes()
        oldest = time.monotonic() - self._grace_seconds
        for count, dst in enumerate(dirty, 1):
            if not count % _COMPARED:
                yield None
            wanted = self._desired.get(dst)
            if wanted is not None and dst in self._waiting:
                wanted = None
            have = actual.get(dst, ())
            if len(have) == 1 and have[0] is wanted:
                continue
            if wanted is None and dst in self._handed:
                if not have:
                    self._handed.discard(dst)
                continue
            if wanted is None:
                for route in have:
                    if self._unclaimed.get((dst, route.metric), oldest) <= oldest:
                        changes.remove.append(route)
                        if self._has_moved(dst, route.device, None):
                            changes.left.add(dst)
                continue
            moved = bool(have) and all(self._has_moved(dst, route.device, wanted.device) for route in have)
            if moved or (dst in self._left and not any(route.device == wanted.device for route in have)):
                changes.left.add(dst)
                changes.remove += have
                changes.after.append(wanted)
                continue
            same = next((route for route in have if route.metric == wanted.metric), None)
            if same is None:
                changes.add.append(wanted)
            elif same != wanted:
                changes.change.append(wanted)
            changes.remove += [route for route in have if route.metric != wanted.metric]
        return changes

    def _write(
        self,
        write: Callable[[Iterable[Route]], tuple[RouteFailure, ...]],
        routes: Sequence[Route],
        actual: dict[Prefix, tuple[Route, ...]],
        failures: list[RouteFailure],
    ) -> _Steps[None]:
        for part in _parts(routes):
            # The kernel enlarges its table of routes now and then, which takes it tens of milliseconds.
            failed = (yield from _doing(functools.partial(write, part))) if len(part) == _SLICE else write(part)
            refused = {failure.route.dst for failure in failed} if failed else ()
            for route in part:
                dst = route.dst
                if dst in refused:
                    continue
                others = tuple(each for each in actual.get(dst, ()) if each.metric != route.metric)
                actual[dst] = (*others, route)
            failures += failed
            yield None

    def _forget(self, forget: Forget | None, errors: list[KernelError]) -> _Steps[None]:
        if forget is not None and self._left:
            for attempt in range(_FORGETTINGS):
                try:
                    yield from _doing(functools.partial(forget, {dst.network for dst in self._left}))
                    break
                except KernelError as error:
                    if attempt == _FORGETTINGS - 1:
                        errors.append(error)
                        return
        self._left.clear()

    def _has_moved(self, dst: Prefix, before: str | None, after: str | None) -> bool:
        """True if an address left a workload's device, or came to one from another place."""
        return dst.is_single and before != after and (self._is_workload(before) or self._is_workload(after))

    def _is_workload(self, device: str | None) -> bool:
        return device is not None and device.startswith(self._workload_prefixes)

    def _due(self) -> list[Prefix]:
        oldest = time.monotonic() - self._grace_seconds
        return [dst for (dst, _), since in self._unclaimed.items() if since <= oldest]

    # ---- reading back ----
    def _read_back(self) -> _Steps[dict[Prefix, tuple[Route, ...]]]:
        for _ in range(_READINGS - 1):
            try:
                return (yield from self._listed())
            except Busy:  # it changed meanwhile
                continue
        return (yield from self._listed())

    def _listed(self) -> _Steps[dict[Prefix, tuple[Route, ...]]]:
        actual: dict[Prefix, tuple[Route, ...]] = {}
        unclaimed: dict[_Place, float] = {}
        now = time.monotonic()
        for protocol in [None] if self._sweep_workloads else sorted(self._ours | self._ours_at_workloads):
            for part in self._routes.list_in_parts(table=self._table, protocol=protocol):
                for route in part:
                    if route.protocol not in self._ours and not self._is_claimed(route):
                        continue
                    dst = route.dst
                    wanted = self._desired.get(dst)
                    if wanted is None:
                        if self._is_workload(route.device):
                            place = _place(route)
                            unclaimed[place] = self._unclaimed.get(place, now)
                    elif wanted is not route and wanted == route:
                        route = wanted
                    actual[dst] = (*actual[dst], route) if dst in actual else (route,)
                yield None
        self._actual, self._unclaimed = actual, unclaimed
        return actual

    def _is_claimed(self, route: Route) -> bool:
        """True for a route into a workload's device that is ours although its protocol is others' too."""
        if not self._is_workload(route.device):
            return False
        swept = self._sweep_workloads and route.protocol not in (KERNEL_PROTOCOL, BIRD_PROTOCOL)
        return swept or route.protocol in self._ours_at_workloads


def _doing(work: Callable[[], _T]) -> _Steps[_T]:
    """Have it done by whoever takes the steps. Raises its KernelError."""

    def outcome() -> _T | KernelError:
        try:
            return work()
        except KernelError as error:
            return error

    found = yield outcome
    if isinstance(found, KernelError):
        raise found
    return cast(_T, found)


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do it; who is cancelled meanwhile waits for its end, for nobody else may use the sockets until then."""
    doing = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


def _parts(routes: Sequence[Route]) -> Iterator[Sequence[Route]]:
    for begin in range(0, len(routes), _SLICE):
        yield routes[begin : begin + _SLICE]


def _take(actual: dict[Prefix, tuple[Route, ...]], gone: Route) -> None:
    """Forget that the kernel has this one."""
    have = tuple(route for route in actual.get(gone.dst, ()) if route is not gone)
    if have:
        actual[gone.dst] = have
    else:
        actual.pop(gone.dst, None)


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
