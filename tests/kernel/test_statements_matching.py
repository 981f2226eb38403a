"""Sections 6 and 7 of docs/policy-semantics.md, as far as workloads go: whom a policy selects, and when a rule matches."""

from collections.abc import Iterator
from typing import Literal

import pytest
from tests.kernel.statement_ground import Ground, felix, gnp, ground, np, profile, workload

from tortie.api.policy import EntityRule, GlobalNetworkPolicy, GlobalNetworkPolicySpec, Rule
from tortie.api.resource import Metadata, Resource

pytestmark = pytest.mark.kernel

INTO_B = "selector: app == 'b', types: [Ingress]"
OUT_OF_A = "selector: app == 'a', types: [Egress]"
ALL_PODS = "abcd"


@pytest.fixture(scope="module")
def built() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def node(built: Ground) -> Iterator[Ground]:
    yield built
    built.reset()


def into_b(*rules: str) -> str:
    """A policy that lets into b what these rules allow."""
    return gnp("some", f"{INTO_B}, ingress: [{', '.join(rules)}]")


def out_of_a(*rules: str) -> str:
    """A policy that lets out of a what these rules allow."""
    return gnp("some", f"{OUT_OF_A}, egress: [{', '.join(rules)}]")


def into(node: Ground, senders: str = ALL_PODS, sent: str = "tcp/80") -> str:
    """Which pods reach b."""
    return "".join(pod for pod in senders if pod != "b" and node.lets(pod, "b", sent))


def cut_off(node: Ground, pods: str = ALL_PODS) -> str:
    """Which pods a stranger does not reach."""
    return "".join(pod for pod in pods if not node.lets("out", pod, "tcp/80"))


def passing(node: Ground, *sent: str, family: int | None = None) -> list[str]:
    """Which of these b gets from a."""
    return [each for each in sent if node.lets("a", "b", each, family=family)]


# ---- section 6 ----
@pytest.mark.shows("PS-6.1", "PS-6.2")
def test_a_namespaced_policy_is_for_its_namespace_and_a_global_one_for_all(node: Ground) -> None:
    open_profile = profile("open", "ingress: [{action: Allow}], egress: [{action: Allow}]")
    node.has(open_profile, np("shut", "selector: all(), types: [Ingress]"))
    assert cut_off(node) == "ab"
    node.has(open_profile, gnp("shut", "selector: all(), types: [Ingress]"))
    assert cut_off(node) == "abcd"


@pytest.mark.shows("PS-6.3")
def test_a_global_policy_selects_by_the_namespaces_labels(node: Ground) -> None:
    node.has(gnp("shut", "namespaceSelector: team == 'blue', types: [Ingress]"))
    assert cut_off(node) == "cd"
    node.has(gnp("shut", "namespaceSelector: team == 'blue', selector: tone == 'low', types: [Ingress]"))
    assert cut_off(node) == "c"


@pytest.mark.shows("PS-6.4", "PS-6.6")
def test_a_global_policy_selects_by_the_service_accounts_labels(node: Ground) -> None:
    open_profile = profile("open", "ingress: [{action: Allow}], egress: [{action: Allow}]")
    node.has(gnp("shut", "serviceAccountSelector: job == 'floor', types: [Ingress]"))
    assert cut_off(node) == "cd"
    node.has(open_profile, workload("open"), gnp("shut", "serviceAccountSelector: all(), types: [Ingress]"))
    assert cut_off(node, "abcde") == "abcd", "e has no service account"


@pytest.mark.shows("PS-6.11")
@pytest.mark.parametrize("kind", ["doNotTrack", "preDNAT"])
def test_policy_before_tracking_or_translation_does_nothing_to_workloads(node: Ground, kind: str) -> None:
    node.has(gnp("shut", f"{INTO_B}, applyOnForward: true, {kind}: true, ingress: [{{action: Deny}}]"))
    assert node.lets("a", "b", "tcp/80")
    node.gets(gnp("shut", f"{INTO_B}, ingress: [{{action: Deny}}]"))
    assert not node.lets("a", "b", "tcp/80"), "the same policy, of the ordinary kind"


@pytest.mark.shows("PS-6.12")
@pytest.mark.parametrize("apply_on_forward", ["true", "false"])
def test_apply_on_forward_makes_no_difference_to_workloads(node: Ground, apply_on_forward: str) -> None:
    rule = "{action: Allow, protocol: TCP, destination: {ports: [80]}}"
    node.has(gnp("some", f"{INTO_B}, applyOnForward: {apply_on_forward}, ingress: [{rule}]"))
    assert passing(node, "tcp/80", "tcp/81") == ["tcp/80"]


# ---- section 7: what is in every rule ----
@pytest.mark.shows("PS-7.1", "PS-7.2")
def test_all_fields_must_match_and_one_entry_of_each(node: Ground) -> None:
    source = "{selector: app == 'a' || app == 'c', ports: [1000, 2000]}"
    node.has(into_b(f"{{action: Allow, protocol: TCP, source: {source}, destination: {{ports: [80, '90:92']}}}}"))

    def gets(pod: str, sent: str, source_port: int) -> bool:
        return node.lets(pod, "b", sent, source_port=source_port)

    assert gets("a", "tcp/80", 1000)
    assert gets("c", "tcp/91", 2000)
    assert not gets("d", "tcp/80", 1000), "the selector"
    assert not gets("a", "udp/80", 1000), "the protocol"
    assert not gets("a", "tcp/80", 1001), "the source's port"
    assert not gets("a", "tcp/93", 1000), "the destination's port"


@pytest.mark.shows("PS-7.3", "PS-7.2")
@pytest.mark.parametrize(
    ("field", "allowed"),
    [
        ("nets: [10.65.0.1/32, 10.65.0.3/32]", "ac"),
        ("notNets: [10.65.0.1/32, 10.65.0.3/32]", "d"),
        ("nets: [10.65.0.0/24], notNets: [10.65.0.3/32, 10.65.0.4/32]", "a"),
        ("selector: has(app), notSelector: app == 'a'", "cd"),
    ],
)
def test_of_a_negated_list_nothing_may_match(node: Ground, field: str, allowed: str) -> None:
    node.has(into_b(f"{{action: Allow, source: {{{field}}}}}"))
    reached = "".join(pod for pod in "acd" if node.lets(pod, "b", "tcp/80", family=4))
    assert reached == allowed


@pytest.mark.shows("PS-7.3", "PS-7.23")
def test_of_negated_ports_nothing_may_match(node: Ground) -> None:
    node.has(into_b("{action: Allow, protocol: TCP, destination: {notPorts: [80, '90:92']}}"))
    assert passing(node, "tcp/79", "tcp/80", "tcp/81", "tcp/90", "tcp/92", "tcp/93") == ["tcp/79", "tcp/81", "tcp/93"]


@pytest.mark.shows("PS-7.4", "PS-8.2")
def test_four_actions(node: Ground) -> None:
    def rule(action: str, port: int) -> str:
        return f"{{action: {action}, protocol: TCP, destination: {{ports: [{port}]}}}}"

    node.has(
        gnp(
            "one",
            f"{INTO_B}, order: 1, ingress: [{rule('Allow', 80)}, {rule('Deny', 81)}, {rule('Log', 82)}, {rule('Pass', 83)}]",
        ),
        gnp("two", f"{INTO_B}, order: 2, ingress: [{rule('Allow', 81)}, {rule('Deny', 83)}, {rule('Allow', 82)}]"),
    )
    assert passing(node, "tcp/80", "tcp/81", "tcp/82", "tcp/83", "tcp/84") == ["tcp/80", "tcp/82", "tcp/83"]
    assert node.send("a", "b", "tcp/81", family=4) == [], "and nobody answers what is denied"
    assert node.send("a", "b", "tcp/81", family=6) == []


# ---- families ----
@pytest.mark.shows("PS-7.5")
@pytest.mark.parametrize(("version", "other"), [(4, 6), (6, 4)])
def test_an_ip_version_is_for_its_family(node: Ground, version: int, other: int) -> None:
    node.has(into_b(f"{{action: Allow, ipVersion: {version}}}"))
    assert passing(node, "tcp/80", "proto/89", family=version) == ["tcp/80", "proto/89"]
    assert passing(node, "tcp/80", "proto/89", family=other) == []


@pytest.mark.shows("PS-7.6")
@pytest.mark.parametrize(("field", "family", "other"), [("nets: [10.0.0.0/8]", 4, 6), ('nets: ["fd00::/8"]', 6, 4)])
def test_nets_of_one_family_leave_the_other_alone(node: Ground, field: str, family: int, other: int) -> None:
    for end in ("source", "destination"):
        node.has(into_b(f"{{action: Allow, {end}: {{{field}}}}}"))
        assert passing(node, "tcp/80", family=family) == ["tcp/80"]
        assert passing(node, "tcp/80", family=other) == [], f"an allow with {end} nets does not become an allow of everything"
        negated = field.replace("nets", "notNets").replace("10.0.0.0/8", "11.0.0.0/8").replace("fd00::/8", "fe00::/8")
        node.has(into_b(f"{{action: Allow, {end}: {{{negated}}}}}"))
        assert passing(node, "tcp/80", family=family) == ["tcp/80"]
        assert passing(node, "tcp/80", family=other) == []


@pytest.mark.shows("PS-7.8")
@pytest.mark.parametrize(("everything", "family", "other"), [("0.0.0.0/0", 4, 6), ("::/0", 6, 4)])
def test_a_stored_rule_that_excludes_a_whole_family_matches_nothing(
    node: Ground, everything: str, family: Literal[4, 6], other: int
) -> None:
    def stored(action: Literal["Allow", "Deny"]) -> Resource:
        rule = Rule(action=action, source=EntityRule(not_nets=(everything,)))
        spec = GlobalNetworkPolicySpec(
            selector="app == 'b'", types=("Ingress",), ingress=(rule, Rule(action="Allow", ip_version=family))
        )
        return GlobalNetworkPolicy(metadata=Metadata(name="some"), spec=spec)

    node.has()
    node.stores(stored("Deny"))
    assert passing(node, "tcp/80", family=family) == ["tcp/80"]
    node.stores(stored("Allow"))
    assert passing(node, "tcp/80", family=other) == []


@pytest.mark.shows("PS-7.12")
def test_icmp_is_ipv4_and_icmpv6_is_ipv6(node: Ground) -> None:
    everything = ("icmp/8/0", "icmpv6/128/0", "tcp/80")
    node.has(into_b("{action: Allow, protocol: ICMP}"))
    assert passing(node, *everything) == ["icmp/8/0"]
    node.has(into_b("{action: Allow, protocol: ICMPv6}"))
    assert passing(node, *everything) == ["icmpv6/128/0"]
    node.has(into_b("{action: Allow, protocol: 1}"))
    assert not node.lets("a", "b", "proto/1", family=6), "by number too"


@pytest.mark.shows("PS-7.13")
def test_icmp_by_type_and_by_type_and_code(node: Ground) -> None:
    everything = ("icmp/8/0", "icmp/8/1", "icmp/13/0")
    node.has(into_b("{action: Allow, protocol: ICMP, icmp: {type: 8}}"))
    assert passing(node, *everything) == ["icmp/8/0", "icmp/8/1"]
    node.has(into_b("{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}"))
    assert passing(node, *everything) == ["icmp/8/0"]
    node.has(into_b("{action: Allow, protocol: ICMPv6, icmp: {type: 128, code: 1}}"))
    assert passing(node, "icmpv6/128/0", "icmpv6/128/1") == ["icmpv6/128/1"]


@pytest.mark.shows("PS-7.14")
def test_a_negated_icmp_code_excludes_the_pair_alone(node: Ground) -> None:
    everything = ("icmp/8/0", "icmp/8/1", "icmp/13/0", "icmp/13/1")
    node.has(into_b("{action: Allow, protocol: ICMP, notICMP: {type: 8, code: 1}}"))
    assert passing(node, *everything) == ["icmp/8/0", "icmp/13/0", "icmp/13/1"]
    node.has(into_b("{action: Allow, protocol: ICMP, notICMP: {type: 8}}"))
    assert passing(node, *everything) == ["icmp/13/0", "icmp/13/1"]


@pytest.mark.shows("PS-7.42", "PS-7.43")
def test_protocols_by_name_by_number_and_negated(node: Ground) -> None:
    everything = ("tcp/80", "udp/80", "sctp/80", "udplite/80", "proto/89")
    for text, expected in (
        ("protocol: UDP", ["udp/80"]),
        ("protocol: 17", ["udp/80"]),
        ("protocol: 89", ["proto/89"]),
        ("protocol: UDPLite", ["udplite/80"]),
        ("notProtocol: TCP", ["udp/80", "sctp/80", "udplite/80", "proto/89"]),
        ("notProtocol: 89", ["tcp/80", "udp/80", "sctp/80", "udplite/80"]),
    ):
        node.has(into_b(f"{{action: Allow, {text}}}"))
        assert passing(node, *everything) == expected, text


# ---- ports ----
@pytest.mark.shows("PS-7.15")
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_ports_of_tcp_udp_and_sctp(node: Ground, protocol: str) -> None:
    node.has(into_b(f"{{action: Allow, protocol: {protocol}, destination: {{ports: [80]}}}}"))
    everything = ("tcp/80", "udp/80", "sctp/80", "tcp/81", "udp/81", "sctp/81")
    assert passing(node, *everything) == [f"{protocol.lower()}/80"]


@pytest.mark.shows("PS-7.17", "PS-7.18")
def test_a_named_port_is_what_each_endpoint_calls_so(node: Ground) -> None:
    node.has(gnp("some", "selector: all(), types: [Ingress], ingress: [{action: Allow, destination: {ports: [web, dns]}}]"))
    assert passing(node, "tcp/8080", "tcp/9090", "udp/8080", "udp/5353", "tcp/5353") == ["tcp/8080", "udp/5353"]
    assert node.lets("a", "c", "tcp/9090"), "c has another port of that name"
    assert not node.lets("a", "c", "tcp/8080")
    assert not node.lets("b", "a", "tcp/8080"), "a has none"
    node.has(gnp("some", "selector: all(), ingress: [{action: Allow, protocol: UDP, destination: {ports: [web, dns]}}]"))
    assert passing(node, "tcp/8080", "udp/5353") == ["udp/5353"]


@pytest.mark.shows("PS-7.19")
def test_a_named_port_is_one_of_what_the_rule_selects(node: Ground) -> None:
    node.has(out_of_a("{action: Allow, destination: {selector: app == 'b', ports: [web]}}"))
    assert node.lets("a", "b", "tcp/8080")
    assert not node.lets("a", "c", "tcp/9090")


@pytest.mark.shows("PS-7.20", "PS-7.21")
def test_named_and_numeric_ports_are_alternatives_and_the_selector_holds_for_both(node: Ground) -> None:
    node.has(out_of_a("{action: Allow, protocol: TCP, destination: {selector: app == 'b', ports: [web, 80, '90:91']}}"))
    assert passing(node, "tcp/8080", "tcp/80", "tcp/91", "tcp/92") == ["tcp/8080", "tcp/80", "tcp/91"]
    assert not node.lets("a", "c", "tcp/80"), "the selector, for a numeric port"
    assert not node.lets("a", "c", "tcp/9090"), "the selector, for a named one"


@pytest.mark.shows("PS-7.20", "PS-5.25")
def test_what_one_rules_ports_matched_does_not_count_in_the_next(node: Ground) -> None:
    def rule(action: str, number: int, pod: str) -> str:
        source = f"{{selector: app == '{pod}'}}"
        return f"{{action: {action}, protocol: TCP, source: {source}, destination: {{ports: [web, {number}]}}}}"

    node.has(into_b(rule("Deny", 80, "c"), rule("Allow", 81, "a")))
    assert passing(node, "tcp/80", "tcp/81", "tcp/8080") == ["tcp/81", "tcp/8080"]


@pytest.mark.shows("PS-7.22")
def test_negated_named_ports_are_those_of_what_the_rule_selects(node: Ground) -> None:
    node.has(out_of_a("{action: Allow, protocol: TCP, destination: {selector: has(app), notPorts: [web, 80]}}"))
    assert passing(node, "tcp/8080", "tcp/9090", "tcp/80", "tcp/81") == ["tcp/9090", "tcp/81"]
    assert not node.lets("a", "c", "tcp/9090")
    assert node.lets("a", "c", "tcp/8080")
    node.has(out_of_a("{action: Allow, protocol: TCP, destination: {notPorts: [web]}}"))
    assert not node.lets("a", "c", "tcp/9090"), "without a selector those of everybody"
    assert node.lets("a", "out", "tcp/9090")


@pytest.mark.shows("PS-7.23")
def test_one_range_has_both_its_ends(node: Ground) -> None:
    probes = ("tcp/89", "tcp/90", "tcp/92", "tcp/93")
    node.has(into_b("{action: Allow, protocol: TCP, destination: {ports: ['90:92']}}"))
    assert passing(node, *probes) == ["tcp/90", "tcp/92"]
    node.has(into_b("{action: Allow, protocol: TCP, destination: {notPorts: ['90:92']}}"))
    assert passing(node, *probes) == ["tcp/89", "tcp/93"]


@pytest.mark.shows("PS-7.23")
def test_many_ports_and_ranges_in_one_list(node: Ground) -> None:
    ports = [number if number % 40 else f"'{number}:{number + 5}'" for number in range(1000, 1500, 10)]
    listed = ", ".join(str(port) for port in ports)
    probes = ("tcp/1000", "tcp/1005", "tcp/1006", "tcp/1490", "tcp/1485", "tcp/1445", "tcp/1010", "tcp/1011")
    inside = ["tcp/1000", "tcp/1005", "tcp/1490", "tcp/1485", "tcp/1445", "tcp/1010"]
    node.has(into_b(f"{{action: Allow, protocol: TCP, destination: {{ports: [{listed}]}}}}"))
    assert passing(node, *probes) == inside
    node.has(into_b(f"{{action: Allow, protocol: TCP, destination: {{notPorts: [{listed}]}}}}"))
    assert passing(node, *probes) == [each for each in probes if each not in inside]


# ---- selectors ----
@pytest.mark.shows("PS-7.25")
def test_all_selectors_of_a_side_must_select_the_same_endpoint(node: Ground) -> None:
    source = "selector: tone == 'low', namespaceSelector: team == 'blue'"
    node.has(into_b(f"{{action: Allow, source: {{{source}}}}}"))
    assert into(node) == "c", "a has the tone, d has the namespace"
    source = "namespaceSelector: team == 'blue', serviceAccounts: {names: [cook]}"
    node.has(into_b(f"{{action: Allow, source: {{{source}}}}}"))
    assert into(node) == "d"


@pytest.mark.shows("PS-7.26", "PS-7.27")
def test_negated_selectors_with_and_without_a_positive_one(node: Ground) -> None:
    node.has(into_b("{action: Allow, source: {selector: tone == 'low', notSelector: app == 'a'}}"))
    assert into(node) == "c"
    assert not node.lets("out", "b", "tcp/80")
    node.has(into_b("{action: Allow, source: {notSelector: app == 'a'}}"))
    assert into(node) == "cd"
    assert node.lets("out", "b", "tcp/80"), "who is not in the cluster is not selected either"


@pytest.mark.shows("PS-7.28", "PS-7.29")
def test_a_namespaced_policys_selectors_see_their_namespace(node: Ground) -> None:
    def policy(source: str) -> str:
        return np("some", f"{INTO_B}, ingress: [{{action: Allow, source: {{{source}}}}}]")

    node.has(policy("selector: tone == 'low'"))
    assert into(node) == "a", "c is elsewhere"
    node.has(policy("selector: tone == 'low', namespaceSelector: all()"))
    assert into(node) == "ac"
    node.has(policy("serviceAccounts: {names: [cook]}"))
    assert into(node) == "a", "d's account is another of that name"
    node.has(policy("notSelector: app == 'z'"))
    assert into(node) == "a"
    assert not node.lets("out", "b", "tcp/80"), "a negated selector alone sees the namespace only as well"
    node.has(policy("nets: [0.0.0.0/1, 128.0.0.0/1]"), policy("ports: ['1:65535']").replace("Allow,", "Allow, protocol: TCP,"))
    assert into(node) == "acd", "a rule without a selector"
    assert node.lets("out", "b", "tcp/80")


GLOBAL_SET = "{kind: GlobalNetworkSet, metadata: {name: s, labels: {app: s}}, spec: {nets: [192.0.2.0/24, '2001:db8:9::/64']}}"


@pytest.mark.shows("PS-7.30")
def test_global_is_what_has_no_namespace(node: Ground) -> None:
    nets = "nets: [198.51.100.0/24, '2001:db8:a::/64']"
    namespaced = f"{{kind: NetworkSet, metadata: {{name: t, namespace: one, labels: {{app: s}}}}, spec: {{{nets}}}}}"
    node.has(GLOBAL_SET, namespaced, into_b("{action: Allow, source: {selector: has(app), namespaceSelector: global()}}"))
    assert into(node) == ""
    assert node.lets("out", "b", "tcp/80")
    assert not node.lets("far", "b", "tcp/80")


@pytest.mark.shows("PS-7.32")
@pytest.mark.parametrize(
    ("accounts", "allowed"),
    [("names: [cook]", "ad"), ("selector: job == 'floor'", "cd"), ("names: [cook], selector: job == 'floor'", "d")],
)
def test_service_accounts_by_name_and_by_selector(node: Ground, accounts: str, allowed: str) -> None:
    node.has(into_b(f"{{action: Allow, source: {{serviceAccounts: {{{accounts}}}}}}}"))
    assert into(node) == allowed


@pytest.mark.shows("PS-7.33")
def test_a_network_set_is_an_endpoint_with_nets(node: Ground) -> None:
    node.has(GLOBAL_SET, into_b("{action: Allow, source: {selector: app == 's' || app == 'a'}}"))
    assert into(node) == "a"
    assert node.lets("out", "b", "tcp/80")
    assert not node.lets("far", "b", "tcp/80")
    node.gets(GLOBAL_SET.replace("192.0.2.0/24, '2001:db8:9::/64'", "192.0.2.64/26"))
    assert not node.lets("out", "b", "tcp/80", family=4)


# ---- services ----
SERVICE = """
{kind: Service, apiVersion: v1, metadata: {name: shop, namespace: one},
 spec: {clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: 8080}]}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv4,
 ports: [{name: w, port: 8080, protocol: TCP}, {name: d, port: 5353, protocol: UDP}],
 metadata: {name: shop-4, namespace: one, labels: {kubernetes.io/service-name: shop}}, endpoints: [{addresses: [10.65.0.2]}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv6,
 ports: [{name: w, port: 8080, protocol: TCP}, {name: d, port: 5353, protocol: UDP}],
 metadata: {name: shop-6, namespace: one, labels: {kubernetes.io/service-name: shop}}, endpoints: [{addresses: ["fd00:65::2"]}]}
"""


@pytest.mark.shows("PS-7.34")
def test_a_service_as_destination_is_its_endpoints_with_their_ports(node: Ground) -> None:
    node.has(SERVICE, out_of_a("{action: Allow, destination: {services: {name: shop, namespace: one}}}"))
    assert passing(node, "tcp/8080", "udp/5353", "tcp/80", "udp/8080", "tcp/5353") == ["tcp/8080", "udp/5353"]
    assert not node.lets("a", "c", "tcp/8080")
    assert not node.lets("a", "10.96.0.10 via out", "tcp/80", family=4), "its own address is not one of them"
    assert not node.lets("a", "10.96.0.10 via out", "tcp/8080", family=4)


@pytest.mark.shows("PS-7.35")
def test_a_service_as_source_is_its_endpoints_at_any_port(node: Ground) -> None:
    rule = "{action: Allow, source: {services: {name: shop, namespace: one}}}"
    node.has(SERVICE, gnp("some", f"selector: app == 'a', types: [Ingress], ingress: [{rule}]"))
    assert node.lets("b", "a", "tcp/80", source_port=8080)
    assert node.lets("b", "a", "udp/9")
    assert not node.lets("c", "a", "tcp/80", source_port=8080)


@pytest.mark.shows("PS-7.38")
def test_a_rule_with_http_allows_nothing(node: Ground) -> None:
    """Where we differ: nothing on the node looks into HTTP, and the rule's author did not mean to allow all of the port."""
    http = "{action: Allow, protocol: TCP, http: {methods: [GET]}, destination: {ports: [80]}}"
    node.has(into_b(http, "{action: Allow, protocol: TCP, destination: {ports: [81]}}"))
    assert passing(node, "tcp/80", "tcp/81") == ["tcp/81"]


# ---- section 8 ----
@pytest.mark.shows("PS-8.3")
def test_a_denied_packet_may_be_answered(node: Ground) -> None:
    node.has(felix("nftablesFilterDenyAction: Reject"), into_b("{action: Deny}"))
    for family in (4, 6):
        for sent in ("tcp/80", "udp/80"):
            (answer,) = node.send("a", "b", sent, family=family)
            assert answer.where == "a"
            assert answer.seen.is_error or answer.seen.is_reset
