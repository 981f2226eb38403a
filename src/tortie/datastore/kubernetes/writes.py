"""Writes of custom resources: create, compare and set, and the two steps in which IPAM's objects go (datastore.md, 3.5)."""

import msgspec

from tortie.api.resource import Key, Resource
from tortie.datastore.errors import AlreadyExists, DoesNotExist, Incompatible, UpdateConflict
from tortie.datastore.kubernetes import stored
from tortie.datastore.kubernetes.connection import Connection
from tortie.datastore.kubernetes.errors import NotInstalled
from tortie.datastore.kubernetes.places import Place, place_of
from tortie.datastore.layout import IPAM_KINDS
from tortie.datastore.unreadable import Unreadable


class Custom:
    """Requests about single custom resources."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group

    async def get(self, key: Key) -> Resource:
        """Read one. An object that is half deleted is deleted to the end and not there. Raises DoesNotExist, Incompatible."""
        found = self._decoded(key, await self._stored(key))
        if stored.is_deleted(found):
            await self._finish(key, found)
            raise DoesNotExist(key)
        return found

    async def create(self, resource: Resource) -> Resource:
        """Store a new one. Raises AlreadyExists."""
        place, key = self._place(resource.kind), resource.key
        body = stored.encode(resource, self._group)
        path = place.path(key.namespace)
        try:
            answer = await self._connection.write("POST", path, body=body, verb="create", key=key)
        except AlreadyExists:
            if key.kind not in IPAM_KINDS:
                raise
            try:
                await self.get(key)
            except DoesNotExist:  # it was half deleted
                answer = await self._connection.write("POST", path, body=body, verb="create", key=key)
            else:
                raise
        return await self._with_status(resource, answer)

    async def update(self, resource: Resource) -> Resource:
        """Replace what was last written at the resource's version. Raises DoesNotExist, UpdateConflict."""
        key = resource.key
        if resource.metadata.creation_timestamp is None and key.kind not in IPAM_KINDS:
            # It lies in the annotation, which would lose it.
            created = (await self.get(key)).metadata.creation_timestamp
            metadata = msgspec.structs.replace(resource.metadata, creation_timestamp=created)
            resource = msgspec.structs.replace(resource, metadata=metadata)
        return await self._with_status(resource, await self._put(resource))

    async def delete(self, key: Key, revision: str) -> Resource:
        """Remove, comparing with a version where one is given; what was there. Raises DoesNotExist, UpdateConflict."""
        while True:
            raw = await self._stored(key)
            meta = msgspec.json.decode(raw, type=stored.Head).metadata
            if revision and meta.resource_version != revision:
                raise UpdateConflict(key)
            try:
                return await self._delete(key, raw, meta)
            except UpdateConflict:
                if revision:
                    raise

    async def _delete(self, key: Key, raw: bytes, meta: stored.Meta) -> Resource:
        """Remove this very version."""
        found = stored.read(key.kind, raw, self._group)
        if isinstance(found, Unreadable):
            await self._remove(key, meta.name, meta)
            raise Incompatible(found.reason)
        if stored.is_deleted(found):
            await self._finish(key, found)
            raise DoesNotExist(key)
        if key.kind in IPAM_KINDS - {"IPAMConfiguration"}:
            marked = await self._put(stored.as_deleted(found))
            meta = msgspec.json.decode(marked, type=stored.Head).metadata
        await self._remove(key, meta.name, meta)
        return found

    async def _finish(self, key: Key, found: Resource) -> None:
        """The second step of a deletion that somebody began."""
        raw = await self._stored(key)
        meta = msgspec.json.decode(raw, type=stored.Head).metadata
        if meta.resource_version == found.metadata.resource_version:
            try:
                await self._remove(key, meta.name, meta)
            except (DoesNotExist, UpdateConflict):
                return

    async def _remove(self, key: Key, name: str, meta: stored.Meta) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        }
        path = self._place(key.kind).path(key.namespace, name)
        await self._connection.write("DELETE", path, body=msgspec.json.encode(options), verb="delete", key=key)

    async def _put(self, resource: Resource, subresource: str = "") -> bytes:
        key = resource.key
        path = self._place(key.kind).path(key.namespace, stored.stored_name(key)) + subresource
        body = stored.encode(resource, self._group)
        try:
            return await self._connection.write("PUT", path, body=body, verb="update", key=key)
        except DoesNotExist:
            if key.kind not in stored.TIERED:
                raise
        # Perhaps it still stands under the name that an earlier release of Calico gave it.
        meta = msgspec.json.decode(await self._stored(key), type=stored.Head).metadata
        document = msgspec.json.decode(body)
        document["metadata"]["name"] = meta.name
        path = self._place(key.kind).path(key.namespace, meta.name) + subresource
        return await self._connection.write("PUT", path, body=msgspec.json.encode(document), verb="update", key=key)

    async def _with_status(self, wanted: Resource, answer: bytes) -> Resource:
        """What was written, once its status is too: where that is a resource of its own the first write passed over it."""
        written = stored.read(wanted.kind, answer, self._group)
        if isinstance(written, Unreadable):  # and yet it was written
            metadata = msgspec.structs.replace(wanted.metadata, resource_version=written.revision)
            return msgspec.structs.replace(wanted, metadata=metadata)
        status = getattr(wanted, "status", None)
        if status is None or getattr(written, "status", None) == status:
            return written
        metadata = msgspec.structs.replace(
            wanted.metadata, resource_version=written.metadata.resource_version, uid=written.metadata.uid
        )
        try:
            answer = await self._put(msgspec.structs.replace(wanted, metadata=metadata), "/status")
        except (NotInstalled, DoesNotExist):
            return written
        return self._decoded(wanted.key, answer)

    async def _stored(self, key: Key) -> bytes:
        """The object behind a key. Raises DoesNotExist."""
        place = self._place(key.kind)
        try:
            return await self._connection.read(place.path(key.namespace, stored.stored_name(key)), {}, verb="get", key=key)
        except DoesNotExist:
            if key.kind not in stored.TIERED:
                raise
        old = place.path(key.namespace, stored.OLD_PREFIX + key.name)
        raw = await self._connection.read(old, {}, verb="get", key=key)
        if self._decoded(key, raw).key != key:
            raise DoesNotExist(key)
        return raw

    def _decoded(self, key: Key, raw: bytes) -> Resource:
        value = stored.read(key.kind, raw, self._group)
        if isinstance(value, Unreadable):
            raise Incompatible(value.reason)
        return value

    def _place(self, kind: str) -> Place:
        return place_of(kind, self._group)
