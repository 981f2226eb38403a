"""Host endpoints, from documents to packets: sections 1 to 4, 6 and 9 of docs/policy-semantics.md.

The node's own ports are asked from `out`, behind ext0; packets from there to `far`, behind ext1, are forwarded.
"""

from collections.abc import Iterator

import pytest
from tests.kernel.statement_ground import Ground, felix, gnp, ground, profile, tier

pytestmark = pytest.mark.kernel

ALLOW, DENY = "[{action: Allow}]", "[{action: Deny}]"
HOST = "selector: host == 'x'"
EARLY = "applyOnForward: true"
OPEN = profile("open", f"ingress: {ALLOW}, egress: {ALLOW}")


@pytest.fixture(scope="module")
def built() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def node(built: Ground) -> Iterator[Ground]:
    yield built
    built.reset()


def hep(interface: str = "ext0", *, name: str = "h", profiles: str = "", expected: str = "") -> str:
    """A host endpoint of the node, labelled `host: x`."""
    place = f"interfaceName: '{interface}', " if interface else ""
    spec = f"node: node1, {place}profiles: [{profiles}], expectedIPs: [{expected}]"
    return f"{{kind: HostEndpoint, metadata: {{name: {name}, labels: {{host: x}}}}, spec: {{{spec}}}}}"


def port(number: int, action: str = "Allow") -> str:
    """A rule for one TCP port."""
    return f"{{action: {action}, protocol: TCP, destination: {{ports: [{number}]}}}}"


def entering(node: Ground, *ports: int) -> list[int]:
    """Which TCP ports of the node a stranger reaches."""
    return [each for each in ports if node.lets("out", "host", f"tcp/{each}")]


def leaving(node: Ground, *ports: int) -> list[int]:
    """Which TCP ports of a stranger the node reaches."""
    return [each for each in ports if node.lets("host", "out", f"tcp/{each}")]


def crossing(node: Ground, *ports: int) -> list[int]:
    """Which TCP ports one stranger reaches at another, through the node."""
    return [each for each in ports if node.lets("out", "far", f"tcp/{each}")]


# ---- failsafe ports ----
INBOUND, OUTBOUND = (22, 179, 2379, 2380, 5473, 6443, 6666, 6667), (179, 2379, 2380, 5473, 6443, 6666, 6667)


@pytest.mark.shows("PS-9.1", "PS-9.2", "PS-6.21", "PS-4.20")
def test_a_host_endpoint_without_anything_leaves_the_failsafe_ports(node: Ground) -> None:
    node.has(hep())
    assert entering(node, 21, *INBOUND, 80, 6668, 68, 53) == list(INBOUND)
    assert [each for each in (53, 67, 68, 69, 22) if node.lets("out", "host", f"udp/{each}")] == [68]
    assert leaving(node, 21, 22, *OUTBOUND, 80, 6668, 68, 53) == list(OUTBOUND)
    assert [each for each in (53, 67, 68, 69, 179) if node.lets("host", "out", f"udp/{each}")] == [53, 67]
    assert not node.lets("out", "host", "ping")
    assert not node.lets("host", "out", "ping")


@pytest.mark.shows("PS-9.3")
@pytest.mark.parametrize(
    ("family", "net", "other"), [(4, "192.0.2.7/32", "192.0.2.8"), (6, "2001:db8:9::7/128", "2001:db8:9::8")]
)
def test_a_failsafe_port_may_be_for_one_net(node: Ground, family: int, net: str, other: str) -> None:
    entry = f"[{{protocol: UDP, port: 99, net: '{net}'}}]"
    node.has(hep(), felix(f"failsafeInboundHostPorts: {entry}, failsafeOutboundHostPorts: {entry}"))
    assert node.lets("out", "host", "udp/99", family=family)
    assert not node.lets("out", "host", "udp/99", family=family, source=other)
    assert not node.lets("out", "host", "tcp/99", family=family)
    assert node.lets("host", "out", "udp/99", family=family)
    assert not node.lets("host", f"{other} via out", "udp/99", family=family)
    assert not node.lets("out", "host", "tcp/22", family=family), "the list replaces the usual one"


@pytest.mark.shows("PS-9.4")
def test_there_may_be_no_failsafe_port(node: Ground) -> None:
    node.has(hep(), felix("failsafeInboundHostPorts: [], failsafeOutboundHostPorts: []"))
    assert entering(node, *INBOUND) == []
    assert leaving(node, *OUTBOUND) == []


@pytest.mark.shows("PS-9.5", "PS-2.9")
def test_failsafe_ports_are_neither_for_workloads_nor_for_what_is_forwarded(node: Ground) -> None:
    node.has(hep(), gnp("pods", f"selector: app == 'b', ingress: {DENY}"), gnp("f", f"{HOST}, {EARLY}, ingress: {DENY}"))
    assert not node.lets("a", "b", "tcp/22")
    assert crossing(node, 22) == []


@pytest.mark.shows("PS-4.7", "PS-4.4")
def test_failsafe_ports_come_before_policy_and_after_what_tracking_says(node: Ground) -> None:
    node.has(hep(), gnp("shut", f"{HOST}, types: [Ingress, Egress], ingress: {DENY}, egress: {DENY}"))
    assert entering(node, 22, 80) == [22]
    assert not node.lets("out", "host", "tcp/22", flags="SF"), "no connection begins so"
    node.gets(felix("disableConntrackInvalidCheck: true"))
    assert node.lets("out", "host", "tcp/22", flags="SF")


# ---- which host endpoint ----
@pytest.mark.shows("PS-6.15", "PS-6.16", "PS-6.14", "PS-3.14")
def test_a_host_endpoint_by_name_and_by_address(node: Ground) -> None:
    nowhere = hep("", name="nowhere", expected="203.0.113.9")
    node.has(hep("ext1", expected="192.0.2.254, '2001:db8:9::fe'"), nowhere)
    assert entering(node, 80) == [80], "it names another interface, whatever addresses it expects"
    assert not node.lets("far", "host", "tcp/80"), "the interface that it names"
    node.has(hep("", expected="192.0.2.254"))
    assert entering(node, 80) == [], "the interface with that address, in both families"
    assert node.lets("far", "host", "tcp/80")


@pytest.mark.shows("PS-6.14", "PS-6.17")
def test_of_several_for_an_interface_the_first_takes_it(node: Ground) -> None:
    node.has(OPEN, hep(name="f", profiles="open"), hep("", name="g", expected="192.0.2.254"), hep(name="h"))
    assert entering(node, 80) == [80]
    node.gets(hep("", name="e", expected="192.0.2.254"))
    assert entering(node, 80) == []
    node.loses("HostEndpoint", "e")
    assert entering(node, 80) == [80]


@pytest.mark.shows("PS-6.18")
def test_of_several_for_all_interfaces_the_first_takes_effect(node: Ground) -> None:
    node.has(OPEN, hep("*", name="g", profiles="open"), hep("*", name="h"))
    assert entering(node, 80) == [80]
    node.gets(hep("*", name="f"))
    assert entering(node, 80) == []


@pytest.mark.shows("PS-6.19")
def test_a_host_endpoint_cannot_take_a_workloads_interface(node: Ground) -> None:
    node.has(hep("calia"), gnp("f", f"{HOST}, {EARLY}, ingress: {DENY}, egress: {DENY}"))
    assert node.lets("a", "b", "tcp/80")
    assert node.lets("b", "a", "tcp/80")


@pytest.mark.shows("PS-6.5", "PS-6.2")
def test_a_selector_of_all_namespaces_selects_no_host_endpoint(node: Ground) -> None:
    node.has(OPEN, hep(profiles="open"), gnp("shut", "namespaceSelector: all(), types: [Ingress]"))
    assert not node.lets("out", "b", "tcp/80")
    assert entering(node, 80) == [80]
    node.gets(gnp("shut", "types: [Ingress]"))
    assert entering(node, 80) == [], "without a namespace selector it does"


@pytest.mark.shows("PS-7.30")
def test_a_rule_with_global_matches_host_endpoints(node: Ground) -> None:
    stranger = "192.0.2.7, '2001:db8:9::7'"
    other = hep("eth0", name="other", expected=stranger).replace("node1", "node2")
    rule = "{action: Allow, source: {selector: all(), namespaceSelector: global()}}"
    node.has(other, gnp("some", f"selector: app == 'b', types: [Ingress], ingress: [{rule}]"))
    assert node.lets("out", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/80")
    assert not node.lets("far", "b", "tcp/80")


# ---- the node's own packets ----
@pytest.mark.shows("PS-3.13", "PS-3.17", "PS-3.19", "PS-4.18")
def test_the_nodes_own_packets_meet_ordinary_policy_then_profiles(node: Ground) -> None:
    node.has(hep(), gnp("some", f"{HOST}, ingress: [{port(80)}], egress: [{port(81)}]"))
    assert entering(node, 80, 81) == [80]
    assert leaving(node, 80, 81) == [81]
    some = profile("some", f"ingress: [{port(82)}], egress: [{port(83)}]")
    node.has(
        some, hep(profiles="some"), tier("t", "defaultAction: Pass"), gnp("none", f"{HOST}, tier: t, ingress: [], egress: []")
    )
    assert entering(node, 80, 82, 83) == [82]
    assert leaving(node, 80, 82, 83) == [83]


@pytest.mark.shows("PS-3.13", "PS-3.17")
def test_apply_on_forward_policy_is_for_the_nodes_own_packets_too(node: Ground) -> None:
    node.has(hep(), gnp("some", f"{HOST}, {EARLY}, ingress: [{port(80)}], egress: [{port(81)}]"))
    assert entering(node, 80, 81) == [80]
    assert leaving(node, 80, 81) == [81]


@pytest.mark.shows("PS-3.11")
@pytest.mark.parametrize("action", ["Accept", "Return"])
def test_host_ingress_is_not_asked_about_workloads(node: Ground, action: str) -> None:
    node.has(hep("*"), felix(f"defaultEndpointToHostAction: {action}"), gnp("shut", f"{HOST}, ingress: {DENY}"))
    assert node.lets("a", "host", "tcp/80")
    assert entering(node, 80) == []


@pytest.mark.shows("PS-3.15")
def test_host_egress_is_not_asked_about_workloads(node: Ground) -> None:
    node.has(hep("*"), gnp("shut", f"{HOST}, types: [Egress], egress: {DENY}"))
    assert node.lets("host", "b", "tcp/80")
    assert leaving(node, 80) == []


@pytest.mark.shows("PS-16.4")
def test_neighbour_discovery_to_a_host_endpoint_is_for_policy_to_allow(node: Ground) -> None:
    node.has(hep())
    assert not node.lets("out", "host", "icmpv6/135/0")
    node.gets(gnp("some", f"{HOST}, ingress: [{{action: Allow, protocol: ICMPv6, icmp: {{type: 135}}}}]"))
    assert node.lets("out", "host", "icmpv6/135/0")


@pytest.mark.shows("PS-1.11", "PS-1.8")
def test_before_translation_pre_dnat_policy_and_after_it_all_others(node: Ground) -> None:
    four, six = "dnat ip to 10.65.0.2:80", "dnat ip6 to [fd00:65::2]:80"
    rules = f"meta nfproto ipv4 tcp dport 30080 {four}; meta nfproto ipv6 tcp dport 30080 {six};"
    node.foreign(f"table inet foreign {{ chain c {{ type nat hook prerouting priority -100; {rules} }}; }}")
    node.has(hep(), gnp("pod", f"selector: app == 'b', types: [Ingress], ingress: [{port(80)}]"))
    assert node.lets("out", "host via b", "tcp/30080"), "the workload sees its own port"
    node.gets(gnp("forward", f"{HOST}, {EARLY}, ingress: [{port(80)}]"))
    assert node.lets("out", "host via b", "tcp/30080"), "forward policy too"
    node.gets(gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: [{port(80, 'Deny')}]"))
    assert node.lets("out", "host via b", "tcp/30080"), "pre-DNAT policy does not"
    node.gets(gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: [{port(30080, 'Deny')}]"))
    assert not node.lets("out", "host via b", "tcp/30080")


# ---- forwarded packets ----
@pytest.mark.shows("PS-2.7", "PS-2.10", "PS-2.11", "PS-4.21", "PS-6.22", "PS-1.14")
def test_without_forward_policy_a_host_endpoint_lets_everything_through(node: Ground) -> None:
    node.has(hep(), hep("ext1", name="i"))
    assert crossing(node, 80) == [80], "neither policy nor profile"
    assert node.lets("out", "b", "tcp/80")
    node.gets(gnp("ordinary", f"{HOST}, types: [Ingress, Egress], ingress: {DENY}, egress: {DENY}"))
    assert crossing(node, 80) == [80], "ordinary policy"
    assert node.lets("b", "out", "tcp/80")
    assert entering(node, 80) == []


@pytest.mark.shows("PS-2.8", "PS-2.10", "PS-4.13")
def test_forward_policy_of_one_direction_leaves_the_other_alone(node: Ground) -> None:
    node.has(OPEN, hep(profiles="open"), gnp("f", f"{HOST}, {EARLY}, ingress: [{port(80)}]"))
    assert crossing(node, 80, 81) == [80], "the end of the tier, and no profile"
    assert node.lets("far", "out", "tcp/81"), "its egress is not governed"


@pytest.mark.shows("PS-2.12")
def test_forward_policy_of_all_interfaces_is_for_workloads_too(node: Ground) -> None:
    node.has(OPEN, hep("*"), gnp("f", f"{HOST}, {EARLY}, types: [Ingress], ingress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81")
    assert crossing(node, 80, 81) == [80]
    node.gets(hep("ext0", name="own").replace("host: x", "host: y"))
    assert crossing(node, 80, 81) == [80, 81], "ext0 has one of its own now"


@pytest.mark.shows("PS-2.2")
@pytest.mark.parametrize("first", range(5))
def test_stages_of_forwarding_in_their_order(node: Ground, first: int) -> None:
    """All stages from `first` on deny (the fifth is the service range); the counters tell which were asked."""
    rules = [f"[{port(80, 'Deny' if first <= number else 'Allow')}]" for number in range(4)]
    policies = [
        gnp("stage-0", f"{HOST}, {EARLY}, types: [Ingress], ingress: {rules[0]}"),
        gnp("stage-1", f"selector: app == 'a', types: [Egress], egress: {rules[1]}"),
        gnp("stage-2", f"selector: app == 'b', types: [Ingress], ingress: {rules[2]}"),
        gnp("stage-3", f"{HOST}, {EARLY}, types: [Egress], egress: {rules[3]}"),
    ]
    nets = "{kind: BGPConfiguration, metadata: {name: default}, spec: {serviceClusterIPs: [{cidr: 10.65.0.2/32}]}}"
    node.has(hep("*"), nets, *policies)
    before = [node.counted(f"stage-{number}") for number in range(4)]
    assert not node.lets("a", "b", "tcp/80", family=4)
    after = [node.counted(f"stage-{number}") for number in range(4)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [int(number <= first) for number in range(4)]
    if first == 4:
        assert node.lets("a", "b", "tcp/80", family=6), "IPv6 has no service range here: what every stage allowed arrives"


# ---- the kinds of policy among themselves ----
@pytest.mark.shows("PS-3.18", "PS-4.22", "PS-4.23", "PS-1.5", "PS-1.7", "PS-1.17")
def test_untracked_then_pre_dnat_then_ordinary_policy(node: Ground) -> None:
    node.has(
        hep(),
        gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, ingress: [{port(80)}, {port(83, 'Deny')}]"),
        gnp(
            "before",
            f"{HOST}, {EARLY}, preDNAT: true, ingress: [{port(80, 'Deny')}, {port(81)}, {port(82, 'Deny')}, {port(83)}]",
        ),
        gnp("ordinary", f"{HOST}, ingress: [{port(80, 'Deny')}, {port(81, 'Deny')}, {port(82)}, {port(83)}, {port(84)}]"),
    )
    assert entering(node, 80) == [80], "untracked policy allowed it, and nobody else was asked"
    assert entering(node, 81) == [81], "pre-DNAT policy allowed it, and ordinary policy was not asked"
    assert entering(node, 82) == [], "pre-DNAT policy denied it"
    assert entering(node, 83) == [], "untracked policy denied it"
    assert entering(node, 84, 85) == [84], "undecided before, although the tier denies at its end"


@pytest.mark.shows("PS-3.18", "PS-1.18")
def test_what_pre_dnat_policy_allowed_skips_forward_ingress_alone(node: Ground) -> None:
    node.has(
        hep(),
        hep("ext1", name="i").replace("host: x", "host: y"),
        gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: [{port(80)}, {port(81)}]"),
        gnp("forward", f"{HOST}, {EARLY}, types: [Ingress], ingress: [{port(82)}]"),
        gnp("out", f"selector: host == 'y', {EARLY}, types: [Egress], egress: [{port(80)}, {port(82)}, {port(83)}]"),
        gnp("pod", f"selector: app == 'b', types: [Ingress], ingress: [{port(80)}]"),
    )
    assert crossing(node, 80) == [80], "ingress of ext0 would have denied"
    assert crossing(node, 81) == [], "egress of ext1 is asked"
    assert crossing(node, 82, 83) == [82], "undecided before: forward policy"
    assert node.lets("out", "b", "tcp/80")
    assert not node.lets("out", "b", "tcp/81"), "the workload is asked"
    assert node.lets("far", "out", "tcp/85"), "the other direction has no policy of these kinds"


@pytest.mark.shows("PS-3.18")
def test_pre_dnat_policy_is_not_for_what_the_node_sends(node: Ground) -> None:
    node.has(OPEN, hep(profiles="open"), gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: {DENY}"))
    assert entering(node, 80) == []
    assert leaving(node, 80) == [80]


@pytest.mark.shows("PS-1.9")
def test_pre_dnat_policy_of_all_interfaces_is_for_workloads_too(node: Ground) -> None:
    node.has(hep("*"), gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: [{port(81, 'Deny')}]"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81")


@pytest.mark.shows("PS-1.6")
def test_an_established_connection_is_not_asked_by_pre_dnat_policy(node: Ground) -> None:
    node.has(OPEN, hep(profiles="open"))
    flow = node.flow("out", "far", "udp/53")
    node.gets(gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: {DENY}"))
    assert flow.goes()
    assert not node.lets("out", "far", "udp/53", family=4)


@pytest.mark.shows("PS-1.12", "PS-4.24", "PS-8.8")
def test_what_is_not_tracked_needs_a_rule_each_way(node: Ground) -> None:
    inwards = "[{action: Allow, protocol: UDP, destination: {ports: [5000]}}]"
    back = "[{action: Allow, protocol: UDP, source: {ports: [5000]}}]"
    node.has(hep(), gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, ingress: {inwards}"))
    assert node.lets("out", "host", "udp/5000", source_port=777)
    assert not node.lets("host", "out", "udp/777", source_port=5000), "an answer to a connection that nobody knows"
    node.gets(gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, ingress: {inwards}, egress: {back}"))
    assert node.lets("out", "host", "udp/5000", source_port=778)
    assert node.lets("host", "out", "udp/778", source_port=5000)
    node.has(hep(), gnp("ordinary", f"{HOST}, ingress: {inwards}"))
    assert node.lets("out", "host", "udp/5000", source_port=779)
    assert node.lets("host", "out", "udp/779", source_port=5000), "ordinary policy needs none"


@pytest.mark.shows("PS-1.12", "PS-4.23")
def test_untracked_egress_comes_before_ordinary_egress(node: Ground) -> None:
    node.has(
        hep(),
        gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, types: [Egress], egress: [{port(80, 'Deny')}, {port(81)}]"),
        gnp("ordinary", f"{HOST}, types: [Egress], egress: [{port(80)}, {port(82)}, {port(81, 'Deny')}]"),
    )
    assert leaving(node, 80, 81, 82, 83) == [81, 82]


@pytest.mark.shows("PS-6.13")
def test_untracked_policy_on_all_interfaces_is_ignored(node: Ground) -> None:
    node.has(OPEN, hep("*", profiles="open"), gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, ingress: {DENY}, egress: {DENY}"))
    assert entering(node, 80) == [80]
    assert leaving(node, 80) == [80]


@pytest.mark.shows("PS-9.6", "PS-9.7")
def test_untracked_policy_cannot_cut_failsafe_ports_in_either_direction(node: Ground) -> None:
    shut = gnp("raw", f"{HOST}, {EARLY}, doNotTrack: true, ingress: {DENY}, egress: {DENY}")
    node.has(hep(), shut)
    for family in (4, 6):
        assert node.flow("out", "host", "udp/68", family=family).goes(), "into the host, and the answer"
        assert node.flow("host", "out", "udp/53", family=family).goes(), "out of the host, and the answer"
    assert entering(node, 80) == []
    assert not node.lets("out", "host", "tcp/777", source_port=179), "looks like an answer: tracking knows better"


@pytest.mark.shows("PS-8.10", "PS-2.13")
def test_what_pre_dnat_policy_allows_other_tables_may_still_drop(node: Ground) -> None:
    """Where we differ: in nftables an accept ends a chain and no other table's."""
    rules = "type filter hook prerouting priority -140; tcp dport 80 drop;"
    node.foreign(f"table inet foreign {{ chain c {{ {rules} }}; }}")
    for action in ("Accept", "Return"):
        configuration = felix(f"nftablesMangleAllowAction: {action}, nftablesFilterAllowAction: {action}")
        node.has(hep(), configuration, gnp("before", f"{HOST}, {EARLY}, preDNAT: true, ingress: {ALLOW}"))
        assert entering(node, 80, 81) == [81]


# ---- our own tunnels ----
OTHER_NODE = """
{kind: Node, metadata: {name: node2}, spec: {bgp: {ipv4Address: 192.0.2.7/24, ipv6Address: "2001:db8:9::7/64"}}}
"""


def pool(mode: str, cidr: str = "10.65.0.0/16") -> str:
    return f"{{kind: IPPool, metadata: {{name: {mode.lower()}{cidr[0]}}}, spec: {{cidr: '{cidr}', {mode}Mode: Always}}}}"


@pytest.mark.shows("PS-3.1", "PS-3.2", "PS-3.16")
def test_ipip_of_our_hosts_passes_and_of_others_does_not(node: Ground) -> None:
    shut = gnp("shut", f"{HOST}, types: [Ingress, Egress], ingress: {DENY}, egress: {DENY}")
    node.has(OTHER_NODE, pool("ipip"))
    assert node.lets("out", "host", "proto/4", family=4)
    assert not node.lets("out", "host", "proto/4", family=4, source="192.0.2.8"), "no host of ours, and no host endpoint"
    node.gets(hep(), shut)
    assert node.lets("out", "host", "proto/4", family=4)
    assert node.lets("host", "out", "proto/4", family=4)
    assert not node.lets("host", "192.0.2.8 via out", "proto/4", family=4)
    node.has(OTHER_NODE)
    assert node.lets("out", "host", "proto/4", family=4, source="192.0.2.8"), "without such a pool it is nobody's business"


@pytest.mark.shows("PS-3.3", "PS-3.4", "PS-3.16")
def test_vxlan_of_our_hosts_passes_and_of_others_does_not(node: Ground) -> None:
    shut = gnp("shut", f"{HOST}, types: [Ingress, Egress], ingress: {DENY}, egress: {DENY}")
    node.has(OTHER_NODE, pool("vxlan"), pool("vxlan", "fd00:65::/64"), hep(), shut)
    for family, stranger in ((4, "192.0.2.8"), (6, "2001:db8:9::8")):
        assert node.lets("out", "host", "udp/4789", family=family)
        assert node.lets("host", "out", "udp/4789", family=family)
        assert not node.lets("out", "host", "udp/4789", family=family, source=stranger)
        assert not node.lets("host", f"{stranger} via out", "udp/4789", family=family)
    node.loses("HostEndpoint", "h")
    assert not node.lets("out", "host", "udp/4789", family=4, source="192.0.2.8"), "no host endpoint is needed for that"


@pytest.mark.shows("PS-3.3", "PS-3.4")
@pytest.mark.parametrize(("cidr", "family", "other"), [("10.65.0.0/16", 4, 6), ("fd00:65::/64", 6, 4)])
def test_vxlan_of_one_family_says_nothing_about_the_other(node: Ground, cidr: str, family: int, other: int) -> None:
    node.has(OTHER_NODE, pool("vxlan", cidr))
    strangers = {4: "192.0.2.8", 6: "2001:db8:9::8"}
    assert node.lets("out", "host", "udp/4789", family=family)
    assert not node.lets("out", "host", "udp/4789", family=family, source=strangers[family])
    assert node.lets("out", "host", "udp/4789", family=other, source=strangers[other])


@pytest.mark.shows("PS-3.5")
def test_wireguard_passes_every_host_endpoint_of_the_family_that_has_it(node: Ground) -> None:
    shut = gnp("shut", f"{HOST}, types: [Ingress, Egress], ingress: {DENY}, egress: {DENY}")
    node.has(OTHER_NODE, hep(), shut)
    assert not node.lets("out", "host", "udp/51820", family=4)
    node.gets(felix("wireguardEnabled: true"))
    assert node.lets("out", "host", "udp/51820", family=4)
    assert node.lets("host", "out", "udp/51820", family=4)
    assert not node.lets("out", "host", "udp/51821", family=6)
    node.gets(felix("wireguardEnabledV6: true, wireguardListeningPortV6: 4711"))
    assert node.lets("out", "host", "udp/4711", family=6)
    assert node.lets("host", "out", "udp/4711", family=6)


# ---- service loops ----
def services(kind: str) -> str:
    """The BGP configuration with service ranges of one kind."""
    ranges = "[{cidr: 10.96.0.0/16}, {cidr: 'fd00:96::/64'}]"
    return f"{{kind: BGPConfiguration, metadata: {{name: default}}, spec: {{{kind}: {ranges}}}}}"


@pytest.mark.shows("PS-11.1", "PS-11.4")
@pytest.mark.parametrize("kind", ["serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs"])
def test_a_packet_to_a_service_that_nobody_has_goes_nowhere(node: Ground, kind: str) -> None:
    node.has()
    for family, service in ((4, "10.96.0.10"), (6, "fd00:96::10")):
        for sender in ("a", "far"):
            assert node.lets(sender, f"{service} via out", "tcp/80", family=family), "no range says that it is a service's"
    node.gets(services(kind))
    for family, service, other in ((4, "10.96.0.10", "10.97.0.10"), (6, "fd00:96::10", "fd00:97::10")):
        for sender in ("a", "far"):
            assert node.send(sender, service, "tcp/80", family=family) == []
            assert node.lets(sender, f"{other} via out", "tcp/80", family=family)
        assert node.lets("host", f"{service} via out", "tcp/80", family=family), "only what is forwarded can loop"


@pytest.mark.shows("PS-11.1")
def test_a_packet_to_a_service_that_was_translated_arrives(node: Ground) -> None:
    rules = "ip daddr 10.96.0.10 dnat ip to 10.65.0.2; ip6 daddr fd00:96::10 dnat ip6 to fd00:65::2;"
    node.foreign(f"table inet foreign {{ chain c {{ type nat hook prerouting priority -100; {rules} }}; }}")
    node.has(services("serviceClusterIPs"))
    for sender in ("a", "out"):
        assert node.lets(sender, "cluster ip via b", "tcp/80")


@pytest.mark.shows("PS-11.2", "PS-11.3")
@pytest.mark.parametrize("family", [4, 6])
def test_a_service_loop_may_be_answered_or_let_be(node: Ground, family: int) -> None:
    node.has(services("serviceClusterIPs"), felix("serviceLoopPrevention: Reject"))
    (answer,) = node.send("a", "cluster ip", "udp/80", family=family)
    assert answer.where == "a"
    assert answer.seen.is_error
    node.gets(felix("serviceLoopPrevention: Disabled"))
    assert node.lets("a", "cluster ip via out", "udp/80", family=family)
