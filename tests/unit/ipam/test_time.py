"""A clock that jumps: addresses may wait too long for their next owner, and are never given away twice or lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.ipam.cluster import Clock, blocks, configuration, fill, findings, in_use, pool, request
from tests.unit.ipam.memory_client import MemoryClient

from tortie.api.ipam import IPAMBlock
from tortie.api.resource import Key
from tortie.datastore.client import Client
from tortie.ipam.allocator import DEFAULT_BLOCK_LIMIT, Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.errors import BlockLimit, ReleaseConflict

HOUR = 3600.0


def play(scenario: Callable[[Client, Ipam, Clock], Awaitable[None]]) -> None:
    async def perform() -> None:
        client, clock = MemoryClient(), Clock()
        await scenario(client, Ipam(client, now=clock), clock)
        assert await findings(client) == ()

    asyncio.run(perform())


async def number(client: Client, ordinal: int) -> int:
    block = await client.get(Key("IPAMBlock", "", "10-0-0-0-29"))
    assert isinstance(block, IPAMBlock)
    return block.spec.sequence_number_for_allocation[str(ordinal)]


def test_after_a_jump_back_a_cooling_address_waits_and_others_are_given_away() -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("tiny", "10.0.0.0/29"), configuration(ip_cooldown_seconds=30))
        (first,) = (await ipam.auto_assign(request("n1", "first"))).v4
        await ipam.release_by_handle("first")
        clock.time -= HOUR
        others = (await ipam.auto_assign(request("n1", "others", 8))).v4
        assert len(others) == 7
        assert first not in others
        clock.time += HOUR + 31
        assert (await ipam.auto_assign(request("n1", "again"))).v4 == (first,)

    play(scenario)


def test_a_block_that_was_claimed_in_the_future_is_not_taken_for_idle() -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("one", "10.0.0.0/29"), configuration(strict_affinity=True))
        await ipam.auto_assign(request("n1", "a"))
        await ipam.release_by_handle("a")
        clock.time -= HOUR
        assert (await ipam.auto_assign(request("n2", "b"))).v4 == ()
        assert await blocks(client) == {"10.0.0.0/29": "host:n1"}
        clock.time += HOUR + 61
        assert len((await ipam.auto_assign(request("n2", "b"))).v4) == 1

    play(scenario)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 0.0])
def test_a_release_from_the_past_never_takes_the_address_of_the_next_owner(jump: float) -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("tiny", "10.0.0.0/29"))
        taken = (await ipam.auto_assign(request("n1", "same", 8))).v4
        late = ReleaseRequest(taken[0].address, "same", await number(client, 0))
        await ipam.release_by_handle("same")
        clock.time += jump
        if jump >= 0:  # a cooled-down address needs a clock that goes on
            clock.time += 1
            await ipam.auto_assign(request("n1", "same", 8))
            with pytest.raises(ReleaseConflict, match="assigned anew"):
                await ipam.release([late])
            assert set((await in_use(client)).values()) == {"same"}
        else:
            assert await ipam.release([late]) == (late.address,)

    play(scenario)


def test_a_node_has_at_most_twenty_blocks_where_nobody_says_how_many() -> None:
    async def scenario(client: Client, ipam: Ipam, clock: Clock) -> None:
        await fill(client, pool("wide", "10.0.0.0/24"))
        assert len((await ipam.auto_assign(request("n1", "many", 200))).v4) == 8 * DEFAULT_BLOCK_LIMIT == 160
        with pytest.raises(BlockLimit, match="20"):
            await ipam.auto_assign(request("n1", "more"))
        assert len((await ipam.auto_assign(request("n2", "other", 1))).v4) == 1

    play(scenario)
