"""What every datastore client promises (tortie.datastore.client)."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backends import Backend, netset

from tortie.api.ipam import (
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    affinity_name,
    block_name,
)
from tortie.api.networkset import GlobalNetworkSet
from tortie.api.profile import DEFAULT_ALLOW, Profile
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.tier import Tier, TierSpec
from tortie.datastore.client import Client, Event
from tortie.datastore.errors import (
    AlreadyExists,
    Compacted,
    DoesNotExist,
    InvalidRequest,
    NotSupported,
    Unavailable,
    UpdateConflict,
)

KINDS = ("NetworkSet", "Tier")


def with_nets(resource: Resource, *nets: str) -> Resource:
    return msgspec.structs.replace(resource, spec=netset("x", *nets).spec)


async def take(client: Client, count: int, revision: str, kinds: Sequence[str] = KINDS) -> list[Event]:
    """The next `count` events after a revision."""
    events: list[Event] = []
    async with aclosing(client.watch(kinds, revision=revision)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            events += batch
            if len(events) >= count:
                break
    return events


async def singles(client: Client, kind: str, *, revision: str, count: int) -> AsyncIterator[Event]:
    """The next events of one kind, from the version of one of its resources."""
    for event in await take(client, count, revision, (kind,)):
        yield event


def future(revision: str) -> str:
    """A revision that the store has not reached, of whatever form."""
    return re.sub(r"\d+(?=,|$)", lambda number: str(int(number[0]) + 1_000_000), revision)


def test_what_was_created_is_read_back_with_uid_time_and_revision(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a", "10.0.0.0/8"))
        assert created.metadata.uid
        assert created.metadata.resource_version
        assert created.metadata.creation_timestamp is not None
        assert created.metadata.creation_timestamp.endswith("Z")
        assert await client.get(created.key) == created

    backend.run(scenario)


def test_a_second_create_of_a_key_is_refused_and_changes_nothing(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        first = await client.create(netset("a", "10.0.0.0/8"))
        with pytest.raises(AlreadyExists, match=r"resource already exists: NetworkSet\(default/a\)"):
            await client.create(netset("a", "11.0.0.0/8"))
        assert await client.get(first.key) == first

    backend.run(scenario)


def test_an_update_keeps_uid_and_creation_time_and_moves_the_revision(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a", "10.0.0.0/8"))
        bare = msgspec.structs.replace(
            netset("a", "11.0.0.0/8"),
            metadata=Metadata(name="a", namespace="default", resource_version=created.metadata.resource_version),
        )
        updated = await client.update(bare)
        assert updated.metadata.uid == created.metadata.uid
        assert updated.metadata.creation_timestamp == created.metadata.creation_timestamp
        assert updated.metadata.resource_version != created.metadata.resource_version
        assert await client.get(created.key) == updated

    backend.run(scenario)


def test_a_stale_update_is_a_conflict_and_changes_nothing(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a"))
        newest = await client.update(with_nets(created, "10.0.0.0/8"))
        with pytest.raises(UpdateConflict, match="update conflict: NetworkSet"):
            await client.update(with_nets(created, "11.0.0.0/8"))
        assert await client.get(created.key) == newest

    backend.run(scenario)


def test_of_many_concurrent_updates_from_one_revision_exactly_one_wins(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a"))
        async with backend.client() as other:
            results = await asyncio.gather(
                *(one.update(with_nets(created, f"10.0.{i}.0/24")) for i in range(10) for one in (client, other)),
                return_exceptions=True,
            )
        assert sum(isinstance(result, UpdateConflict) for result in results) == 19
        assert [result for result in results if not isinstance(result, BaseException)] == [await client.get(created.key)]

    backend.run(scenario)


def test_an_update_without_a_revision_names_the_field(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        await client.create(netset("a"))
        with pytest.raises(InvalidRequest, match=r"metadata\.resourceVersion"):
            await client.update(netset("a"))

    backend.run(scenario)


def test_a_create_with_a_revision_names_the_field(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a"))
        await client.delete(created.key)
        with pytest.raises(InvalidRequest, match=r"metadata\.resourceVersion"):
            await client.create(created)

    backend.run(scenario)


def test_what_is_not_there_cannot_be_read_updated_or_deleted(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        gone = await client.create(netset("a"))
        await client.delete(gone.key)
        with pytest.raises(DoesNotExist, match=r"resource does not exist: NetworkSet\(default/a\)"):
            await client.get(gone.key)
        with pytest.raises(DoesNotExist):
            await client.update(gone)
        with pytest.raises(DoesNotExist):
            await client.delete(gone.key)

    backend.run(scenario)


def test_delete_returns_what_was_there_and_compares_when_asked_to(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        created = await client.create(netset("a"))
        updated = await client.update(with_nets(created, "10.0.0.0/8"))
        with pytest.raises(UpdateConflict):
            await client.delete(created.key, revision=created.metadata.resource_version)
        assert await client.delete(created.key, revision=updated.metadata.resource_version) == updated

    backend.run(scenario)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (Key("NetworkSet", "default", ""), "metadata.name"),
        (Key("NetworkSet", "", "a"), "metadata.namespace"),
        (Key("Tier", "default", "a"), "metadata.namespace"),
        (Key("NetworkSet", "default", "a/b"), "metadata.name"),
        (Key("Unheard", "", "a"), "Unheard"),
    ],
)
def test_an_incomplete_key_is_refused_by_name_of_the_field(backend: Backend, key: Key, field: str) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(InvalidRequest, match=field):
            await client.get(key)

    backend.run(scenario)


def test_a_list_is_in_key_order_and_can_be_narrowed(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        for name, namespace in (("b", "one"), ("a.x", "two"), ("a", "one"), ("a.y", "one"), ("c", "two")):
            await client.create(netset(name, namespace=namespace))

        def names(items: Sequence[Resource]) -> list[str]:
            return [f"{item.metadata.namespace}/{item.metadata.name}" for item in items]

        assert names((await client.list("NetworkSet")).items) == ["one/a", "one/a.y", "one/b", "two/a.x", "two/c"]
        assert names((await client.list("NetworkSet", namespace="two")).items) == ["two/a.x", "two/c"]
        assert names((await client.list("NetworkSet", name_prefix="a.")).items) == ["one/a.y", "two/a.x"]
        assert (await client.list("Tier")).items == ()

    backend.run(scenario)


def test_a_listing_of_several_kinds_is_one_moment(backend: Backend) -> None:
    """A writer changes a tier and a set in turns: whoever reads both must never see the second ahead of the first.

    Where each kind has a revision of its own they may differ by more, but neither ever goes back.
    """

    async def scenario(client: Client) -> None:
        tier = await client.create(Tier(metadata=Metadata(name="t"), spec=TierSpec(order=0)))
        sets = await client.create(netset("s", "0"))

        async def write() -> None:
            nonlocal tier, sets
            for i in range(1, 60):
                tier = await client.update(msgspec.structs.replace(tier, spec=TierSpec(order=i)))
                sets = await client.update(with_nets(sets, str(i)))

        async def read() -> None:
            async with backend.client() as other:
                last = (0.0, 0)
                for _ in range(60):
                    one, two = (await other.list_many(["Tier", "NetworkSet"])).items
                    order = msgspec.to_builtins(two)["spec"].get("order", 0)
                    number = int(msgspec.to_builtins(one)["spec"]["nets"][0])
                    if backend.has_one_revision:
                        assert order - number in (0, 1)
                    assert order >= last[0]
                    assert number >= last[1]
                    last = (order, number)

        await asyncio.gather(write(), read())

    backend.run(scenario)


def test_list_then_watch_misses_nothing_and_repeats_nothing(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        await client.create(netset("before"))
        listing = await client.list_many(KINDS)
        created = await client.create(netset("a"))
        updated = await client.update(with_nets(created, "10.0.0.0/8"))
        await client.create(GlobalNetworkSet(metadata=Metadata(name="not-watched")))
        await client.delete(created.key)
        events = await take(client, 3, listing.revision)
        assert [(event.key, event.value) for event in events] == [
            (created.key, created),
            (created.key, updated),
            (created.key, None),
        ]
        versions = [created.metadata.resource_version, updated.metadata.resource_version]
        for event, version in zip(events, versions, strict=False):
            assert version in re.findall(r"\d+$|\d+(?=,)", event.revision)
        assert await take(client, 2, events[0].revision) == events[1:]
        only = [event async for event in singles(client, "NetworkSet", revision=versions[0], count=2)]
        assert [(event.key, event.value) for event in only] == [(created.key, updated), (created.key, None)]

    backend.run(scenario)


def test_a_watch_follows_commits_of_another_client_in_their_order(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list_many(KINDS)

        async def write() -> None:
            async with backend.client() as writer:
                for i in range(200):
                    await writer.create(netset(f"n{i}"))
                    if i % 3 == 0:
                        await writer.delete(Key("NetworkSet", "default", f"n{i}"))

        events, _ = await asyncio.gather(take(client, 267, listing.revision), write())
        expected = []
        for i in range(200):
            expected += [f"+n{i}", f"-n{i}"] if i % 3 == 0 else [f"+n{i}"]
        assert [("-" if event.value is None else "+") + event.key.name for event in events] == expected

    backend.run(scenario)


def test_a_commit_between_two_reads_wakes_every_watcher(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list_many(KINDS)
        watchers = [asyncio.ensure_future(take(client, 1, listing.revision)) for _ in range(5)]
        await asyncio.sleep(0.1)
        async with backend.client() as writer:
            created = await writer.create(netset("a"))
        for events in await asyncio.wait_for(asyncio.gather(*watchers), 30):
            assert [event.value for event in events] == [created]

    backend.run(scenario)


def test_a_watch_from_a_history_that_is_gone_says_so(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list_many(KINDS)
        with pytest.raises(Compacted, match="list again"):
            await take(client, 1, future(listing.revision))

    backend.run(scenario)


def test_a_closed_client_ends_its_watches_and_refuses_requests(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list_many(KINDS)
        watcher = asyncio.ensure_future(take(client, 1, listing.revision))
        await asyncio.sleep(0.05)
        await client.close()
        await client.close()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(watcher, 30)
        with pytest.raises(Unavailable):
            await client.get(Key("Tier", "", "a"))

    backend.run(scenario)


def test_the_default_allow_profile_is_always_there_and_never_written(backend: Backend) -> None:
    async def scenario(client: Client) -> None:
        assert await client.get(DEFAULT_ALLOW.key) == DEFAULT_ALLOW
        if "Profile" in backend.read_only:
            with pytest.raises(NotSupported, match="namespaces"):
                await client.create(Profile(metadata=Metadata(name="z")))
        else:
            await client.create(Profile(metadata=Metadata(name="z")))
            await client.create(Profile(metadata=Metadata(name="a")))
        listed = [item.metadata.name for item in (await client.list("Profile")).items]
        assert listed == sorted(listed)
        assert {DEFAULT_ALLOW.metadata.name} < set(listed)
        with pytest.raises(AlreadyExists):
            await client.create(Profile(metadata=Metadata(name=DEFAULT_ALLOW.metadata.name)))
        with pytest.raises(NotSupported, match="built in"):
            await client.update(DEFAULT_ALLOW)
        with pytest.raises(NotSupported, match="built in"):
            await client.delete(DEFAULT_ALLOW.key)

    backend.run(scenario)


@pytest.mark.parametrize("cidr", ["10.0.0.0/26", "fd00::/122", "1:2:3:4:5:6:7:0/122"])
def test_blocks_and_affinities_survive_the_shape_they_are_stored_in(backend: Backend, cidr: str) -> None:
    async def scenario(client: Client) -> None:
        block = IPAMBlock(
            metadata=Metadata(name=block_name(cidr)),
            spec=IPAMBlockSpec(
                cidr=cidr,
                affinity="host:node-1",
                allocations=(0, None),
                unallocated=(1,),
                attributes=(AllocationAttribute(handle_id="h", secondary={"pod": "p"}),),
                # Kubernetes' numbers are signed.
                sequence_number=2**63 if backend.has_one_revision else 2**63 - 1,
                sequence_number_for_allocation={"0": 7},
            ),
        )
        affinity = BlockAffinity(
            metadata=Metadata(name=affinity_name("node-1", cidr)),
            spec=BlockAffinitySpec(state="pending", node="node-1", cidr=cidr, type="virtual"),
        )
        for resource in (block, affinity):
            created = await client.create(resource)
            read = await client.get(resource.key)
            assert read == created
            assert read == msgspec.structs.replace(resource, metadata=read.metadata)
            assert (await client.list(resource.kind)).items == (read,)
            again = await client.update(read)
            assert await client.delete(resource.key, revision=again.metadata.resource_version) == again

    backend.run(scenario)


@pytest.mark.parametrize("node", ["n" * 250, "node-10-0-0-0-26", "1", "fd00", "node-fd00--1"])
@pytest.mark.parametrize("cidr", ["10.0.0.0/26", "fd00::/122"])
def test_an_affinity_is_found_by_name_whatever_its_nodes_name_looks_like(backend: Backend, cidr: str, node: str) -> None:
    async def scenario(client: Client) -> None:
        name = affinity_name(node, cidr)
        wanted = BlockAffinity(metadata=Metadata(name=name), spec=BlockAffinitySpec(node=node, cidr=cidr, state="pending"))
        await client.create(
            BlockAffinity(
                metadata=Metadata(name=affinity_name("other", cidr)),
                spec=BlockAffinitySpec(node="other", cidr=cidr, state="pending"),
            )
        )
        created = await client.create(wanted)
        assert await client.get(created.key) == created
        virtual = msgspec.structs.replace(wanted, spec=msgspec.structs.replace(wanted.spec, type="virtual"))
        with pytest.raises(AlreadyExists):
            await client.create(virtual)
        assert await client.delete(created.key) == created
        with pytest.raises(DoesNotExist):
            await client.get(created.key)

    backend.run(scenario)


WATCHING_PROCESS = """
import asyncio, os, sys, time
from tortie.datastore.config import open_client

async def main():
    client = open_client(os.environ, None)
    revision = (await client.list_many(["NetworkSet"])).revision
    print("ready", flush=True)
    seen = 0
    async for batch in client.watch(["NetworkSet"], revision=revision):
        for event in batch:
            print(event.key.name, time.time(), flush=True)
            seen += 1
        if seen >= 50:
            break
    await client.close()

asyncio.run(main())
"""


def test_another_process_sees_commits_within_a_second(backend: Backend, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WATCHING_PROCESS, env=os.environ | backend.env, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 40) == b"ready\n"
        took = []
        for i in range(50):
            started = loop.time()
            await client.create(netset(f"n{i}"))
            line = await asyncio.wait_for(process.stdout.readline(), 10)
            assert line.split()[0].decode() == f"n{i}"
            took.append(loop.time() - started)
        assert sorted(took)[-10] < 1, (
            "whoever looks every now and then takes longer most of the time, a busy machine some times"
        )
        assert await process.wait() == 0

    backend.run(scenario)
