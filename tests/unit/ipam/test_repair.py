"""What check finds is mended where the data says how, and nothing that somebody uses is touched."""

import asyncio

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ipam.cluster import NOW, pool
from tests.unit.ipam.memory_client import MemoryClient

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.ipam import (
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMHandle,
    IPAMHandleSpec,
    affinity_name,
    block_name,
)
from tortie.api.resource import Metadata, Resource
from tortie.base.net import parse_address, parse_prefix
from tortie.ipam.blocks import assign_address, format_time, new_block
from tortie.ipam.check import check_data, check_use, read_snapshot, snapshot_of
from tortie.ipam.repair import Repairer, plan_repairs

CIDR = "10.0.0.0/29"


def block(*addresses: str, timestamp: str = "", **changes: object) -> IPAMBlock:
    spec = new_block(parse_prefix(CIDR), affinity="host:n1", now=NOW)
    for address in addresses:
        owner = AllocationAttribute(handle_id=f"h-{address}", secondary={"timestamp": timestamp} if timestamp else {})
        spec = assign_address(spec, parse_address(address), owner=owner)
    return IPAMBlock(metadata=Metadata(name=block_name(CIDR)), spec=msgspec.structs.replace(spec, **changes))


def handle(name: str, **blocks: int) -> IPAMHandle:
    return IPAMHandle(metadata=Metadata(name=name), spec=IPAMHandleSpec(handle_id=name, block=blocks or {CIDR: 1}))


def claim(node: str) -> BlockAffinity:
    spec = BlockAffinitySpec(state="confirmed", node=node, cidr=CIDR)
    return BlockAffinity(metadata=Metadata(name=affinity_name(node, CIDR)), spec=spec)


def endpoint(name: str, address: str) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(ip_networks=(f"{address}/32",))
    return WorkloadEndpoint(metadata=Metadata(name=name, namespace="default"), spec=spec)


def texts(*resources: Resource) -> list[str]:
    return [str(repair) for repair in plan_repairs(snapshot_of(resources), now=NOW).repairs]


def mended(*resources: Resource) -> tuple[list[str], list[str]]:
    """Findings before and after, by kind."""

    async def run() -> tuple[list[str], list[str]]:
        client = MemoryClient()
        for resource in resources:
            await client.create(resource)
        before = await read_snapshot(client)
        repairer = Repairer(client)
        for repair in plan_repairs(before, now=NOW).repairs:
            assert await repairer.mend(repair) == ""
        after = await read_snapshot(client)
        return tuple([item.kind for item in (*check_use(s), *check_data(s, now=NOW + 1))] for s in (before, after))  # type: ignore[return-value]

    return asyncio.run(run())


def test_a_sound_cluster_is_left_alone() -> None:
    sound = (block("10.0.0.1"), handle("h-10.0.0.1"), claim("n1"), endpoint("a", "10.0.0.1"), pool("p", "10.0.0.0/24"))
    assert texts(*sound) == []


def test_each_finding_has_its_repair() -> None:
    assert texts(block("10.0.0.1"), handle("h-10.0.0.1"), handle("lost"), claim("n1"), claim("n2")) == [
        "release 10.0.0.1 of handle h-10.0.0.1",
        "remove handle lost",
        "remove the claim of 10.0.0.0/29 by n2",
    ]
    assert texts(block("10.0.0.1"), endpoint("a", "10.0.0.1")) == ["count 1 addresses for handle h-10.0.0.1"]
    assert texts(block(unallocated=(0, 0, 99))) == ["rebuild the free list of block 10.0.0.0/29"]


def test_after_the_repairs_nothing_is_found() -> None:
    before, after = mended(
        pool("p", "10.0.0.0/24"), block("10.0.0.1", "10.0.0.2"), handle("h-10.0.0.1"), handle("lost"), claim("n1"), claim("n2"),
        endpoint("a", "10.0.0.2"),
    )  # fmt: skip
    assert sorted(before) == ["affinity", "handle", "missing handle", "unused"]
    assert after == []


def test_a_young_address_waits_for_its_pod() -> None:
    plan = plan_repairs(snapshot_of([block("10.0.0.1", timestamp=format_time(NOW - 5)), handle("h-10.0.0.1")]), now=NOW)
    assert plan.repairs == ()
    assert plan.left == ("10.0.0.1 was assigned less than 120 s ago: its pod may still be on its way",)


def test_what_needs_judgement_is_left_with_advice() -> None:
    plan = plan_repairs(snapshot_of([endpoint("a", "10.9.0.1"), endpoint("b", "10.9.0.1")]), now=NOW)
    assert plan.repairs == ()
    assert len(plan.left) == 2
    assert all(": " in text for text in plan.left)


def test_a_repair_that_comes_too_late_does_nothing() -> None:
    async def run() -> tuple[str, IPAMHandle]:
        client = MemoryClient()
        await client.create(handle("lost"))
        plan = plan_repairs(await read_snapshot(client), now=NOW)
        stored = await client.get(handle("lost").key)
        assert isinstance(stored, IPAMHandle)
        spec = msgspec.structs.replace(stored.spec, block={CIDR: 2})
        await client.update(msgspec.structs.replace(stored, spec=spec))
        reason = await Repairer(client).mend(plan.repairs[0])
        left = await client.get(handle("lost").key)
        assert isinstance(left, IPAMHandle)
        return reason, left

    reason, left = asyncio.run(run())
    assert "conflict" in reason
    assert left.spec.block == {CIDR: 2}


ORDINALS = st.integers(-1, 9)


@given(st.lists(ORDINALS, max_size=12), st.lists(st.sampled_from([None, 0, 1]), min_size=8, max_size=8))
def test_a_rebuilt_block_keeps_its_allocations_and_is_valid(free: list[int], allocations: list[int | None]) -> None:
    owners = tuple(AllocationAttribute(handle_id=f"h{index}") for index in range(3))
    broken = block(unallocated=tuple(free), allocations=tuple(allocations), attributes=owners)
    users = {ordinal: owners[index].handle_id for ordinal, index in enumerate(allocations) if index is not None}
    rebuilt = [r for r in plan_repairs(snapshot_of([broken]), now=NOW).repairs if "rebuild" in str(r)]
    spec: IPAMBlockSpec = rebuilt[0].spec  # type: ignore[union-attr]
    assert {o: spec.attributes[i].handle_id for o, i in enumerate(spec.allocations) if i is not None} == users
    valid = [item.kind for item in check_data(snapshot_of([IPAMBlock(spec=spec)]), now=NOW)]
    assert "block" not in valid
