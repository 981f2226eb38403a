"""The rights that we ship for agents are what agents use: a real agent, a real API server, its audit log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lab.faults_stage import eventually
from tests.lab.kubernetes_stage import Asked, KubernetesLab, kubernetes_lab

from tortie.lab.kubernetes_store import AGENT_USER

pytestmark = [pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(240)]
ROLE = Path(__file__).parents[2] / "manifests/rbac/agent.yaml"
NATIVE = ROLE.with_name("agent-native.yaml")
CLUSTER_INFORMATION = "clusterinformations.crd.projectcalico.org"


def rules() -> list[dict[str, Any]]:
    return list(role_of(ROLE)["rules"])


def role_of(path: Path) -> dict[str, Any]:
    (role,) = [item for item in yaml.safe_load_all(path.read_text()) if item["kind"] == "ClusterRole"]
    return dict(role)


def granted() -> set[Asked]:
    return {
        Asked(verb, f"{resource}.{group}" if group else resource)
        for rule in rules()
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[KubernetesLab]:
    with kubernetes_lab(1, filled=False) as lab:
        live_through_everything(lab)
        yield lab


def live_through_everything(lab: KubernetesLab) -> None:
    """What happens to an agent in its life, so that it needs each of its rights."""
    lab.apply(cluster_network_policies())
    kind = "crd/clusternetworkpolicies.policy.networking.k8s.io"
    # At first a CRD has null for conditions, which `kubectl wait` for one of them gives up.
    lab.kubectl("wait", "--for=jsonpath={.status.acceptedNames.plural}=clusternetworkpolicies", kind).ok()
    lab.kubectl("wait", "--for=condition=Established", kind).ok()
    # The first agent of a cluster makes its identity; one that was made without a GUID it completes.
    lab.kubectl("delete", CLUSTER_INFORMATION, "default").ok()
    start_anew(lab)
    lab.kubectl("patch", CLUSTER_INFORMATION, "default", "--type=merge", '-p={"spec":{"clusterGUID":""}}').ok()
    start_anew(lab)
    # A pod, and one whose wish is not granted; policy that changes; both pods go, and their block with the last of them.
    lab.lab("pod add", "default/one", "--node", "n1").ok()
    wish = 'cni.projectcalico.org/allowedSourcePrefixes=["192.0.2.0/24"]'
    lab.kubectl("run", "spoofer", "--image=none", f"--annotations={wish}", "--labels=app=spoofer").ok()
    eventually(
        lambda: "no effect while sources are checked" in lab.kubectl("get", "pod", "spoofer", "-o", "yaml").out, "refused"
    )
    lab.apply(network_policy("k8s"))
    lab.eventually_enforced("n1", "k8s")
    lab.apply(node_status("n1"))
    statuses = "caliconodestatuses.crd.projectcalico.org"
    eventually(lambda: "lastUpdated" in lab.get(statuses)["items"][0].get("status", {}), "n1 reports on itself")
    # Somebody asks for a report.
    lab.apply(question("asked"))
    eventually(lambda: "status" in lab.get("caliconodestatuses.crd.projectcalico.org", "asked"), "the node reports")
    for pool in ("pool-0", "pool-1"):
        patch = {"spec": {"nodeSelector": "!has(no-longer-here)"}}
        lab.kubectl("patch", "ippools.crd.projectcalico.org", pool, "--type=merge", f"-p={json.dumps(patch)}").ok()
    lab.kubectl("label", "node", "n1", "no-longer-here=true").ok()
    lab.kubectl("delete", "pod", "spoofer", "--timeout=50s").ok()
    lab.lab("pod rm", "default/one").ok()
    eventually(lambda: not lab.get("ipamblocks.crd.projectcalico.org")["items"], "the blocks are given back")


def start_anew(lab: KubernetesLab) -> None:
    """An agent that has never seen a cluster."""
    (lab.folder / "n1" / "state" / "cluster-guid").unlink()
    lab.restart_agent("n1")
    lab.eventually_ready("n1")


def cluster_network_policies() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "clusternetworkpolicies.policy.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": "policy.networking.k8s.io",
            "names": {"kind": "ClusterNetworkPolicy", "plural": "clusternetworkpolicies"},
            "scope": "Cluster",
            "versions": [{"name": "v1alpha2", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def node_status(node: str) -> dict[str, Any]:
    spec = {"node": node, "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 0}
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": "CalicoNodeStatus", "metadata": {"name": node}, "spec": spec}


def network_policy(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


def question(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "CalicoNodeStatus",
        "metadata": {"name": name},
        "spec": {"node": "n1", "classes": ["Agent"], "updatePeriodSeconds": 5},
    }


def test_no_request_of_an_agent_is_refused(lab: KubernetesLab) -> None:
    events = lab.audited()
    assert events
    assert lab.asked(events, lambda code: code in (401, 403)) == set()


def test_every_right_of_an_agent_is_used(lab: KubernetesLab) -> None:
    used = lab.asked(lab.audited(), lambda code: code not in (401, 403))
    assert granted() - used == set()


def test_no_question_is_asked_twice_for_want_of_a_fresh_answer(lab: KubernetesLab) -> None:
    assert lab.asked(lab.audited(), lambda code: code in (410, 504)) == set()


def test_all_else_is_refused(lab: KubernetesLab) -> None:
    for verb, what in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("list", "configmaps"),
        ("delete", "pods"),
        ("update", "pods"),
        ("patch", "pods"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "nodes"),
        ("delete", "nodes"),
        ("create", "tiers.crd.projectcalico.org"),
        ("update", "globalnetworkpolicies.crd.projectcalico.org"),
        ("delete", "networkpolicies.networking.k8s.io"),
        ("update", "felixconfigurations.crd.projectcalico.org"),
        ("delete", "ippools.crd.projectcalico.org"),
        ("delete", CLUSTER_INFORMATION),
        ("create", "serviceaccounts/token"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ):
        done = lab.kubectl("auth", "can-i", verb, what, "--all-namespaces", f"--as={AGENT_USER}")
        assert done.out.strip() == "no", f"an agent may {verb} {what}"


def test_only_the_one_identity_of_a_cluster_may_be_completed(lab: KubernetesLab) -> None:
    allowed = lab.kubectl("auth", "can-i", "update", f"{CLUSTER_INFORMATION}/default", f"--as={AGENT_USER}")
    refused = lab.kubectl("auth", "can-i", "update", f"{CLUSTER_INFORMATION}/other", f"--as={AGENT_USER}")
    assert (allowed.out.strip(), refused.out.strip()) == ("yes", "no")


def test_the_rights_for_the_native_group_differ_in_names_and_in_where_a_status_is_written() -> None:
    text = json.dumps(role_of(ROLE)["rules"])
    expected = json.loads(
        text.replace("crd.projectcalico.org", "projectcalico.org").replace("ipamconfigs", "ipamconfigurations")
    )
    status = {"apiGroups": ["projectcalico.org"], "resources": ["caliconodestatuses/status"], "verbs": ["update"]}
    assert [rule for rule in role_of(NATIVE)["rules"] if rule != status] == expected
    assert status in role_of(NATIVE)["rules"]
