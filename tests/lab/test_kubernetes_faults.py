"""What goes wrong around agents on Kubernetes, with counted traffic through it: the kernel goes on, and all converges after."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lab.faults_stage import SOAK, eventually
from tests.lab.kubernetes_stage import KubernetesLab, kubernetes_lab

from tortie.kernel import netns
from tortie.lab.names import LabNames
from tortie.lab.runtime import Runtime, Sandbox
from tortie.lab.spec import LabError

pytestmark = [pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(900 if SOAK else 240)]
AWAY_SECONDS = 60.0 if SOAK else 3.0
CUT_SECONDS = 60 if SOAK else 6


@pytest.fixture(scope="module")
def whole_lab() -> Iterator[KubernetesLab]:
    with kubernetes_lab(2) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: KubernetesLab) -> KubernetesLab:
    """Every test leaves it as it found it."""
    whole_lab.eventually_ready()
    whole_lab.eventually_connected()
    return whole_lab


def test_an_api_server_that_dies_changes_nothing_and_is_followed_when_it_is_back(lab: KubernetesLab) -> None:
    before = lab.table("n2")
    with lab.traffic():
        with lab.dead("apiserver"):
            eventually(
                lambda: "cannot be reached" in lab.status("n2")["datastoreFailure"], "n2 notices and says why", seconds=60
            )
            assert not lab.status("n2")["datastoreConnected"]
            time.sleep(AWAY_SECONDS)
            assert lab.table("n2") == before
            lab.restart_agent("n1")
        lab.follows_changes("after-death")
    assert lab.table("n2") == before
    fresh = lab.restart_agent("n2")
    lab.eventually_ready()
    assert lab.status("n2")["pid"] == fresh
    assert lab.table("n2") == before


def test_connections_that_are_cut_again_and_again_cost_nothing_but_connections(lab: KubernetesLab) -> None:
    spent = cpu_seconds(lab.agent("n2"))
    with lab.traffic():
        for number in range(CUT_SECONDS):
            # Both directions: what is lost is noticed by the reset, as when a proxy in between is restarted.
            lab.on("node/n2", "ss", "--kill", "dst", "172.18.0.1", "dport", "=", "6443").ok()
            lab.apply_policy(f"cut-{number % 2}")
            time.sleep(1)
        lab.tortie("delete", "networkpolicy", "cut-0", "cut-1", "-n", "default").ok()
        lab.follows_changes("after-cuts")
    assert cpu_seconds(lab.agent("n2")) - spent < CUT_SECONDS


def test_a_pod_that_is_wired_while_the_api_server_is_away_is_refused_for_now_and_leaves_nothing(lab: KubernetesLab) -> None:
    links = devices(lab, "n2")
    with lab.dead("apiserver"):
        said = refused_add(lab, "n2", "default", "late")
        assert "code 11:" in said
        assert "cannot be reached" in said
    assert devices(lab, "n2") == links
    assert "found 0 problems" in lab.tortie("ipam", "check").ok().out


def test_an_api_server_that_dies_while_pods_are_wired_loses_no_pod_and_no_address(lab: KubernetesLab) -> None:
    names = [f"many-{number}" for number in range(6)]
    lab.apply(*(pod(name, "n2") for name in names))
    time.sleep(0.7)
    with lab.dead("apiserver"):
        time.sleep(1)
    lab.kubectl("wait", "--for=condition=Ready", "--timeout=50s", *(f"pod/{name}" for name in names)).ok()
    assert {f"default/{name}" for name in names} <= set(lab.pods())
    assert "found 0 problems" in lab.tortie("ipam", "check").ok().out
    lab.kubectl("delete", "pod", *names, "--timeout=50s").ok()
    assert "found 0 problems" in lab.tortie("ipam", "check").ok().out


def test_who_may_not_read_something_says_what_and_goes_on_when_he_may(lab: KubernetesLab) -> None:
    """The kernel keeps what it had, a new agent waits, and both say which right is missing."""
    role = yaml.safe_load(lab.kubectl("get", "clusterrole", "tortie-agent", "-o", "yaml").ok().out)
    missing = [rule for rule in role["rules"] if "endpointslices" not in rule["resources"]]
    before = lab.table("n2")
    with lab.traffic():
        lab.apply(as_applied(role, missing))
        try:
            lab.restart_agent("n2")
            eventually(lambda: "endpointslices" in lab.status("n2").get("datastoreFailure", ""), "n2 says what it may not")
            assert "forbidden" in lab.status("n2")["datastoreFailure"]
            assert not lab.status("n2")["ready"]
            assert lab.table("n2") == before
        finally:
            lab.apply(as_applied(role, role["rules"]))
        lab.follows_changes("after-forbidden")


def test_a_token_that_is_replaced_is_read_again(lab: KubernetesLab, tmp_path: Path) -> None:
    token = tmp_path / "token"
    config = json.loads(lab.kubectl("config", "view", "--raw", "--flatten", "-o", "json").ok().out)
    config["users"][0]["user"] = {"tokenFile": str(token)}
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(json.dumps(config))
    token.write_text(new_token(lab))
    with lab.traffic():
        lab.restart_agent("n2", environment={"KUBECONFIG": str(kubeconfig)})
        lab.follows_changes("by-token")
        token.write_text("this one is no good")
        lab.on("node/n2", "ss", "--kill", "dst", "172.18.0.1", "dport", "=", "6443").ok()
        eventually(lambda: "not accepted" in lab.status("n2")["datastoreFailure"], "n2 is not let in", seconds=90)
        token.write_text(new_token(lab))
        lab.follows_changes("by-new-token")
        lab.restart_agent("n2", environment={"KUBECONFIG": str(lab.folder / "kubernetes/agent.kubeconfig")})
        lab.follows_changes("by-certificate")


def new_token(lab: KubernetesLab) -> str:
    return lab.kubectl("-n", "tortie-system", "create", "token", "tortie-agent").ok().out.strip()


def as_applied(role: dict[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": role["metadata"]["name"]}
    return {"apiVersion": role["apiVersion"], "kind": role["kind"], "metadata": metadata, "rules": rules}


def pod(name: str, node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
    }


def refused_add(lab: KubernetesLab, node: str, namespace: str, name: str) -> str:
    """What a runtime is told whose ADD fails."""
    names = LabNames(lab.name)
    space = names.pod(namespace, name)
    netns.create(space)
    try:
        with pytest.raises(LabError) as refused:
            asyncio.run(Runtime(names).add(Sandbox(namespace, name, node, "c0ffee", space, {})))
        return str(refused.value)
    finally:
        netns.delete(space)


def devices(lab: KubernetesLab, node: str) -> set[str]:
    return {link["ifname"] for link in json.loads(lab.on(f"node/{node}", "ip", "-j", "link").ok().out)}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
