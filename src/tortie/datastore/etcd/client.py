"""The client of etcd: the protocol's promises over Calico's keys and values."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import cast

from tortie.api.kinds import KINDS
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Resource
from tortie.datastore import requests
from tortie.datastore.client import Event, Listing
from tortie.datastore.codec import decode, encode, read
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.datastore.etcd import messages
from tortie.datastore.etcd.connection import Connection
from tortie.datastore.etcd.reads import Reads, Span, path_of_pair, span_of
from tortie.datastore.etcd.settings import Settings
from tortie.datastore.etcd.watch import follow
from tortie.datastore.etcd.writes import Writes
from tortie.datastore.layout import (
    IPAM_KINDS,
    affinity_paths,
    check_key,
    key_of,
    path_of,
    path_of_key,
    prefixes_of,
    rival_paths,
)
from tortie.datastore.unreadable import Unreadable

_SLICE = 200
"""Resources decoded in one go: some milliseconds."""


class EtcdClient:
    """`datastore.client.Client` over etcd v3. Connects with the first request; use it from one event loop.

    An affinity's type is part of its path: it cannot be changed by an update, which then raises DoesNotExist.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings)
        self._reads = Reads(self._connection)
        self._writes = Writes(self._connection)

    async def create(self, resource: Resource) -> Resource:
        """See `Client.create`. Raises InvalidRequest when resourceVersion is set."""
        key, path = resource.key, path_of(resource)
        requests.check_create(resource)
        resource = requests.with_new_identity(resource)
        revision = await self._writes.create(
            key,
            path,
            value=encode(resource),
            must_be_absent=rival_paths(path),
            unmistakable=key.kind not in IPAM_KINDS,
        )
        return requests.with_revision(resource, revision)

    async def update(self, resource: Resource) -> Resource:
        """See `Client.update`. Raises InvalidRequest when resourceVersion is empty."""
        key, path = resource.key, path_of(resource)
        requests.check_update(resource)
        if key.kind not in IPAM_KINDS:
            stored = await self._reads.one(path)
            if stored is None:
                raise DoesNotExist(key)
            if str(stored.mod_revision) != resource.metadata.resource_version:
                raise UpdateConflict(key)
            resource = requests.with_stored_identity(resource, stored.value)
        given = resource.metadata.resource_version
        # A revision that is no number was never one of etcd's; no key has the modification revision -1.
        revision = await self._writes.update(key, path, value=encode(resource), revision=int(given) if given.isdigit() else -1)
        return requests.with_revision(resource, revision)

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        """See `Client.delete`."""
        check_key(key)
        requests.refuse_built_in("delete", key)
        while True:
            stored = await self._find(key)
            if revision and str(stored.mod_revision) != revision:
                raise UpdateConflict(key)
            if await self._writes.delete(key, stored):
                return _resource(key, stored)

    async def get(self, key: Key) -> Resource:
        """See `Client.get`."""
        check_key(key)
        if key == DEFAULT_ALLOW.key:
            return DEFAULT_ALLOW
        return _resource(key, await self._find(key))

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        """See `Client.list`."""
        requests.check_kinds((kind,))
        narrow = ""
        if kind not in IPAM_KINDS:
            narrow = f"{namespace}/{name_prefix}" if namespace else "" if KINDS[kind].namespaced else name_prefix
        pairs, revision = await self._reads.spans(span_of(prefix + narrow) for prefix in prefixes_of(kind))

        def is_wanted(key: Key) -> bool:
            return key.kind == kind and namespace in ("", key.namespace) and key.name.startswith(name_prefix)

        items, unreadable = await _accepted(pairs, is_wanted)
        listed = requests.with_built_in(items, (kind,), namespace=namespace, name_prefix=name_prefix)
        return Listing(Listing(listed, str(revision), unreadable).whole(), str(revision))

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        """See `Client.list_many`."""
        requests.check_kinds(kinds)
        wanted = frozenset(kinds)
        pairs, revision = await self._reads.spans(_spans(wanted))
        items, unreadable = await _accepted(pairs, lambda key: key.kind in wanted)
        return Listing(requests.with_built_in(items, kinds), str(revision), unreadable)

    async def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """See `Client.watch`. One watch covers the range that the kinds lie in; what else lies there is passed over."""
        requests.check_kinds(kinds)
        wanted = frozenset(kinds)
        spans = _spans(wanted)
        cover = Span(min(span.start for span in spans), max(span.end for span in spans))
        batches = follow(self._connection, cover, after=requests.parse_revision(revision))
        async with aclosing(cast(AsyncGenerator[tuple[messages.Event, ...], None], batches)) as stream:
            async for batch in stream:
                events = [event for event in (_event(one, wanted) for one in batch) if event is not None]
                if events:
                    yield events

    async def close(self) -> None:
        """See `Client.close`. Watches in flight end with Unavailable."""
        await self._connection.close()

    async def _find(self, key: Key) -> messages.KeyValue:
        """What is stored under a key. Raises DoesNotExist."""
        path = path_of_key(key)
        if path is not None:
            found = await self._reads.one(path)
        else:
            found = next((pair for pair in await self._affinities(key.name) if key_of(path_of_pair(pair)) == key), None)
        if found is None:
            raise DoesNotExist(key)
        return found

    async def _affinities(self, name: str) -> tuple[messages.KeyValue, ...]:
        """What lies at the paths that an affinity's name may stand for; all affinities where the name was cut."""
        paths = affinity_paths(name)
        if paths is not None:
            return tuple(await self._reads.some(paths))
        return tuple((await self._reads.spans(_spans(("BlockAffinity",))))[0])


async def _accepted(
    pairs: Sequence[messages.KeyValue], accept: Callable[[Key], bool]
) -> tuple[Sequence[Resource], tuple[Unreadable, ...]]:
    """The resources among what was read that are wanted, and what cannot be read. Other tasks get their turn in between."""
    items: list[Resource] = []
    unreadable: list[Unreadable] = []
    for at in range(0, len(pairs), _SLICE):
        for pair in pairs[at : at + _SLICE]:
            key = key_of(path_of_pair(pair))
            if key is not None and accept(key):
                value = _read(key, pair)
                if isinstance(value, Unreadable):
                    unreadable.append(value)
                else:
                    items.append(value)
        await asyncio.sleep(0)
    return items, tuple(unreadable)


def _spans(kinds: Iterable[str]) -> tuple[Span, ...]:
    return tuple(span_of(prefix) for kind in sorted(set(kinds)) for prefix in prefixes_of(kind))


def _resource(key: Key, pair: messages.KeyValue) -> Resource:
    return decode(key, path_of_pair(pair), pair.value, revision=str(pair.mod_revision))


def _read(key: Key, pair: messages.KeyValue) -> Resource | Unreadable:
    return read(key, path_of_pair(pair), pair.value, revision=str(pair.mod_revision))


def _event(event: messages.Event, wanted: frozenset[str]) -> Event | None:
    """The change of a resource of a wanted kind; None for any other key."""
    key = key_of(path_of_pair(event.kv))
    if key is None or key.kind not in wanted:
        return None
    revision = str(event.kv.mod_revision)
    if event.type == messages.DELETE:
        return Event(key, None, revision)
    value = _read(key, event.kv)
    return Event(key, None, revision, value) if isinstance(value, Unreadable) else Event(key, value, revision)
