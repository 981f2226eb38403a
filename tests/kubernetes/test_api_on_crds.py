"""tortie apiserver in front of Calico's storage form: Kubernetes asks us, and we keep resources in Kubernetes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.kubernetes.api_ground import REPOSITORY, behind, needs_kubectl
from tests.kubernetes.control_plane import Cluster, running

from tortie.api.kinds import KINDS
from tortie.datastore.kubernetes.places import CRD_V1, is_translated, place_of

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]

POLICY = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "stored"},
    "spec": {"selector": "all()", "order": 10},
}


@pytest.fixture
def plane() -> Iterator[Cluster]:
    """A control plane of our own: an APIService is a matter of the whole cluster."""
    needs_kubectl()
    with running(controllers=False) as cluster:
        yield cluster


def test_it_stores_on_kubernetes_itself_with_the_rights_of_the_manifest(plane: Cluster, tmp_path: Path) -> None:
    crds = REPOSITORY / "manifests" / "crds"
    plane.kubectl("apply", *(f"-f={path}" for path in sorted(crds.glob("crd.projectcalico.org_*.yaml"))), "--server-side")
    plane.wait_served()
    account = "system:serviceaccount:tortie-system:tortie-apiserver"
    environment = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(plane.kubeconfig(account))}
    with behind(plane, tmp_path, environment=environment) as api:
        api.kubectl("apply", "-f", "-", stdin=json.dumps(POLICY))
        api.kubectl("label", "gnp", "stored", "a=b")
        stored = plane.get("globalnetworkpolicies.crd.projectcalico.org", "stored")
        assert stored["spec"]["order"] == 10
        found = api.get("gnp", "stored")
        assert found["metadata"]["labels"] == {"a": "b", "projectcalico.org/tier": "default"}
        assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {
            "kubectl-client-side-apply",
            "kubectl-label",
        }
        path = "/apis/projectcalico.org/v3/globalnetworkpolicies?watch=1&fieldSelector=metadata.name%3Dstored"
        with api.watching(path) as events:
            assert next(events)["type"] == "ADDED"
            api.kubectl("delete", "gnp", "stored")
            assert next(events)["type"] == "DELETED"
        assert "kns.default" in api.kubectl("get", "profiles.projectcalico.org")


def test_every_document_of_the_manifest_is_accepted(plane: Cluster) -> None:
    plane.kubectl("create", "namespace", "tortie-system")
    plane.kubectl("apply", "--dry-run=server", "-f", str(REPOSITORY / "manifests" / "apiserver.yaml"))


def test_the_manifest_names_every_stored_kind() -> None:
    documents = yaml.safe_load_all((REPOSITORY / "manifests" / "apiserver.yaml").read_text())
    role = next(one for one in documents if one["kind"] == "ClusterRole")
    stored = {place_of(kind, CRD_V1).plural for kind in KINDS if is_translated(kind, CRD_V1)}
    assert set(role["rules"][0]["resources"]) == stored
