"""Waiting until every node knows the way to every block: before that a probe would ask a network that is still learning.

Who must have taught it follows from the pool as it is now: a block of an encapsulated pool is the agent's, one of another pool
is BIRD's or the agent's, and where nobody would program it there is nothing to wait for. With WireGuard there is a second way.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool
from tortie.base.net import Family, Prefix, parse_prefix
from tortie.datastore.client import Client
from tortie.kernel import netns
from tortie.kernel.route import MAIN_TABLE, UNICAST, Route, Routes
from tortie.lab.names import LabNames
from tortie.lab.spec import LabError, LabSpec

PROTOCOL_BIRD = 12
_UNUSED = ("", "Never")
_WIREGUARD = {Family.V4: "wireguard.cali", Family.V6: "wg-v6.cali"}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the datastore says at this moment."""

    blocks: dict[Prefix, str]
    pools: dict[Prefix, IPPool]
    felix: FelixConfigurationSpec

    def pool(self, block: Prefix) -> IPPool | None:
        return next((pool for cidr, pool in self.pools.items() if cidr.contains(block)), None)

    def is_encapsulated(self, block: Prefix) -> bool:
        pool = self.pool(block)
        return pool is not None and (pool.spec.ipip_mode not in _UNUSED or pool.spec.vxlan_mode not in _UNUSED)

    def is_encrypted(self, family: Family) -> bool:
        return bool(self.felix.wireguard_enabled if family is Family.V4 else self.felix.wireguard_enabled_v6)


async def wait_for_routes(client: Client, names: LabNames, spec: LabSpec, *, seconds: float = 30.0) -> None:
    """Return once every node has a route to every block of every other node. Raises LabError naming what is missing."""
    deadline = asyncio.get_running_loop().time() + seconds
    while missing := list(_missing(await _wanted(client), names, spec)):
        if asyncio.get_running_loop().time() > deadline:
            raise LabError(f"routes have not converged after {seconds:g} s: {'; '.join(missing)}")
        await asyncio.sleep(0.05)


async def _wanted(client: Client) -> _Wanted:
    affinities = (await client.list("BlockAffinity")).items
    pools = (await client.list("IPPool")).items
    felix = (await client.list("FelixConfiguration")).items
    return _Wanted(
        {
            parse_prefix(item.spec.cidr): item.spec.node
            for item in affinities
            if isinstance(item, BlockAffinity) and item.spec.state in ("", "confirmed")
        },
        {parse_prefix(item.spec.cidr): item for item in pools if isinstance(item, IPPool)},
        next(
            (item.spec for item in felix if isinstance(item, FelixConfiguration) and item.metadata.name == "default"),
            FelixConfigurationSpec(),
        ),
    )


def _missing(wanted: _Wanted, names: LabNames, spec: LabSpec) -> Iterator[str]:
    for node in spec.nodes:
        with netns.opened(names.node(node.name)) as descriptor, Routes(netns_fd=descriptor) as routes:
            everything = [route for route in routes.list(table=0) if route.kind in (UNICAST, "multipath")]
        for block, owner in wanted.blocks.items():
            if owner == node.name:
                continue
            found = [route for route in everything if route.dst == block]
            if not _is_known(block, node.name, owner, found, wanted=wanted, spec=spec):
                yield f"{node.name} has no route to {block} of {owner}"
            elif wanted.is_encrypted(block.family) and all(route.device != _WIREGUARD[block.family] for route in found):
                yield f"{node.name} has no route to {block} of {owner} through WireGuard"


def _is_known(block: Prefix, node: str, owner: str, found: list[Route], *, wanted: _Wanted, spec: LabSpec) -> bool:
    main = [route for route in found if route.table == MAIN_TABLE]
    if wanted.is_encapsulated(block):
        return any(route.protocol != PROTOCOL_BIRD for route in main)
    if main or spec.backend == "bird":
        return bool(main)
    racks = {each.name: each.rack for each in spec.nodes}
    agents_part = wanted.felix.program_cluster_routes in ("Enabled", "EnabledNoEncapOnly")
    return not agents_part or racks.get(node) != racks.get(owner)
