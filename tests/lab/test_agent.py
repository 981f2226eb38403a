"""One node's agent as its operator meets it: killed, restarted, tampered with, started twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab.stage import RunningLab, is_running, tortie, unique_name

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

DENY = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed", "namespace": "default"},
    "spec": {"selector": "app == 'closed'", "types": ["Ingress"], "ingress": [{"action": "Log"}]},
}


@pytest.fixture
def running() -> Iterator[RunningLab]:
    """A lab for each test: what one does to its agent is nothing to the next."""
    name = unique_name()
    lab = RunningLab(name)
    try:
        tortie("lab", "up", "--name", name, "--nodes", "1").ok()
        lab.lab("pod add", "default/open", "--serve", "tcp:80").ok()
        lab.lab("pod add", "default/closed", "--labels", "app=closed", "--serve", "tcp:80").ok()
        lab.tortie("apply", "-f", "-", stdin=json.dumps(DENY)).ok()
        listing = ("nft", "list", "table", "inet", "tortie")
        eventually(lambda: "np/default/closed" in lab.on("node/n1", *listing).out, "the policy is in the kernel")
        yield lab
    finally:
        tortie("lab", "down", "--name", name).ok()


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def kill_agent(lab: RunningLab) -> None:
    """Its lock is free when this returns."""
    pid = lab.status("n1")["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid), "the agent is dead")


def asked(lab: RunningLab, folder: Path, source: str, target: str) -> list[object]:
    items = lab.probe(folder, [{"from": source, "to": target, "protocol": "tcp", "port": 80}])
    return [item["outcome"] for item in items]


def test_a_table_deleted_by_hand_comes_back_and_a_foreign_one_stays(running: RunningLab, tmp_path: Path) -> None:
    foreign = "table inet theirs { chain c { type filter hook input priority 5; counter; }; }"
    running.on("node/n1", "nft", foreign).ok()
    running.on("node/n1", "nft", "delete", "table", "inet", "tortie").ok()
    eventually(lambda: "table inet tortie" in running.on("node/n1", "nft", "list", "tables").out, "our table is back")
    eventually(lambda: asked(running, tmp_path, "default/open", "default/closed") == ["denied", "denied"], "it denies again")
    assert "chain c" in running.on("node/n1", "nft", "list", "table", "inet", "theirs").ok().out


def test_a_rule_added_by_hand_to_our_table_is_removed(running: RunningLab) -> None:
    running.on("node/n1", "nft", "insert", "rule", "inet", "tortie", "filter-FORWARD", "accept", "comment", '"by hand"')
    listed = running.on("node/n1", "nft", "list", "table", "inet", "tortie").ok().out
    assert listed
    eventually(
        lambda: "by hand" not in running.on("node/n1", "nft", "list", "table", "inet", "tortie").out, "the foreign rule is gone"
    )


def test_a_workload_route_deleted_by_hand_comes_back(running: RunningLab) -> None:
    routes = running.on("node/n1", "ip", "route", "show", "proto", "80").ok().out.splitlines()
    assert routes
    running.on("node/n1", "ip", "route", "del", *routes[0].split()[:3]).ok()
    eventually(
        lambda: routes[0].split()[0] in running.on("node/n1", "ip", "route", "show", "proto", "80").out,
        "the route is back",
    )


def test_a_relabelled_pod_meets_the_policies_of_its_new_labels(running: RunningLab, tmp_path: Path) -> None:
    assert asked(running, tmp_path, "default/closed", "default/open") == ["allowed", "allowed"]
    pod = running.tortie("get", "pod", "open", "-n", "default", "-o", "json").ok().json()
    pod["metadata"]["labels"] = {"app": "closed"}
    running.tortie("apply", "-f", "-", stdin=json.dumps(pod)).ok()
    eventually(lambda: asked(running, tmp_path, "default/closed", "default/open") == ["denied", "denied"], "it is closed")


def test_policy_goes_on_while_the_agent_is_dead_and_bird_is_adopted_after(running: RunningLab, tmp_path: Path) -> None:
    state = json.loads((running.folder / "lab.json").read_text())
    bird = (running.folder / "n1/bird/bird.pid").read_text()
    pid = running.status("n1")["pid"]
    kill_agent(running)
    assert asked(running, tmp_path, "default/open", "default/closed") == ["denied", "denied"]
    assert asked(running, tmp_path, "default/closed", "default/open") == ["allowed", "allowed"]
    with restarted(running):
        assert (running.folder / "n1/bird/bird.pid").read_text() == bird
        assert asked(running, tmp_path, "default/open", "default/closed") == ["denied", "denied"]
        assert asked(running, tmp_path, "default/closed", "default/open") == ["allowed", "allowed"]
        assert state["agents"]["n1"] == pid


def agent_command(lab: RunningLab) -> list[str]:
    run_dir = lab.folder / "n1"
    enter = ["nsenter", f"--net=/run/netns/tortie-{lab.name}.node.n1", "--"]
    agent = [sys.executable, "-m", "tortie.cli.main", "agent", "--node", "n1"]
    return [*enter, *agent, "--run-dir", str(run_dir), "--state-dir", str(run_dir / "state")]


class restarted:
    """An agent of the same node, started as the lab starts it; ended by SIGTERM at the end."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab

    def __enter__(self) -> subprocess.Popen[bytes]:
        run_dir = self._lab.folder / "n1"
        (run_dir / "status.json").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            agent_command(self._lab),
            env={**os.environ, **self._lab.environment, "IP": "172.18.0.2/24", "IP6": "fd18::2/64"},
            stderr=subprocess.PIPE,
        )
        eventually(
            lambda: (run_dir / "status.json").exists() and bool(self._lab.status("n1")["ready"]), "the new agent is ready"
        )
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        log = self._process.communicate(timeout=30)[1]
        assert self._process.returncode == 0, log.decode()


def test_a_second_agent_of_a_node_is_refused_and_sigterm_ends_the_first_cleanly(running: RunningLab, tmp_path: Path) -> None:
    kill_agent(running)
    with restarted(running):
        second = subprocess.run(
            agent_command(running),
            env={**os.environ, **running.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        assert "another agent" in second.stderr
        assert "Traceback" not in second.stderr
    assert asked(running, tmp_path, "default/open", "default/closed") == ["denied", "denied"]
