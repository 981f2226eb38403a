"""A lab whose datastore is etcd: the same cluster, and what stays in force when etcd dies."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.lab.stage import RunningLab, namespaces_of, tortie, unique_name

pytestmark = [pytest.mark.lab, pytest.mark.etcd, pytest.mark.timeout(120)]

CASE = """
apiVersion: tortie.io/v1
kind: Lab
datastore: etcd
nodes: [{name: a}, {name: b}]
pods:
- {name: shop/web, node: a, labels: {app: web}, serve: [tcp:80]}
- {name: shop/cart, node: b, labels: {app: cart}}
- {name: shop/rest, node: b, labels: {app: rest}}
apply: [policy.yaml]
"""

POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web-only-from-cart, namespace: shop}
spec:
  selector: app == 'web'
  ingress: [{action: Allow, source: {selector: app == 'cart'}}]
"""

QUESTIONS = [
    {"from": "shop/cart", "to": "shop/web", "protocol": "tcp", "port": 80},
    {"from": "shop/rest", "to": "shop/web", "protocol": "tcp", "port": 80},
]


def etcd_of(name: str) -> list[int]:
    """Processes of the lab's etcd."""
    found = subprocess.run(["pgrep", "-f", f"^etcd .*/tortie/lab/{name}/"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_a_lab_on_etcd_works_and_a_dead_etcd_changes_nothing_in_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(CASE)
    (tmp_path / "policy.yaml").write_text(POLICY)
    name = unique_name()
    running = RunningLab(name)
    running.environment = {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": f"unix://{running.folder}/etcd/clients:0"}
    expected = ["allowed", "allowed", "denied", "denied"]
    try:
        tortie("lab", "up", "-f", str(tmp_path / "lab.yaml"), "--name", name).ok()
        running.until_in_force(POLICY)
        assert [item["outcome"] for item in running.probe(tmp_path, QUESTIONS)] == expected
        assert "web-only-from-cart" in running.tortie("get", "networkpolicies", "-n", "shop").ok().out
        assert not (running.folder / "datastore").exists()
        (pid,) = etcd_of(name)
        os.kill(pid, signal.SIGKILL)
        assert [item["outcome"] for item in running.probe(tmp_path, QUESTIONS)] == expected
    finally:
        tortie("lab", "down", "--name", name, timeout=110).ok()
    assert namespaces_of(name) == []
    assert etcd_of(name) == []
    assert not running.folder.exists()


def test_without_a_file_the_datastore_is_named_on_the_command_line() -> None:
    name = unique_name()
    try:
        tortie("lab", "up", "--name", name, "--nodes", "1", "--datastore", "etcd").ok()
        assert etcd_of(name)
        assert f"{name}/etcd" in RunningLab(name).lab("status").ok().out
    finally:
        tortie("lab", "down", "--name", name).ok()
    assert etcd_of(name) == []
