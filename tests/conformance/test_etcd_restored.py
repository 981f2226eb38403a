"""etcd's own backups put back (`etcdctl snapshot restore`): revisions begin to count again, and a watch must not believe that
those which it has not seen are the ones that come after what it has."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.conformance.backends import etcd_at, netset
from tests.conformance.cutting_proxy import proxy_to
from tests.conformance.etcd_server import Member, cluster

from tortie.api.resource import Update
from tortie.datastore.client import Client
from tortie.datastore.errors import Compacted
from tortie.datastore.etcd import connection
from tortie.datastore.syncer import Batch, Syncer

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module")
def member() -> Iterator[Member]:
    with cluster() as one:
        yield one[0]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long etcd takes on a busy machine to be put back."""
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 60.0)


async def write(client: Client, words: Sequence[str]) -> None:
    """`+name` or `-name`, one after the other."""
    for word in words:
        if word[0] == "+":
            await client.create(netset(word[1:]))
        else:
            await client.delete(netset(word[1:]).key)


@pytest.mark.parametrize(
    ("seen", "lost", "instead"),
    [
        (["+one"], ["+two", "+three"], []),
        (["+one"], ["+two"], ["+other", "+more", "+again"]),
        (["+one", "+two"], ["-two"], ["+other", "-two"]),
        (["+one"], ["+two"], ["+two"]),
        ([], [], ["+one"]),
    ],
)
def test_a_watch_that_was_away_while_an_older_copy_was_put_back_says_so(
    member: Member, tmp_path: Path, seen: list[str], lost: list[str], instead: list[str]
) -> None:
    """Behind what was seen, as far, or further; with nothing seen at all there is no telling."""
    member.clear()

    async def scenario(writer: Client) -> None:
        async with proxy_to(member.url) as proxy, etcd_at({"ETCD_ENDPOINTS": proxy.url}).client() as client:
            revision = (await client.list("NetworkSet")).revision
            found: list[str] = []

            async def follow() -> None:
                async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
                    async for batch in batches:
                        found.extend(("+" if event.value else "-") + event.key.name for event in batch)

            watching = asyncio.ensure_future(follow())
            await asyncio.sleep(0.1)
            await write(writer, seen)
            await asyncio.to_thread(member.snapshot, tmp_path / "copy")
            await write(writer, lost)
            while found != seen + lost:
                await asyncio.sleep(0.01)
            proxy.mode = "refuse"
            proxy.hang_up()
            member.put_back(tmp_path / "copy")  # not by a thread: with it the process that it starts would end
            async with etcd_at({"ETCD_ENDPOINTS": member.url}).client() as later:
                await write(later, instead)
            proxy.mode = "through"
            with pytest.raises(Compacted, match="list again"):
                await asyncio.wait_for(watching, 40)
            assert found == seen + lost, "what came after that is another history's"

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_a_watch_goes_on_where_it_was_when_etcd_starts_again_on_what_it_had(member: Member) -> None:
    member.clear()

    async def scenario(client: Client) -> None:
        revision = (await client.list("NetworkSet")).revision
        await write(client, ["+one", "+two", "-one"])
        found: list[str] = []
        async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                found += [event.key.name for event in batch]
                if len(found) == 3:
                    await asyncio.to_thread(member.kill)
                    member.start()
                    await asyncio.to_thread(member.wait)
                    await write(client, ["+three"])
                if len(found) == 4:
                    break
        assert found == ["one", "two", "one", "three"]

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_a_follower_knows_what_the_older_copy_and_its_later_writers_say(member: Member, tmp_path: Path) -> None:
    """As an agent follows: while it is away others write as much as the copy has not."""
    member.clear()

    async def scenario(writer: Client) -> None:
        async with proxy_to(member.url) as proxy, etcd_at({"ETCD_ENDPOINTS": proxy.url}).client() as client:
            state: set[str] = set()
            back: list[bool] = []

            async def sink(batch: Batch) -> None:
                back.append(batch.went_back)
                for key, value in batch.updates:
                    (state.discard if value is None else state.add)(key.name)

            following = asyncio.ensure_future(Syncer(client, ["NetworkSet"], convert=unchanged).run(sink))
            await write(writer, ["+one"])
            await asyncio.to_thread(member.snapshot, tmp_path / "copy")
            await write(writer, ["+two", "-one"])
            while state != {"two"}:
                await asyncio.sleep(0.01)
            proxy.mode = "refuse"
            proxy.hang_up()
            member.put_back(tmp_path / "copy")  # not by a thread: with it the process that it starts would end
            async with etcd_at({"ETCD_ENDPOINTS": member.url}).client() as later:
                await write(later, ["+three", "+four", "+five"])
            proxy.mode = "through"
            async with asyncio.timeout(40):
                while state != {"one", "three", "four", "five"}:
                    await asyncio.sleep(0.01)
            following.cancel()
            assert True in back, "what the copy does not know was not deleted"

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def unchanged(update: Update) -> Update:
    return update
