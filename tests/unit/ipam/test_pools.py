"""Pools, reservations and the order in which blocks are tried."""

from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ipam.cluster import NOW, pool

from tortie.api.conditions import Condition, ConditionedStatus
from tortie.api.ippool import IPPool
from tortie.base.net import Family, Prefix, parse_address, parse_prefix
from tortie.ipam.errors import NoQualifiedPool
from tortie.ipam.pools import Reservations, determine_pools, enabled_pools, fnv1_32, search_blocks

NONE = Reservations(())


def choose(*pools: IPPool, requested: tuple[str, ...] = (), use: str = "Workload", **labels: str) -> list[str]:
    chosen = determine_pools(
        list(pools),
        requested=tuple(parse_prefix(text) for text in requested),
        node="n1",
        node_labels=labels,
        namespace_labels={"team": "a"},
        use=use,
    )
    return [item.metadata.name for item in chosen]


def search(item: IPPool, host: str = "n1", reserved: Reservations = NONE) -> list[Prefix]:
    return list(search_blocks(item, host=host, now=NOW, reservations=reserved))


@pytest.mark.parametrize(("data", "value"), [(b"", 0x811C9DC5), (b"a", 0x050C5D7E), (b"foobar", 0x31F0B262)])
def test_the_hash_is_fnv_1(data: bytes, value: int) -> None:
    assert fnv1_32(data) == value


def test_disabled_deleted_and_unallocatable_pools_are_not_enabled() -> None:
    deleted = pool("deleted", "10.1.0.0/24")
    deleted = msgspec.structs.replace(
        deleted, metadata=msgspec.structs.replace(deleted.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    )
    status = ConditionedStatus(conditions=(Condition(type="Allocatable", status="False"),))
    refused = msgspec.structs.replace(pool("refused", "10.2.0.0/24"), status=status)
    pools = [pool("b", "10.3.0.0/24"), deleted, refused, pool("off", "10.4.0.0/24", disabled=True), pool("a", "10.5.0.0/24")]
    pools += [pool("v6", "fd00::/64"), pool("broken", "10.0.0.0/33")]
    assert [item.metadata.name for item in enabled_pools(pools, Family.V4)] == ["a", "b"]
    assert [item.metadata.name for item in enabled_pools(pools, Family.V6)] == ["v6"]


def test_selectors_assignment_mode_and_uses_decide() -> None:
    pools = (
        pool("gpu", "10.0.0.0/24", nodeSelector="gpu == 'yes'"),
        pool("team", "10.1.0.0/24", namespaceSelector="team == 'b'"),
        pool("manual", "10.2.0.0/24", assignmentMode="Manual"),
        pool("tunnels", "10.3.0.0/24", allowedUses=["Tunnel"]),
        pool("all", "10.4.0.0/24"),
    )
    assert choose(*pools) == ["all"]
    assert choose(*pools, gpu="yes") == ["gpu", "all"]
    assert choose(*pools, use="Tunnel") == ["tunnels", "all"]
    assert choose(*pools, requested=("10.2.0.0/24", "10.0.0.0/24")) == ["manual", "gpu"], "asked for by CIDR: in that order"


@pytest.mark.parametrize(
    ("pools", "arguments", "text"),
    [
        ([], {}, "cannot find a qualified ippool"),
        ([pool("x", "10.0.0.0/24", nodeSelector="no == 'such'")], {}, "no configured Calico pools for node n1"),
        ([pool("x", "10.0.0.0/24", nodeSelector="not a selector (")], {}, "no configured Calico pools for node n1"),
        ([pool("x", "10.0.0.0/24")], {"requested": ("10.0.0.0/25",)}, r"10\.0\.0\.0/25.* does not exist"),
        ([pool("x", "10.0.0.0/24")], {"use": "LoadBalancer"}, "spec.allowedUses of x does not contain LoadBalancer"),
    ],
)
def test_without_a_pool_the_error_says_why(pools: list[IPPool], arguments: dict[str, object], text: str) -> None:
    with pytest.raises(NoQualifiedPool, match=text):
        choose(*pools, **arguments)  # type: ignore[arg-type]


@given(st.text(min_size=1, max_size=20), st.integers(20, 24), st.integers(24, 28))
def test_a_search_meets_every_block_once(host: str, pool_length: int, length: int) -> None:
    found = search(pool("p", f"10.16.0.0/{pool_length}", blockSize=length), host)
    assert len(found) == len(set(found)) == 1 << (length - pool_length)
    assert sum(block.size for block in found) == parse_prefix(f"10.16.0.0/{pool_length}").size


def test_a_host_always_starts_at_its_own_place() -> None:
    big = pool("p", "10.0.0.0/16", blockSize=26)
    assert search(big, "n1") == search(big, "n1")
    assert len({search(big, f"n{number}")[0] for number in range(50)}) > 40


def test_wholly_reserved_blocks_are_leapt_over_even_in_a_vast_pool() -> None:
    reserved = Reservations([parse_prefix("fd00::/49"), parse_prefix("fd00:0:0:8000::/50")])
    vast = pool("v6", "fd00::/48", blockSize=122)
    first = list(islice(search_blocks(vast, host="n1", now=NOW, reservations=reserved), 3))
    assert len(first) == 3
    assert all(parse_prefix("fd00:0:0:c000::/50").contains(block) for block in first)


def test_adjacent_reservations_cover_a_block_together() -> None:
    reserved = Reservations([parse_prefix("10.0.0.0/27"), parse_prefix("10.0.0.32/27"), parse_prefix("10.0.0.0/28")])
    assert reserved.covers(parse_prefix("10.0.0.0/26"))
    assert not reserved.covers(parse_prefix("10.0.0.0/25"))
    assert reserved.count(parse_prefix("10.0.0.0/24")) == 64
    assert reserved.holds(parse_address("10.0.0.63"))
    assert not reserved.holds(parse_address("10.0.0.64"))
    assert search(pool("p", "10.0.0.0/25", blockSize=26), reserved=reserved) == [parse_prefix("10.0.0.64/26")]


def test_a_block_size_shorter_than_the_pool_has_no_blocks() -> None:
    assert search(pool("p", "10.0.0.0/28", blockSize=26)) == []
