"""Tunnel addresses on a real API server, where a node is Kubernetes' and its fields are annotations."""

import msgspec
import pytest
from tests.conformance.test_ipam import group, kubernetes, play
from tests.unit.agent.test_tunnel_addresses import NOTHING, POOLS, everything, reconcile, spec_of, told
from tests.unit.ipam.cluster import Clock, fill, in_use
from tests.unit.ipam.test_allocator import Play

from tortie.api.node import Node, NodeBGP
from tortie.api.resource import Key, Metadata
from tortie.datastore.client import Client
from tortie.ipam.allocator import Ipam

pytestmark = pytest.mark.kubernetes
__all__ = ["group", "kubernetes", "play"]


def test_annotations_and_ipam_agree_and_the_node_keeps_what_else_it_has(play: Play) -> None:
    async def scenario(client: Client, _: Ipam, __: Clock) -> None:
        node = await client.create(Node(metadata=Metadata(name="n1", labels={"rack": "a"})))
        assert isinstance(node, Node)
        spec = msgspec.structs.replace(node.spec, bgp=NodeBGP(ipv4_address="192.0.2.1/24"))
        await client.update(msgspec.structs.replace(node, spec=spec))
        await fill(client, *POOLS)
        await reconcile(client, everything())
        said = await told(client)
        assert len(set(said.values())) == 5
        assert {handle: address for address, handle in (await in_use(client)).items()} == said
        await reconcile(client, everything())
        assert await told(client) == said
        await reconcile(client, NOTHING)
        assert (await told(client), await in_use(client)) == ({}, {})
        kept = await client.get(Key("Node", "", "n1"))
        assert kept.metadata.labels["rack"] == "a"
        assert (await spec_of(client)).bgp == NodeBGP(ipv4_address="192.0.2.1/24")

    play(scenario)
