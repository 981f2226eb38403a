"""Watches: one stream of each resource, resumed where it broke off, and all of them as one sequence of batches.

Kubernetes orders the events of one resource, not those of several. An event that comes twice, or too late, tells nothing and is
passed over: what counts is the resource version of the object, and how far the stream has surely come (a bookmark).
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple, NoReturn

import msgspec

from tortie.api.resource import Key, Resource
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.base.errors import TortieError
from tortie.datastore.client import Event
from tortie.datastore.errors import Compacted, Unavailable
from tortie.datastore.kubernetes.connection import PATIENCE_SECONDS, Connection, Patience
from tortie.datastore.kubernetes.errors import Forbidden, Lost, NotInstalled, Refused, Status, error_of
from tortie.datastore.kubernetes.objects import Reader
from tortie.datastore.kubernetes.places import Source, write_positions
from tortie.datastore.kubernetes.reads import check_history
from tortie.datastore.unreadable import Unreadable

_log = log.get(__name__)

NOT_SERVED = "-"
"""The position in a resource that the server does not know."""
_PROBE_SECONDS = 30.0
_STREAM_SECONDS = (300, 600)
"""How long we ask a stream to last: a different time each, so that they do not all begin anew together."""
_STEADY_SECONDS = 5.0
_BATCH = 100
_AHEAD = 16
"""Batches that one stream may be ahead of the consumer."""


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _ObjectMeta = _ObjectMeta()


class Change(NamedTuple):
    """What one event says of one key, and the resource version it brings its stream to."""

    key: Key
    value: Resource | Unreadable | None
    revision: str


class Progress(NamedTuple):
    """How far one stream has come, and what happened on the way."""

    name: str
    changes: Sequence[Change]
    revision: str


class Arrivals:
    """Which events are news: the newest version that came of each object, since the stream surely had come to a version."""

    def __init__(self, floor: str) -> None:
        self._floor = _number(floor)
        self._newest: dict[tuple[str, str], int] = {}

    def is_news(self, namespace: str, name: str, version: str) -> bool:
        """Remember an object's version; False when as new a one was here before."""
        number = _number(version)
        if number <= self._newest.get((namespace, name), self._floor):
            return False
        self._newest[namespace, name] = number
        return True

    def settle(self, version: str) -> None:
        """Everything up to a version has arrived."""
        self._floor = max(self._floor, _number(version))
        self._newest = {name: number for name, number in self._newest.items() if number > self._floor}


class Stream:
    """The changes of one resource after a position."""

    def __init__(self, connection: Connection, source: Source, reader: Reader, position: str) -> None:
        self._connection = connection
        self._source = source
        self._reader = reader
        self._position = position
        self._arrivals = Arrivals(position)
        self._key = Key(source.kinds[0], "", "")

    async def follow(self) -> AsyncGenerator[Progress, None]:
        """Progress without end. Raises Compacted, Unavailable, and what the server refuses for."""
        if self._position == NOT_SERVED:
            await self._until_served()
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=0.05, last=2.0)
        patience: Patience | None = None
        while True:
            began = loop.time()
            try:
                await check_history(self._connection, self._source.place, self._position)
                async with self._connection.stream(self._source.place.path(), self._query(), key=self._key) as chunks:
                    patience = None
                    rest = b""
                    while chunk := await chunks.next():
                        *lines, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
                        for at in range(0, len(lines), _BATCH):
                            progress, failure = self._read(lines[at : at + _BATCH])
                            yield progress
                            if failure is not None:
                                raise failure
            except NotInstalled as error:
                raise Compacted(f"{error}: list again") from error
            except (Lost, Refused, Forbidden) as error:
                self._connection.check_open()
                if isinstance(error, Forbidden) and patience is None:
                    raise
                # A server that is just back forbids everything until it has read its own roles: no reason to list all again.
                patience = patience or Patience()
                if not await patience.wait(error):
                    if isinstance(error, Forbidden):
                        raise
                    raise Unavailable(f"{error} (no watch for {PATIENCE_SECONDS:g} s)") from error
                _log.info("watch of %s goes on from version %s: %s", self._source.place.name, self._position, error)
            if loop.time() - began > _STEADY_SECONDS:
                backoff.reset()
            await backoff.wait()

    def _query(self) -> dict[str, str]:
        return {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._position,
            "timeoutSeconds": str(random.randint(*_STREAM_SECONDS)),
        }

    def _read(self, lines: Sequence[bytes]) -> tuple[Progress, TortieError | None]:
        """What some lines say, and why no more of them could be read: what came before that counts nevertheless."""
        changes: list[Change] = []
        failure = None
        try:
            for line in lines:
                if line:
                    self._take(line, changes)
        except TortieError as error:
            failure = error
        return Progress(self._source.place.name, changes, self._position), failure

    def _take(self, line: bytes, changes: list[Change]) -> None:
        """Append what one line says."""
        try:
            event = msgspec.json.decode(line, type=_Line)
            if event.type == "ERROR":
                self._raise(msgspec.json.decode(event.object, type=Status))
            meta = msgspec.json.decode(event.object, type=_Object).metadata
        except msgspec.MsgspecError as error:
            raise Lost(f"{self._connection.server}: a watch of {self._source.place.name} sent what is no event") from error
        if event.type == "BOOKMARK":
            self._arrivals.settle(meta.resource_version)
        elif self._arrivals.is_news(meta.namespace, meta.name, meta.resource_version):
            changes += self._changes(event, meta)
        if _number(meta.resource_version) > _number(self._position):
            self._position = meta.resource_version

    def _changes(self, event: _Line, meta: _ObjectMeta) -> Iterator[Change]:
        for key, value in self._reader.read(event.object):
            if event.type != "DELETED":
                yield Change(key, value, meta.resource_version)
            elif self._reader.is_old(meta.name, key):
                # It may stand under its new name too, in which case nothing was deleted.
                raise Compacted(f"{key}: its object of the old name {meta.name} was removed: list again")
            else:
                yield Change(key, None, meta.resource_version)

    def _raise(self, status: Status) -> NoReturn:
        error = error_of(self._connection.server, status, status.code, verb="watch", key=self._key)
        raise Lost(str(error)) if type(error) is Unavailable or status.code == 429 else error

    async def _until_served(self) -> None:
        """Return never: raises Compacted when the resource is there after all."""
        while True:
            await asyncio.sleep(_PROBE_SECONDS * random.uniform(1, 1.5))
            try:
                await self._connection.read(self._source.place.path(), {"limit": "1"}, verb="list", key=self._key)
            except NotInstalled:
                continue
            raise Compacted(f"{self._source.place.name} is served now: list again")


class Merged:
    """Several streams as one. Between entering and leaving, a task for each of them is at work."""

    def __init__(self, streams: Sequence[Stream], positions: dict[str, str]) -> None:
        self._streams = streams
        self._positions = positions
        self._queue: asyncio.Queue[Progress | Exception] = asyncio.Queue(_AHEAD)
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Merged":
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(self._feed(stream)) for stream in self._streams]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(None, None, None)

    async def next(self) -> Sequence[Event]:
        """The next events of any stream; several streams' are taken together when they wait. Raises as the streams do."""
        events: list[Event] = []
        while not events:
            events += self._taken(await self._queue.get())
            while len(events) < _BATCH and not self._queue.empty():
                events += self._taken(self._queue.get_nowait())
        return events

    def _taken(self, progress: Progress | Exception) -> Sequence[Event]:
        if isinstance(progress, Exception):
            raise progress
        before, after = self._around(progress.name)
        self._positions[progress.name] = progress.revision
        return [_event(change, f"{before}{change.revision}{after}") for change in progress.changes]

    def _around(self, name: str) -> tuple[str, str]:
        """What stands before and after one stream's version in the revision of an event."""
        mark = "\0"
        before, _, after = write_positions(self._positions | {name: mark}).partition(mark)
        return before, after

    async def _feed(self, stream: Stream) -> None:
        # An error of a task would cancel whoever is consuming, wherever that is at work: it goes through the queue instead.
        try:
            async with aclosing(stream.follow()) as progress:
                async for each in progress:
                    await self._queue.put(each)
        except Exception as error:
            await self._queue.put(error)


def _event(change: Change, revision: str) -> Event:
    if isinstance(change.value, Unreadable):
        return Event(change.key, None, revision, change.value)
    return Event(change.key, change.value, revision)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
