"""Public keys in the node's resource: as the devices have them, whoever else writes there, and none when there is none."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.unit.ipam.memory_client import MemoryClient

from tortie.agent import wireguard_keys
from tortie.agent.applier import Applier
from tortie.agent.wireguard_keys import WireguardKeys, ask_for_rotation, is_rotation_pending, write_keys
from tortie.api.node import Node, NodeStatus
from tortie.api.resource import Key, Metadata, Resource
from tortie.base.net import Family
from tortie.dataplane.wireguard_manager import WireguardManager
from tortie.datastore.client import Client
from tortie.datastore.errors import Unavailable
from tortie.kernel.wireguard.keys import generate

ONE, TWO, OTHER = (generate().public for _ in range(3))
BOTH = {Family.V4: ONE, Family.V6: TWO}
NONE = {Family.V4: "", Family.V6: ""}


class Manager:
    """What the keeper asks of a manager."""

    def __init__(self, keys: Mapping[Family, str]) -> None:
        self.public_keys = keys
        self.told: list[Mapping[Family, str]] = []
        self.rotations = 0
        self.restless = True

    def look(self) -> bool:
        return False

    def rotate(self) -> None:
        self.rotations += 1
        self.public_keys = {Family.V4: OTHER, Family.V6: TWO}

    def published(self, keys: Mapping[Family, str]) -> None:
        self.told.append(keys)

    def describe(self) -> list[dict[str, Any]]:
        return []


class Turns:
    """What the keeper asks of an applier."""

    turns = 0
    retries = 0

    def retry(self) -> None:
        self.retries += 1

    async def wait_for_turn(self, turns: int) -> None:
        await asyncio.sleep(60)


async def cluster(status: NodeStatus | None = None) -> MemoryClient:
    client = MemoryClient()
    await client.create(Node(metadata=Metadata(name="n1", labels={"a": "b"}), status=status))
    return client


async def status_of(client: MemoryClient) -> NodeStatus | None:
    found = await client.get(Key("Node", "", "n1"))
    assert isinstance(found, Node)
    assert found.metadata.labels == {"a": "b"}
    return found.status


def test_keys_are_written_once_and_the_rest_of_the_status_stays() -> None:
    async def work() -> None:
        client = await cluster(NodeStatus(pod_cidrs=("10.0.0.0/24",)))
        store = cast(Client, client)
        assert await write_keys(store, "n1", BOTH)
        assert await status_of(client) == NodeStatus(
            wireguard_public_key=ONE, wireguard_public_key_v6=TWO, pod_cidrs=("10.0.0.0/24",)
        )
        assert not await write_keys(store, "n1", BOTH)
        assert await write_keys(store, "n1", NONE)
        assert await status_of(client) == NodeStatus(pod_cidrs=("10.0.0.0/24",))

    asyncio.run(work())


def test_a_status_that_would_be_empty_goes() -> None:
    async def work() -> None:
        client = await cluster(NodeStatus(wireguard_public_key=ONE))
        await write_keys(cast(Client, client), "n1", NONE)
        assert await status_of(client) is None

    asyncio.run(work())


class Racing(MemoryClient):
    """Somebody else's change comes between our reading and our first writing."""

    def __init__(self) -> None:
        super().__init__()
        self._pending = True

    async def update(self, resource: Resource) -> Resource:
        if self._pending:
            self._pending = False
            stored = await self.get(resource.key)
            assert isinstance(stored, Node)
            await super().update(msgspec.structs.replace(stored, status=NodeStatus(pod_cidrs=("10.9.0.0/24",))))
        return await super().update(resource)


def test_another_writer_in_between_loses_nothing() -> None:
    async def work() -> None:
        client = Racing()
        await client.create(Node(metadata=Metadata(name="n1", labels={"a": "b"})))
        assert await write_keys(cast(Client, client), "n1", BOTH)
        found = await status_of(client)
        assert found is not None
        assert (found.wireguard_public_key, found.pod_cidrs) == (ONE, ("10.9.0.0/24",))

    asyncio.run(work())


def keeper(client: MemoryClient, manager: Manager, turns: Turns, run_dir: Path) -> WireguardKeys:
    return WireguardKeys(
        cast(Client, client),
        "n1",
        manager=cast(WireguardManager, manager),
        applier=cast(Applier, turns),
        run_dir=run_dir,
    )


async def run_for(keys: WireguardKeys, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await keys.run()
    except TimeoutError:
        return


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguard_keys, "_RESTLESS_SECONDS", 0.005)
    monkeypatch.setattr(wireguard_keys, "_RECHECK_SECONDS", 0.02)
    monkeypatch.setattr(wireguard_keys, "_RETRY_SECONDS", 0.02)


def test_a_key_that_somebody_else_writes_is_corrected(tmp_path: Path) -> None:
    async def work() -> None:
        client = await cluster(NodeStatus(wireguard_public_key=OTHER))
        manager, turns = Manager(BOTH), Turns()
        keys = keeper(client, manager, turns, tmp_path)
        await run_for(keys, 0.5)
        found = await status_of(client)
        assert found is not None
        assert found.wireguard_public_key == ONE
        assert (manager.told, turns.retries) == ([BOTH], 1)
        await write_keys(cast(Client, client), "n1", {Family.V4: OTHER, Family.V6: ""})
        await run_for(keys, 0.5)
        assert await status_of(client) == NodeStatus(wireguard_public_key=ONE, wireguard_public_key_v6=TWO)
        assert manager.told == [BOTH]

    asyncio.run(work())


def test_nothing_is_written_before_the_devices_are_known(tmp_path: Path) -> None:
    async def work() -> None:
        client = await cluster(NodeStatus(wireguard_public_key=OTHER))
        await run_for(keeper(client, Manager({}), Turns(), tmp_path), 0.5)
        found = await status_of(client)
        assert found is not None
        assert found.wireguard_public_key == OTHER

    asyncio.run(work())


def test_a_datastore_that_is_away_is_told_and_tried_again(tmp_path: Path) -> None:
    async def work() -> None:
        client = await cluster()

        def away(verb: str, key: Key) -> None:
            raise Unavailable("no answer")

        client.before_write = away
        manager = Manager(BOTH)
        keys = keeper(client, manager, Turns(), tmp_path)
        await run_for(keys, 0.5)
        assert "no answer" in keys.describe()["problem"]
        assert manager.told == []
        client.before_write = lambda verb, key: None
        await run_for(keys, 0.5)
        assert (keys.problem, manager.told) == ("", [BOTH])

    asyncio.run(work())


def test_a_request_for_new_keys_is_taken_up_once_and_they_are_published(tmp_path: Path) -> None:
    async def work() -> None:
        client = await cluster()
        manager, turns = Manager(BOTH), Turns()
        keys = keeper(client, manager, turns, tmp_path)
        await run_for(keys, 0.5)
        ask_for_rotation(tmp_path)
        assert is_rotation_pending(tmp_path)
        await run_for(keys, 0.5)
        assert not is_rotation_pending(tmp_path)
        assert manager.rotations == 1
        found = await status_of(client)
        assert found is not None
        assert found.wireguard_public_key == OTHER

    asyncio.run(work())
