"""One block: every ordinal is free or held, exactly once, whatever happens."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ipam.cluster import NOW

from tortie.api.ipam import AllocationAttribute, IPAMBlock, IPAMBlockSpec
from tortie.base.net import Address, parse_address, parse_prefix
from tortie.ipam.blocks import (
    RESERVED_HANDLE,
    ReleaseRequest,
    assign,
    assign_address,
    collect,
    holder,
    is_empty,
    new_block,
    next_revision,
    release,
    release_handle,
)
from tortie.ipam.check import Snapshot, check_data
from tortie.ipam.errors import AlreadyAssigned, ReleaseConflict

CIDR = parse_prefix("10.0.0.0/29")


def nothing(address: Address) -> bool:
    return False


def owner(handle: str, **attributes: str) -> AllocationAttribute:
    return AllocationAttribute(handle_id=handle, secondary=attributes)


def block() -> IPAMBlockSpec:
    return new_block(CIDR, affinity="host:n1", now=NOW)


def names(addresses: tuple[Address, ...]) -> list[str]:
    return [str(address) for address in addresses]


def take(spec: IPAMBlockSpec, count: int, handle: str) -> tuple[IPAMBlockSpec, list[str]]:
    spec, taken = assign(spec, count, owner=owner(handle), reserved=nothing)
    return spec, [str(interface.address) for interface in taken]


def test_addresses_come_in_order_and_a_released_one_goes_to_the_end_of_the_queue() -> None:
    spec, first = take(block(), 2, "a")
    assert first == ["10.0.0.0", "10.0.0.1"]
    spec = collect(release(spec, [ReleaseRequest(parse_address("10.0.0.0"))], now=NOW).spec, now=NOW, cooldown_seconds=0)
    assert spec.unallocated == (2, 3, 4, 5, 6, 7, 0)


def test_reserved_addresses_are_passed_over_and_keep_their_place() -> None:
    reserved = {parse_address("10.0.0.0"), parse_address("10.0.0.2")}
    spec, taken = assign(block(), 2, owner=owner("a"), reserved=reserved.__contains__)
    assert names(tuple(item.address for item in taken)) == ["10.0.0.1", "10.0.0.3"]
    assert spec.unallocated == (0, 2, 4, 5, 6, 7)


def test_a_full_block_gives_what_it_has() -> None:
    spec, taken = take(block(), 20, "a")
    assert len(taken) == 8
    assert take(spec, 1, "b")[1] == []


def test_the_same_owner_shares_one_attribute_and_another_gets_its_own() -> None:
    spec, _ = take(block(), 2, "a")
    spec, _ = take(spec, 1, "a")
    spec, _ = take(spec, 1, "b")
    assert [attribute.handle_id for attribute in spec.attributes] == ["a", "b"]
    assert spec.allocations[:4] == (0, 0, 0, 1)


def test_an_allocation_remembers_the_sequence_number_before_the_write() -> None:
    start = block().sequence_number
    spec, _ = take(block(), 1, "a")
    spec, _ = take(next_revision(spec), 1, "b")
    assert spec.sequence_number_for_allocation == {"0": start, "1": start + 1}


def test_a_released_address_cools_down_and_counts_as_in_use_until_then() -> None:
    spec, _ = take(block(), 1, "a")
    spec = release(spec, [ReleaseRequest(parse_address("10.0.0.0"))], now=NOW).spec
    early = collect(spec, now=NOW + 29, cooldown_seconds=30)
    assert not is_empty(early)
    assert take(early, 8, "b")[1] == [f"10.0.0.{host}" for host in range(1, 8)]
    with pytest.raises(AlreadyAssigned):
        assign_address(early, parse_address("10.0.0.0"), owner=owner("b"))
    late = collect(early, now=NOW + 30, cooldown_seconds=30)
    assert is_empty(late)
    assert late.attributes == ()
    assert is_empty(collect(spec, now=NOW - 10, cooldown_seconds=-1)), "a negative cooldown does not look at the time"


def test_releasing_twice_reports_the_address_as_unallocated() -> None:
    spec, _ = take(block(), 1, "a")
    address = parse_address("10.0.0.0")
    once = release(spec, [ReleaseRequest(address)], now=NOW)
    assert once.counts == {"a": 1}
    twice = release(once.spec, [ReleaseRequest(address)], now=NOW)
    assert (twice.addresses, twice.unallocated) == ((), (address,))


@pytest.mark.parametrize("wrong", [{"handle": "b"}, {"sequence_number": 1}])
def test_another_allocation_of_the_address_is_not_released(wrong: dict[str, object]) -> None:
    spec, _ = take(block(), 2, "a")
    requests = [ReleaseRequest(parse_address("10.0.0.0")), ReleaseRequest(parse_address("10.0.0.1"), **wrong)]  # type: ignore[arg-type]
    with pytest.raises(ReleaseConflict, match=r"10\.0\.0\.1"):
        release(spec, requests, now=NOW)


def test_what_follows_a_carriage_return_in_a_handle_is_no_part_of_it() -> None:
    spec, _ = take(block(), 1, "a\rremark")
    assert release(spec, [ReleaseRequest(parse_address("10.0.0.0"), handle="a")], now=NOW).addresses
    assert release_handle(spec, "a", now=NOW).addresses


def test_release_by_handle_takes_all_of_one_handle_and_none_of_another() -> None:
    spec, _ = take(block(), 2, "a")
    spec, _ = take(spec, 1, "b")
    spec, _ = take(spec, 1, "a")
    result = release_handle(spec, "a", now=NOW)
    assert names(result.addresses) == ["10.0.0.0", "10.0.0.1", "10.0.0.3"]
    held = holder(result.spec, parse_address("10.0.0.2"))
    assert held is not None
    assert held.handle_id == "b"


def test_addresses_kept_by_windows_do_not_make_a_block_non_empty() -> None:
    spec, _ = take(block(), 3, RESERVED_HANDLE)
    assert is_empty(spec)
    assert not is_empty(take(spec, 1, "a")[0])


STEP = st.one_of(
    st.tuples(st.just("assign"), st.integers(0, 3), st.sampled_from("abc")),
    st.tuples(st.just("release"), st.integers(0, 7), st.just("")),
    st.tuples(st.just("handle"), st.just(0), st.sampled_from("abc")),
    st.tuples(st.just("wait"), st.integers(0, 20), st.just("")),
)


@given(st.lists(STEP, max_size=30), st.sampled_from([0, 10, -1]))
def test_a_block_stays_valid_and_agrees_with_a_plain_model(steps: list[tuple[str, int, str]], cooldown: int) -> None:
    spec, held, now = block(), dict[str, str](), NOW
    for verb, number, handle in steps:
        if verb == "assign":
            spec, taken = take(spec, number, handle)
            assert not set(taken) & held.keys(), "an address was given away twice"
            held |= dict.fromkeys(taken, handle)
        elif verb == "release":
            result = release(spec, [ReleaseRequest(parse_address(f"10.0.0.{number}"))], now=now)
            spec = result.spec
            assert bool(result.addresses) == (held.pop(f"10.0.0.{number}", None) is not None)
        elif verb == "handle":
            result = release_handle(spec, handle, now=now)
            spec = result.spec
            assert set(names(result.addresses)) == {address for address, whose in held.items() if whose == handle}
            held = {address: whose for address, whose in held.items() if whose != handle}
        else:
            now += number
        spec = collect(spec, now=now, cooldown_seconds=cooldown)
        snapshot = Snapshot(blocks=(IPAMBlock(spec=spec),), handles=(), affinities=(), pools=(), endpoints=(), nodes=())
        assert [finding for finding in check_data(snapshot, now=now) if finding.kind == "block"] == []
    assert msgspec.json.decode(msgspec.json.encode(spec), type=IPAMBlockSpec) == spec
