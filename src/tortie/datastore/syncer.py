"""List, then watch, then list again when it has to: the whole state of some kinds, kept up to date for one consumer."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple, cast

from tortie.api.resource import Key, Resource, Update
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.datastore.client import Client, Event, Listing
from tortie.datastore.errors import Compacted, Replaced, RolledBack, Unavailable
from tortie.datastore.identity import KEY, Identity, guid_of
from tortie.datastore.unreadable import Unreadable, stand_in

_log = log.get(__name__)
_BATCH = 100
"""Conversions of a batch take a few milliseconds of the loop."""

Convert = Callable[[Update], Update]


class Batch(NamedTuple):
    """Changes of the state. Exactly one batch of a syncer's life, an empty one, has in_sync: the first listing is complete.

    `went_back`: the changes follow from a listing of a store that is older than what was seen of it before (an older copy was
    put back). So what is gone there was not deleted; it is not known any more. Kubernetes, where each kind has moments of its
    own, says nothing of this.
    """

    updates: tuple[Update, ...]
    in_sync: bool = False
    went_back: bool = False


Sink = Callable[[Batch], Awaitable[None]]


class Syncer:
    """Follows `kinds` of a datastore; `convert` turns each stored update into the one that the consumer knows.

    Level, not edge: a key is reported when its value differs from what was reported last, and reported gone only by an event
    or by a complete listing without it. A datastore that is away changes nothing for the consumer, and neither does one that
    `identity` does not admit: an empty or foreign one in the old one's place. A value that cannot be read changes nothing
    either: the last one that could be read stays, or else what denies in its place (`unreadable.stand_in`).
    """

    def __init__(self, client: Client, kinds: Sequence[str], *, convert: Convert, identity: Identity | None = None) -> None:
        self._client = client
        self._kinds = frozenset(kinds)
        self._asked = tuple(dict.fromkeys((*kinds, KEY.kind)))
        self._identity = identity or Identity()
        self._convert = convert
        self._known: dict[Key, Resource] = {}
        self._unreadable: dict[Key, str] = {}
        self._in_sync = False
        self._rolled_back = False
        """Whether the watch has found that its store is an older copy now, which the listing may not show."""
        self._newest = 0
        """The revision of the last listing, or of the last event after it."""
        self._connected = False
        self.failure = ""
        """Why the datastore was not followed when that was tried last; "" while it is."""

    @property
    def connected(self) -> bool:
        """Whether the last request to the datastore was answered."""
        return self._connected

    @property
    def unreadable(self) -> Mapping[Key, str]:
        """Stored values that cannot be read, and what is in force in their place."""
        return self._unreadable

    def known(self, key: Key) -> Resource | None:
        """What was reported last of a key, before conversion; None if it is not there."""
        return self._known.get(key)

    def counts(self) -> Counter[str]:
        """How many resources of each kind are known. Walks all of them."""
        return Counter(key.kind for key in self._known)

    async def run(self, sink: Sink) -> None:
        """Feed `sink` without end. Ends with a DatastoreError that waiting cannot heal, or with what the sink raises (which
        must be neither Compacted nor Unavailable: those are taken for the datastore's)."""
        backoff = Backoff(first=0.05, last=10.0)
        while True:
            try:
                listing = await self._client.list_many(self._asked)
                self._connected, self.failure = True, ""
                if all(broken.key != KEY for broken in listing.unreadable):  # a damaged identity is no other one
                    self._identity.admit(guid_of(next((item for item in listing.items if item.key == KEY), None)))
                await self._replace(listing, sink)
                await self._follow(listing.revision, sink, backoff)
            except Compacted as error:
                self._rolled_back = self._rolled_back or isinstance(error, RolledBack)
                _log.info("the datastore's history went on without us: %s", error)
            except Unavailable as error:
                self._connected, self.failure = False, str(error)
                _log.warning("datastore unavailable, what is known stays in force: %s", error)
            except Replaced as error:
                _log.error("what is known stays in force: %s", error)
            await backoff.wait()

    async def _replace(self, listing: Listing, sink: Sink) -> None:
        """Report the difference between a complete listing and what was reported so far."""
        listed: dict[Key, Resource] = {}
        for at in range(0, len(listing.items), _BATCH):
            listed.update({item.key: item for item in listing.items[at : at + _BATCH] if item.kind in self._kinds})
            await asyncio.sleep(0)  # a long listing holds nobody up
        self._unreadable.clear()
        for broken in listing.unreadable:
            if broken.key.kind in self._kinds:
                value = self._believed(broken)
                if value is not None:
                    listed[broken.key] = value
        went_back = self._went_back(listing.revision, listed) or self._rolled_back
        self._rolled_back = False
        changed = [Update(key, item) for key, item in listed.items() if self._known.get(key) != item]
        changed += [Update(key, None) for key in self._known if key not in listed]
        self._known = listed
        for at in range(0, len(changed), _BATCH):
            await sink(Batch(tuple(map(self._convert, changed[at : at + _BATCH])), went_back=went_back))
        if not self._in_sync:
            self._in_sync = True
            await sink(Batch((), in_sync=True))

    def _went_back(self, revision: str, listed: Mapping[Key, Resource]) -> bool:
        """Whether a listing is older than what was seen before: by the store's revision, or, where writers have made up for
        that meanwhile, by the revision of something that is in both."""
        before, self._newest = self._newest, _number(revision)
        known = ((self._known.get(key), item) for key, item in listed.items())
        return self._newest < before or any(
            old is not None and _number(item.metadata.resource_version) < _number(old.metadata.resource_version)
            for old, item in known
        )

    async def _follow(self, revision: str, sink: Sink, backoff: Backoff) -> None:
        # Backends write their watch as an async generator; closing it at once gives its descriptors back.
        watch = self._client.watch(self._asked, revision=revision)
        async with aclosing(cast(AsyncGenerator[Sequence[Event], None], watch)) as batches:
            async for events in batches:
                backoff.reset()
                for event in events:  # before any of them is believed: a store that is emptied says so somewhere in the batch
                    if event.key == KEY and event.unreadable is None:
                        self._identity.admit(guid_of(event.value))
                self._newest = max(self._newest, *(_number(event.revision) for event in events))
                updates = [Update(event.key, self._known.get(event.key)) for event in events if self._learn(event)]
                if updates:
                    await sink(Batch(tuple(map(self._convert, updates))))

    def _learn(self, event: Event) -> bool:
        """Remember an event; False when it tells nothing new."""
        if event.key.kind not in self._kinds:
            return False
        before = self._known.get(event.key)
        self._unreadable.pop(event.key, None)
        value = event.value if event.unreadable is None else self._believed(event.unreadable)
        if value is None:
            self._known.pop(event.key, None)
        else:
            self._known[event.key] = value
        return before != value

    def _believed(self, broken: Unreadable) -> Resource | None:
        """What stays in force, or comes, in the place of a value that cannot be read."""
        known = self._known.get(broken.key)
        value = stand_in(broken) if known is None else known
        instead = "what was known stays" if known else "it is taken as absent" if value is None else "it denies what it selects"
        self._unreadable[broken.key] = f"{broken.reason}; until it is repaired {instead}"
        _log.error("%s", self._unreadable[broken.key])
        return value


def _number(revision: str) -> int:
    """Revisions of sqlite and etcd count up; others tell nothing."""
    return int(revision) if revision.isdecimal() else 0
