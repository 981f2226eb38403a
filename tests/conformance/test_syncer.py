"""What a syncer promises over every backend, and over one that fails on purpose."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest
from tests.conformance.backends import Backend, netset

from tortie.api.cluster import ClusterInformation
from tortie.api.networkset import GlobalNetworkSet
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.datastore.client import Client, Event, Listing
from tortie.datastore.errors import Compacted, Incompatible, Unavailable
from tortie.datastore.identity import Identity
from tortie.datastore.initialize import CLUSTER_INFORMATION, ensure_initialized
from tortie.datastore.syncer import Batch, Syncer

KINDS = ("NetworkSet", "GlobalNetworkSet")


def unchanged(update: Update) -> Update:
    return update


class Consumer:
    """Remembers batches; `state` is what they add up to."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.state: dict[Key, Resource] = {}
        self._news = asyncio.Event()

    async def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        for key, value in batch.updates:
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(40):
            while not condition():
                self._news.clear()
                await self._news.wait()

    @property
    def in_sync(self) -> bool:
        return any(batch.in_sync for batch in self.batches)

    @property
    def deletions(self) -> list[Key]:
        return [update.key for batch in self.batches for update in batch.updates if update.value is None]


class Flaky:
    """A client whose requests fail when told to: `away` refuses all, `break_watch` ends the watch in flight with an error."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.away = False
        self.listings = 0
        self._break = asyncio.Event()
        self._error: Exception = Unavailable("broken on purpose")

    def break_watch(self, error: Exception) -> None:
        self._error = error
        self._break.set()

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        self.listings += 1
        if self.away:
            raise Unavailable("away on purpose")
        return await self._client.list_many(kinds)

    async def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        self._break.clear()
        watch = cast(AsyncGenerator[Sequence[Event], None], self._client.watch(kinds, revision=revision))
        broken = asyncio.ensure_future(self._break.wait())
        batch: asyncio.Future[Sequence[Event]] = asyncio.get_running_loop().create_future()
        try:
            while True:
                batch = asyncio.ensure_future(anext(watch))
                await asyncio.wait({batch, broken}, return_when=asyncio.FIRST_COMPLETED)
                if broken.done():
                    raise self._error
                yield batch.result()
        finally:
            broken.cancel()
            batch.cancel()  # also of whoever gives up this watch while it waits
            await asyncio.gather(batch, return_exceptions=True)
            await watch.aclose()


@asynccontextmanager
async def running(client: object, consumer: Consumer, convert: Callable[[Update], Update] = unchanged) -> AsyncIterator[Syncer]:
    syncer = Syncer(client, KINDS, convert=convert)  # type: ignore[arg-type]
    task = asyncio.ensure_future(syncer.run(consumer))
    try:
        yield syncer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def scenario_of(backend: Backend, scenario: Callable[[Client, Client], Awaitable[None]]) -> None:
    """Run with a client for the syncer and one for the writer."""

    async def main(client: Client) -> None:
        async with backend.client() as writer:
            await scenario(client, writer)

    backend.run(main)


async def contents(client: Client) -> dict[Key, Resource]:
    return {item.key: item for item in (await client.list_many(KINDS)).items}


def test_the_first_listing_comes_in_small_batches_and_ends_in_sync_once(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        for i in range(1101):
            await writer.create(netset(f"n{i}"))
        consumer = Consumer()
        async with running(client, consumer):
            await consumer.until(lambda: consumer.in_sync)
            sizes = [len(batch.updates) for batch in consumer.batches]
            assert (sum(sizes), sizes[-1]) == (1101, 0)
            assert max(sizes) <= 100, "a batch is worked on without a pause"
            assert [batch.in_sync for batch in consumer.batches] == [False] * (len(sizes) - 1) + [True]
            assert consumer.state == await contents(writer)

    scenario_of(backend, scenario)


def test_an_empty_datastore_is_in_sync_at_once(backend: Backend) -> None:
    async def scenario(client: Client, _: Client) -> None:
        consumer = Consumer()
        async with running(client, consumer) as syncer:
            await consumer.until(lambda: consumer.in_sync)
            assert consumer.batches == [Batch((), in_sync=True)]
            assert syncer.connected

    scenario_of(backend, scenario)


def test_changes_arrive_and_add_up_to_the_contents(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        consumer = Consumer()
        async with running(client, consumer):
            await consumer.until(lambda: consumer.in_sync)
            for i in range(30):
                created = await writer.create(netset(f"n{i}"))
                if i % 2:
                    await writer.update(msgspec.structs.replace(created, spec=netset("x", "10.0.0.0/8").spec))
                if i % 3 == 0:
                    await writer.delete(created.key)
            last = await writer.create(netset("last"))
            await consumer.until(lambda: last.key in consumer.state)
            assert consumer.state == await contents(writer)

    scenario_of(backend, scenario)


def test_stored_updates_are_converted_deletions_too(backend: Backend) -> None:
    def convert(update: Update) -> Update:
        if update.key.kind != "GlobalNetworkSet":
            return update
        name = f"kns.{update.key.name}"
        value = None if update.value is None else Profile(metadata=Metadata(name=name))
        return Update(Key("Profile", "", name), value)

    async def scenario(client: Client, writer: Client) -> None:
        consumer = Consumer()
        await writer.create(GlobalNetworkSet(metadata=Metadata(name="a")))
        async with running(client, consumer, convert):
            await consumer.until(lambda: consumer.in_sync)
            assert list(consumer.state) == [Key("Profile", "", "kns.a")]
            await writer.delete(Key("GlobalNetworkSet", "", "a"))
            await consumer.until(lambda: not consumer.state)

    scenario_of(backend, scenario)


@pytest.mark.parametrize("error", [Compacted("on purpose"), Unavailable("on purpose")])
def test_after_a_broken_watch_only_the_differences_are_reported(backend: Backend, error: Exception) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        kept, gone = await writer.create(netset("kept")), await writer.create(netset("gone"))
        flaky, consumer = Flaky(client), Consumer()
        async with running(flaky, consumer):
            await consumer.until(lambda: consumer.in_sync)
            flaky.away = True
            flaky.break_watch(error)
            async with asyncio.timeout(30):
                while flaky.listings < 3:
                    await asyncio.sleep(0.01)
            await writer.delete(gone.key)
            changed = await writer.update(msgspec.structs.replace(kept, spec=netset("x", "10.0.0.0/8").spec))
            added = await writer.create(netset("added"))
            await writer.create(netset("untouched"))
            before = len(consumer.batches)
            flaky.away = False
            await consumer.until(lambda: len(consumer.batches) > before)
            updates = [update for batch in consumer.batches[before:] for update in batch.updates]
            assert {(key, value) for key, value in ((u.key, u.value is None) for u in updates)} == {
                (changed.key, False),
                (added.key, False),
                (Key("NetworkSet", "default", "untouched"), False),
                (gone.key, True),
            }
            assert consumer.state == await contents(writer)
            await writer.delete(added.key)
            await consumer.until(lambda: added.key not in consumer.state)
        assert sum(batch.in_sync for batch in consumer.batches) == 1

    scenario_of(backend, scenario)


def test_a_datastore_that_is_away_takes_nothing_away(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        created = await writer.create(netset("a"))
        flaky, consumer = Flaky(client), Consumer()
        async with running(flaky, consumer) as syncer:
            await consumer.until(lambda: consumer.in_sync)
            flaky.away = True
            flaky.break_watch(Unavailable("on purpose"))
            async with asyncio.timeout(30):
                while flaky.listings < 4:
                    await asyncio.sleep(0.01)
            assert not syncer.connected
            assert consumer.state == {created.key: created}
            assert consumer.deletions == []

    scenario_of(backend, scenario)


def test_a_datastore_that_is_away_at_first_is_waited_for(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        await writer.create(netset("a"))
        flaky, consumer = Flaky(client), Consumer()
        flaky.away = True
        async with running(flaky, consumer):
            await asyncio.sleep(0.2)
            assert consumer.batches == []
            flaky.away = False
            await consumer.until(lambda: consumer.in_sync)
            assert consumer.state == await contents(writer)

    scenario_of(backend, scenario)


def test_a_store_that_is_another_clusters_all_of_a_sudden_is_not_believed_until_it_is_ours_again(backend: Backend) -> None:
    async def rename(writer: Client, guid: str) -> str:
        stored = await writer.get(CLUSTER_INFORMATION.key)
        assert isinstance(stored, ClusterInformation)
        await writer.update(msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, cluster_guid=guid)))
        return stored.spec.cluster_guid

    async def scenario(client: Client, writer: Client) -> None:
        await ensure_initialized(writer)
        created = await writer.create(netset("a"))
        identity, consumer = Identity(), Consumer()
        syncer = Syncer(client, KINDS, convert=unchanged, identity=identity)
        task = asyncio.ensure_future(syncer.run(consumer))
        await consumer.until(lambda: consumer.in_sync)
        ours = await rename(writer, "theirs")
        await writer.delete(created.key)
        async with asyncio.timeout(30):
            while not identity.refusal:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert syncer.connected
        assert consumer.state == {created.key: created}
        await rename(writer, ours)
        await consumer.until(lambda: consumer.state == {})
        assert identity.refusal == ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    scenario_of(backend, scenario)


def test_what_waiting_cannot_heal_ends_the_run(backend: Backend) -> None:
    async def scenario(client: Client, _: Client) -> None:
        flaky, consumer = Flaky(client), Consumer()
        run = asyncio.ensure_future(Syncer(flaky, KINDS, convert=unchanged).run(consumer))  # type: ignore[arg-type]
        await consumer.until(lambda: consumer.in_sync)
        flaky.break_watch(Incompatible("on purpose"))
        with pytest.raises(Incompatible):
            await asyncio.wait_for(run, 30)

    scenario_of(backend, scenario)
