"""Waiting until every node knows the way to every block and has its policies: before that a probe would ask a network that is
still learning.

Who must have taught it follows from the pool as it is now: a block of an encapsulated pool is the agent's, one of another pool
is BIRD's or the agent's, and where nobody would program it there is nothing to wait for. With WireGuard there is a second way.
"""

import asyncio
from collections.abc import Iterator

from tortie.api.resource import Update
from tortie.base import process
from tortie.base.net import Prefix
from tortie.calc.graph import KINDS
from tortie.convert.feed import convert_update
from tortie.datastore.client import Client
from tortie.insight.lint.subject import Subject
from tortie.insight.trace import trace
from tortie.insight.world import World
from tortie.intent.keys import PolicyId
from tortie.kernel.route import MAIN_TABLE, Route
from tortie.lab.names import LabNames, netns_path
from tortie.lab.network import PROTOCOL_BIRD, WIREGUARD, Network, cluster_routes, read_network
from tortie.lab.spec import LabError, LabSpec


async def wait_for_routes(client: Client, names: LabNames, spec: LabSpec, *, seconds: float = 30.0) -> None:
    """Return once every node has a route to every block of every other node. Raises LabError naming what is missing."""
    deadline = asyncio.get_running_loop().time() + seconds
    while missing := list(_missing(await read_network(client), names, spec)):
        if asyncio.get_running_loop().time() > deadline:
            raise LabError(f"routes have not converged after {seconds:g} s: {'; '.join(missing)}")
        await asyncio.sleep(0.05)


async def wait_for_policies(client: Client, names: LabNames, spec: LabSpec, *, seconds: float = 10.0) -> None:
    """Return once every node has in its kernel what it enforces, or has had time for it: a kernel may refuse a policy."""
    listing = await client.list_many(KINDS)
    world = World.from_updates([convert_update(Update(item.key, item)) for item in listing.items])
    policies = [each.id for each in Subject.of(world).policies if not each.staged]
    deadline = asyncio.get_running_loop().time() + seconds
    for node in spec.nodes:
        found = [trace(world, _spelled(policy), kind=policy.kind, node=node.name) for policy in policies]
        wanted = {chain.name.encode() for each in found for chain in each.chains}
        while asyncio.get_running_loop().time() < deadline:
            done = await process.run(["nft", "list", "table", "inet", "tortie"], netns_path=netns_path(names.node(node.name)))
            if all(name in done.stdout for name in wanted):
                break
            await asyncio.sleep(0.02)


def _spelled(policy: PolicyId) -> str:
    return f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name


def _missing(network: Network, names: LabNames, spec: LabSpec) -> Iterator[str]:
    for node in spec.nodes:
        routes = cluster_routes(names, node.name)
        for block, owner in network.blocks.items():
            if owner == node.name:
                continue
            found = [route for route in routes if route.dst == block]
            if not _is_known(block, node.name, owner, found, network=network, spec=spec):
                yield f"{node.name} has no route to {block} of {owner}"
            elif network.is_encrypted(block.family) and all(route.device != WIREGUARD[block.family] for route in found):
                yield f"{node.name} has no route to {block} of {owner} through WireGuard"


def _is_known(block: Prefix, node: str, owner: str, found: list[Route], *, network: Network, spec: LabSpec) -> bool:
    main = [route for route in found if route.table == MAIN_TABLE]
    if network.is_encapsulated(block):
        return any(route.protocol != PROTOCOL_BIRD for route in main)
    if main or spec.backend == "bird":
        return bool(main)
    racks = {each.name: each.rack for each in spec.nodes}
    agents_part = network.felix.program_cluster_routes in ("Enabled", "EnabledNoEncapOnly")
    return not agents_part or racks.get(node) != racks.get(owner)
