"""The client protocol over a dictionary: compare-and-swap, and a chance for others to run in the middle of every request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from tortie.api.resource import Key, Resource
from tortie.datastore.client import Event, Listing
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict


class MemoryClient:
    """`before_write` may be set to raise: a store that fails, or a process that dies, at a chosen write."""

    def __init__(self) -> None:
        self._resources: dict[Key, Resource] = {}
        self._revision = 0
        self.before_write: Callable[[str, Key], None] = lambda verb, key: None

    async def create(self, resource: Resource) -> Resource:
        await asyncio.sleep(0)
        self.before_write("create", resource.key)
        if resource.key in self._resources:
            raise AlreadyExists(resource.key)
        return self._store(resource)

    async def update(self, resource: Resource) -> Resource:
        await asyncio.sleep(0)
        self.before_write("update", resource.key)
        self._compare(resource.key, resource.metadata.resource_version)
        return self._store(resource)

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        await asyncio.sleep(0)
        self.before_write("delete", key)
        self._compare(key, revision or None)
        self._revision += 1
        return self._resources.pop(key)

    async def get(self, key: Key) -> Resource:
        await asyncio.sleep(0)
        if key not in self._resources:
            raise DoesNotExist(key)
        return self._resources[key]

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        await asyncio.sleep(0)
        found = [self._resources[key] for key in sorted(self._resources) if key.kind == kind]
        items = [item for item in found if not namespace or item.metadata.namespace == namespace]
        return Listing(tuple(item for item in items if item.metadata.name.startswith(name_prefix)), str(self._revision))

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        listings = [await self.list(kind) for kind in kinds]
        return Listing(tuple(item for listing in listings for item in listing.items), str(self._revision))

    def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        raise NotImplementedError("IPAM never watches")

    async def close(self) -> None:
        self._resources.clear()

    def _compare(self, key: Key, revision: str | None) -> None:
        if key not in self._resources:
            raise DoesNotExist(key)
        if revision is not None and self._resources[key].metadata.resource_version != revision:
            raise UpdateConflict(key)

    def _store(self, resource: Resource) -> Resource:
        self._revision += 1
        metadata = msgspec.structs.replace(resource.metadata, resource_version=str(self._revision))
        self._resources[resource.key] = msgspec.structs.replace(resource, metadata=metadata)
        return self._resources[resource.key]
