"""Every kind that policy is made of through apply, get, patch and delete, as a person uses them."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

FILES = {
    "hep": """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: node1-eth0, labels: {role: db}}
spec: {node: node1, interfaceName: eth0, expectedIPs: [192.0.2.1], profiles: [open]}
""",
    "snp": """\
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: web, namespace: shop}
spec: {order: 5, selector: app == 'web', ingress: [{action: Allow}]}
""",
    "sgnp": """\
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: old}
spec: {stagedAction: Delete}
""",
    "sknp": """\
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, stagedAction: Learn}
""",
    "clusternetworkpolicy": """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 0
  subject: {namespaces: {}}
  ingress:
  - {action: Deny, from: [{namespaces: {matchLabels: {kind: guest}}}]}
""",
    "svc": """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  sessionAffinity: None
  ports: [{port: 80, nodePort: 30080}, {port: 53, protocol: UDP}]
""",
    "endpointslices": """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.5], zone: a}, {addresses: [10.0.0.6]}]
ports: [{port: 8080}]
""",
}

TABLES = {
    "hep": ("NAME NODE", "node1-eth0 node1", "NAME NODE INTERFACE IPS PROFILES", "node1-eth0 node1 eth0 192.0.2.1 open"),
    "snp": ("NAME TIER", "web default", "NAME TIER ORDER SELECTOR", "web default 5 app == 'web'"),
    "sgnp": ("NAME TIER", "old default", "NAME TIER ORDER SELECTOR", "old default <nil>"),
    "sknp": ("NAME", "web", "NAME PODSELECTOR", "web app=web"),
    "clusternetworkpolicy": ("NAME TIER PRIORITY", "guard Admin 0", "NAME TIER PRIORITY", "guard Admin 0"),
    "svc": (
        "NAME TYPE CLUSTER-IP PORT(S)",
        "web ClusterIP 10.96.0.10 80:30080/TCP,53/UDP",
        "NAME TYPE CLUSTER-IP PORT(S)",
        "web ClusterIP 10.96.0.10 80:30080/TCP,53/UDP",
    ),
    "endpointslices": (
        "NAME ADDRESSTYPE PORTS ENDPOINTS",
        "web-1 IPv4 8080 10.0.0.5,10.0.0.6",
        "NAME ADDRESSTYPE PORTS ENDPOINTS",
        "web-1 IPv4 8080 10.0.0.5,10.0.0.6",
    ),
}


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("kind", FILES)
def test_a_kind_is_applied_shown_patched_and_deleted(tortie: Tortie, kind: str) -> None:
    namespace = ("-n", "shop") if "namespace: shop" in FILES[kind] else ()
    name = TABLES[kind][1].split()[0]
    assert tortie("validate", "-f", "-", stdin=FILES[kind]).code == 0
    answer = tortie("apply", "-f", "-", stdin=FILES[kind])
    assert (answer.code, answer.err) == (0, "")
    for flags, heading, row in ((), *TABLES[kind][:2]), (("-o", "wide"), *TABLES[kind][2:]):
        lines = [line.split() for line in tortie("get", kind, *namespace, *flags).out.splitlines() if line]
        assert [" ".join(word for word in line if word != "shop") for line in lines] == [
            " ".join((["NAMESPACE"] if namespace else []) + heading.split()),
            row,
        ]
    printed = tortie("get", kind, name, *namespace, "-o", "yaml").out
    assert tortie("apply", "-f", "-", stdin=printed).out.endswith("1 unchanged\n")
    patch = '{"metadata": {"labels": {"changed": "yes"}}}'
    assert tortie("patch", kind, name, *namespace, "-p", patch).code == 0
    shown = json.loads(tortie("get", kind, name, *namespace, "-o", "json").out)
    assert shown["metadata"]["labels"]["changed"] == "yes"
    assert shown["kind"] == FILES[kind].split("kind: ")[1].split("\n")[0]
    assert tortie("delete", kind, name, *namespace).code == 0
    assert tortie("get", kind, name, *namespace).code == 1


def test_a_staged_deletion_with_rules_is_refused_with_its_lines(tortie: Tortie) -> None:
    answer = tortie("validate", "-f", "-", stdin=FILES["sgnp"].replace("Delete}", "Delete,\n  selector: all()}"))
    assert answer.code == 1
    assert "spec.selector (must be empty when stagedAction is Delete) at" in answer.err


def test_peers_that_cannot_be_matched_are_refused_unless_allowed(tortie: Tortie) -> None:
    text = FILES["clusternetworkpolicy"] + "  egress:\n  - {action: Deny, to: [{nodes: {}}]}\n"
    answer = tortie("apply", "-f", "-", stdin=text)
    assert answer.code == 1
    assert "spec.egress[0].to[0].nodes (not understood by this release" in answer.err
    assert tortie("apply", "--allow-unenforced", "-f", "-", stdin=text).code == 0


def test_unknown_fields_of_cluster_policies_are_refused_by_name(tortie: Tortie) -> None:
    text = FILES["clusternetworkpolicy"].replace("priority: 0", "priority: 0\n  order: 5")
    answer = tortie("apply", "--allow-unenforced", "-f", "-", stdin=text)
    assert answer.code == 1
    assert "spec.order (field in document is not recognized" in answer.err
