"""Kubernetes network policies become Calico's: golden files, and the laws behind them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.kubernetes import KubernetesNetworkPolicy, NetworkPolicyPort
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Key
from tortie.api.staged import StagedKubernetesNetworkPolicy, StagedNetworkPolicySpec
from tortie.convert.errors import conversion_problems
from tortie.convert.policies import network_policy, network_policy_problems, staged_network_policy
from tortie.convert.ports import ports_by_protocol

GOLDEN = Path(__file__).parents[2] / "golden" / "convert"
CASES = sorted(GOLDEN.glob("policy-*.yaml"))


def policy(spec: dict[str, Any]) -> KubernetesNetworkPolicy:
    return msgspec.convert({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}, KubernetesNetworkPolicy)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_golden_policy_converts_to_what_its_file_says(path: Path) -> None:
    given_document, expected = yaml.safe_load_all(path.read_text())
    given_policy = msgspec.convert(given_document | {"kind": "KubernetesNetworkPolicy"}, KubernetesNetworkPolicy)
    converted = network_policy(given_policy)
    plain = msgspec.structs.replace(converted, metadata=msgspec.structs.replace(converted.metadata, annotations={}))
    assert plain == msgspec.convert(expected["policy"], NetworkPolicy)
    assert list(network_policy_problems(given_policy)) == expected["problems"]
    assert list(conversion_problems(converted)) == expected["problems"]


def test_there_are_golden_policies() -> None:
    assert len(CASES) >= 5


def test_the_key_keeps_its_kubernetes_kind_and_plain_name() -> None:
    assert network_policy(policy({})).key == Key("KubernetesNetworkPolicy", "ns", "p")


def test_a_pod_selector_that_cannot_be_converted_denies_every_pod_of_the_namespace() -> None:
    bad = {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}, "ingress": [{}]}
    converted = network_policy(policy(bad))
    assert converted.spec.selector == "projectcalico.org/orchestrator == 'k8s'"
    assert converted.spec.types == ("Ingress",)
    assert converted.spec.ingress == ()
    assert "'Near'" in network_policy_problems(policy(bad))[0]


@pytest.mark.parametrize(
    "rule",
    [
        {"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]},
        {"from": [{}]},
        {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]},
        {"ports": [{"port": 0}]},
        {"ports": [{"port": "9" * 5000}]},
        {"ports": [{"port": 90, "endPort": 80}]},
        {"ports": [{"port": "web", "endPort": 80}]},
        {"ports": [{"endPort": 80}]},
        {"ports": [{"protocol": "ICMP"}]},
    ],
)
def test_a_part_that_cannot_be_converted_allows_nothing_and_is_reported(rule: dict[str, Any]) -> None:
    broken = policy({"ingress": [rule, {"ports": [{"port": 443}]}]})
    assert [each.destination.ports for each in network_policy(broken).spec.ingress] == [(443,)]
    assert len(network_policy_problems(broken)) == 1
    assert network_policy_problems(broken)[0].startswith("spec.ingress[0]")


POD = "projectcalico.org/orchestrator == 'k8s'"
EVERYONE = EntityRule()
TEN = "10.0.0.0/8"


@pytest.mark.parametrize(
    ("spec", "types", "ingress", "egress"),
    [
        ({"podSelector": {}}, ("Ingress",), 0, 0),
        ({}, ("Ingress",), 0, 0),
        ({"ingress": []}, ("Ingress",), 0, 0),
        ({"ingress": [{}]}, ("Ingress",), 1, 0),
        ({"ingress": [{"from": [], "ports": []}]}, ("Ingress",), 1, 0),
        ({"policyTypes": ["Egress"]}, ("Egress",), 0, 0),
        ({"policyTypes": ["Egress"], "egress": [{}]}, ("Egress",), 0, 1),
        ({"policyTypes": ["Egress", "Ingress"], "egress": [{"to": []}]}, ("Ingress", "Egress"), 0, 1),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, ("Ingress",), 0, 1),
    ],
)
def test_missing_and_empty_lists_mean_no_rules_of_the_policy_but_anyone_in_a_rule(
    spec: dict[str, Any], types: tuple[str, ...], ingress: int, egress: int
) -> None:
    found = network_policy(policy(spec)).spec
    assert (found.tier, found.order, found.selector, found.types) == ("default", 1000.0, POD, types)
    assert found.ingress == (Rule(action="Allow"),) * ingress
    assert found.egress == (Rule(action="Allow"),) * egress


@pytest.mark.parametrize(
    ("peer", "side"),
    [
        ({"podSelector": {}}, EntityRule(selector=POD)),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, EntityRule(selector=f"{POD} && a == 'b'")),
        ({"namespaceSelector": {}}, EntityRule(selector=POD, namespace_selector="all()")),
        ({"namespaceSelector": {"matchLabels": {"a": "b"}}}, EntityRule(selector=POD, namespace_selector="a == 'b'")),
        (
            {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {"matchLabels": {"c": "d"}}},
            EntityRule(selector=f"{POD} && c == 'd'", namespace_selector="a == 'b'"),
        ),
        ({"ipBlock": {"cidr": "10.0.0.1/8"}}, EntityRule(nets=("10.0.0.0/8",))),
        (
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
            EntityRule(nets=("0.0.0.0/0",), not_nets=("10.0.0.0/8",)),
        ),
        ({"ipBlock": {"cidr": "::/0"}}, EntityRule(nets=("::/0",))),
    ],
)
def test_a_peer_stands_on_the_far_side_of_a_rule_in_both_directions(peer: dict[str, Any], side: EntityRule) -> None:
    spec = {"policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [peer]}], "egress": [{"to": [peer]}]}
    found = network_policy(policy(spec)).spec
    assert found.ingress == (Rule(action="Allow", source=side),)
    assert found.egress == (Rule(action="Allow", destination=side),)


@pytest.mark.parametrize(
    ("ports", "wanted"),
    [
        ([{"port": 80}], [("TCP", (80,))]),
        ([{"port": "http"}], [("TCP", ("http",))]),
        ([{"port": 80, "endPort": 80}], [("TCP", (80,))]),
        ([{"port": 80, "endPort": 90}], [("TCP", ("80:90",))]),
        ([{"port": 80, "endPort": 90}, {"port": 85, "endPort": 95}, {"port": 97}], [("TCP", ("80:95", 97))]),
        ([{"port": 91}, {"port": "b"}, {"port": 90}, {"port": "a"}], [("TCP", ("b", "a", "90:91"))]),
        ([{"protocol": "UDP"}], [("UDP", ())]),
        ([{"protocol": "UDP"}, {"port": 53, "protocol": "UDP"}], [("UDP", ())]),
        ([{"port": 53, "protocol": "UDP"}, {"protocol": "UDP"}], [("UDP", ())]),
        ([{}], [("TCP", ())]),
        (
            [{"port": 53, "protocol": "UDP"}, {"port": 7, "protocol": "SCTP"}, {"port": 53}],
            [("SCTP", (7,)), ("TCP", (53,)), ("UDP", (53,))],
        ),
    ],
)
def test_ports_are_those_of_the_destination_grouped_by_protocol(
    ports: list[dict[str, Any]], wanted: list[tuple[str, tuple[int | str, ...]]]
) -> None:
    spec = {"policyTypes": ["Ingress", "Egress"], "ingress": [{"ports": ports}], "egress": [{"ports": ports}]}
    found = network_policy(policy(spec)).spec
    for rules in (found.ingress, found.egress):
        assert [(rule.protocol, rule.destination.ports) for rule in rules] == wanted
        assert all(rule.source == EVERYONE for rule in rules)


def test_rules_are_one_for_each_protocol_and_peer_protocols_outermost() -> None:
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "11.0.0.0/8"}}]
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53}]
    found = network_policy(policy({"ingress": [{"from": peers, "ports": ports}]})).spec.ingress
    assert [(rule.protocol, rule.source.nets[0]) for rule in found] == [
        ("TCP", "10.0.0.0/8"),
        ("TCP", "11.0.0.0/8"),
        ("UDP", "10.0.0.0/8"),
        ("UDP", "11.0.0.0/8"),
    ]


@pytest.mark.parametrize("action", ["Set", "Learn", "Ignore"])
def test_a_staged_policy_converts_like_the_one_it_stands_for_and_keeps_its_kind(action: str) -> None:
    spec = {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53}]}]}
    staged = msgspec.convert(
        {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec | {"stagedAction": action}}, StagedKubernetesNetworkPolicy
    )
    found, enforced = staged_network_policy(staged), network_policy(policy(spec))
    assert found.key == Key("StagedKubernetesNetworkPolicy", "ns", "p")
    assert found.spec.staged_action == action
    for field in NetworkPolicySpec.__struct_fields__:
        assert getattr(found.spec, field) == getattr(enforced.spec, field)


def test_a_staged_deletion_says_only_that() -> None:
    staged = msgspec.convert(
        {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"stagedAction": "Delete"}}, StagedKubernetesNetworkPolicy
    )
    assert staged_network_policy(staged).spec == StagedNetworkPolicySpec(tier="default", staged_action="Delete")


def test_unknown_policy_types_deny_both_directions() -> None:
    assert network_policy(policy({"policyTypes": ["Sideways"]})).spec.types == ("Ingress", "Egress")


PORTS = st.builds(lambda first, more: (first, first + more), st.integers(1, 60), st.integers(0, 5))


@given(st.lists(PORTS, min_size=1))
def test_merging_numeric_ports_keeps_exactly_their_union(ranges: list[tuple[int, int]]) -> None:
    entries = [NetworkPolicyPort(port=first, end_port=last) for first, last in ranges]
    ((protocol, merged),) = ports_by_protocol(entries)
    covered: list[int] = []
    for port in merged:
        first, _, last = str(port).partition(":")
        covered.extend(range(int(first), int(last or first) + 1))
    assert protocol == "TCP"
    assert covered == sorted({port for first, last in ranges for port in range(first, last + 1)})
    assert len(merged) <= len(ranges)
