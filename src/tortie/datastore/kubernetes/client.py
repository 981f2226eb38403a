"""The client of Kubernetes: the protocol's promises over the API server's objects."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import msgspec

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.node import Node
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Resource
from tortie.datastore import requests
from tortie.datastore.client import Event, Listing
from tortie.datastore.errors import DoesNotExist, Incompatible, NotSupported, Unauthorized, UpdateConflict
from tortie.datastore.initialize import KUBERNETES_TYPE
from tortie.datastore.kubernetes import endpoints, nodes
from tortie.datastore.kubernetes.connection import Connection
from tortie.datastore.kubernetes.errors import NotInstalled
from tortie.datastore.kubernetes.objects import NodeObject, Reader, View
from tortie.datastore.kubernetes.places import (
    CRD_V1,
    Source,
    choose_group,
    is_custom,
    place_of,
    read_positions,
    sources_of,
    write_positions,
)
from tortie.datastore.kubernetes.reads import Listed, read_all
from tortie.datastore.kubernetes.settings import Settings
from tortie.datastore.kubernetes.watch import NOT_SERVED, Merged, Stream
from tortie.datastore.kubernetes.writes import Custom
from tortie.datastore.layout import check_key
from tortie.datastore.unreadable import Unreadable

_AT_ONCE = 6
"""Resources that are listed at the same time."""
_IDENTITY = "ClusterInformation"
_MERGE_PATCH = "application/merge-patch+json"


class KubernetesClient:
    """`datastore.client.Client` over a Kubernetes API server. Connects with the first request; use it from one event loop.

    Objects of Kubernetes' own kinds are read only, apart from what Calico keeps in annotations of nodes and pods. Resources
    have versions of their own: a listing of several kinds is not of one moment, and its revision names one version for each.
    """

    cluster_type = KUBERNETES_TYPE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._group: str | None = settings.group or None
        self._discovering = asyncio.Lock()

    async def create(self, resource: Resource) -> Resource:
        """See `Client.create`. Raises InvalidRequest when resourceVersion is set, NotSupported for Kubernetes' own kinds."""
        key = resource.key
        check_key(key)
        requests.check_create(resource)
        if isinstance(resource, WorkloadEndpoint):
            return await self._patch_endpoint(resource, "create")
        custom = await self._custom("create", key)
        return await custom.create(requests.with_new_identity(resource))

    async def update(self, resource: Resource) -> Resource:
        """See `Client.update`. Raises InvalidRequest when resourceVersion is empty."""
        check_key(resource.key)
        requests.check_update(resource)
        match resource:
            case WorkloadEndpoint():
                return await self._patch_endpoint(resource, "update")
            case Node():
                return await self._patch_node(resource)
        custom = await self._custom("update", resource.key)
        return await custom.update(resource)

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        """See `Client.delete`."""
        check_key(key)
        requests.refuse_built_in("delete", key)
        if key.kind == "WorkloadEndpoint":
            return await self._blank_endpoint(key, revision)
        custom = await self._custom("delete", key)
        return await custom.delete(key, revision)

    async def get(self, key: Key) -> Resource:
        """See `Client.get`."""
        check_key(key)
        if key == DEFAULT_ALLOW.key:
            return DEFAULT_ALLOW
        if is_custom(key.kind):
            return await Custom(self._connection, await self._chosen()).get(key)
        origin = _origin_of(key)
        source = Source(place_of(origin.kind, CRD_V1), (key.kind,))
        path = source.place.path(origin.namespace, origin.name)
        try:
            raw = await self._connection.read(path, {}, verb="get", key=key)
        except DoesNotExist:
            raise DoesNotExist(key) from None
        for found in Reader(source, self._view(CRD_V1)).read(raw):
            if isinstance(found.value, Unreadable):
                raise Incompatible(found.value.reason)
            if found.key == key and found.value is not None:
                return found.value
        raise DoesNotExist(key)

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        """See `Client.list`."""
        requests.check_kinds((kind,))
        listed = await self._listed((kind,), namespace=namespace)

        def is_wanted(key: Key) -> bool:
            return namespace in ("", key.namespace) and key.name.startswith(name_prefix)

        items = [item for one in listed.values() for key, item in one.items.items() if is_wanted(key)]
        unreadable = tuple(item for one in listed.values() for key, item in one.unreadable.items() if is_wanted(key))
        revision = _revision(listed)
        items = list(Listing(tuple(items), revision, unreadable).whole())
        return Listing(requests.with_built_in(items, (kind,), namespace=namespace, name_prefix=name_prefix), revision)

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        """See `Client.list_many`: of each resource at one version, which the revision names."""
        requests.check_kinds(kinds)
        listed = await self._listed(kinds)
        found = [item for one in listed.values() for item in one.items.values()]
        unreadable = tuple(item for one in listed.values() for item in one.unreadable.values())
        # Sorting many takes a while, and the loop has other things to do.
        items = await asyncio.to_thread(requests.with_built_in, found, kinds)
        return Listing(items, _revision(listed), unreadable)

    async def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """See `Client.watch`. Events of one resource are in the order of the commits; several resources have none in common."""
        requests.check_kinds(kinds)
        group = await self._chosen()
        sources = sources_of(kinds, group)
        positions = read_positions(revision, sources)
        streams = [
            Stream(self._connection, source, Reader(source, self._view(group)), positions[source.place.name])
            for source in sources
        ]
        async with Merged(streams, positions) as merged:
            while True:
                yield await merged.next()

    async def close(self) -> None:
        """See `Client.close`. Watches in flight end with Unavailable."""
        await self._connection.close()

    async def _listed(self, kinds: Sequence[str], *, namespace: str = "") -> dict[Source, Listed]:
        """What each of the resources of some kinds holds."""
        group = await self._chosen()
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(source: Source) -> Listed:
            reader = Reader(source, self._view(group))
            try:
                async with limit:
                    return await read_all(self._connection, source, reader, namespace=namespace)
            except NotInstalled:
                # A resource that is not served has no objects. But where nothing is served nothing is ours to believe.
                if self._group is None or _IDENTITY in source.kinds:
                    raise
                return Listed(NOT_SERVED)

        sources = sources_of(kinds, group)
        return dict(zip(sources, await _gather([one(source) for source in sources]), strict=True))

    async def _custom(self, operation: str, key: Key) -> Custom:
        """For writes of a kind that is ours to write. Raises NotSupported for one that is not."""
        if not is_custom(key.kind):
            words = {
                "Node": "Kubernetes' nodes come and go with their kubelets",
                "Profile": "profiles are Kubernetes' namespaces and service accounts",
            }
            raise NotSupported(operation, key, words.get(key.kind, "it is Kubernetes' own: use kubectl"))
        return Custom(self._connection, await self._chosen())

    async def _patch_endpoint(self, endpoint: WorkloadEndpoint, operation: str) -> Resource:
        key = endpoint.key
        return await self._patched_endpoint(key, endpoints.pod_of(key, operation), endpoints.patch(endpoint), operation)

    async def _blank_endpoint(self, key: Key, revision: str) -> Resource:
        """Take the addresses away; what the endpoint was."""
        pod = endpoints.pod_of(key, "delete")
        while True:
            found = await self.get(key)
            if revision and found.metadata.resource_version != revision:
                raise UpdateConflict(key)
            body = endpoints.removal(uid=found.metadata.uid, revision=found.metadata.resource_version)
            try:
                await self._patch_pod(key, pod, body, "delete")
            except UpdateConflict:
                if revision:
                    raise
            else:
                return found

    async def _patched_endpoint(self, key: Key, pod: Key, body: bytes, operation: str) -> Resource:
        raw = await self._patch_pod(key, pod, body, operation)
        source = Source(place_of("Pod", CRD_V1), (key.kind,))
        for found in Reader(source, self._view(CRD_V1)).read(raw):
            if found.key == key and isinstance(found.value, Resource):
                return found.value
        raise NotSupported(operation, key, "its pod has finished, is on another node, or on the host's network")

    async def _patch_pod(self, key: Key, pod: Key, body: bytes, operation: str) -> bytes:
        path = place_of("Pod", CRD_V1).path(pod.namespace, pod.name) + "/status"
        return await self._connection.write(
            "PATCH", path, body=body, verb=operation, key=key, content_type=endpoints.CONTENT_TYPE
        )

    async def _patch_node(self, node: Node) -> Resource:
        key = node.key
        path = place_of("Node", CRD_V1).path("", key.name)
        meta = msgspec.json.decode(await self._connection.read(path, {}, verb="get", key=key), type=NodeObject).metadata
        body = nodes.patch(node, meta)
        raw = await self._connection.write(
            "PATCH", f"{path}/status", body=body, verb="update", key=key, content_type=_MERGE_PATCH
        )
        source = Source(place_of("Node", CRD_V1), (key.kind,))
        (found,) = Reader(source, self._view(CRD_V1)).read(raw)
        assert isinstance(found.value, Resource)
        return found.value

    def _view(self, group: str) -> View:
        return View(group, self._settings.use_pod_cidr, self._settings.interface_prefix)

    async def _chosen(self) -> str:
        """The group that Calico's resources are in. Remembered once the cluster has one of the two."""
        if self._group is not None:
            self._connection.check_open()
            return self._group
        async with self._discovering:
            if self._group is None:
                try:
                    body = await self._connection.read("/apis", {}, verb="discover", key=Key("APIGroup", "", ""))
                except Unauthorized:
                    body = b""
                self._group = choose_group(body)
        return self._group or CRD_V1


def _origin_of(key: Key) -> Key:
    """The Kubernetes object that a key is read from. Raises DoesNotExist where it can be none."""
    match key.kind:
        case "WorkloadEndpoint":
            return endpoints.pod_of(key, "get")
        case "Profile":
            prefix, _, name = key.name.partition(".")
            namespace, _, account = name.partition(".")
            if prefix == "kns" and name:
                return Key("Namespace", "", name)
            if prefix == "ksa" and account:
                return Key("ServiceAccount", namespace, account)
            raise DoesNotExist(key)
    return key


def _revision(listed: dict[Source, Listed]) -> str:
    return write_positions({source.place.name: one.revision for source, one in listed.items()})


async def _gather(questions: Sequence[Coroutine[Any, Any, Listed]]) -> list[Listed]:
    """All answers, or the first error; the other requests are given up then."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
