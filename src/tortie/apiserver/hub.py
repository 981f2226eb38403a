"""Watches: one watch of the datastore for each kind, shared by everybody who watches it.

A hub knows the state and the last changes of its kind, so a watcher gets what happened since its version, and an object that
stops matching its selector can be told as deleted. Who is too slow, or asks for forgotten history, is told to list again (410).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple, cast

import msgspec

from tortie.api.resource import Key, Resource
from tortie.apiserver.errors import Refusal, expired
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.datastore.client import Client, Event
from tortie.datastore.errors import Compacted, DatastoreError

_log = log.get(__name__)

_HISTORY = 4096
_BEHIND = 1024
"""Changes that a watcher may be behind."""
_READY_SECONDS = 10.0


class Change(NamedTuple):
    """One change of one object: what it was, and what it is now (None: it is not there)."""

    revision: str
    before: Resource | None
    after: Resource | None


class Seen(NamedTuple):
    """What a watcher is told: ADDED, MODIFIED or DELETED, and the object."""

    type: str
    resource: Resource


def newer(revision: str, than: str) -> bool:
    """Whether a store's revision is after another one. One that names several versions is, if any of them is."""
    if revision == than:
        return False
    ours, theirs = _parts(revision), _parts(than)
    return any(number > theirs.get(name, -1) for name, number in ours.items())


def check_revision(revision: str) -> None:
    """Raise Refusal (400) for text that is no store's revision."""
    if revision:
        _parts(revision)


def seen(change: Change, matches: Callable[[Resource], bool]) -> Seen | None:
    """What a change means for somebody who sees only what matches."""
    was = change.before is not None and matches(change.before)
    if change.after is not None and matches(change.after):
        return Seen("MODIFIED" if was else "ADDED", change.after)
    if change.before is None or not was:
        return None
    metadata = msgspec.structs.replace(change.before.metadata, resource_version=change.revision)
    return Seen("DELETED", msgspec.structs.replace(change.before, metadata=metadata))


class Subscription:
    """Changes for one watcher, in order. `initial` is the state that they follow on, `revision` that state's."""

    def __init__(self, initial: Sequence[Resource], revision: str, backlog: Sequence[Change]) -> None:
        self.initial = initial
        self.revision = revision
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._ended: Refusal | None = None
        for change in backlog:
            self._queue.put_nowait(change)

    async def next(self) -> Change | None:
        """The next change; None when the server stops. Raises Refusal (410) when the watcher has to list again."""
        if self._ended is not None and self._queue.empty():
            raise self._ended
        change = await self._queue.get()
        if change is None and self._ended is not None:
            raise self._ended
        return change

    def push(self, change: Change) -> None:
        """One more change. A watcher that is too far behind is ended."""
        if self._ended is None:
            if self._queue.qsize() >= _BEHIND:
                self.end(expired("the watcher is too slow: list again"))
            else:
                self._queue.put_nowait(change)

    def end(self, why: Refusal | None = None) -> None:
        """No more changes; what waits is still told."""
        if self._ended is None:
            self._ended = why
            self._queue.put_nowait(None)


class Hub:
    """One kind. `run` feeds it."""

    def __init__(self, client: Client, kind: str) -> None:
        self._client = client
        self._kind = kind
        self._state: dict[Key, Resource] = {}
        self._history: deque[Change] = deque(maxlen=_HISTORY)
        self._since = ""
        self._revision = ""
        self._ready = asyncio.Event()
        self._subscribers: set[Subscription] = set()

    @property
    def revision(self) -> str:
        """Of the last change that is known."""
        return self._revision

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._subscribers)

    async def run(self) -> None:
        """Follow the datastore without end. While it is away, what is known stays."""
        backoff = Backoff(first=0.05, last=5.0)
        while True:
            try:
                if not self._ready.is_set():
                    await self._list()
                await self._follow(backoff)
            except Compacted:
                self._forget("the datastore's history went on without us: list again")
            except DatastoreError as error:
                _log.warning("watch of %s: %s", self._kind, error)
            await backoff.wait()

    async def wait_ready(self) -> None:
        """Return when the state is known. Raises Refusal (503) when that takes too long."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise Refusal(503, f"the datastore does not answer: {self._kind} is not known yet") from None

    @asynccontextmanager
    async def subscribe(self, revision: str, *, state: bool) -> AsyncIterator[Subscription]:
        """Changes after `revision`; with `state` the whole state first, and changes after that. Raises Refusal (410, 503)."""
        await self.wait_ready()
        if state:
            items = [self._state[key] for key in sorted(self._state)]
            subscription = Subscription(items, self._revision, ())
        else:
            if newer(self._since, revision):
                raise expired(f"too old resource version: {revision} ({self._since})")
            backlog = [change for change in self._history if newer(change.revision, revision)]
            subscription = Subscription((), revision, backlog)
        self._subscribers.add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers.discard(subscription)

    def stop(self) -> None:
        """End all watches, as their time-out would."""
        for subscription in tuple(self._subscribers):
            subscription.end()

    async def _list(self) -> None:
        listing = await self._client.list_many([self._kind])
        self._state = {item.key: item for item in listing.items}
        self._since = self._revision = listing.revision
        self._ready.set()

    async def _follow(self, backoff: Backoff) -> None:
        watch = self._client.watch([self._kind], revision=self._revision)
        async with aclosing(cast(AsyncGenerator[Sequence[Event], None], watch)) as batches:
            async for events in batches:
                backoff.reset()
                for event in events:
                    self._learn(event)

    def _learn(self, event: Event) -> None:
        self._revision = event.revision
        if event.key.kind != self._kind or event.unreadable is not None:
            return
        before = self._state.get(event.key)
        if before == event.value:
            return
        if event.value is None:
            del self._state[event.key]
        else:
            self._state[event.key] = event.value
        change = Change(event.revision, before, event.value)
        if len(self._history) == _HISTORY:
            self._since = self._history[0].revision
        self._history.append(change)
        for subscription in tuple(self._subscribers):
            subscription.push(change)

    def _forget(self, why: str) -> None:
        self._ready.clear()
        self._history.clear()
        for subscription in tuple(self._subscribers):
            subscription.end(expired(why))


class Hubs:
    """Hubs by kind, started when somebody first asks. `run` keeps them going."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._hubs: dict[str, Hub] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def watchers(self) -> Mapping[str, int]:
        """How many watch each kind."""
        return {kind: hub.watchers for kind, hub in self._hubs.items()}

    async def run(self) -> None:
        """Until cancelled; ends all watches then."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for hub in self._hubs.values():
                    group.create_task(hub.run())
                await asyncio.Event().wait()
        finally:
            self._group = None
            self.stop()

    def stop(self) -> None:
        """End all watches."""
        for hub in self._hubs.values():
            hub.stop()

    def of(self, kind: str) -> Hub:
        """The hub of a kind."""
        hub = self._hubs.get(kind)
        if hub is None:
            hub = self._hubs[kind] = Hub(self._client, kind)
            if self._group is not None:
                self._group.create_task(hub.run())
        return hub


def _parts(revision: str) -> dict[str, int]:
    try:
        if "=" not in revision:
            return {"": int(revision)}
        return {name: int(number) for name, _, number in (part.partition("=") for part in revision.split(","))}
    except ValueError:
        raise Refusal(400, f"resourceVersion {revision!r} is not one of ours") from None
