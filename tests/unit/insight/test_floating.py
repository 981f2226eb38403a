"""Floating addresses: which pod is judged, which address policy sees, and what is said where none is in force."""

import pytest
from tests.unit.insight.asking import ask, felix, global_policy, host_endpoint, node, pod, world_of

from tortie.insight.document import explanation_document
from tortie.insight.ends import find, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.files import Text
from tortie.insight.matrix import matrix
from tortie.insight.policy_test import read_assertions, run_assertions
from tortie.insight.question import parse_question
from tortie.insight.world import World

FLOATING, OWN = "203.0.113.7", "10.0.0.1"
STRANGER = "198.51.100.9"
ENABLED = felix("default", "floatingIPs: Enabled")
POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/16, natOutgoing: true}
"""


def with_floating(name: str, address: str, *, node: str = "n1", floating: str = FLOATING) -> str:
    annotated = f"annotations: {{cni.projectcalico.org/floatingIPs: '[\"{floating}\"]'}}, labels"
    return pod(name, address, node=node, labels=f"{{app: {name}}}").replace("labels", annotated)


CLUSTER = (
    with_floating("web", OWN),
    pod("near", "10.0.0.2", labels="{app: near}"),
    pod("far", "10.0.1.1", node="n2", labels="{app: far}"),
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
)
ON_8080 = "types: [Ingress]\ningress: [{action: Allow, protocol: TCP, destination: {nets: [10.0.0.1/32], ports: [8080]}}]"
WEB = global_policy("web", "app == 'web'", ON_8080)


def denied_to(app: str, net: str) -> str:
    rules = f"types: [Egress]\negress: [{{action: Deny, destination: {{nets: [{net}/32]}}}}, {{action: Allow}}]"
    return global_policy("out", f"app == '{app}'", rules)


@pytest.mark.parametrize("source", [STRANGER, "prod/near", "prod/far", "node/n1", "node/n2", "prod/web"])
def test_the_pod_behind_a_floating_address_is_judged_under_its_own_address(source: str) -> None:
    world = world_of(*CLUSTER, ENABLED, WEB)
    answer = ask(world, source, FLOATING, "tcp/8080")
    assert answer.allowed
    assert (answer.destination.text, str(answer.packet.destination)) == ("prod/web", OWN)
    assert ask(world, source, FLOATING, "tcp/http").allowed, "the pod's names of ports hold"
    assert ask(world, source, FLOATING, "tcp/8081").allowed == (source == "node/n1"), "a node reaches its own pods"
    document = explanation_document(answer)
    assert document["meaning"].startswith("203.0.113.7 is a floating address of prod/web: node/n1 translates it to 10.0.0.1;")


@pytest.mark.parametrize(("source", "sees"), [("near", OWN), ("far", FLOATING), ("web", OWN)])
def test_egress_policy_sees_the_address_that_the_packet_has_on_its_own_node(source: str, sees: str) -> None:
    other = ({OWN, FLOATING} - {sees}).pop()
    assert not ask(world_of(*CLUSTER, ENABLED, denied_to(source, sees)), f"prod/{source}", FLOATING, "tcp/8080").allowed
    assert ask(world_of(*CLUSTER, ENABLED, denied_to(source, other)), f"prod/{source}", FLOATING, "tcp/8080").allowed


@pytest.mark.parametrize(
    ("more", "sees"),
    [("preDNAT: true\napplyOnForward: true", FLOATING), ("applyOnForward: true", OWN)],
)
def test_policy_before_translation_sees_the_floating_address_and_forward_policy_the_pods(more: str, sees: str) -> None:
    other = ({OWN, FLOATING} - {sees}).pop()
    for net, allowed in ((sees, False), (other, True)):
        rules = f"types: [Ingress]\ningress: [{{action: Deny, destination: {{nets: [{net}/32]}}}}, {{action: Allow}}]"
        world = world_of(
            *CLUSTER, ENABLED, host_endpoint("one", "n1", "eth0"), global_policy("x", "has(host)", rules, more=more)
        )
        for source in (STRANGER, "prod/far"):
            assert ask(world, source, FLOATING, "tcp/8080").allowed == allowed, (source, net)


def test_what_passes_untracked_is_not_translated_and_arrives_nowhere() -> None:
    rules = "types: [Ingress, Egress]\ningress: [{action: Allow}]\negress: [{action: Allow}]"
    untracked = global_policy("fast", "has(host)", rules, more="doNotTrack: true\napplyOnForward: true")
    answer = ask(world_of(*CLUSTER, ENABLED, host_endpoint("one", "n1", "eth0"), untracked), STRANGER, FLOATING, "tcp/8080")
    assert not answer.allowed
    assert "is not translated either: nothing answers at 203.0.113.7" in answer.deciding.reason


def test_a_sender_of_another_node_is_seen_as_its_node_where_outgoing_packets_are_translated() -> None:
    rules = "types: [Ingress]\ningress: [{action: Allow, source: {nets: [192.0.2.2/32]}}]"
    only_n2 = global_policy("n2", "app == 'web'", rules)
    translated = ask(world_of(*CLUSTER, ENABLED, POOL, only_n2), "prod/far", FLOATING, "tcp/8080")
    assert translated.allowed
    assert "behind node/n2 the packet comes from 192.0.2.2 (natOutgoing)" in translated.notes
    assert not ask(world_of(*CLUSTER, ENABLED, only_n2), "prod/far", FLOATING, "tcp/8080").allowed
    assert not ask(world_of(*CLUSTER, ENABLED, POOL, only_n2), "prod/near", FLOATING, "tcp/8080").allowed, (
        "inside the pool by then"
    )


def test_who_leads_packets_to_the_node_is_said_where_it_is_assumed() -> None:
    world = world_of(*CLUSTER, ENABLED)
    assert any(
        "the network is assumed to lead it to node/n1" in note for note in ask(world, "prod/far", FLOATING, "tcp/80").notes
    )
    assert ask(world, "prod/near", FLOATING, "tcp/80").notes == ()
    told = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: q}, spec: {cidr: 203.0.113.0/24}}"
    assert ask(world_of(*CLUSTER, ENABLED, told), "prod/far", FLOATING, "tcp/80").notes == ()


@pytest.mark.parametrize(
    "configuration", [(), (felix("default", "floatingIPs: Disabled"),), (felix("node.n2", "floatingIPs: Enabled"),)]
)
def test_one_that_is_not_in_force_leads_nowhere_and_the_remedy_is_named(configuration: tuple[str, ...]) -> None:
    world = world_of(*CLUSTER, *configuration)
    for source in ("prod/near", "node/n1", STRANGER):
        answer = ask(world, source, FLOATING, "tcp/8080")
        assert not answer.allowed
        assert "floating address of prod/web on node/n1 that is not in force" in answer.deciding.reason
        assert "set floatingIPs: Enabled in FelixConfiguration" in answer.deciding.reason
        assert explanation_document(answer)["ingress"]["decidedBy"] == "leads nowhere"
    assert ask(world, "prod/near", FLOATING, "tcp/80").egress.allowed, "the sender's policy is asked all the same"
    sender = ask(world, FLOATING, "prod/near", "tcp/80")
    assert sender.allowed
    assert "counts as an address outside the cluster" in sender.notes[0]


def test_the_nodes_own_configuration_decides() -> None:
    assert ask(world_of(*CLUSTER, felix("node.n1", "floatingIPs: Enabled")), "prod/near", FLOATING, "tcp/80").allowed


def test_nothing_is_sent_from_a_floating_address() -> None:
    with pytest.raises(InsightError, match="nothing is sent from: ask for prod/web"):
        ask(world_of(*CLUSTER, ENABLED), FLOATING, "prod/near", "tcp/80")


def test_of_two_pods_the_one_with_the_first_name_has_it_and_of_two_nodes_each_has_its_own() -> None:
    both = world_of(*CLUSTER, with_floating("a", "10.0.0.3"), ENABLED)
    assert ask(both, "prod/far", FLOATING, "tcp/80").destination.text == "prod/a"
    twice = world_of(*CLUSTER, with_floating("a", "10.0.1.3", node="n2"), ENABLED)
    assert ask(twice, "prod/near", FLOATING, "tcp/80").destination.text == "prod/web"
    far = ask(twice, "prod/far", FLOATING, "tcp/80")
    assert far.destination.text == "prod/a"
    assert any("is also a floating address of prod/web on node/n1" in note for note in far.notes)


def test_assertions_tell_a_floating_address_from_its_pod() -> None:
    text = f"tests:\n- {{from: [prod/near, prod/web], to: [{FLOATING}, prod/web], port: tcp/8081, expect: deny}}\n"
    outcomes = run_assertions(world_of(*CLUSTER, ENABLED, WEB), read_assertions(Text("t.yaml", text)))
    assert [(each.text, each.passed) for each in outcomes] == [
        ("prod/near -> 203.0.113.7 tcp/8081", True),
        ("prod/near -> prod/web tcp/8081", True),
        ("prod/web -> 203.0.113.7 tcp/8081", True),
    ]


def test_a_table_with_floating_addresses_equals_asking_every_pair() -> None:
    worlds = (world_of(*CLUSTER, *each) for each in ((ENABLED, WEB, denied_to("far", FLOATING)), (WEB,)))
    twice = world_of(*CLUSTER, with_floating("a", "10.0.1.3", node="n2"), WEB, ENABLED)
    for world in (*worlds, twice):
        _compare(world, FLOATING, "tcp/8080", "tcp/8081")


def _compare(world: World, address: str, *ports: str) -> None:
    sources = [of_workload(each) for each in world.workloads.values()]
    end, questions = find(world, address), [parse_question(port) for port in ports]
    table = matrix(world, sources, [end], questions=questions)
    for i, source in enumerate(sources):
        for k, port in enumerate(ports):
            answer = table.answer(i, 0, k)
            assert answer is not None
            assert answer.allowed == ask(world, source.text, address, port).allowed, (source.text, port)
