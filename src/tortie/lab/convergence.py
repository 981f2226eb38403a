"""Waiting until BGP has carried every block to every node: before that a probe would ask a network that is still learning."""

import asyncio

from tortie.api.ipam import BlockAffinity
from tortie.base.net import Prefix, parse_prefix
from tortie.datastore.client import Client
from tortie.kernel import netns
from tortie.kernel.route import Routes
from tortie.lab.names import LabNames
from tortie.lab.spec import LabError


async def wait_for_routes(client: Client, names: LabNames, nodes: list[str], *, seconds: float = 30.0) -> None:
    """Return once every node has a route to every block of every other node. Raises LabError naming what is missing."""
    deadline = asyncio.get_running_loop().time() + seconds
    while missing := _missing(await _blocks(client), names, nodes):
        if asyncio.get_running_loop().time() > deadline:
            raise LabError(f"BGP has not converged after {seconds:g} s: {'; '.join(missing)}")
        await asyncio.sleep(0.05)


async def _blocks(client: Client) -> dict[Prefix, str]:
    listing = await client.list("BlockAffinity")
    return {
        parse_prefix(item.spec.cidr): item.spec.node
        for item in listing.items
        if isinstance(item, BlockAffinity) and item.spec.state in ("", "confirmed")
    }


def _missing(blocks: dict[Prefix, str], names: LabNames, nodes: list[str]) -> list[str]:
    found: list[str] = []
    for node in nodes:
        with netns.opened(names.node(node)) as descriptor, Routes(netns_fd=descriptor) as routes:
            known = {route.dst for route in routes.list()}
        found += [
            f"{node} has no route to {cidr} of {owner}" for cidr, owner in blocks.items() if owner != node and cidr not in known
        ]
    return found
