"""One stored value that cannot be read, on every backend: it is named, it denies, and everything else goes on."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.conformance.backends import Backend, netset
from tests.conformance.test_syncer import Consumer, running, scenario_of

from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.policy import NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Key, Metadata
from tortie.datastore.client import Client
from tortie.datastore.errors import Incompatible

BROKEN: Any = 5
"""No CIDR, and no text either: stored as it is, refused when it is read."""


def play(backend: Backend, scenario: Callable[[Client, Client], Awaitable[None]]) -> None:
    scenario_of(backend, scenario)


def test_a_broken_value_is_listed_apart_and_the_others_are_there(backend: Backend) -> None:
    async def scenario(client: Client, _: Client) -> None:
        good = await client.create(netset("good", "10.0.0.0/8"))
        await client.create(netset("bad", BROKEN))
        listing = await client.list_many(["NetworkSet"])
        assert listing.items == (good,)
        (broken,) = listing.unreadable
        assert broken.key == Key("NetworkSet", "default", "bad")
        assert "nets" in broken.reason
        assert b'"bad"' in broken.data
        with pytest.raises(Incompatible, match="bad"):
            listing.whole()
        with pytest.raises(Incompatible, match="bad"):
            await client.list("NetworkSet")

    play(backend, scenario)


def test_a_syncer_goes_on_beside_a_broken_value(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        await writer.create(netset("bad", "10.0.0.0/8", BROKEN))
        consumer = Consumer()
        async with running(client, consumer) as syncer:
            await consumer.until(lambda: consumer.in_sync)
            kept = consumer.state[Key("NetworkSet", "default", "bad")]
            assert getattr(kept, "spec").nets == ("10.0.0.0/8",)  # noqa: B009 - of a union of kinds
            assert list(syncer.unreadable) == [kept.key]
            await writer.create(netset("worse", BROKEN))
            good = await writer.create(netset("good"))
            await consumer.until(lambda: good.key in consumer.state)
            assert len(syncer.unreadable) == 2

    play(backend, scenario)


def test_what_was_readable_stays_in_force_until_it_is_repaired_or_deleted(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        first = await writer.create(netset("a", "10.0.0.0/8"))
        consumer = Consumer()
        async with running(client, consumer) as syncer:
            await consumer.until(lambda: consumer.in_sync)
            spec = msgspec.structs.replace(netset("a").spec, nets=(BROKEN,))
            broken = await writer.update(msgspec.structs.replace(first, spec=spec))
            await writer.create(netset("after"))
            await consumer.until(lambda: len(consumer.state) == 2)
            assert consumer.state[first.key] == first
            assert "what was known stays" in syncer.unreadable[first.key]
            repaired = await writer.update(
                msgspec.structs.replace(broken, spec=msgspec.structs.replace(spec, nets=("10.1.0.0/16",)))
            )
            await consumer.until(lambda: consumer.state[first.key] == repaired)
            assert not syncer.unreadable
            again = await writer.update(msgspec.structs.replace(repaired, spec=spec))
            await writer.delete(Key("NetworkSet", "default", "after"))
            await consumer.until(lambda: len(consumer.state) == 1)
            assert syncer.unreadable
            assert again.key in consumer.state
            with pytest.raises(Incompatible):
                await writer.delete(again.key)  # cannot be handed back, and yet is gone
            await consumer.until(lambda: not consumer.state)
            assert not syncer.unreadable

    play(backend, scenario)


def test_a_damaged_cluster_information_stops_nobody(backend: Backend) -> None:
    async def scenario(client: Client, writer: Client) -> None:
        first = await writer.create(
            ClusterInformation(metadata=Metadata(name="default"), spec=ClusterInformationSpec(cluster_guid="g"))
        )
        consumer = Consumer()
        async with running(client, consumer):
            await consumer.until(lambda: consumer.in_sync)
            await writer.update(msgspec.structs.replace(first, spec=ClusterInformationSpec(cluster_guid=BROKEN)))
            after = await writer.create(netset("after"))
            await consumer.until(lambda: after.key in consumer.state)
        again = Consumer()
        async with running(client, again):
            await again.until(lambda: after.key in again.state)

    play(backend, scenario)


def test_a_broken_policy_is_read_as_one_that_denies(backend: Backend) -> None:
    async def scenario(client: Client, _: Client) -> None:
        order: Any = "first"
        spec = NetworkPolicySpec(selector="a == 'b'", types=("Ingress",), order=order, ingress=(Rule(action="Allow"),))
        await client.create(NetworkPolicy(metadata=Metadata(name="p", namespace="shop"), spec=spec))
        listing = await client.list_many(["NetworkPolicy", "NetworkSet"])
        assert [broken.key for broken in listing.unreadable] == [Key("NetworkPolicy", "shop", "p")]

    play(backend, scenario)
