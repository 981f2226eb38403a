"""The Kubernetes backend while its API server is killed, restarted and cut off: followers end as a fresh start would."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from tests.conformance.cutting_proxy import proxy_to
from tests.conformance.kubernetes_server import install
from tests.kubernetes.control_plane import Cluster, running

from tortie.api.networkset import NetworkSet, NetworkSetSpec
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.errors import Compacted, DoesNotExist, Unavailable
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.kubernetes.places import CRD_V1, place_of
from tortie.datastore.syncer import Batch, Syncer

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(150)]

KINDS = ("NetworkSet", "GlobalNetworkSet", "Tier", "Namespace")


@pytest.fixture(scope="module")
def plane() -> Iterator[Cluster]:
    """A control plane that may be killed."""
    with running(controllers=False) as cluster:
        install(cluster, [place_of(kind, CRD_V1) for kind in (*KINDS[:3], "ClusterInformation")])
        yield cluster


def opened(cluster: Cluster, **env: str) -> Client:
    return open_client({"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(cluster.admin)} | env, None)


class Follower:
    """The state that batches add up to, and what was ever reported gone."""

    def __init__(self) -> None:
        self.state: dict[Key, Resource] = {}
        self.gone: list[Key] = []
        self.in_sync = False
        self._news = asyncio.Event()

    async def __call__(self, batch: Batch) -> None:
        for key, value in batch.updates:
            if value is None:
                self.gone.append(key)
                self.state.pop(key, None)
            else:
                self.state[key] = value
        self.in_sync |= batch.in_sync
        self._news.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 1)


def unchanged(update: Update) -> Update:
    return update


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[Follower]:
    follower = Follower()
    task = asyncio.ensure_future(Syncer(client, KINDS, convert=unchanged).run(follower))
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def netset(name: str, net: str) -> NetworkSet:
    return NetworkSet(metadata=Metadata(name=name, namespace="default"), spec=NetworkSetSpec(nets=(net,)))


async def fresh(client: Client) -> dict[Key, Resource]:
    return {item.key: item for item in (await client.list_many(KINDS)).items}


async def insist(client: Client, name: str, net: str) -> Resource:
    """Create or change, whatever state the server is in."""
    while True:
        try:
            try:
                found = await client.get(netset(name, net).key)
            except DoesNotExist:
                return await client.create(netset(name, net))
            assert isinstance(found, NetworkSet)
            return await client.update(msgspec.structs.replace(found, spec=NetworkSetSpec(nets=(net,))))
        except Unavailable:
            await asyncio.sleep(0.2)


def test_a_watch_that_is_cut_all_the_time_loses_nothing_and_costs_little(plane: Cluster) -> None:
    async def main() -> None:
        writer = opened(plane)
        await ensure_initialized(writer)
        async with proxy_to(plane.server) as proxy:
            proxied = proxy.url.replace("http://", "https://")
            async with following(opened(plane, K8S_API_ENDPOINT=proxied)) as follower:
                await follower.until(lambda: follower.in_sync)
                used = resource.getrusage(resource.RUSAGE_SELF)
                kept = await insist(writer, "kept", "10.0.0.0/8")
                for turn in range(8):
                    for i in range(5):
                        await insist(writer, f"n{turn}-{i}", f"10.{turn}.{i}.0/24")
                    await writer.delete(Key("NetworkSet", "default", f"n{turn}-0"))
                    await asyncio.sleep(0.5)
                    proxy.hang_up()
                last = await insist(writer, "last", "10.0.0.0/8")
                await follower.until(lambda: last.key in follower.state)
                spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - used.ru_utime
                assert follower.state == await fresh(writer)
                assert kept.key not in follower.gone
                assert {key.name for key in follower.gone} <= {f"n{turn}-0" for turn in range(8)}
                assert spent < 4, "seconds of CPU in more than four, for us, the proxy and the writer"
        await writer.close()

    asyncio.run(main())


def test_an_api_server_that_is_killed_and_comes_back_takes_nothing_away(plane: Cluster) -> None:
    async def main() -> None:
        writer = opened(plane)
        await ensure_initialized(writer)
        old = (await writer.list_many(["NetworkSet"])).revision
        async with following(opened(plane)) as follower:
            before = await insist(writer, "before", "10.0.0.0/8")
            await follower.until(lambda: before.key in follower.state)
            gone_before = len(follower.gone)
            await asyncio.to_thread(plane.stop, "apiserver")
            await asyncio.sleep(1)
            assert before.key in follower.state
            plane.start("apiserver")  # it dies with the thread that starts it
            after = await insist(writer, "after", "10.0.0.0/8")
            await follower.until(lambda: after.key in follower.state)
            assert follower.state == await fresh(writer)
            assert len(follower.gone) == gone_before
        with pytest.raises(Compacted, match="list again"):
            await anext(aiter(writer.watch(["NetworkSet"], revision="1")))
        assert int(old) > 1
        await writer.close()

    asyncio.run(main())


def test_a_follower_without_credentials_keeps_what_it_knows(plane: Cluster, tmp_path: Path) -> None:
    """Permissions that are taken away are no empty datastore."""

    async def main() -> None:
        writer = opened(plane)
        await ensure_initialized(writer)
        rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "r"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        await asyncio.to_thread(plane.apply, role, binding)
        config = await asyncio.to_thread(plane.kubeconfig, "reader")
        async with proxy_to(plane.server) as proxy:
            endpoint = {"KUBECONFIG": str(config), "K8S_API_ENDPOINT": proxy.url.replace("http://", "https://")}
            async with following(opened(plane, **endpoint)) as follower:
                await follower.until(lambda: follower.in_sync)
                state = dict(follower.state)
                await asyncio.to_thread(plane.kubectl, "delete", "clusterrolebinding", "r")
                proxy.hang_up()
                await asyncio.sleep(2)
                assert follower.state == state
                assert follower.gone == []
                await asyncio.to_thread(plane.apply, binding)
                last = await insist(writer, "again", "10.0.0.0/8")
                await follower.until(lambda: last.key in follower.state)
                assert follower.state == await fresh(writer)
        await writer.close()

    asyncio.run(main())
