"""The oracle's way through a node against cases worked out by hand from the reference."""

from typing import Any

import pytest
import yaml
from tests.oracle.cluster import Sent
from tests.oracle.hosts import Layout
from tests.oracle.judge import Oracle
from tests.oracle.node import NodeOracle
from tests.oracle.staged import enforced

LAYOUT = Layout(
    "n1",
    interfaces={"eth0": ("192.0.2.1", "2001:db8::1"), "eth1": ("198.51.100.1",)},
    routes=(("0.0.0.0/0", "eth0"), ("::/0", "eth0"), ("198.51.100.0/24", "eth1")),
)
PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x, labels: {app: a},
  annotations: {cni.projectcalico.org/allowedSourcePrefixes: '["172.16.0.0/24"]'}},
  spec: {nodeName: n1}, status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: x, labels: {app: b}}, spec: {nodeName: n1},
  status: {podIPs: [{ip: 10.0.0.2}]}}
"""
POD_A, STRANGER, BEHIND = ("x", "a"), "192.0.2.9", "198.51.100.9"


def node(text: str, *, pending: bool = False) -> NodeOracle:
    documents: list[dict[str, Any]] = [each for each in yaml.safe_load_all(PODS + "---\n" + text) if each]
    return NodeOracle(Oracle(enforced(documents) if pending else documents), LAYOUT)


def v3(kind: str, name: str, spec: str) -> str:
    return f"---\n{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n"


def host(spec: str, name: str = "h") -> str:
    return v3("HostEndpoint", name, f"{{node: n1, {spec}}}")


def gnp(spec: str, name: str = "g") -> str:
    return v3("GlobalNetworkPolicy", name, spec)


def arrives(text: str, to: str, *, origin: object = "eth0", source: str = "", **rest: Any) -> bool:
    """TCP 80 unless said otherwise, from a stranger at eth0."""
    sender = origin if isinstance(origin, tuple) else None
    fitting = {"eth0": STRANGER, "eth1": BEHIND, "": "192.0.2.1", POD_A: "10.0.0.1"}
    fields = {"protocol": 6, "source_port": 40000, "destination_port": 80, **rest}
    sent = Sent(source or fitting[origin], to, **fields)  # type: ignore[index]
    return node(text).arrives(sender, str(origin) if sender is None else "", sent)


ETH0 = host("interfaceName: eth0")
FELIX = "FelixConfiguration"


def test_a_host_endpoint_closes_its_interface_but_for_failsafe_ports_and_what_is_forwarded() -> None:
    assert arrives("", "192.0.2.1")
    assert not arrives(ETH0, "192.0.2.1")
    assert arrives(ETH0, "192.0.2.1", destination_port=22)
    assert arrives(ETH0, "192.0.2.1", origin="eth1")
    assert arrives(ETH0, "10.0.0.2")
    assert not arrives(ETH0, STRANGER, origin="")
    assert arrives(ETH0, STRANGER, origin="", protocol=17, destination_port=53)
    assert arrives(ETH0, "10.0.0.2", origin="")


def test_failsafe_ports_are_as_configured() -> None:
    written = v3(FELIX, "default", "{failsafeInboundHostPorts: [{protocol: TCP, port: 80, net: 192.0.2.8/31}]}")
    assert arrives(ETH0 + written, "192.0.2.1")
    assert not arrives(ETH0 + written, "192.0.2.1", source="192.0.2.10")
    assert not arrives(ETH0 + written, "192.0.2.1", destination_port=22)
    assert not arrives(ETH0 + v3(FELIX, "node.n1", "{failsafeInboundHostPorts: []}"), "192.0.2.1", destination_port=22)


def test_profiles_are_asked_last_and_a_missing_one_denies() -> None:
    assert arrives(host("interfaceName: eth0, profiles: [projectcalico-default-allow]"), "192.0.2.1")
    assert not arrives(host("interfaceName: eth0, profiles: [gone, projectcalico-default-allow]"), "192.0.2.1")


def test_who_has_an_interface() -> None:
    by_address = host("expectedIPs: [192.0.2.1], profiles: [projectcalico-default-allow]", "i")
    everywhere = host('interfaceName: "*", profiles: [projectcalico-default-allow]', "a")
    assert arrives(by_address, "192.0.2.1")
    assert not arrives(ETH0 + by_address, "192.0.2.1"), "h comes before i"
    assert not arrives(ETH0 + everywhere, "192.0.2.1"), "named goes before all others"
    assert not arrives(host("interfaceName: eth0, expectedIPs: [198.51.100.1]", "a") + everywhere, "192.0.2.1")
    assert arrives(host("interfaceName: eth0, expectedIPs: [198.51.100.1]", "a"), "198.51.100.1", origin="eth1")


def test_forward_policy_is_for_what_is_forwarded_and_ordinary_policy_is_not() -> None:
    denies = "ingress: [{action: Deny}]"
    assert arrives(ETH0 + gnp(f"{{{denies}}}"), BEHIND)
    assert not arrives(ETH0 + gnp(f"{{applyOnForward: true, {denies}}}"), BEHIND)
    assert arrives(ETH0 + gnp(f"{{applyOnForward: true, {denies}}}"), STRANGER, origin="eth1")
    assert arrives(ETH0 + gnp("{applyOnForward: true, ingress: [{action: Allow}]}"), "192.0.2.1"), "and for local packets"


def test_what_is_approved_early_skips_ingress_policy_of_the_host_alone() -> None:
    approved = ETH0 + gnp("{applyOnForward: true, preDNAT: true, ingress: [{action: Allow}]}", "early")
    assert arrives(approved, "192.0.2.1")
    assert arrives(approved + gnp("{applyOnForward: true, ingress: [{action: Deny}]}"), BEHIND)
    assert not arrives(approved + gnp("{selector: app == 'b', ingress: [{action: Deny}]}"), "10.0.0.2")
    assert not arrives(ETH0 + gnp("{applyOnForward: true, preDNAT: true, ingress: [{action: Deny}]}"), "10.0.0.2")


def test_untracked_policy_needs_a_named_interface_and_leaves_replies_of_failsafe_ports_alone() -> None:
    denies = gnp("{applyOnForward: true, doNotTrack: true, ingress: [{action: Deny}]}")
    assert not arrives(ETH0 + denies, "10.0.0.2")
    assert arrives(host('interfaceName: "*"') + denies, "10.0.0.2")
    assert arrives(ETH0 + denies, "10.0.0.2", source_port=53, protocol=17)


@pytest.mark.parametrize(("action", "passes"), [("", False), ("Drop", False), ("Return", True), ("Accept", True)])
def test_a_pod_reaches_its_node_by_its_own_egress_and_the_nodes_say(action: str, passes: bool) -> None:
    config = v3(FELIX, "default", f"{{defaultEndpointToHostAction: {action}}}" if action else "{}")
    closed = host('interfaceName: "*"')
    assert arrives(config + closed, "192.0.2.1", origin=POD_A) is passes
    egress = gnp("{selector: app == 'a', types: [Egress]}")
    assert not arrives(config + egress, "192.0.2.1", origin=POD_A)
    discovery: dict[str, Any] = {
        "protocol": 58,
        "source": "fe80::1",
        "icmp_type": 135,
        "source_port": None,
        "destination_port": None,
    }
    assert arrives(config + egress, "2001:db8::1", origin=POD_A, **discovery)
    assert arrives(config, "2001:db8::1", origin=POD_A, **{**discovery, "icmp_type": 134}) is passes


def test_sources_of_a_pod() -> None:
    anything = v3(FELIX, "default", "{workloadSourceSpoofing: Any}")
    assert not arrives("", "10.0.0.2", origin=POD_A, source="172.16.0.9")
    assert arrives(anything, "10.0.0.2", origin=POD_A, source="172.16.0.9")
    assert not arrives(anything, "10.0.0.2", origin=POD_A, source="172.16.1.9")


def test_pods_do_not_tunnel_unless_they_may() -> None:
    allowed = v3(FELIX, "default", "{allowVXLANPacketsFromWorkloads: true, allowIPIPPacketsFromWorkloads: true}")
    fieldsets: list[dict[str, Any]] = [
        {"protocol": 17, "destination_port": 4789},
        {"protocol": 4, "source_port": None, "destination_port": None},
    ]
    for fields in fieldsets:
        assert not arrives("", "10.0.0.2", origin=POD_A, **fields)
        assert arrives(allowed, "10.0.0.2", origin=POD_A, **fields)


def test_tunnels_are_for_nodes() -> None:
    nodes = v3("Node", "n2", f"{{bgp: {{ipv4Address: {STRANGER}/24}}}}") + v3(
        "IPPool", "p", "{cidr: 10.0.0.0/16, vxlanMode: Always}"
    )
    vxlan: dict[str, Any] = {"protocol": 17, "destination_port": 4789}
    assert arrives(ETH0 + nodes, "192.0.2.1", **vxlan)
    assert not arrives(nodes, "192.0.2.1", source="192.0.2.10", **vxlan)
    assert arrives(ETH0 + nodes, STRANGER, origin="", **vxlan)
    assert not arrives(ETH0 + nodes, "192.0.2.10", origin="", **vxlan)


def test_service_addresses_are_not_forwarded() -> None:
    nets = v3("BGPConfiguration", "default", "{serviceClusterIPs: [{cidr: 10.96.0.0/16}]}")
    assert arrives("", "10.96.0.1", origin=POD_A)
    assert not arrives(nets, "10.96.0.1", origin=POD_A)
    assert arrives(nets + v3(FELIX, "default", "{serviceLoopPrevention: Disabled}"), "10.96.0.1", origin=POD_A)
    assert arrives(nets, "10.96.0.1", origin="")


def test_a_service_is_what_its_slices_say() -> None:
    slices = """---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 80}, {port: 53, protocol: UDP}],
  metadata: {name: s, namespace: x, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.2]}]}
"""
    policy = gnp("{selector: app == 'a', egress: [{action: Allow, destination: {services: {name: web, namespace: x}}}]}")
    assert arrives(slices + policy, "10.0.0.2", origin=POD_A)
    assert not arrives(slices + policy, "10.0.0.2", origin=POD_A, destination_port=53)
    assert not arrives(slices + policy, STRANGER, origin=POD_A)


CLUSTER_POLICY = """---
{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: c}},
  spec: {{tier: {tier}, priority: 1, subject: {{pods: {{podSelector: {{matchLabels: {{app: a}}}}}}}}, egress: [{rule}]}}}}
"""


def test_cluster_policies_come_before_and_behind_the_others_and_fail_closed() -> None:
    def to_b(tier: str, rule: str, more: str = "") -> bool:
        return arrives(CLUSTER_POLICY.format(tier=tier, rule=rule) + more, "10.0.0.2", origin=POD_A)

    opens = gnp("{selector: app == 'a', egress: [{action: Allow}]}")
    deny_b = "{action: Deny, to: [{pods: {podSelector: {matchLabels: {app: b}}}}]}"
    assert not to_b("Admin", deny_b, opens)
    assert to_b("Baseline", deny_b, opens)
    assert not to_b("Baseline", deny_b)
    assert not to_b("Admin", "{action: Pass, to: [{domainNames: [example.com]}]}", opens)
    assert to_b("Admin", "{action: Accept, to: [{domainNames: [example.com]}]}", opens)


@pytest.mark.parametrize(("staged", "passes"), [("Set", True), ("Delete", False), ("Learn", False), ("Ignore", False)])
def test_staged_policies_change_only_what_would_be(staged: str, passes: bool) -> None:
    rest = "" if staged == "Delete" else "ingress: [{action: Allow}]"
    text = gnp("{selector: app == 'b', ingress: [{action: Deny}]}") + v3(
        "StagedGlobalNetworkPolicy", "g", f"{{stagedAction: {staged}, {rest}}}"
    )
    sent = Sent(STRANGER, "10.0.0.2", 6, source_port=1, destination_port=80)
    assert not node(text).arrives(None, "eth0", sent)
    assert node(text, pending=True).arrives(None, "eth0", sent) is (passes or staged == "Delete")
