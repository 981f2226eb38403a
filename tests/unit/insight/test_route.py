"""The nodes on a packet's way: whose host endpoint, under which address, by whose configuration."""

import pytest
from tests.unit.insight.asking import ask, felix, global_policy, host_endpoint, node, pod, world_of

from tortie.insight.document import explanation_document
from tortie.insight.errors import InsightError, UnknownEnd
from tortie.insight.world import World

CLUSTER = (
    pod("web", "10.0.0.1", node="n1"),
    pod("db", "10.0.0.2", node="n1"),
    pod("far", "10.0.1.1", node="n2"),
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
)
STRANGER = "203.0.113.9"
FORWARD = "applyOnForward: true"


def denying(name: str, selector: str, types: str = "Ingress", more: str = FORWARD) -> str:
    return global_policy(name, selector, f"types: [{types}]\n{types.lower()}: [{{action: Deny}}]", more=more)


def hooks(world: World, source: str, destination: str, question: str = "tcp/80") -> list[tuple[str, str]]:
    """Node and policies of every host endpoint that was asked."""
    answer = ask(world, source, destination, question)
    return [(step.node, step.host_hook.value) for step in answer.journey.steps if step.host_hook is not None]


def test_without_host_endpoints_nodes_have_no_say() -> None:
    world = world_of(*CLUSTER)
    answer = ask(world, STRANGER, "node/n1", "tcp/80")
    assert answer.allowed
    assert (answer.way, answer.notes) == ((), ())
    assert "no host endpoint has a say" in answer.ingress.reason


@pytest.mark.shows("PS-6.21", "PS-9.1")
def test_a_host_endpoint_closes_its_node_but_for_failsafe_ports() -> None:
    world = world_of(*CLUSTER, host_endpoint("one", "n1", "eth0", "192.0.2.1"))
    assert not ask(world, STRANGER, "node/n1", "tcp/80").allowed
    assert not ask(world, "node/n1", STRANGER, "tcp/80").allowed
    ssh = ask(world, "node/n2", "node/n1", "tcp/22")
    assert ssh.allowed
    assert "failsafe port" in ssh.ingress.reason
    assert ask(world, "node/n1", "prod/web", "tcp/80").allowed, "a node reaches its own pods"


@pytest.mark.shows("PS-2.12", "PS-6.22")
def test_between_pods_of_two_nodes_both_nodes_forward_policies_are_asked() -> None:
    endpoints = (host_endpoint("one", "n1", "eth0", "192.0.2.1"), host_endpoint("two", "n2", "eth0", "192.0.2.2"))
    world = world_of(*CLUSTER, *endpoints, denying("shut", "host == 'two'"))
    assert hooks(world, "prod/web", "prod/far") == [("n1", "forward"), ("n2", "forward")]
    answer = ask(world, "prod/web", "prod/far", "tcp/80")
    assert not answer.allowed
    assert answer.egress.allowed
    assert answer.ingress.allowed
    assert "forward policy of host endpoint two" in answer.deciding.hook
    assert ask(world, "prod/far", "prod/web", "tcp/80").allowed
    document = explanation_document(answer)
    assert [(half["verdict"], half["policy"]) for half in document["way"]] == [
        ("allow", None),
        ("deny", "GlobalNetworkPolicy shut"),
    ]
    assert document["way"][1]["location"].startswith("policy.yaml:")


def test_between_pods_of_one_node_only_a_host_endpoint_for_all_interfaces_is_asked() -> None:
    shut = denying("shut", "has(host)")
    assert ask(world_of(*CLUSTER, host_endpoint("one", "n1", "eth0"), shut), "prod/web", "prod/db", "tcp/80").allowed
    assert not ask(world_of(*CLUSTER, host_endpoint("all", "n1", "*"), shut), "prod/web", "prod/db", "tcp/80").allowed


def test_the_host_endpoint_that_expects_the_address_is_taken_for_certain() -> None:
    endpoints = (
        host_endpoint("a", "n1", "eth0"),
        host_endpoint("b", "n1", "eth1", "192.0.2.1"),
        host_endpoint("c", "n1", "*"),
    )
    world = world_of(*CLUSTER, *endpoints)
    answer = ask(world, STRANGER, "node/n1", "tcp/80")
    assert "host endpoint b" in answer.ingress.hook
    assert answer.notes == ()


def test_the_only_one_with_a_name_is_assumed_and_said() -> None:
    world = world_of(*CLUSTER, host_endpoint("a", "n1", "eth0"), host_endpoint("c", "n1", "*"))
    answer = ask(world, STRANGER, "node/n1", "tcp/80")
    assert "host endpoint a" in answer.ingress.hook
    assert explanation_document(answer)["assumptions"] == ["traffic of node/n1 is assumed to pass by eth0 (a) rather than by c"]


def test_of_several_names_none_is_preferred_to_the_one_for_all_interfaces() -> None:
    endpoints = (host_endpoint("a", "n1", "eth0"), host_endpoint("b", "n1", "eth1"))
    without = ask(world_of(*CLUSTER, *endpoints), STRANGER, "node/n1", "tcp/80")
    assert without.allowed
    assert "none of them is assumed" in without.notes[0]
    with_all = ask(world_of(*CLUSTER, *endpoints, host_endpoint("c", "n1", "*")), STRANGER, "node/n1", "tcp/80")
    assert "host endpoint c" in with_all.ingress.hook
    assert "host endpoint c is assumed" in with_all.notes[0]


def test_a_node_that_talks_to_itself_passes_its_loopback() -> None:
    world = world_of(*CLUSTER, host_endpoint("one", "n1", "eth0", "192.0.2.1"))
    assert ask(world, "node/n1", "node/n1", "tcp/80").allowed
    world = world_of(*CLUSTER, host_endpoint("all", "n1", "*"))
    assert hooks(world, "node/n1", "node/n1") == [("n1", "normal"), ("n1", "normal")]


def test_a_pod_of_a_pool_with_outgoing_translation_comes_to_other_nodes_as_its_own_node() -> None:
    pool = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/16, natOutgoing: true}
"""
    only_n1 = global_policy(
        "only-n1",
        "has(host)",
        "types: [Ingress]\ningress: [{action: Allow, source: {nets: [192.0.2.1/32]}}]",
    )
    two = host_endpoint("two", "n2", "eth0", "192.0.2.2")
    assert ask(world_of(*CLUSTER, pool, two, only_n1), "prod/web", "node/n2", "tcp/80").allowed
    assert not ask(world_of(*CLUSTER, two, only_n1), "prod/web", "node/n2", "tcp/80").allowed
    elsewhere = felix("node.n1", "natOutgoingAddress: 192.0.2.77")
    answer = ask(world_of(*CLUSTER, pool, two, only_n1, elsewhere), "prod/web", "node/n2", "tcp/80")
    assert not answer.allowed
    assert "behind node/n1 the packet comes from 192.0.2.77 (natOutgoing)" in answer.notes


def test_replies_to_untracked_packets_are_judged_on_their_own() -> None:
    untracked = global_policy(
        "fast",
        "has(host)",
        "types: [Ingress, Egress]\ningress: [{action: Allow}]",
        more="doNotTrack: true\napplyOnForward: true",
    )
    world = world_of(*CLUSTER, host_endpoint("one", "n1", "eth0", "192.0.2.1", "projectcalico-default-allow"), untracked)
    answer = ask(world, STRANGER, "node/n1", "tcp/80")
    assert answer.allowed
    assert "they do not pass" in answer.replies
    assert "drops it as invalid" in answer.replies


@pytest.mark.shows("PS-3.8", "PS-3.9")
def test_every_node_has_its_own_configuration() -> None:
    configurations = (
        felix("default", "defaultEndpointToHostAction: Drop"),
        felix("node.n2", "defaultEndpointToHostAction: Accept"),
        felix("blue", "nodeSelector: colour == 'blue', failsafeInboundHostPorts: [{protocol: TCP, port: 80}]"),
    )
    cluster = (*CLUSTER[:3], node("n1", "192.0.2.1", "{colour: blue}"), CLUSTER[4])
    world = world_of(*cluster, *configurations, host_endpoint("one", "n1", "eth0"), host_endpoint("two", "n2", "eth0"))
    assert not ask(world, "prod/web", "node/n1", "tcp/80").allowed
    assert ask(world, "prod/far", "node/n2", "tcp/80").allowed
    assert ask(world, STRANGER, "node/n1", "tcp/80").allowed
    assert not ask(world, STRANGER, "node/n2", "tcp/80").allowed
    assert not ask(world, STRANGER, "node/n1", "tcp/22").allowed
    assert ask(world, STRANGER, "node/n2", "tcp/22").allowed
    assert world.by_node


def test_nodes_that_are_only_mentioned_exist_too() -> None:
    world = world_of(pod("web", node="n7"), host_endpoint("nine", "n9", "eth0", "192.0.2.9"))
    seven = ask(world, "prod/web", "node/n7", "tcp/80")
    assert explanation_document(seven)["destination"]["syntheticAddress"] is True
    nine = explanation_document(ask(world, "192.0.2.9", "prod/web", "tcp/22"))
    assert nine["source"] == {"name": "node/n9", "addresses": ["192.0.2.9"]}
    with pytest.raises(UnknownEnd, match=r"there are n7, n9|did you mean"):
        ask(world, "prod/web", "node/n8", "tcp/80")


def test_a_pod_on_its_nodes_network_is_its_node() -> None:
    world = world_of(*CLUSTER, pod("agent", node="n2", extra=", hostNetwork: true"), host_endpoint("two", "n2", "eth0"))
    answer = ask(world, STRANGER, "prod/agent", "tcp/80")
    assert answer.destination.node == "n2"
    assert not answer.allowed


def test_a_node_that_is_only_mentioned_has_the_addresses_that_its_pods_tell() -> None:
    told = "{podIP: 192.0.2.9, podIPs: [{ip: 192.0.2.9}, {ip: '2001:db8:9::9'}]}"
    agent = pod("agent", node="n9", extra=", hostNetwork: true") + f"status: {told}\n"
    answer = explanation_document(ask(world_of(pod("web", "10.0.0.1"), agent), "prod/agent", "prod/web", "tcp/80"))
    assert answer["verdict"] == "allow"
    assert answer["packet"]["source"] == "192.0.2.9"
    assert "syntheticAddress" not in answer["source"]
    plain = pod("web", node="n7") + "status: {hostIP: 192.0.2.7}\n"
    assert explanation_document(ask(world_of(plain), "node/n7", "prod/web", "tcp/80"))["source"]["addresses"] == ["192.0.2.7"]


def test_kubernetes_nodes_have_the_addresses_that_their_status_tells() -> None:
    kubernetes = """\
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 192.0.2.77}]}
"""
    assert ask(world_of(pod("web", "10.0.0.1"), kubernetes), "192.0.2.77", "prod/web", "tcp/80").source.node == "n1"
    both = world_of(pod("web", "10.0.0.1"), kubernetes, node("n1", "192.0.2.1"))
    assert [str(address) for address in ask(both, "node/n1", "prod/web", "tcp/80").source.addresses] == ["192.0.2.1"]
    with pytest.raises(InsightError, match="Node n1"):
        world_of(kubernetes.replace("addresses: [", "addresses: [7, "))
    with pytest.raises(InsightError, match="Node n1: status must be a map"):
        world_of("{apiVersion: v1, kind: Node, metadata: {name: n1}, status: ready}")
    with pytest.raises(InsightError, match="Node: metadata must be a map"):
        world_of("{apiVersion: v1, kind: Node, metadata: n1}")


def test_a_port_of_a_node_can_be_asked_by_the_name_that_its_host_endpoint_gives_it() -> None:
    endpoint = host_endpoint("one", "n1", "eth0").replace(
        "interfaceName", "ports: [{name: api, protocol: TCP, port: 6443}], interfaceName"
    )
    world = world_of(*CLUSTER, endpoint)
    assert ask(world, STRANGER, "192.0.2.1", "tcp/api").packet.destination_port == 6443
    with pytest.raises(InsightError, match="its named ports: tcp/api"):
        ask(world, STRANGER, "node/n1", "udp/api")
