"""Watches that share one watch of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tortie.api.networkset import GlobalNetworkSet
from tortie.api.resource import Metadata, Resource
from tortie.apiserver.errors import Refusal
from tortie.apiserver.hub import Change, Hub, Hubs, Subscription, newer, seen
from tortie.datastore.sqlite.client import SqliteClient

KIND = "GlobalNetworkSet"


def network_set(name: str, **labels: str) -> GlobalNetworkSet:
    return GlobalNetworkSet(metadata=Metadata(name=name, labels=labels, resource_version="5"))


def test_versions_of_one_store_and_of_several_are_compared() -> None:
    assert newer("10", "9")
    assert not newer("9", "9")
    assert newer("a=1,b=3", "a=1,b=2")
    assert not newer("a=1,b=2", "a=1,b=3")
    with pytest.raises(Refusal):
        newer("5", "nonsense")


def test_a_watcher_is_told_of_what_begins_and_ceases_to_match() -> None:
    def matches(resource: Resource) -> bool:
        return "on" in resource.metadata.labels

    on, off = network_set("x", on="1"), network_set("x")
    told = {
        (before, after): seen(Change("7", values[before], values[after]), matches)
        for values in ({"on": on, "off": off, "none": None},)
        for before in values
        for after in values
    }
    types = {pair: event.type for pair, event in told.items() if event is not None}
    assert types == {
        ("on", "on"): "MODIFIED", ("on", "off"): "DELETED", ("on", "none"): "DELETED",
        ("off", "on"): "ADDED", ("none", "on"): "ADDED",
    }  # fmt: skip
    gone = told["on", "none"]
    assert gone is not None
    assert gone.resource.metadata.resource_version == "7"


def test_who_is_too_slow_is_told_what_there_is_and_then_to_list_again() -> None:
    async def scenario() -> int:
        subscription = Subscription((), "1", ())
        for number in range(5000):
            subscription.push(Change(str(number), None, None))
        for _ in range(1024):
            assert await subscription.next() is not None
        with pytest.raises(Refusal) as refused:
            await subscription.next()
        return refused.value.code

    assert asyncio.run(scenario()) == 410


def run(path: Path, scenario: Callable[[SqliteClient, Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        client = SqliteClient(str(path / "store"))
        hubs = Hubs(client)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(hubs.run())
            await asyncio.sleep(0)
            try:
                await scenario(client, hubs.of(KIND))
            finally:
                task.cancel()
        await client.close()

    asyncio.run(main())


def test_from_a_version_everything_later_is_told_once_and_in_order(tmp_path: Path) -> None:
    async def scenario(client: SqliteClient, hub: Hub) -> None:
        await hub.wait_ready()
        start = (await client.list(KIND)).revision
        for name in "abc":
            await client.create(GlobalNetworkSet(metadata=Metadata(name=name)))
        async with hub.subscribe(start, state=False) as subscription:
            await client.create(GlobalNetworkSet(metadata=Metadata(name="d")))
            names = []
            for _ in range(4):
                change = await asyncio.wait_for(subscription.next(), 30)
                assert change is not None
                assert change.after is not None
                names.append(change.after.metadata.name)
            assert names == ["a", "b", "c", "d"]
        async with hub.subscribe("", state=True) as subscription:
            assert [item.metadata.name for item in subscription.initial] == ["a", "b", "c", "d"]

    run(tmp_path, scenario)


def test_history_from_before_the_hub_is_expired_and_stopping_ends_watches(tmp_path: Path) -> None:
    async def scenario(client: SqliteClient, hub: Hub) -> None:
        await hub.wait_ready()
        await client.create(GlobalNetworkSet(metadata=Metadata(name="a")))
        with pytest.raises(Refusal) as refused:
            async with hub.subscribe("-1", state=False):
                pass
        assert refused.value.code == 410
        async with hub.subscribe("", state=True) as subscription:
            hub.stop()
            changes = []
            while (change := await asyncio.wait_for(subscription.next(), 30)) is not None:
                changes.append(change)
            assert len(changes) <= 1

    run(tmp_path, scenario)
