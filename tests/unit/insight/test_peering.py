"""The address at which workloads that are BGP peers find their own node."""

import pytest
from tests.unit.insight.asking import ask, felix, global_policy, node, pod, world_of

from tortie.base.net import Family, parse_address
from tortie.insight.ends import find, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.matrix import matrix
from tortie.insight.question import parse_question

VIRTUAL = "169.254.10.1"
BGP = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {localWorkloadPeeringIPV4: 169.254.10.1, listenPort: 1790}
"""
PEER = """\
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: routers}
spec: {localWorkloadSelector: role == 'router', asNumber: 65010}
"""
CLUSTER = (
    pod("router", "10.0.0.1", labels="{role: router}"),
    pod("other", "10.0.0.2"),
    pod("far", "10.0.1.1", node="n2"),
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
    BGP,
    PEER,
)


def test_a_workload_that_is_a_peer_reaches_its_node_there_at_the_port_of_bgp_and_no_other() -> None:
    world = world_of(*CLUSTER)
    session = ask(world, "prod/router", VIRTUAL, "tcp/1790")
    assert session.allowed
    assert session.destination.text == "node/n1"
    assert "whatever DefaultEndpointToHostAction says" in session.ingress.reason
    assert session.meaning == (
        "169.254.10.1 is where workloads that are BGP peers find their own node:"
        " from prod/router it is node/n1 itself, which speaks BGP there at TCP port 1790"
    )
    for source, question in (("prod/router", "tcp/1791"), ("prod/router", "udp/1790"), ("prod/other", "tcp/1790")):
        assert not ask(world, source, VIRTUAL, question).allowed, (source, question)
    assert not ask(world, "prod/router", "node/n1", "tcp/1790").allowed, "the node's own address is not meant"
    open_node = world_of(*CLUSTER, felix("default", "defaultEndpointToHostAction: Accept"))
    assert ask(open_node, "prod/other", VIRTUAL, "tcp/1790").allowed


def test_policy_of_the_workload_has_its_say_first() -> None:
    shut = global_policy("shut", "role == 'router'", "types: [Egress]")
    answer = ask(world_of(*CLUSTER, shut), "prod/router", VIRTUAL, "tcp/1790")
    assert not answer.allowed
    assert answer.deciding.end.text == "prod/router"


def test_where_no_workload_is_a_peer_the_address_leads_nowhere() -> None:
    world = world_of(*CLUSTER)
    far = ask(world, "prod/far", VIRTUAL, "tcp/1790")
    assert not far.allowed
    assert "no workload of node/n2 is one (BGPPeer spec.localWorkloadSelector): it leads nowhere" in far.ingress.reason
    assert far.egress.allowed
    assert not ask(world, "198.51.100.9", VIRTUAL, "tcp/1790").allowed
    assert ask(world, "node/n1", VIRTUAL, "tcp/1790").allowed
    elsewhere = PEER.replace("asNumber", "node: n2, asNumber")
    assert not ask(world_of(*CLUSTER[:-1], elsewhere), "prod/router", VIRTUAL, "tcp/1790").allowed
    broken = PEER.replace("asNumber", "filters: [none], asNumber")
    assert not ask(world_of(*CLUSTER[:-1], broken), "prod/router", VIRTUAL, "tcp/1790").allowed
    without = world_of(*CLUSTER[:-2], PEER)
    assert ask(without, "prod/router", VIRTUAL, "tcp/1790").allowed, "no address of ours, as far as anybody said"


def test_nodes_that_are_only_mentioned_speak_bgp_too() -> None:
    world = world_of(CLUSTER[0], BGP, PEER)
    assert [(end.address, end.port) for end in world.peerings("n1")] == [(parse_address(VIRTUAL), 1790)]
    assert ask(world, "prod/router", VIRTUAL, "tcp/1790", Family.V4).allowed


def test_a_node_sends_nothing_from_it() -> None:
    with pytest.raises(InsightError, match="sends nothing from it: ask for node/NAME"):
        ask(world_of(*CLUSTER), VIRTUAL, "prod/router", "tcp/80")


def test_a_table_with_the_address_equals_asking_every_pair() -> None:
    world = world_of(
        *CLUSTER, pod("router2", "10.0.1.2", node="n3", labels="{role: router}"), pod("four", "10.0.1.4", node="n3")
    )
    sources = [of_workload(each) for each in world.workloads.values()]
    table = matrix(world, sources, [find(world, VIRTUAL)], questions=[parse_question("tcp/1790")])
    answers = [table.answer(i, 0, 0) for i in range(len(sources))]
    allowed = [source.text for source, answer in zip(sources, answers, strict=True) if answer is not None and answer.allowed]
    assert sorted(allowed) == ["prod/router", "prod/router2"]
