"""A damaged datastore and a real agent: what is broken denies and is named, and the node goes on."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.dataplane_stage import ping

from tortie.api.policy import NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Metadata, Resource
from tortie.base.net import Family
from tortie.datastore.client import Client

pytestmark = pytest.mark.kernel
BROKEN: Any = "first"
"""No order: stored as it is, refused when it is read."""


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        yield made


def policy(**spec: Any) -> NetworkPolicy:
    allow = (Rule(action="Allow"),)
    fields: dict[str, Any] = {"selector": "all()", "types": ("Ingress",), "ingress": allow} | spec
    return NetworkPolicy(metadata=Metadata(name="p", namespace="shop"), spec=NetworkPolicySpec(**fields))


def test_a_policy_that_cannot_be_read_denies_is_reported_and_ends_no_agent(node: AgentNode) -> None:
    async def damage(client: Client) -> Resource:
        return await client.create(policy(order=BROKEN))

    a = node.pod(1)
    broken = node.do(damage)
    node.start()
    node.until(lambda: any("NetworkPolicy(shop/p)" in key for key in node.status()["problems"]))
    address = a.address(Family.V4)
    assert not ping(node.stage.outside, Family.V4, address), "it must not vanish: what it denied would be allowed"
    b = node.pod(2)
    node.until(lambda: b.interface in node.stage.show(node.stage.node, "ip", "route", "get", b.address(Family.V4)))

    async def repair(client: Client) -> None:
        await client.update(msgspec.structs.replace(policy(order=10.0), metadata=broken.metadata))

    node.do(repair)
    node.until(lambda: node.status()["problems"] == {})
    node.until(lambda: ping(node.stage.outside, Family.V4, address))
