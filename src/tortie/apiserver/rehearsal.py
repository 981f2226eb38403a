"""A datastore client that reads and does not write: dryRun=All takes the very same way as a real request, through this."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from tortie.api.resource import Key, Resource
from tortie.datastore import requests
from tortie.datastore.client import Client, Event, Listing
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict


class Rehearsal:
    """`datastore.client.Client` whose writes are checked against what is stored and then forgotten."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, resource: Resource) -> Resource:
        """See `Client.create`."""
        requests.check_create(resource)
        try:
            await self._client.get(resource.key)
        except DoesNotExist:
            return requests.with_new_identity(resource)
        raise AlreadyExists(resource.key)

    async def update(self, resource: Resource) -> Resource:
        """See `Client.update`. The version stays the stored one."""
        requests.check_update(resource)
        await self._current(resource.key, resource.metadata.resource_version)
        return msgspec.structs.replace(resource)

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        """See `Client.delete`."""
        requests.refuse_built_in("delete", key)
        return await self._current(key, revision)

    async def get(self, key: Key) -> Resource:
        """See `Client.get`."""
        return await self._client.get(key)

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        """See `Client.list`."""
        return await self._client.list(kind, namespace=namespace, name_prefix=name_prefix)

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        """See `Client.list_many`."""
        return await self._client.list_many(kinds)

    def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """See `Client.watch`."""
        return self._client.watch(kinds, revision=revision)

    async def close(self) -> None:
        """Nothing to give back: the client stays open."""

    async def _current(self, key: Key, revision: str) -> Resource:
        stored = await self._client.get(key)
        if revision and stored.metadata.resource_version != revision:
            raise UpdateConflict(key)
        return stored
