"""A lab on a real Kubernetes, used as its users would: kubectl makes namespaces, pods and policy; packets show the rest."""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kubernetes.control_plane import require_binaries
from tests.lab.stage import namespaces_of, tortie, unique_name

from tortie.lab import kubernetes_store
from tortie.lab.cluster import Lab
from tortie.lab.names import LabNames
from tortie.lab.residue import find_residue, lab_processes, look_at_machine
from tortie.lab.state import save_state

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
        self.kubectl("-n", "prod", "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=50s")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    require_binaries()
    name = unique_name()
    before = look_at_machine()
    try:
        tortie("lab", "up", "--name", name, "--nodes", "2", "--datastore", "kubernetes", timeout=120).ok()
        stage = Stage(name)
        stage.kubectl("create", "namespace", "prod")
        stage.kubectl("-n", "prod", "wait", "--for=create", "serviceaccount/default", "--timeout=50s")
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
    stage.kubectl("-n", "prod", "delete", "pod", "brief", "--timeout=50s")
    assert "NotFound" in stage.kubectl("-n", "prod", "get", "pod", "brief", ok=False)
    stage.run("brief")
    assert stage.get("-n", "prod", "pod", "brief")["metadata"]["uid"] != first


def test_a_command_in_the_fabric_reads_the_lab_from_its_api_server(stage: Stage) -> None:
    nodes = tortie("lab", "exec", "--name", stage.name, "fabric", "--", "tortie", "get", "nodes").ok().out
    assert "n1" in nodes
    assert "n2" in nodes


def test_a_kubelet_that_was_killed_goes_on_with_what_has_changed_meanwhile(stage: Stage) -> None:
    names = LabNames(stage.name)
    stage.run("stays", '--overrides={"spec":{"nodeName":"n1"}}')
    stage.run("goes", '--overrides={"spec":{"nodeName":"n1"}}')
    addresses = stage.get("-n", "prod", "pod", "stays")["status"]["podIPs"]
    for pid, words in lab_processes(names):
        if "tortie.lab.kubelet" in words:
            os.kill(pid, signal.SIGKILL)
    stage.kubectl("-n", "prod", "delete", "pod", "goes", "--wait=false")
    stage.kubectl("-n", "prod", "run", "comes", "--image=none")
    assert stage.get("-n", "prod", "pod", "comes")["status"]["phase"] == "Pending"
    asyncio.run(kubernetes_store.start_kubelet(names))
    stage.kubectl("-n", "prod", "wait", "--for=condition=Ready", "pod/comes", "--timeout=50s")
    stage.kubectl("-n", "prod", "wait", "--for=delete", "pod/goes", "--timeout=50s")
    assert stage.get("-n", "prod", "pod", "stays")["status"]["podIPs"] == addresses
    assert not any(space.endswith("pod.prod.goes") for space in namespaces_of(stage.name))


def test_a_pod_that_cannot_be_wired_says_why_and_runs_once_it_can(stage: Stage) -> None:
    async def stop_agent(*, start: bool) -> None:
        async with Lab.attached(stage.name) as lab:
            if start:
                await lab.start_agent("n2")
                save_state(lab.names, lab.state)
            else:
                lab.kill_agent("n2")

    asyncio.run(stop_agent(start=False))
    try:
        stage.kubectl("-n", "prod", "run", "early", "--image=none", '--overrides={"spec":{"nodeName":"n2"}}')
        _until(lambda: _waiting(stage.get("-n", "prod", "pod", "early")) == "FailedCreatePodSandBox")
    finally:
        asyncio.run(stop_agent(start=True))
    stage.kubectl("-n", "prod", "wait", "--for=condition=Ready", "pod/early", "--timeout=50s")


def test_a_pod_in_its_nodes_network_has_its_nodes_addresses(stage: Stage) -> None:
    stage.run("host", '--overrides={"spec":{"hostNetwork":true,"nodeName":"n1"}}')
    status = stage.get("-n", "prod", "pod", "host")["status"]
    assert status["podIP"] == status["hostIP"] == "172.18.0.2"


def _waiting(pod: Any) -> str:
    """Why its first container waits, empty where it does not."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    return str(statuses[0].get("state", {}).get("waiting", {}).get("reason", ""))


def _until(holds: Any, *, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.2)
