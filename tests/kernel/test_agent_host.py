"""A host endpoint in the datastore and a real agent: it follows its address, and what it leaves open is configured."""

from collections.abc import Iterator

import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.dataplane_stage import NODE, tcp_passes, tcp_server

from tortie.api.felix import ProtoPort
from tortie.api.hostendpoint import HostEndpoint, HostEndpointSpec
from tortie.api.policy import EntityRule, GlobalNetworkPolicy, GlobalNetworkPolicySpec, Rule
from tortie.api.resource import Key, Metadata
from tortie.base.net import FAMILIES, Family
from tortie.datastore import operations
from tortie.datastore.client import Client

pytestmark = pytest.mark.kernel
ADDRESS = "203.0.113.9"


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        yield made


def host_endpoint(**spec: object) -> HostEndpoint:
    fields = {"node": "node1"} | spec
    return HostEndpoint(metadata=Metadata(name="uplink", labels={"role": "node"}), spec=HostEndpointSpec(**fields))  # type: ignore[arg-type]


def reaches(node: AgentNode, port: int) -> list[bool]:
    """Whether the neighbour reaches a port of the node, in IPv4 and in IPv6."""
    found = []
    for family in FAMILIES:
        with tcp_server(node.stage.node, family, port):
            found.append(tcp_passes(node.stage.outside, family, NODE[family], port))
    return found


def test_a_host_endpoint_follows_its_address_and_leaves_failsafe_ports_open(node: AgentNode) -> None:
    web = GlobalNetworkPolicySpec(
        selector="role == 'node'", ingress=(Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(80,))),)
    )
    node.apply(GlobalNetworkPolicy(metadata=Metadata(name="web"), spec=web), host_endpoint(expected_ips=(ADDRESS,)))
    node.start()
    assert reaches(node, 8080) == [True, True], "no interface has the address"
    node.stage.batch(node.stage.node, f"addr add {ADDRESS}/32 dev uplink")
    node.until(lambda: reaches(node, 8080) == [False, False])
    assert reaches(node, 80) == [True, True]
    assert reaches(node, 22) == [True, True]
    node.configure(failsafe_inbound_host_ports=(ProtoPort(port=8080, protocol="TCP", net="192.0.2.0/24"),))
    node.until(lambda: reaches(node, 8080) == [True, False])
    assert reaches(node, 22) == [False, False]
    node.configure(failsafe_inbound_host_ports=())
    node.until(lambda: reaches(node, 8080) == [False, False])
    node.stage.batch(node.stage.node, f"addr del {ADDRESS}/32 dev uplink")
    node.until(lambda: reaches(node, 8080) == [True, True])


def test_what_cannot_be_put_into_force_is_among_the_problems(node: AgentNode) -> None:
    node.apply(host_endpoint(interface_name="cali7"))
    node.start()
    node.until(lambda: "InterfacePrefix" in node.status()["problems"].get("HostEndpoint(uplink)", ""))
    node.apply(host_endpoint(interface_name="uplink"))
    node.until(lambda: node.status()["problems"] == {})
    with tcp_server(node.stage.node, Family.V4, 8080):
        assert not tcp_passes(node.stage.outside, Family.V4, NODE[Family.V4], 8080)

    async def delete(client: Client) -> None:
        await operations.delete(client, Key("HostEndpoint", "", "uplink"))

    node.do(delete)
    node.until(lambda: reaches(node, 8080) == [True, True])
