"""IPAM on a real API server: every scenario that the other datastores pass, and the two steps in which its objects go."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.conformance import kubernetes_server
from tests.conformance.backends import Backend, kubernetes_at
from tests.conformance.kubernetes_server import Server
from tests.unit.ipam import test_allocator
from tests.unit.ipam.cluster import Clock, blocks, fill, findings, pool, request
from tests.unit.ipam.test_allocator import Play, Scenario

from tortie.api.node import Node
from tortie.api.resource import V3, Key, Resource
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.kubernetes.places import CRD_V1, place_of
from tortie.ipam.allocator import Ipam

pytestmark = pytest.mark.kubernetes

for _name, _test in vars(test_allocator).items():
    if _name.startswith("test_") and "play" in getattr(_test, "__annotations__", {}):
        globals()[_name] = _test


class WithNodes:
    """A client of Kubernetes that also makes and removes nodes, which kubelets do."""

    def __init__(self, client: Client, server: Server, made: set[str]) -> None:
        self._client = client
        self._made = made
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, resource: Resource) -> Resource:
        if not isinstance(resource, Node):
            return await self._client.create(resource)
        self._made.add(resource.metadata.name)
        metadata = {"name": resource.metadata.name, "labels": resource.metadata.labels}
        self._server.cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        return await self._client.get(resource.key)

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        if key.kind != "Node":
            return await self._client.delete(key, revision=revision)
        found = await self._client.get(key)
        self._server.cluster.kubectl("delete", "node", key.name)
        return found


@pytest.fixture(params=[CRD_V1, V3])
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kubernetes(group: str) -> Backend:
    return kubernetes_at(group)


@pytest.fixture
def play(kubernetes: Backend) -> Iterator[Play]:
    """Runs a scenario on an API server without IPAM's objects, then checks that its data is consistent."""
    server = kubernetes_server.shared()
    made: set[str] = set()

    def run(scenario: Scenario) -> None:
        async def perform(plain: Client) -> None:
            client = cast(Client, WithNodes(plain, server, made))
            clock = Clock()
            await scenario(client, Ipam(client, now=clock), clock)
            assert await findings(client) == ()

        kubernetes.run(perform)

    yield run
    if made:
        server.cluster.kubectl("delete", "nodes", *sorted(made), "--ignore-not-found")


KINDS = {"IPAMBlock": "10-0-0-0-29", "BlockAffinity": "n1-10-0-0-0-29", "IPAMHandle": "pod-a"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_somebody_has_half_deleted_is_not_there_and_goes_for_good(group: str, kubernetes: Backend, kind: str) -> None:
    server = kubernetes_server.shared()
    place = place_of(kind, group)
    deleted: Any = "true" if (kind, group) == ("BlockAffinity", CRD_V1) else True

    async def scenario(client: Client) -> None:
        ipam = Ipam(client, now=Clock())
        await fill(client, pool("p", "10.0.0.0/29"))
        await ipam.auto_assign(request("n1", "pod-a"))
        key = Key(kind, "", KINDS[kind])
        assert (await client.get(key)).kind == kind
        mark = json.dumps({"spec": {"deleted": deleted}})
        server.cluster.kubectl("patch", place.name, key.name, "--type=merge", f"-p={mark}")
        assert all(item.key != key for item in (await client.list(kind)).items)
        with pytest.raises(DoesNotExist):
            await client.get(key)
        assert key.name not in server.cluster.kubectl("get", place.name, "-o", "name")

    kubernetes.run(scenario)


def test_an_object_that_is_deleted_is_marked_first_so_that_whoever_has_read_it_writes_no_more(
    group: str, kubernetes: Backend
) -> None:
    """The mark changes the version: a writer that read before it meets a conflict, and none can come in between."""
    server = kubernetes_server.shared()

    async def scenario(client: Client) -> None:
        ipam = Ipam(client, now=Clock())
        await fill(client, pool("p", "10.0.0.0/29"))
        await ipam.auto_assign(request("n1", "pod-a"))
        before = len(server.cluster.audit())
        await ipam.release_by_handle("pod-a")
        await ipam.release_node("n1")
        for kind in ("IPAMBlock", "BlockAffinity", "IPAMHandle"):
            plural = place_of(kind, group).plural
            verbs = [
                event["verb"]
                for event in server.cluster.audit()[before:]
                if event.get("objectRef", {}).get("resource") == plural
            ]
            assert [verb for verb in verbs if verb in ("update", "delete")][-2:] == ["update", "delete"], f"{kind}: {verbs}"
        assert await blocks(client) == {}

    kubernetes.run(scenario)


def test_many_nodes_at_once_share_no_address_and_lose_none(kubernetes: Backend) -> None:
    async def scenario(client: Client) -> None:
        await fill(client, pool("p", "10.0.0.0/25"))
        async with contextlib.AsyncExitStack() as stack:
            users = [Ipam(await stack.enter_async_context(kubernetes.client()), now=Clock()) for _ in range(4)]
            await live_together(users)
        assert await findings(client) == ()

    async def live_together(users: list[Ipam]) -> None:
        held: dict[str, str] = {}

        async def live(number: int) -> None:
            for turn in range(5):
                handle = f"pod-{number}-{turn}"
                (interface,) = (await users[number % 4].auto_assign(request(f"n{number % 8}", handle))).v4
                other = held.setdefault(str(interface), handle)
                assert other == handle, f"{interface} is {other}'s and {handle}'s"
                if turn % 2:
                    del held[str(interface)]
                    await users[number % 4].release_by_handle(handle)

        async with asyncio.TaskGroup() as tasks:
            for number in range(16):
                tasks.create_task(live(number))
        assert len(held) == 16 * 3

    kubernetes.run(scenario)
