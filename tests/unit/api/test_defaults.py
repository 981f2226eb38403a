"""What is filled in where a resource is silent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.defaults import with_defaults
from tortie.api.documents import decode, encode
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ippool import IPPool
from tortie.api.kinds import KINDS
from tortie.api.kubernetes import Namespace
from tortie.api.policy import NetworkPolicy
from tortie.api.resource import Metadata


def _filled(kind: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    known = KINDS[kind]
    document = {
        "apiVersion": known.api_version,
        "kind": known.document_kind,
        "metadata": {"name": "a"} | metadata,
        "spec": spec,
    }
    filled = with_defaults(decode(document))
    assert with_defaults(filled) == filled
    return encode(filled)


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["Ingress"]),
        ({"ingress": [{"action": "Deny"}]}, ["Ingress"]),
        ({"egress": [{"action": "Deny"}]}, ["Egress"]),
        ({"ingress": [{"action": "Deny"}], "egress": [{"action": "Deny"}]}, ["Ingress", "Egress"]),
        ({"types": ["Egress"], "ingress": [{"action": "Deny"}]}, ["Egress"]),
    ],
)
def test_types_of_a_policy_follow_from_its_rules(spec: dict[str, Any], types: list[str]) -> None:
    for kind in ("NetworkPolicy", "GlobalNetworkPolicy"):
        assert _filled(kind, spec)["spec"]["types"] == types


def test_tier_of_a_policy_is_default_and_becomes_a_label() -> None:
    filled = _filled("NetworkPolicy", {}, labels={"x": "y", "projectcalico.org/tier": "wrong"})
    assert filled["spec"]["tier"] == "default"
    assert filled["metadata"]["labels"] == {"x": "y", "projectcalico.org/tier": "default"}
    assert _filled("GlobalNetworkPolicy", {"tier": "sec"})["metadata"]["labels"]["projectcalico.org/tier"] == "sec"
    assert "order" not in filled["spec"]


def test_numbers_written_as_text_become_numbers() -> None:
    rule = {"action": "Allow", "protocol": "6", "notProtocol": "17", "source": {"ports": ["80", "1:2", "http"]}}
    for kind in ("NetworkPolicy", "Profile"):
        (filled,) = _filled(kind, {"egress": [rule]})["spec"]["egress"]
        assert filled == {"action": "Allow", "protocol": 6, "notProtocol": 17, "source": {"ports": [80, "1:2", "http"]}}


def test_tier() -> None:
    assert _filled("Tier", {})["spec"] == {"order": 1000000, "defaultAction": "Deny"}
    assert _filled("Tier", {"order": 0, "defaultAction": "Pass"})["spec"] == {"order": 0, "defaultAction": "Pass"}


@pytest.mark.parametrize(
    ("cidr", "canonical", "block_size"), [("10.0.0.0/16", "10.0.0.0/16", 26), ("FD00:0::/48", "fd00::/48", 122)]
)
def test_pool(cidr: str, canonical: str, block_size: int) -> None:
    assert _filled("IPPool", {"cidr": cidr})["spec"] == {
        "cidr": canonical,
        "blockSize": block_size,
        "nodeSelector": "all()",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
        "ipipMode": "Never",
        "vxlanMode": "Never",
    }


def test_what_cannot_be_read_is_left_for_validation() -> None:
    assert with_defaults(IPPool()).spec.block_size == 0
    assert _filled("IPPool", {"cidr": "10.0.0.1/16"})["spec"]["cidr"] == "10.0.0.1/16"
    assert _filled("BGPPeer", {"asNumber": "what"})["spec"]["asNumber"] == "what"


def test_as_numbers_become_plain_numbers() -> None:
    assert _filled("BGPPeer", {"asNumber": "1.10", "localASNumber": "5"})["spec"] == {"asNumber": 65546, "localASNumber": 5}
    assert _filled("BGPConfiguration", {"asNumber": "64512"})["spec"]["asNumber"] == 64512
    assert _filled("Node", {"bgp": {"asNumber": "0.1"}})["spec"]["bgp"]["asNumber"] == 1


@pytest.mark.parametrize(
    ("spec", "balancing", "host_nat"),
    [
        ({}, "TCP", "Enabled"),
        ({"bpfConnectTimeLoadBalancing": "Disabled"}, "Disabled", "Enabled"),
        ({"bpfConnectTimeLoadBalancingEnabled": True}, "Enabled", "Disabled"),
        ({"bpfConnectTimeLoadBalancingEnabled": False, "bpfConnectTimeLoadBalancing": "TCP"}, "Disabled", "Disabled"),
    ],
)
def test_felix_configuration(spec: dict[str, Any], balancing: str, host_nat: str) -> None:
    filled = _filled("FelixConfiguration", spec)["spec"]
    assert filled["floatingIPs"] == "Disabled"
    assert filled["bpfConnectTimeLoadBalancing"] == balancing
    assert filled["bpfHostNetworkedNATWithoutCTLB"] == host_nat


def test_workload_endpoint_gets_its_name_and_labels() -> None:
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "WorkloadEndpoint",
        "metadata": {"namespace": "n", "labels": {"x": "y"}},
        "spec": {"orchestrator": "k8s", "node": "n-1", "pod": "web-0", "endpoint": "eth0"},
    }
    filled = with_defaults(decode(document))
    assert isinstance(filled, WorkloadEndpoint)
    assert filled.metadata.name == "n--1-k8s-web--0-eth0"
    assert filled.metadata.labels == {
        "x": "y",
        "projectcalico.org/namespace": "n",
        "projectcalico.org/orchestrator": "k8s",
    }


def test_controllers_that_are_there_are_filled_in_and_others_stay_off() -> None:
    filled = _filled("KubeControllersConfiguration", {"controllers": {"node": {}, "loadBalancer": {}, "migration": {}}})["spec"]
    assert filled == {
        "controllers": {
            "node": {"leakGracePeriod": "15m0s"},
            "loadBalancer": {"assignIPs": "AllServices"},
            "migration": {"policyNameMigrator": "Enabled"},
        },
        "healthChecks": "Enabled",
        "prometheusMetricsPort": 9094,
    }
    off = _filled("KubeControllersConfiguration", {"prometheusMetricsPort": 0})["spec"]
    assert off == {"controllers": {}, "healthChecks": "Enabled", "prometheusMetricsPort": 0}


def test_what_an_api_server_would_fill_in_from_the_schemas_is_filled_in() -> None:
    assert _filled("BGPConfiguration", {})["spec"] == {
        "logSeverityScreen": "Info",
        "serviceLoadBalancerAggregation": "Enabled",
    }
    felix = _filled("FelixConfiguration", {})["spec"]
    assert (felix["nftablesMode"], felix["nftablesFlowTableOffload"]) == ("Auto", "Disabled")
    assert _filled("FelixConfiguration", {"nftablesMode": "Enabled"})["spec"]["nftablesMode"] == "Enabled"


@pytest.mark.parametrize("labels", [{}, {"team": "a"}, {"kubernetes.io/metadata.name": "somebody-else"}])
def test_a_namespace_carries_its_name_as_a_label(labels: dict[str, str]) -> None:
    filled = with_defaults(Namespace(metadata=Metadata(name="shop", labels=labels)))
    assert filled.metadata.labels == labels | {"kubernetes.io/metadata.name": "shop"}
    assert with_defaults(filled) == filled


def test_kubernetes_policy_types_follow_the_kubernetes_rule() -> None:
    assert _filled("KubernetesNetworkPolicy", {})["spec"]["policyTypes"] == ["Ingress"]
    assert _filled("KubernetesNetworkPolicy", {"egress": [{}]})["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert _filled("KubernetesNetworkPolicy", {"policyTypes": ["Egress"]})["spec"]["policyTypes"] == ["Egress"]


@given(st.text(max_size=8), st.text(max_size=8))
def test_no_text_makes_defaults_fail(port: str, protocol: str) -> None:
    rule = {"action": "Allow", "protocol": protocol, "source": {"ports": [port]}}
    document = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {}, "spec": {"ingress": [rule]}}
    filled = with_defaults(decode(document))
    assert isinstance(filled, NetworkPolicy)
    assert str(filled.spec.ingress[0].source.ports[0]) in (port, port.lstrip("0") or "0")
