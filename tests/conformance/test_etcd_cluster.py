"""Three members of etcd: a leader dies, a member freezes. Nothing is lost, nothing comes twice, order is kept."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import aclosing

import msgspec
import pytest
from tests.conformance.backends import Backend, etcd_at, netset
from tests.conformance.etcd_server import Member, cluster

from tortie.api.resource import Key
from tortie.datastore.client import Client, Event

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(120)]


@pytest.fixture
def members() -> Iterator[list[Member]]:
    with cluster(3) as three:
        yield three


def backend_of(members: list[Member]) -> Backend:
    return etcd_at({"ETCD_ENDPOINTS": ",".join(member.url for member in members)})


def leader_first(members: list[Member]) -> list[Member]:
    return sorted(members, key=lambda member: not member.is_leader)


async def follow(client: Client, revision: str, last: Key) -> list[Event]:
    """Every event until one key appears."""
    events: list[Event] = []
    async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            events += batch
            if batch[-1].key == last:
                break
    return events


def test_two_leaders_are_killed_during_writes_and_a_watch(members: list[Member]) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list("NetworkSet")
        last = netset("last").key
        expected: list[tuple[str, str]] = []

        async def write(name: str) -> None:
            created = await client.create(netset(name))
            expected.append(("+" + name, created.metadata.resource_version))
            if int(name[1:]) % 4 == 1:
                updated = await client.update(msgspec.structs.replace(created, spec=netset("x", "10.0.0.0/8").spec))
                expected.append(("+" + name, updated.metadata.resource_version))
            if int(name[1:]) % 4 == 2:
                await client.delete(created.key)
                expected.append(("-" + name, ""))

        async def disturb() -> None:
            for _ in range(2):
                await asyncio.sleep(0.7)
                leader = (await asyncio.to_thread(leader_first, members))[0]
                leader.kill()
                await asyncio.sleep(2.0)
                leader.start()
                await asyncio.to_thread(leader.wait)

        async with backend_of(members).client() as other:
            watching = asyncio.ensure_future(follow(other, listing.revision, last))
            disturbing = asyncio.ensure_future(disturb())
            count = 0
            while not disturbing.done() or count <= 100:  # on a busy machine few are written in that time
                await write(f"n{count}")
                count += 1
                await asyncio.sleep(0.005)
            await disturbing
            await client.create(netset("last"))
            events = await asyncio.wait_for(watching, 40)
        seen = [("+" if event.value else "-") + event.key.name for event in events]
        assert seen == [sign for sign, _ in expected] + ["+last"]
        assert all(revision in ("", event.revision) for (_, revision), event in zip(expected, events, strict=False))
        revisions = [int(event.revision) for event in events]
        assert revisions == sorted(set(revisions))
        remaining = {sign[1:] for sign, _ in expected} - {sign[1:] for sign, _ in expected if sign[0] == "-"} | {"last"}
        assert {item.metadata.name for item in (await client.list("NetworkSet")).items} == remaining

    backend_of(leader_first(members)).run(scenario)


def test_concurrent_creates_of_one_key_have_one_winner_while_the_leader_dies(members: list[Member]) -> None:
    async def scenario(client: Client) -> None:
        winners: dict[str, int] = {}
        backend = backend_of(members[::-1])

        async def race(rival: Client, who: str) -> None:
            for i in range(150):
                try:
                    await rival.create(netset(f"n{i}", f"10.0.0.{i % 2}/32"))
                except Exception as error:
                    if "already exists" not in str(error):
                        raise
                else:
                    winners[f"n{i}"] = winners.get(f"n{i}", 0) + 1
                await asyncio.sleep(0.002)

        async with backend.client() as second, backend_of(members[1:]).client() as third:
            racing = asyncio.gather(race(client, "a"), race(second, "b"), race(third, "c"))
            await asyncio.sleep(0.2)
            (await asyncio.to_thread(leader_first, members))[0].kill()
            await racing
        assert winners == {f"n{i}": 1 for i in range(150)}

    backend_of(members).run(scenario)


def test_a_frozen_member_is_noticed_by_requests_and_watches(members: list[Member]) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list("NetworkSet")
        first, created = (await client.create(netset("first"))).key, netset("last").key
        watching = asyncio.ensure_future(follow(client, listing.revision, created))
        await asyncio.sleep(0.3)
        followers[0].signal(signal.SIGSTOP)  # its connections stay open, nothing comes
        started = time.monotonic()
        await client.create(netset("last"))
        assert time.monotonic() - started < 12
        assert [event.key for event in await asyncio.wait_for(watching, 40)] == [first, created]

    leader, *followers = leader_first(members)
    backend_of([followers[0], leader, followers[1]]).run(scenario)
