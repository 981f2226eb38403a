"""Every kind of inconsistency is found, and a sound cluster has none."""

import msgspec
import pytest
from tests.unit.ipam.cluster import NOW, pool

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.ipam import (
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMHandle,
    IPAMHandleSpec,
)
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Metadata, Resource
from tortie.base.net import parse_address, parse_prefix
from tortie.ipam.blocks import assign_address, new_block
from tortie.ipam.check import check_data, check_use, snapshot_of
from tortie.ipam.pools import Reservations
from tortie.ipam.usage import usage

CIDR = "10.0.0.0/29"
POOL = pool("p", "10.0.0.0/24")


def block(*addresses: str, cidr: str = CIDR, **changes: object) -> IPAMBlock:
    spec = new_block(parse_prefix(cidr), affinity="host:n1", now=NOW)
    for address in addresses:
        spec = assign_address(spec, parse_address(address), owner=AllocationAttribute(handle_id=f"h-{address}"))
    return IPAMBlock(spec=msgspec.structs.replace(spec, **changes))


def handle(address: str, cidr: str = CIDR) -> IPAMHandle:
    return IPAMHandle(spec=IPAMHandleSpec(handle_id=f"h-{address}", block={cidr: 1}))


def endpoint(name: str, address: str) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(ip_networks=(f"{address}/32",))
    return WorkloadEndpoint(metadata=Metadata(name=name, namespace="default"), spec=spec)


def affinity(node: str) -> BlockAffinity:
    return BlockAffinity(spec=BlockAffinitySpec(state="confirmed", node=node, cidr=CIDR))


def data(*resources: Resource) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.counts) for finding in check_data(snapshot_of(resources), now=NOW)]


def use(*resources: Resource) -> list[tuple[str, str]]:
    return [(finding.kind, finding.text.split()[0]) for finding in check_use(snapshot_of(resources))]


def test_a_sound_cluster_has_no_findings() -> None:
    tunnel = Node(metadata=Metadata(name="n1"), spec=NodeSpec(bgp=NodeBGP(ipv4_ipip_tunnel_addr="10.0.0.2")))
    sound = (POOL, block("10.0.0.1", "10.0.0.2"), handle("10.0.0.1"), handle("10.0.0.2"), affinity("n1"))
    assert data(*sound) == []
    assert use(*sound, endpoint("a", "10.0.0.1"), tunnel) == []


def test_handles_and_allocations_must_find_each_other() -> None:
    assert data(block("10.0.0.1")) == [("missing handle", False)]
    assert data(block(), handle("10.0.0.1")) == [("handle", True)]
    assert data(block("10.0.0.1"), handle("10.0.0.1", cidr="10.0.0.8/29")) == [("missing handle", False)]


def test_a_confirmed_affinity_must_own_its_block() -> None:
    assert data(block(), affinity("n2")) == [("affinity", False)]
    assert data(affinity("n1")) == [("affinity", False)]


@pytest.mark.parametrize(
    ("blocks", "end"),
    [([], "which is no block"), ([block(affinity=None)], "which belongs to nobody"), ([block()], "which belongs to host:n1")],
)
def test_a_wrong_affinity_says_whose_the_block_is(blocks: list[IPAMBlock], end: str) -> None:
    (finding,) = check_data(snapshot_of([*blocks, affinity("n2")]), now=NOW)
    assert finding.text.endswith(end)


GOOD = block("10.0.0.1").spec


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (msgspec.structs.replace(GOOD, allocations=(None,) * 7), "7 allocations for 8 addresses"),
        (msgspec.structs.replace(GOOD, attributes=()), "an allocation without its attribute"),
        (msgspec.structs.replace(GOOD, attributes=(*GOOD.attributes, AllocationAttribute())), "nobody has"),
        (
            msgspec.structs.replace(GOOD, attributes=(AllocationAttribute(released_at="2999-01-01T00:00:00Z"),)),
            "released in the future",
        ),
        (msgspec.structs.replace(GOOD, unallocated=(0, 2, 2, 4, 5, 6, 7)), "repeat or are out of range"),
        (msgspec.structs.replace(GOOD, unallocated=(0, 1, 2, 4, 5, 6, 7)), "both allocated and unallocated"),
        (msgspec.structs.replace(GOOD, unallocated=(0, 2, 4, 5, 6, 7)), "neither allocated nor unallocated"),
    ],
)
def test_an_invalid_block_is_found(spec: IPAMBlockSpec, text: str) -> None:
    found = check_data(snapshot_of([IPAMBlock(spec=spec)]), now=NOW)
    assert any(finding.kind == "block" and text in finding.text for finding in found), found


def test_overlapping_blocks_are_found() -> None:
    assert data(block(), block(cidr="10.0.0.0/30")) == [("block", True)]
    assert data(block(), block(cidr="10.0.0.8/29")) == []


def test_use_and_allocation_must_agree() -> None:
    assert use(POOL, block("10.0.0.1")) == [("unused", "10.0.0.1")]
    assert use(POOL, block(), endpoint("a", "10.0.0.1")) == [("unallocated", "10.0.0.1")]
    assert use(POOL, endpoint("a", "192.0.2.1")) == [("outside", "192.0.2.1")]
    assert use(POOL, block("10.0.0.1"), endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.1")) == [("twice", "10.0.0.1")]


def test_usage_counts_what_is_in_use_and_reserved_once() -> None:
    reservations = Reservations([parse_prefix("10.0.0.1/32"), parse_prefix("10.0.0.64/26")])
    snapshot = snapshot_of([POOL, block("10.0.0.1", "10.0.0.2"), block(cidr="10.9.0.0/29")])
    rows = list(usage(snapshot, reservations, with_blocks=True))
    assert [(row.grouping, str(row.cidr)) for row in rows] == [
        ("IP Pool", "10.0.0.0/24"),
        ("Block", "10.0.0.0/29"),
        ("Block", "10.9.0.0/29"),
    ]
    figures = [(row.total, row.in_use, row.reserved, row.free) for row in rows]
    assert figures == [(256, 2, 65, 190), (8, 2, 1, 6), (8, 0, 0, 8)]
