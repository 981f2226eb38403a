"""Requests over a datastore, on both backends: who gets which address, and what is left after failures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.ipam.cluster import (
    Clock,
    affinity,
    blocks,
    configuration,
    fill,
    findings,
    in_use,
    node,
    pool,
    request,
    reservation,
)
from tests.unit.ipam.memory_client import MemoryClient

from tortie.api.resource import Key, Resource
from tortie.base.net import Address, parse_address, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import AssignRequest, Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.errors import (
    AlreadyAssigned,
    BlockLimit,
    Contention,
    NoBlock,
    NoQualifiedPool,
    NotInPool,
    ReleaseConflict,
    StrictAffinity,
)

V4 = pool("v4", "10.0.0.0/27")
"""Four blocks of eight."""
V6 = pool("v6", "fd00::/64")

Scenario = Callable[[Client, Ipam, Clock], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "sqlite"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Runs a scenario on a fresh datastore, then checks that IPAM's data is consistent."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Client]:
        client: Client = MemoryClient() if request.param == "memory" else SqliteClient(str(tmp_path / "test.db"))
        try:
            yield client
        finally:
            await client.close()

    def run(scenario: Scenario) -> None:
        async def perform() -> None:
            async with opened() as client:
                clock = Clock()
                await scenario(client, Ipam(client, now=clock), clock)
                assert await findings(client) == ()

        asyncio.run(perform())

    return run


async def assigned(ipam: Ipam, node: str, handle: str, count: int = 1) -> list[str]:
    result = await ipam.auto_assign(request(node, handle, count))
    return [str(interface) for interface in result.v4]


def test_a_node_fills_its_own_block_before_it_claims_another(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        first = [interface for number in range(8) for interface in await assigned(ipam, "n1", f"h{number}")]
        assert len(set(first)) == 8
        assert all(text.endswith("/29") for text in first)
        assert len(await blocks(client)) == 1
        await assigned(ipam, "n1", "h8")
        assert set((await blocks(client)).values()) == {"host:n1"}
        assert len(await blocks(client)) == 2

    play(scenario)


def test_nodes_have_blocks_of_their_own_and_both_families_are_served(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, V6)
        for name in ("n1", "n2"):
            result = await ipam.auto_assign(request(name, f"pod-{name}", 1, v6=1))
            assert (len(result.v4), len(result.v6), result.messages) == (1, 1, ())
        assert sorted((await blocks(client)).values(), key=str) == ["host:n1", "host:n1", "host:n2", "host:n2"]

    play(scenario)


def test_a_full_pool_is_borrowed_from_and_strict_affinity_forbids_that(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        for number in range(4):
            await assigned(ipam, f"n{number}", f"first-{number}")
        assert len(await blocks(client)) == 4
        borrowed = await ipam.auto_assign(request("n9", "borrower", 3))
        assert len(borrowed.v4) == 3
        assert "host:n9" not in (await blocks(client)).values()
        await client.create(configuration(strict_affinity=True))
        refused = await ipam.auto_assign(request("n9", "refused", 2))
        assert refused.v4 == ()
        assert "Assigned 0 out of 2 requested IPv4 addresses" in refused.messages[0]
        assert "strict affinity" in refused.messages[0]

    play(scenario)


def test_an_exhausted_pool_gives_what_is_left_and_says_so(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        result = await ipam.auto_assign(request("n1", "greedy", 40))
        assert len(result.v4) == 32
        assert result.messages == ("Assigned 32 out of 40 requested IPv4 addresses; No more free addresses in pools v4",)
        assert len(await ipam.release_by_handle("greedy")) == 32
        assert await in_use(client) == {}

    play(scenario)


def test_a_node_has_no_more_blocks_than_it_may_have(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, configuration(max_blocks_per_host=2, strict_affinity=True))
        result = await ipam.auto_assign(request("n1", "many", 20))
        assert len(result.v4) == 16
        assert "per host block limit (2)" in result.messages[0]
        with pytest.raises(BlockLimit, match="n1"):
            await ipam.auto_assign(request("n1", "more"))
        with pytest.raises(BlockLimit):
            await ipam.auto_assign(AssignRequest("n1", "more", 1, 0, max_blocks=1))

    play(scenario)


def test_without_automatic_blocks_only_existing_ones_are_used(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, configuration(auto_allocate_blocks=False, strict_affinity=True))
        with pytest.raises(NoBlock, match="autoAllocateBlocks"):
            await ipam.auto_assign(request("n1", "h"))

    play(scenario)


def test_pools_follow_node_and_namespace_and_an_unknown_node_is_an_error(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        rack = pool(
            "rack", "10.1.0.0/28", nodeSelector="rack == 'a'", namespaceSelector="kubernetes.io/metadata.name == 'shop'"
        )
        await fill(client, rack, node("n1", rack="a"), node("n2", rack="b"))
        result = await ipam.auto_assign(AssignRequest("n1", "h", 1, 0, namespace="shop"))
        assert parse_prefix("10.1.0.0/28").contains(result.v4[0].address)
        for name, namespace in (("n1", "other"), ("n2", "shop")):
            with pytest.raises(NoQualifiedPool, match=f"for node {name}"):
                await ipam.auto_assign(AssignRequest(name, "h", 1, 0, namespace=namespace))
        with pytest.raises(DoesNotExist, match="n3"):
            await ipam.auto_assign(AssignRequest("n3", "h", 1, 0, namespace="shop"))

    play(scenario)


def test_a_block_goes_back_when_its_pool_no_longer_selects_the_node(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("rack", "10.1.0.0/28", nodeSelector="rack == 'a'"), pool("rest", "10.2.0.0/28"))
        labelled = await client.create(node("n1", rack="a"))
        await ipam.auto_assign(request("n1", "moved", pools=[parse_prefix("10.1.0.0/28")]))
        await client.delete(labelled.key)
        await client.create(node("n1"))
        assert await ipam.release_by_handle("moved")
        assert await blocks(client) == {}

    play(scenario)


def test_reserved_addresses_are_not_assigned_automatically_but_by_name(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, reservation("10.0.0.0/28", "10.0.0.16/30"))
        result = await ipam.auto_assign(request("n1", "all", 32))
        assert {str(item.address) for item in result.v4} == {f"10.0.0.{host}" for host in range(20, 32)}
        await ipam.assign_ip(parse_address("10.0.0.1"), "static", attributes={}, node="n1")

    play(scenario)


def test_a_failing_second_family_keeps_the_first(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        result = await ipam.auto_assign(request("n1", "dual", 1, v6=1))
        assert len(result.v4) == 1
        assert result.messages == ("cannot find a qualified ippool",)

    play(scenario)


def test_assigning_one_address_by_name(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, pool("lb", "10.9.0.0/28", allowedUses=["LoadBalancer"]))
        address = parse_address("10.0.0.9")
        assert str(await ipam.assign_ip(address, "static", attributes={"pod": "p"}, node="n1")) == "10.0.0.9/29"
        holder = await ipam.assignment(address)
        assert holder is not None
        assert (holder.handle_id, holder.secondary) == ("static", {"pod": "p"})
        assert await ipam.addresses_of("static") == (address,)
        with pytest.raises(AlreadyAssigned, match=r"10\.0\.0\.9"):
            await ipam.assign_ip(address, "other", attributes={}, node="n1")
        with pytest.raises(NotInPool, match=r"192\.0\.2\.1"):
            await ipam.assign_ip(parse_address("192.0.2.1"), "other", attributes={}, node="n1")
        with pytest.raises(NoQualifiedPool, match="lb does not contain Workload"):
            await ipam.assign_ip(parse_address("10.9.0.1"), "other", attributes={}, node="n1", use="Workload")
        await client.create(configuration(strict_affinity=True))
        with pytest.raises(StrictAffinity, match="host:n1"):
            await ipam.assign_ip(parse_address("10.0.0.10"), "other", attributes={}, node="n2")

    play(scenario)


def test_release_is_idempotent_and_spares_what_another_holds(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        (first, second) = (await ipam.auto_assign(request("n1", "a", 2))).v4
        stranger = parse_address("192.0.2.1")
        with pytest.raises(ReleaseConflict):
            await ipam.release([ReleaseRequest(first.address, handle="b")])
        assert await ipam.release([first.address, stranger]) == (stranger,)
        assert await ipam.release([first.address]) == (first.address,)
        assert await in_use(client) == {second.address: "a"}
        assert await ipam.release_by_handle("a") == (second.address,)
        assert await ipam.release_by_handle("a") == ()
        assert await ipam.release_by_handle("never heard of") == ()

    play(scenario)


def test_an_address_cools_down_before_it_is_given_away_again(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("tiny", "10.0.0.0/29"), configuration(ip_cooldown_seconds=30))
        assert len(await assigned(ipam, "n1", "first", 8)) == 8
        await ipam.release_by_handle("first")
        assert await assigned(ipam, "n1", "second") == []
        clock.time += 31
        assert len(await assigned(ipam, "n1", "second", 8)) == 8

    play(scenario)


def test_a_long_idle_block_of_another_node_is_taken_when_nothing_else_is_left(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("one", "10.0.0.0/29"), configuration(strict_affinity=True))
        await assigned(ipam, "n1", "gone")
        await ipam.release_by_handle("gone")
        assert await assigned(ipam, "n2", "early") == [], "claimed a moment ago: n1 may be about to use it"
        clock.time += 61
        assert len(await assigned(ipam, "n2", "late")) == 1
        assert await blocks(client) == {"10.0.0.0/29": "host:n2"}
        with pytest.raises(DoesNotExist):
            await affinity(client, "n1-10-0-0-0-29")

    play(scenario)


def test_a_removed_node_leaves_addresses_that_are_in_use(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4)
        await assigned(ipam, "n1", "a", 9)
        await ipam.release([min(await in_use(client))])
        await ipam.release_node("n1")
        assert set((await blocks(client)).values()) == {None}
        assert (await client.list("BlockAffinity")).items == ()
        await ipam.release_by_handle("a")
        assert await blocks(client) == {}, "a block without an owner goes with its last address"

    play(scenario)


def test_a_deleted_pool_gives_up_its_blocks(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, V4, pool("other", "10.1.0.0/28"))
        await ipam.auto_assign(request("n1", "a", pools=[parse_prefix("10.0.0.0/27")]))
        await ipam.auto_assign(request("n1", "b", pools=[parse_prefix("10.1.0.0/28")]))
        await ipam.release_by_handle("a")
        await ipam.release_pool(parse_prefix("10.0.0.0/27"))
        assert list((await blocks(client)).values()) == ["host:n1"]

    play(scenario)


def test_load_balancer_addresses_have_a_virtual_owner_and_leave_no_empty_block(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(
            client, pool("lb", "10.9.0.0/28", allowedUses=["LoadBalancer"]), pool("labels", "10.8.0.0/28", nodeSelector="a")
        )
        result = await ipam.auto_assign(AssignRequest("load-balancer", "lb-x", 1, 0, use="LoadBalancer"))
        assert len(result.v4) == 1
        assert set((await blocks(client)).values()) == {"virtual:load-balancer"}
        await ipam.release_by_handle("lb-x")
        assert await blocks(client) == {}

    play(scenario)


def test_requests_at_the_same_time_never_share_an_address(play: Play) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("p", "10.0.0.0/24"), V6)
        others = [Ipam(client, now=clock) for _ in range(3)]
        everyone = [ipam, *others]

        async def pod(number: int) -> set[Address]:
            mine = everyone[number % 4]
            result = await mine.auto_assign(request(f"n{number % 3}", f"pod{number}", 2, v6=1))
            if number % 5 == 0:
                await mine.release_by_handle(f"pod{number}")
                return set()
            return {item.address for item in (*result.v4, *result.v6)}

        async with asyncio.TaskGroup() as tasks:
            pods = [tasks.create_task(pod(number)) for number in range(60)]
        held = [address for task in pods for address in task.result()]
        assert len(held) == len(set(held)) == 48 * 3
        assert set(held) == set(await in_use(client))
        assert sum(user.conflicts for user in everyone) > 0, "nobody raced: this test shows nothing"

    play(scenario)


class Died(BaseException):
    """The process ends here: no handler of ours runs."""


def test_dying_at_any_write_loses_no_address_and_release_by_handle_mends_it() -> None:
    async def life(fatal: int) -> bool:
        """Assign and release, dying at one write; True if that write came."""
        client, clock = MemoryClient(), Clock()
        await fill(client, V4, V6)
        keeper = Ipam(client, now=clock)
        kept = await keeper.auto_assign(request("n1", "kept", 3))
        writes = 0

        def count(verb: str, key: Key) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise Died

        client.before_write = count
        died = False
        victim = Ipam(client, now=clock)
        try:
            await victim.auto_assign(request("n1", "victim", 9, v6=1))
            await victim.release_by_handle("victim")
        except Died:
            died = True
        client.before_write = lambda verb, key: None
        assert not [finding for finding in await findings(client) if finding.kind not in ("handle", "missing handle")]
        before = {address for address, handle in (await in_use(client)).items() if handle == "victim"}
        assert set(await keeper.release_by_handle("victim")) == before, "an address that the handle does not find is lost"
        assert await findings(client) == ()
        assert await in_use(client) == {item.address: "kept" for item in kept.v4}
        assert len((await keeper.auto_assign(request("n1", "rest", 29))).v4) == 29, "nothing was lost for good"
        return died

    async def every_life() -> int:
        fatal = 1
        while await life(fatal):
            fatal += 1
        return fatal

    assert asyncio.run(every_life()) > 15


def test_a_release_defeats_an_assignment_in_flight_for_the_same_handle() -> None:
    """The release comes between counting and writing the block: either the address is released or its handle finds it."""

    async def scenario() -> None:
        client, clock = MemoryClient(), Clock()
        await fill(client, V4)
        slow, quick = Ipam(client, now=clock), Ipam(client, now=clock)
        await quick.auto_assign(request("n1", "other"))
        reached, go_on = asyncio.Event(), asyncio.Event()

        original = client.update

        async def pausing(resource: Resource) -> Resource:
            if resource.kind == "IPAMBlock" and not reached.is_set():
                reached.set()
                await go_on.wait()
            return await original(resource)

        client.update = pausing  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as tasks:
            assignment = tasks.create_task(slow.auto_assign(request("n1", "contested")))
            await reached.wait()
            assert await quick.release_by_handle("contested") == ()
            go_on.set()
        assert len(assignment.result().v4) == 1
        assert slow.conflicts == 1
        assert await findings(client) == ()
        assert len(await quick.release_by_handle("contested")) == 1

    asyncio.run(scenario())


def test_endless_conflicts_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        client = MemoryClient()
        await fill(client, V4)
        ipam = Ipam(client, now=Clock())
        await ipam.auto_assign(request("n1", "first"))

        async def lose(resource: Resource) -> Resource:
            if resource.kind == "IPAMBlock":
                await original(await client.get(resource.key))
            return await original(resource)

        original = client.update
        client.update = lose  # type: ignore[method-assign]
        with pytest.raises(Contention, match="100 conflicts"):
            await ipam.auto_assign(request("n1", "second"))
        client.update = original  # type: ignore[method-assign]
        assert await findings(client) == ()

    monkeypatch.setattr("tortie.ipam.store._LONGEST_PAUSE", 0.0)
    asyncio.run(scenario())
