"""Splitting a pool: the parts cover it exactly, blocks and addresses stay, and a half-done split can be finished."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ipam.cluster import NOW, blocks, fill, findings, in_use, node, pool, request

from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.ippool import IPPool
from tortie.api.resource import Key, Metadata
from tortie.base.net import parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam
from tortie.ipam.split import SplitError, plan_split, split_pool

T = TypeVar("T")
KEY = Key("IPPool", "", "p")
LOCKED = ClusterInformation(metadata=Metadata(name="default"), spec=ClusterInformationSpec(datastore_ready=False))


def play(tmp_path: Path, act: Callable[[Client], Awaitable[T]]) -> T:
    async def main() -> T:
        client = SqliteClient(str(tmp_path / "t.sqlite"))
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(main())


@given(st.sampled_from(["10.0.0.0/24", "10.0.0.0/29", "fd00::/120", "fd00::/64"]), st.integers(1, 5))
def test_the_parts_are_equal_and_together_the_pool(cidr: str, power: int) -> None:
    whole = pool("p", cidr, natOutgoing=True)
    try:
        parts = plan_split(whole, 1 << power)
    except SplitError:
        assert parse_prefix(cidr).length + power > whole.spec.block_size
        return
    cidrs = [parse_prefix(part.spec.cidr) for part in parts]
    assert len(cidrs) == 1 << power
    assert cidrs[0].network == parse_prefix(cidr).network
    assert cidrs[-1].last == parse_prefix(cidr).last
    assert all(after.value == before.last.value + 1 for before, after in itertools.pairwise(cidrs))
    assert len({one.size for one in cidrs}) == 1
    assert all(part.spec == msgspec.structs.replace(whole.spec, cidr=part.spec.cidr) for part in parts)


@pytest.mark.parametrize("parts", [-2, 0, 1, 3, 6])
def test_only_powers_of_two_are_possible(parts: int) -> None:
    with pytest.raises(SplitError, match="power of two"):
        plan_split(pool("p", "10.0.0.0/24"), parts)


def test_a_part_is_not_smaller_than_a_block() -> None:
    with pytest.raises(SplitError, match="at most 2 parts"):
        plan_split(pool("p", "10.0.0.0/28"), 4)


def test_blocks_and_addresses_survive_a_split_and_new_ones_come_from_the_parts(tmp_path: Path) -> None:
    async def act(client: Client) -> None:
        await fill(client, LOCKED, node("n1"), pool("p", "10.0.0.0/27"))
        ipam = Ipam(client, now=lambda: NOW)
        await ipam.auto_assign(request("n1", "before", 9))
        held, owned = await in_use(client), await blocks(client)
        assert [part.spec.cidr for part in await split_pool(client, KEY, 2)] == ["10.0.0.0/28", "10.0.0.16/28"]
        assert (await in_use(client), await blocks(client)) == (held, owned)
        assert await findings(client) == ()
        with pytest.raises(DoesNotExist):
            await client.get(KEY)
        assert len((await ipam.auto_assign(request("n1", "after", 3))).v4) == 3
        await ipam.release_by_handle("before")
        assert set((await in_use(client)).values()) == {"after"}

    play(tmp_path, act)


def test_an_unlocked_datastore_is_not_touched(tmp_path: Path) -> None:
    async def act(client: Client) -> None:
        ready = msgspec.structs.replace(LOCKED, spec=ClusterInformationSpec(datastore_ready=True))
        await fill(client, ready, pool("p", "10.0.0.0/27"))
        with pytest.raises(SplitError, match="not locked"):
            await split_pool(client, KEY, 2)
        assert [item.key for item in (await client.list("IPPool")).items] == [KEY]

    play(tmp_path, act)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_interrupted_split_is_finished_by_asking_again(tmp_path: Path, steps: int) -> None:
    """It may end after the first part, after both, or after the pool was disabled; no address is ever without a pool."""

    async def act(client: Client) -> None:
        whole = pool("p", "10.0.0.0/27")
        await fill(client, LOCKED, whole, *plan_split(whole, 2)[:steps])
        if steps == 3:
            stored = await client.get(KEY)
            assert isinstance(stored, IPPool)
            await client.update(msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, disabled=True)))
        await split_pool(client, KEY, 2)
        found = [item for item in (await client.list("IPPool")).items if isinstance(item, IPPool)]
        assert {item.metadata.name: (item.spec.cidr, item.spec.disabled) for item in found} == {
            "split-p-0": ("10.0.0.0/28", False),
            "split-p-1": ("10.0.0.16/28", False),
        }

    play(tmp_path, act)


def test_a_foreign_pool_with_the_name_of_a_part_stops_it(tmp_path: Path) -> None:
    async def act(client: Client) -> None:
        await fill(client, LOCKED, pool("p", "10.0.0.0/27"), pool("split-p-1", "11.0.0.0/27"))
        with pytest.raises(SplitError, match="exists already"):
            await split_pool(client, KEY, 2)
        assert len((await client.list("IPPool")).items) == 2

    play(tmp_path, act)
