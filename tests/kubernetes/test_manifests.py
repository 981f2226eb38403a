"""What we ship for clusters: a real API server takes it as it is, and it says what the code says."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubernetes.control_plane import Cluster

from tortie.api.resource import V3
from tortie.datastore.kubernetes.places import CRD_V1
from tortie.lab.runtime import shipped_conflist

ROOT = Path(__file__).parents[2] / "manifests"
RIGHTS = sorted((ROOT / "rbac").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text()) if item]


def test_the_conflist_of_the_manifest_is_the_one_that_is_shipped() -> None:
    config = next(item for item in documents(ROOT / "agent.yaml") if item["kind"] == "ConfigMap")
    assert json.loads(config["data"]["10-tortie.conflist"]) == shipped_conflist()


def test_shell_lines_of_the_manifest_are_well_formed() -> None:
    pods = next(item for item in documents(ROOT / "agent.yaml") if item["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    for container in (*pods["initContainers"], *pods["containers"]):
        assert container["command"][:2] == ["sh", "-ec"]
        subprocess.run(["sh", "-n", "-c", container["command"][2]], check=True)
        assert shlex.split(container["command"][2])


@pytest.mark.kubernetes
@pytest.mark.parametrize("path", [ROOT / "agent.yaml", *RIGHTS], ids=lambda path: path.name)
def test_an_api_server_takes_a_manifest_and_warns_of_nothing(cluster: Cluster, path: Path) -> None:
    spaces = {item["metadata"]["namespace"] for item in documents(path) if "namespace" in item["metadata"]}
    for space in spaces:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    done = cluster.kubectl_process("apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.kubernetes
@pytest.mark.timeout(120)
def test_an_administrator_of_ours_is_refused_nothing_by_our_commands_and_all_else_by_the_api_server(cluster: Cluster) -> None:
    for kind in ("crd.projectcalico.org_*.yaml", "tortie.io_*.yaml"):
        cluster.kubectl("apply", "--server-side", *(f"-f={path}" for path in sorted((ROOT / "crds").glob(kind))))
    cluster.wait_served()
    cluster.kubectl("apply", "-f", str(ROOT / "rbac/admin.yaml"))
    binding = ("clusterrolebinding", "tortie-admin-test", "--clusterrole=tortie-admin", "--user=tortie-admin-test")
    cluster.kubectl("create", *binding)
    cluster.wait_allowed("list", "tiers", user="tortie-admin-test", group=CRD_V1.partition("/")[0])
    config = cluster.kubeconfig("tortie-admin-test")
    try:
        tier = {"apiVersion": V3, "kind": "Tier", "metadata": {"name": "k6"}, "spec": {"order": 5}}
        pool = {"apiVersion": V3, "kind": "IPPool", "metadata": {"name": "k6"}, "spec": {"cidr": "10.66.0.0/16"}}
        for item in (tier, pool):
            run(cluster, config, "apply", "-f", "-", stdin=json.dumps(item))
        for words in (
            *(
                ("get", kind, "-A")
                for kind in ("tiers", "ippools", "nodes", "profiles", "workloadendpoints", "networkpolicies")
            ),
            *(("get", kind) for kind in ("globalnetworkpolicies", "hostendpoints", "bgppeers", "felixconfigurations")),
            ("ipam", "show"),
            ("ipam", "check"),
            ("delete", "tier", "k6"),
            ("delete", "ippool", "k6"),
        ):
            run(cluster, config, *words)
        refused = [
            event
            for event in cluster.audit()
            if event["user"].get("username") == "tortie-admin-test" and event["responseStatus"]["code"] in (401, 403)
        ]
        assert refused == []
        for verb, what in (("list", "secrets"), ("delete", "pods"), ("create", "pods"), ("create", "clusterroles")):
            said = cluster.kubectl("auth", "can-i", verb, what, "-A", kubeconfig=config, check=False)
            assert said.strip() == "no", f"{verb} {what}"
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "tortie-admin-test")
        cluster.kubectl("delete", "clusterrole", "tortie-admin")


def run(cluster: Cluster, config: Path, *words: str, stdin: str = "") -> None:
    """A `tortie` command on Kubernetes as a user; it must succeed."""
    environment = {**cluster.environment(config), "DATASTORE_TYPE": "kubernetes", "CALICO_API_GROUP": CRD_V1}
    done = subprocess.run(
        [sys.executable, "-m", "tortie.cli.main", *words],
        input=stdin, capture_output=True, text=True, timeout=50, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"tortie {' '.join(words)}: {done.stdout}{done.stderr}"
