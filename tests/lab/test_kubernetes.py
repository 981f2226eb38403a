"""A lab on a real Kubernetes, used as its users would: kubectl makes namespaces, pods and policy; packets show the rest."""

import json
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.stage import tortie, unique_name

from tortie.lab.kubernetes_binaries import MissingBinaries, find_binaries
from tortie.lab.names import LabNames
from tortie.lab.residue import find_residue, look_at_machine

pytestmark = [pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(240)]


class Stage:
    """A lab of two nodes on Kubernetes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *words: str, stdin: str = "", ok: bool = True) -> str:
        done = tortie("lab", "kubectl", "--name", self.name, *words, stdin=stdin)
        return done.ok().out if ok else done.out + done.err

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def probe(self, source: str, target: str, port: int) -> list[str]:
        """Outcomes of both families."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(json.dumps([{"from": source, "to": target, "protocol": "tcp", "port": port}]))
            file.flush()
            answer = tortie("lab", "probe", "--name", self.name, "-f", file.name, "-o", "json").ok().json()
        return [item["outcome"] for item in answer["items"]]

    def run(self, name: str, *words: str) -> None:
        """kubectl run; returns when the pod is ready."""
        self.kubectl("-n", "prod", "run", name, "--image=none", "--port=8080", *words)
        self.kubectl("-n", "prod", "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    try:
        find_binaries()
    except MissingBinaries as error:
        pytest.skip(str(error))
    name = unique_name()
    before = look_at_machine()
    try:
        tortie("lab", "up", "--name", name, "--nodes", "2", "--datastore", "kubernetes", timeout=120).ok()
        stage = Stage(name)
        stage.kubectl("create", "namespace", "prod")
        stage.kubectl("-n", "prod", "wait", "--for=create", "serviceaccount/default", "--timeout=20s")
        yield stage
    finally:
        tortie("lab", "down", "--name", name).ok()
    assert find_residue(LabNames(name), before) == []


def test_a_pod_that_kubectl_runs_gets_a_node_an_address_of_each_family_and_a_status(stage: Stage) -> None:
    stage.run("one")
    pod = stage.get("-n", "prod", "pod", "one")
    assert pod["spec"]["nodeName"] in ("n1", "n2")
    assert pod["status"]["phase"] == "Running"
    addresses = [entry["ip"] for entry in pod["status"]["podIPs"]]
    inside = (
        tortie("lab", "exec", "--name", stage.name, "prod/one", "--", "ip", "-o", "address", "show", "dev", "eth0").ok().out
    )
    assert len(addresses) == 2
    assert all(address in inside for address in addresses)


def test_policy_by_kubectl_holds_for_packets_and_ends_with_its_deletion(stage: Stage) -> None:
    stage.run("server", "--labels=app=server", '--overrides={"spec":{"nodeName":"n1"}}')
    stage.run("client", "--labels=app=client", '--overrides={"spec":{"nodeName":"n2"}}')
    assert set(stage.probe("prod/client", "prod/server", 8080)) == {"allowed"}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "prod"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
    stage.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    _until(lambda: set(stage.probe("prod/client", "prod/server", 8080)) == {"denied"})
    stage.kubectl("-n", "prod", "delete", "networkpolicy", "closed")
    _until(lambda: set(stage.probe("prod/client", "prod/server", 8080)) == {"allowed"})


def test_a_deleted_pod_is_unwired_and_its_name_can_be_used_again(stage: Stage) -> None:
    stage.run("brief", '--overrides={"spec":{"nodeName":"n1"}}')
    first = stage.get("-n", "prod", "pod", "brief")["metadata"]["uid"]
    stage.kubectl("-n", "prod", "delete", "pod", "brief", "--timeout=30s")
    assert "NotFound" in stage.kubectl("-n", "prod", "get", "pod", "brief", ok=False)
    stage.run("brief")
    assert stage.get("-n", "prod", "pod", "brief")["metadata"]["uid"] != first


def test_a_command_in_the_fabric_reads_the_lab_from_its_api_server(stage: Stage) -> None:
    nodes = tortie("lab", "exec", "--name", stage.name, "fabric", "--", "tortie", "get", "nodes").ok().out
    assert "n1" in nodes
    assert "n2" in nodes


def _until(holds: Any, *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.2)
