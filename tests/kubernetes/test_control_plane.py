"""The control plane that the other tests of this folder stand on is a real one, and keeps its promises."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.kubernetes.control_plane import Cluster, running

from tortie.lab.kubernetes_binaries import MODULE, MissingBinaries, built_folder, find_binaries

pytestmark = pytest.mark.kubernetes


def pod(name: str, namespace: str) -> dict[str, object]:
    containers = [{"name": "main", "image": "none"}]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def test_an_administrator_may_do_everything_and_a_stranger_nothing(cluster: Cluster) -> None:
    assert cluster.kubectl("auth", "can-i", "*", "*", "--all-namespaces").strip() == "yes"
    refused = cluster.kubectl_process("get", "pods", kubeconfig=cluster.kubeconfig("mallory", "strangers"))
    assert refused.returncode != 0
    assert 'User "mallory" cannot list resource "pods"' in refused.stderr


def test_roles_count_for_users_and_for_groups(cluster: Cluster) -> None:
    with cluster.namespace() as namespace:
        cluster.kubectl("-n", namespace, "create", "role", "look", "--verb=list", "--resource=pods")
        cluster.kubectl("-n", namespace, "create", "rolebinding", "look", "--role=look", "--group=team/one+two")
        cluster.wait_allowed("list", "pods", groups=("team/one+two",), namespace=namespace)
        member = cluster.kubeconfig("alice", "team/one+two")
        assert cluster.kubectl("-n", namespace, "get", "pods", "-o", "name", kubeconfig=member) == ""
        assert cluster.kubectl_process("-n", namespace, "get", "secrets", kubeconfig=member).returncode != 0


def test_controllers_work_so_that_a_pod_finds_its_service_account_and_a_namespace_ends(cluster: Cluster) -> None:
    with cluster.namespace(team="red") as namespace:
        cluster.kubectl("-n", namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=40s")
        cluster.apply(pod("one", namespace))
        assert cluster.get("-n", namespace, "pod", "one")["spec"]["serviceAccountName"] == "default"
        assert cluster.get("namespace", namespace)["metadata"]["labels"]["team"] == "red"
        cluster.kubectl("-n", namespace, "delete", "pod", "one", "--force", "--grace-period=0")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        cluster.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=45s")
    assert "NotFound" in cluster.kubectl_process("get", "namespace", namespace).stderr


def test_tokens_of_service_accounts_are_good(cluster: Cluster) -> None:
    token = cluster.kubectl("create", "token", "default").strip()
    words = ("auth", "whoami", "-o", "json", f"--token={token}", f"--server={cluster.server}", "--kubeconfig=/dev/null")
    said = json.loads(cluster.kubectl(*words, f"--certificate-authority={cluster.ca}"))
    assert said["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


def test_every_request_is_in_the_audit_log(cluster: Cluster) -> None:
    config = cluster.kubeconfig("audited-user")
    cluster.kubectl("get", "configmaps", kubeconfig=config, check=False)
    found = [event for event in cluster.audit() if event["user"].get("username") == "audited-user"]
    assert ("list", "configmaps", 403) in {
        (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in found
        if "objectRef" in event
    }


def test_without_controllers_a_pod_needs_no_service_account_and_a_killed_server_comes_back_with_its_data() -> None:
    with running(controllers=False) as cluster:
        cluster.apply(pod("one", "default"))
        cluster.stop("apiserver")
        assert cluster.kubectl_process("get", "pods").returncode != 0
        cluster.start("apiserver")
        assert cluster.kubectl("get", "pods", "-o", "name") == "pod/one\n"
        folder = cluster.folder
        keys = [path for path in folder.rglob("*") if path.suffix in (".key", ".kubeconfig")]
        assert keys
        assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert not folder.exists()


def test_the_lab_looks_where_the_build_script_puts_them(tmp_path: Path) -> None:
    for environment in ({"HOME": "/home/x"}, {"HOME": "/h", "XDG_CACHE_HOME": "/c"}, {"TORTIE_KUBERNETES_CACHE": "/t"}):
        said = subprocess.run(
            [str(MODULE / "build"), "--where"],
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == str(built_folder(environment))


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingBinaries, match=r"kube-apiserver, kubectl not in .*`make kubernetes` builds them") as caught:
        find_binaries({"TORTIE_KUBERNETES_CACHE": str(tmp_path)})
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingBinaries, match=f"KUBEBUILDER_ASSETS is {tmp_path}"):
        find_binaries({"KUBEBUILDER_ASSETS": str(tmp_path)})
