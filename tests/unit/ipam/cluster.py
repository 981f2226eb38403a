"""A small cluster for tests of IPAM: what every test would otherwise write out."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMConfigurationSpec
from tortie.api.ippool import IPPool, IPPoolSpec, IPReservation, IPReservationSpec
from tortie.api.node import Node
from tortie.api.resource import Key, Metadata, Resource
from tortie.base.net import Address, Prefix
from tortie.datastore.client import Client
from tortie.ipam.allocator import AssignRequest
from tortie.ipam.check import Finding, allocations, check_data, read_snapshot

NOW = 1_800_000_000.0


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


def pool(name: str, cidr: str, **fields: Any) -> IPPool:
    spec = msgspec.convert({"cidr": cidr, "blockSize": 125 if ":" in cidr else 29, **fields}, IPPoolSpec)
    return IPPool(metadata=Metadata(name=name), spec=spec)


def node(name: str, **labels: str) -> Node:
    return Node(metadata=Metadata(name=name, labels=labels))


def configuration(**fields: Any) -> IPAMConfiguration:
    return IPAMConfiguration(metadata=Metadata(name="default"), spec=IPAMConfigurationSpec(**fields))


def reservation(*cidrs: str) -> IPReservation:
    return IPReservation(metadata=Metadata(name="reserved"), spec=IPReservationSpec(reserved_cidrs=cidrs))


def request(node: str, handle: str, count: int = 1, *, v6: int = 0, pools: Sequence[Prefix] = (), **more: Any) -> AssignRequest:
    return AssignRequest(node, handle, count, v6, {"pod": handle}, pools_v4=pools, **more)


async def fill(client: Client, *resources: Resource) -> None:
    for resource in resources:
        await client.create(resource)


async def findings(client: Client) -> tuple[Finding, ...]:
    """What is wrong with blocks, handles and affinities; counts or not."""
    return check_data(await read_snapshot(client), now=NOW + 1e6)


async def in_use(client: Client) -> dict[Address, str]:
    """Every address in use and its handle."""
    return {item.address: item.handle for item in allocations(await read_snapshot(client)) if not item.cooling}


async def blocks(client: Client) -> dict[str, str | None]:
    """Every block and its owner."""
    listing = await client.list("IPAMBlock")
    return {item.spec.cidr: item.spec.affinity for item in listing.items if isinstance(item, IPAMBlock)}


async def affinity(client: Client, name: str) -> BlockAffinity:
    found = await client.get(Key("BlockAffinity", "", name))
    assert isinstance(found, BlockAffinity)
    return found
