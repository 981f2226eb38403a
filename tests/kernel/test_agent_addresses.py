"""What a living agent makes of its machine's addresses and of the size of packets there: at the start, and when they change."""

from collections.abc import Iterator

import pytest
from tests.kernel.agent_node import AgentNode, agent_node

from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Key, Metadata
from tortie.base.net import Family

pytestmark = pytest.mark.kernel


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        yield made


def _stored(node: AgentNode) -> NodeBGP:
    found = node.do(lambda client: client.get(Key("Node", "", "node1")))
    assert isinstance(found, Node)
    assert found.spec.bgp is not None
    return found.spec.bgp


def _told(node: AgentNode, family: Family) -> dict[str, object]:
    found: dict[str, object] = next(each for each in node.status()["addresses"] if each["family"] == family.value)
    return found


def test_addresses_and_packet_sizes_follow_the_machine(node: AgentNode) -> None:
    stage = node.stage
    stage.batch(stage.node, "link add docker0 type veth peer name docker1", "addr add 172.17.0.1/16 dev docker0")
    stage.batch(stage.node, "link set docker0 up")
    node.start(IP="autodetect", IP6="autodetect", FELIX_MTUIFACEPATTERN="^uplink$")
    assert (_stored(node).ipv4_address, _stored(node).ipv6_address) == ("192.0.2.1/24", "2001:db8::1/64")
    told = _told(node, Family.V4)
    assert (told["address"], told["interface"], told["method"]) == ("192.0.2.1/24", "uplink", "first-found")

    file = node.folder / "state" / "mtu"
    node.until(lambda: file.read_text() == "1500\n")
    stage.batch(stage.node, "link set uplink mtu 1400")
    node.until(lambda: file.read_text() == "1400\n")
    node.until(lambda: node.status()["mtu"] == _mtu(1400))

    # The address moves; that of a bridge of containers is no substitute in between.
    stage.batch(stage.node, "addr del 192.0.2.1/24 dev uplink")
    node.until(lambda: any("is kept" in text for text in node.status()["parameters"]))
    assert _stored(node).ipv4_address == "192.0.2.1/24"
    stage.batch(stage.node, "addr add 192.0.2.7/25 dev uplink")
    node.until(lambda: _stored(node).ipv4_address == "192.0.2.7/25")
    node.until(lambda: _told(node, Family.V4)["address"] == "192.0.2.7/25" and not node.status()["parameters"])

    # What another node has is not taken.
    other = NodeSpec(bgp=NodeBGP(ipv4_address="192.0.2.8/24"))
    node.apply(Node(metadata=Metadata(name="node2"), spec=other))
    stage.batch(stage.node, "addr add 192.0.2.8/26 dev uplink", "addr del 192.0.2.7/25 dev uplink")
    node.until(lambda: any("192.0.2.8 is that of node node2" in text for text in node.status()["parameters"]))
    assert _stored(node).ipv4_address == "192.0.2.7/25"

    # Somebody deletes its Node, and creates it again.
    own = Key("Node", "", "node1")
    stored = node.do(lambda client: client.delete(own))
    node.until(lambda: "is not in the datastore" in node.status()["problems"].get(str(own), ""))
    assert isinstance(stored, Node)
    node.apply(Node(metadata=Metadata(name="node1"), spec=stored.spec))
    node.until(lambda: str(own) not in node.status()["problems"])


def _mtu(number: int) -> dict[str, object]:
    return {"uplink": number, "interface": "uplink", "pods": number, "because": "the uplink", "failure": ""}


def test_an_agent_does_not_start_with_the_address_of_another_node(node: AgentNode) -> None:
    other = NodeSpec(bgp=NodeBGP(ipv4_address="192.0.2.1/16"))
    node.apply(Node(metadata=Metadata(name="node2"), spec=other))
    node.start(wait=False)
    assert node.process is not None
    assert node.process.wait(timeout=20) == 1
    assert "node node1: its IPv4 address 192.0.2.1 is that of node node2 already" in node.log()
    node.process = None
