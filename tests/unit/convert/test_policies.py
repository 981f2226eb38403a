"""Kubernetes network policies become Calico's: golden files, and the laws behind them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.kubernetes import KubernetesNetworkPolicy, NetworkPolicyPort
from tortie.api.resource import Key
from tortie.convert.policies import network_policy, network_policy_problems
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
    assert json.loads(msgspec.json.encode(converted)) == expected["policy"]
    assert list(network_policy_problems(given_policy)) == expected["problems"]


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
