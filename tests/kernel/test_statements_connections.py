"""Sections 1, 2, 3, 10, 12, 13 and 16 of docs/policy-semantics.md, as far as workloads go: connections, sources, the host."""

from collections.abc import Iterator

import pytest
from tests.kernel.statement_ground import Ground, address, felix, gnp, ground, np, profile, tier, workload
from tests.kernel.statement_packets import packet, what

pytestmark = pytest.mark.kernel

INTO_B = "selector: app == 'b', types: [Ingress]"
OUT_OF_A = "selector: app == 'a', types: [Egress]"
OUT_OF_B = "selector: app == 'b', types: [Egress]"
NOTHING_INTO_B = gnp("shut", f"{INTO_B}, ingress: [{{action: Deny}}]")
NOTHING_OUT_OF_A = gnp("shut", f"{OUT_OF_A}, egress: [{{action: Deny}}]")
POD_B = """
{kind: Pod, apiVersion: v1, metadata: {name: b, namespace: one, labels: {app: b}},
 spec: {nodeName: node1, containers: [{name: x, image: x}]}, status: {podIPs: [{ip: 10.65.0.2}, {ip: "fd00:65::2"}]}}
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def node(built: Ground) -> Iterator[Ground]:
    yield built
    built.reset()


# ---- connections ----
@pytest.mark.shows("PS-4.3", "PS-12.1", "PS-12.2")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sent", ["udp/53", "tcp/80"])
def test_an_established_connection_outlives_the_policy_that_denies_it(node: Ground, sent: str, family: int) -> None:
    node.has()
    old = node.flow("a", "b", sent, family=family)
    inwards = node.flow("out", "b", sent, family=family)
    node.gets(NOTHING_INTO_B, gnp("mute", f"{OUT_OF_B}, egress: [{{action: Deny}}]"))
    assert not node.lets("a", "b", sent, family=family), "a new connection"
    assert old.goes()
    assert old.comes_back()
    assert inwards.goes()
    assert inwards.comes_back()


@pytest.mark.shows("PS-4.3")
@pytest.mark.parametrize("family", [4, 6])
def test_an_error_about_a_connection_passes_where_nothing_else_does(node: Ground, family: int) -> None:
    node.has(gnp("shut", "selector: app == 'a', types: [Ingress], ingress: [{action: Deny}]"))
    assert node.lets("a", "out", "udp/53", family=family, source_port=999)
    assert error_arrives(node, family, about_port=999)
    assert not error_arrives(node, family, about_port=998), "about a connection that there never was"


def error_arrives(node: Ground, family: int, *, about_port: int) -> bool:
    """Whether "port unreachable", about a datagram from a to a stranger, gets from the stranger to a."""
    about = packet(
        what("udp/53", family), address("a", family), address("out", family), number=1, source_port=about_port, flags=""
    )
    sent = "icmp/3/3" if family == 4 else "icmpv6/1/4"
    # The number of any message of ours stands where this one has the packet that it is about.
    arrivals = node.send("out", "a", sent, family=family, quoting=about)
    return any(arrival.where == "a" and arrival.seen.is_error for arrival in arrivals)


@pytest.mark.shows("PS-2.6")
@pytest.mark.parametrize("family", [4, 6])
def test_an_established_connection_is_accepted_at_the_first_workload(node: Ground, family: int) -> None:
    """A limit stands before what a chain accepts, so it tells whether a chain was asked."""
    limited = POD_B.replace("labels:", 'annotations: {qos.projectcalico.org/ingressPacketRate: "1"}, labels:')
    node.has()
    node.has(limited)
    from_pod, from_outside = node.flow("a", "b", "udp/53", family=family), node.flow("out", "b", "udp/53", family=family)
    assert node.burst("a", "b", "udp/53", family=family, source_port=from_pod.port, count=50) == 50
    assert node.burst("out", "b", "udp/53", family=family, source_port=from_outside.port, count=50) < 20, "no workload before b"


@pytest.mark.shows("PS-12.3")
@pytest.mark.parametrize("family", [4, 6])
def test_connections_of_an_address_that_leaves_are_forgotten(node: Ground, family: int) -> None:
    node.has(POD_B)
    gone, stays = node.flow("a", "b", "udp/53", family=family), node.flow("a", "c", "udp/53", family=family)
    node.loses("Pod", "b", "one")
    node.gets(POD_B, gnp("shut", "selector: app == 'b' || app == 'c', types: [Ingress], ingress: [{action: Deny}]"))
    assert not gone.goes(), "to whoever has the address now it is a new connection"
    assert stays.goes()


# ---- section 10 and what belongs to it ----
@pytest.mark.shows("PS-10.1", "PS-10.3")
def test_a_workload_cannot_send_as_somebody_else(node: Ground) -> None:
    node.has()
    for sent in ("tcp/80", "udp/53", "ping", "proto/89"):
        assert node.lets("a", "c", sent)
        for stolen in ("b", "out", "host"):
            assert not node.lets("a", "c", sent, source=stolen), f"as {stolen}"


@pytest.mark.shows("PS-10.1", "PS-16.1")
def test_neighbour_discovery_may_come_from_link_local_addresses_and_from_none(node: Ground) -> None:
    """Where we differ: without it a workload could not even try out its address."""
    node.has(felix("defaultEndpointToHostAction: Accept"))
    for source in ("fe80::1", "::"):
        assert node.lets("a", "host", "icmpv6/135/0", source=source)
    assert not node.lets("a", "host", "icmpv6/128/0", source="::"), "nothing else from there"
    assert not node.lets("a", "host", "udp/53", source="::", family=6)


@pytest.mark.shows("PS-10.2")
@pytest.mark.parametrize("family", [4, 6])
def test_a_workload_cannot_join_somebody_elses_connection(node: Ground, family: int) -> None:
    node.has()
    flow = node.flow("a", "out", "udp/53", family=family)
    assert not node.lets("c", "out", "udp/53", family=family, source="a", source_port=flow.port)
    assert flow.goes()


@pytest.mark.shows("PS-1.4")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("answerer", "carried_on"), [("out", True), ("a", False)])
def test_a_forged_answer_does_not_make_a_connection(node: Ground, family: int, answerer: str, carried_on: bool) -> None:
    """Were it tracked before its source is looked at, the connection would count as answered and outlive the policy."""
    node.has()
    assert node.lets("b", "out", "udp/53", family=family, source_port=777)
    assert node.lets(answerer, "b", "udp/777", family=family, source="out", source_port=53) is carried_on
    node.gets(gnp("mute", f"{OUT_OF_B}, egress: [{{action: Deny}}]"))
    assert node.lets("b", "out", "udp/53", family=family, source_port=777) is carried_on


ALLOWED_SOURCES = """
{{kind: Pod, apiVersion: v1, metadata: {{name: a, namespace: one, labels: {{app: a}},
   annotations: {{cni.projectcalico.org/allowedSourcePrefixes: '{prefixes}'}}}},
 spec: {{nodeName: node1, containers: [{{name: x, image: x}}]}},
 status: {{podIPs: [{{ip: 10.65.0.1}}, {{ip: "fd00:65::1"}}]}}}}
"""
SPOOFING = felix("workloadSourceSpoofing: Any")


@pytest.mark.shows("PS-10.4", "PS-10.6", "PS-10.7")
def test_a_workload_may_send_from_prefixes_that_it_is_allowed(node: Ground) -> None:
    pod = ALLOWED_SOURCES.format(prefixes='["10.99.0.0/24", "fd99::/64"]')
    node.has(SPOOFING, pod)
    for family, inside, outside in ((4, "10.99.0.7", "10.99.1.7"), (6, "fd99::7", "fd99:0:0:1::7")):
        assert node.lets("a", "out", "tcp/80", family=family, source=inside)
        assert node.lets("a", "out", "tcp/80", family=family), "its own address still"
        assert not node.lets("a", "out", "tcp/80", family=family, source=outside), "not in the prefix"
        assert not node.lets("c", "out", "tcp/80", family=family, source=inside), "another workload"
    node.gets(NOTHING_OUT_OF_A)
    assert not node.lets("a", "out", "tcp/80", family=4, source="10.99.0.7"), "policy has its say"
    assert not node.lets("a", "out", "tcp/80", family=6, source="fd99::7")


@pytest.mark.shows("PS-10.6")
def test_an_allowed_prefix_is_for_its_own_family(node: Ground) -> None:
    node.has(SPOOFING, ALLOWED_SOURCES.format(prefixes='["0.0.0.0/0"]'))
    assert node.lets("a", "out", "tcp/80", family=4, source="10.99.0.7")
    assert not node.lets("a", "out", "tcp/80", family=6, source="fd99::7")


@pytest.mark.shows("PS-10.5")
def test_allowed_prefixes_need_the_configurations_consent(node: Ground) -> None:
    node.has(ALLOWED_SOURCES.format(prefixes='["10.99.0.0/24"]'))
    assert not node.lets("a", "out", "tcp/80", family=4, source="10.99.0.7")
    node.gets(SPOOFING)
    assert node.lets("a", "out", "tcp/80", family=4, source="10.99.0.7")


@pytest.mark.shows("PS-10.12")
def test_a_workload_may_send_from_any_hardware_address(node: Ground) -> None:
    node.has()
    assert node.lets("a", "b", "tcp/80", source_mac=b"\x02\x00\x00\x00\x99\x99")


# ---- workloads and their host ----
TO_HOST = "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]"


@pytest.mark.shows("PS-3.7", "PS-3.8", "PS-3.9")
def test_to_its_host_a_workload_needs_egress_and_then_the_configurations_consent(node: Ground) -> None:
    node.has(gnp("some", f"{OUT_OF_A}, egress: {TO_HOST}"))
    assert not node.lets("a", "host", "tcp/80"), "Drop is the default"
    assert not node.lets("c", "host", "tcp/80"), "without policy too"
    node.gets(felix("defaultEndpointToHostAction: Accept"))
    assert node.lets("a", "host", "tcp/80")
    assert not node.lets("a", "host", "tcp/81"), "egress"
    assert node.lets("c", "host", "tcp/81")


@pytest.mark.shows("PS-3.10", "PS-3.14")
def test_what_egress_allowed_may_be_left_to_the_hosts_own_rules(node: Ground) -> None:
    node.foreign("table inet foreign { chain c { type filter hook input priority 10; tcp dport 80 drop; }; }")
    node.has(felix("defaultEndpointToHostAction: Return"))
    assert node.lets("a", "host", "tcp/81")
    assert not node.lets("a", "host", "tcp/80")
    assert not node.lets("out", "host", "tcp/80"), "who is no workload is left to them always"
    assert node.lets("out", "host", "tcp/81")


@pytest.mark.shows("PS-3.15")
def test_the_host_reaches_its_workloads_whatever_policy_says(node: Ground) -> None:
    node.has(NOTHING_INTO_B)
    assert node.lets("host", "b", "tcp/80")
    assert node.lets("host", "b", "ping")
    assert not node.lets("out", "b", "tcp/80")


@pytest.mark.shows("PS-16.1")
def test_a_workload_finds_its_router_whatever_policy_says(node: Ground) -> None:
    node.has(NOTHING_OUT_OF_A)
    for kind in (130, 131, 132, 133, 135, 136):
        assert node.lets("a", "host", f"icmpv6/{kind}/0"), kind
    for kind in (128, 134, 137):
        assert not node.lets("a", "host", f"icmpv6/{kind}/0"), kind
    assert not node.lets("a", "out", "icmpv6/135/0"), "to the host alone"


@pytest.mark.shows("PS-16.3")
def test_dhcp_is_not_let_through_by_itself(node: Ground) -> None:
    node.has(felix("defaultEndpointToHostAction: Accept"), NOTHING_OUT_OF_A)
    assert not node.lets("a", "host", "udp/67", source_port=68, family=4)
    assert node.lets("c", "host", "udp/67", source_port=68, family=4), "policy decides"
    assert not node.lets("c", "host", "udp/67", source_port=68, family=4, source="0.0.0.0"), "and the source must be right"


# ---- marks, other tables, who holds an interface ----
@pytest.mark.shows("PS-1.1")
def test_a_mark_that_a_packet_brings_along_approves_nothing(node: Ground) -> None:
    node.foreign("table inet foreign { chain c { type filter hook prerouting priority -301; meta mark set 0xffffffff; }; }")
    some = "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]"
    node.has(gnp("in", f"{INTO_B}, ingress: {some}"), gnp("out", f"{OUT_OF_A}, egress: {some}"))
    for sender in ("a", "out"):
        assert node.lets(sender, "b", "tcp/80")
        assert not node.lets(sender, "b", "tcp/81")
    assert not node.lets("a", "c", "tcp/81")
    assert not node.lets("a", "host", "tcp/80")


@pytest.mark.shows("PS-2.13")
def test_what_policy_lets_through_other_tables_may_still_drop(node: Ground) -> None:
    """Where we differ: in nftables an accept ends a chain and no other table's."""
    node.foreign("table inet foreign { chain c { type filter hook forward priority 10; tcp dport 80 drop; }; }")
    for action in ("Accept", "Return"):
        node.has(felix(f"nftablesFilterAllowAction: {action}"), gnp("in", f"{INTO_B}, ingress: [{{action: Allow}}]"))
        assert node.lets("a", "b", "tcp/81")
        assert not node.lets("a", "b", "tcp/80")


OPEN, CLOSED = profile("open", "ingress: [{action: Allow}], egress: [{action: Allow}]"), profile("closed", "labelsToApply: {}")


@pytest.mark.shows("PS-6.20")
def test_of_two_workloads_with_one_interface_the_first_is_active_until_it_goes(node: Ground) -> None:
    node.has(OPEN, CLOSED, workload("closed", container="g"), workload("open", container="f"))
    assert node.lets("a", "e", "tcp/80"), "f comes before g"
    node.gets(workload("closed", container="e"))
    assert not node.lets("a", "e", "tcp/80"), "a smaller one came"
    node.loses("WorkloadEndpoint", "node1-cni-e-eth0", "one")
    assert node.lets("a", "e", "tcp/80")
    node.loses("WorkloadEndpoint", "node1-cni-f-eth0", "one")
    assert not node.lets("a", "e", "tcp/80"), "g was waiting"


# ---- staged policies ----
def staged(kind: str, spec: str) -> str:
    """A staged policy."""
    namespace = "" if kind == "StagedGlobalNetworkPolicy" else ", namespace: one"
    return f"{{kind: {kind}, metadata: {{name: s{namespace}}}, spec: {{{spec}}}}}"


@pytest.mark.shows("PS-13.2")
@pytest.mark.parametrize("kind", ["StagedGlobalNetworkPolicy", "StagedNetworkPolicy"])
@pytest.mark.parametrize("action", ["Set", "Learn", "Ignore"])
def test_a_staged_policy_changes_nothing(node: Ground, kind: str, action: str) -> None:
    spec = f"stagedAction: {action}, order: 1, {INTO_B}"
    node.has(staged(kind, f"{spec}, ingress: [{{action: Deny}}]"))
    assert node.lets("a", "b", "tcp/80"), "it does not deny"
    rule = "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]"
    node.has(staged(kind, f"{spec}, ingress: [{{action: Allow}}]"), gnp("real", f"{INTO_B}, ingress: {rule}"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81"), "it does not allow"


@pytest.mark.shows("PS-13.2")
def test_a_staged_deletion_leaves_the_policy_of_its_name_in_force(node: Ground) -> None:
    node.has(np("s", f"{INTO_B}, ingress: []"))
    assert not node.lets("a", "b", "tcp/80")
    node.gets(staged("StagedNetworkPolicy", "stagedAction: Delete"))
    assert not node.lets("a", "b", "tcp/80")


@pytest.mark.shows("PS-13.2")
def test_a_staged_kubernetes_policy_changes_nothing(node: Ground) -> None:
    node.has(staged("StagedKubernetesNetworkPolicy", "stagedAction: Set, podSelector: {}, policyTypes: [Ingress, Egress]"))
    assert node.lets("a", "b", "tcp/80")
    assert node.lets("b", "c", "tcp/80")


@pytest.mark.shows("PS-4.17", "PS-13.3")
def test_a_tier_with_staged_policies_alone_does_not_deny_at_its_end(node: Ground) -> None:
    both = "stagedAction: Set, tier: first, selector: app == 'b', types: [Ingress, Egress]"
    node.has(tier("first", "order: 1, defaultAction: Deny"), staged("StagedGlobalNetworkPolicy", both))
    assert node.lets("a", "b", "tcp/80")
    node.gets(gnp("real", "selector: app == 'b', tier: first, types: [Egress], egress: []"))
    assert node.lets("a", "b", "tcp/80"), "enforced policy in the other direction"
    assert not node.lets("b", "a", "tcp/80")
    node.gets(gnp("real", "selector: app == 'b', tier: first, types: [Ingress], ingress: []"))
    assert not node.lets("a", "b", "tcp/80"), "beside an enforced policy the end counts"
