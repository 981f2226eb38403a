"""A relabelled pod's endpoint follows, also when the datastore was away at that moment."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from tortie.agent.pod_upkeep import PodUpkeep
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.kubernetes import Pod, PodSpec
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_address
from tortie.convert.pods import workload_endpoint
from tortie.datastore.errors import Unavailable
from tortie.datastore.sqlite.client import SqliteClient
from tortie.datastore.syncer import Batch


def pod(node: str = "n", **labels: str) -> Pod:
    spec = PodSpec(node_name=node, service_account_name="default")
    return Pod(metadata=Metadata(name="web", namespace="shop", labels=labels), spec=spec)


def seen(value: Pod) -> Batch:
    return Batch((Update(value.key, value),))


class Flaky(SqliteClient):
    """A store that is away when told so."""

    away = False

    async def update(self, resource: Resource) -> Resource:
        if self.away:
            raise Unavailable("the datastore is away")
        return await super().update(resource)


async def scenario(folder: Path, *, away: bool, node: str = "n") -> WorkloadEndpoint:
    client = Flaky(str(folder / "store.sqlite"))
    try:
        stored = await client.create(workload_endpoint(pod(app="old"), addresses=[parse_address("10.0.0.1")]))
        upkeep = PodUpkeep(client, "n")
        client.away = away
        await upkeep.on_batch(seen(pod(node=node, app="new")))
        if away:
            assert await client.get(stored.key) == stored
            client.away = False
            await upkeep.retry()
        found = await client.get(stored.key)
        assert isinstance(found, WorkloadEndpoint)
        await upkeep.retry()
        assert await client.get(stored.key) == found, "nothing is owed any more"
        return found
    finally:
        await client.close()


@pytest.mark.parametrize("away", [False, True])
def test_the_labels_follow_and_the_address_stays(tmp_path: Path, away: bool) -> None:
    found = asyncio.run(scenario(tmp_path, away=away))
    assert found.metadata.labels["app"] == "new"
    assert found.spec.ip_networks == ("10.0.0.1/32",)


def test_pods_of_other_nodes_are_none_of_our_business(tmp_path: Path) -> None:
    found = asyncio.run(scenario(tmp_path, away=False, node="other"))
    assert found.metadata.labels["app"] == "old"
    assert msgspec.structs.asdict(found.spec)["node"] == "n"
