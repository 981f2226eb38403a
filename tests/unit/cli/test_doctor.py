"""tortie doctor: what it asks the datastore and the agent's status file, and its exit code."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.stage import Tortie, command_line

from tortie.agent import checkup, checkup_firewall, checkup_host
from tortie.agent.checkup import Check, advised, check_agent, check_plugin, verdict
from tortie.api.resource import Metadata
from tortie.api.tier import Tier
from tortie.base.net import parse_address
from tortie.bgp.status import PeerStatus
from tortie.cli import node
from tortie.cli.doctor import _sessions, clock_check
from tortie.cli.node import NodeReport

POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web}
spec: {ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    """On a machine whose kernel and BIRD are fine."""

    async def kernel() -> list[Check]:
        return [Check("kernel", "ok", "")]

    async def bird() -> Check:
        return Check("bird", "ok", "version 2.0.12")

    async def firewall() -> list[Check]:
        return [Check("foreign rules", "ok", "")]

    monkeypatch.setattr(checkup, "check_kernel", kernel)
    monkeypatch.setattr(checkup_firewall, "check_firewall", firewall)
    monkeypatch.setattr(checkup_host, "check_host", lambda **_: [Check("felix", "ok", "")])
    monkeypatch.setattr(checkup_host, "check_mtu", lambda *_: [Check("mtu", "ok", "")])
    monkeypatch.setattr(checkup, "check_bird", bird)
    return command_line(tmp_path, monkeypatch, capsys)


def examined(tortie: Tortie) -> tuple[int, dict[str, tuple[str, str]]]:
    answer = tortie("doctor", "--run-dir", "run", "-o", "json")
    return answer.code, {check["name"]: (check["state"], check["detail"]) for check in json.loads(answer.out)["checks"]}


def test_a_machine_without_a_node_is_healthy(tortie: Tortie) -> None:
    code, found = examined(tortie)
    assert (code, found["datastore"][0], found["agent"]) == (0, "note", ("note", "no agent runs on this node"))
    assert "| kernel " in tortie("doctor", "--run-dir", "run").out


def test_fields_that_are_stored_and_not_enforced_are_named(tortie: Tortie) -> None:
    tortie("apply", "--allow-unenforced", "-f", "-", stdin=POLICY)
    code, found = examined(tortie)
    assert code == 2
    assert found["datastore"][0] == "ok"
    assert found["not enforced"][1].startswith("NetworkPolicy(default/web): spec.ingress[0].http")


def test_a_locked_datastore_and_one_that_cannot_be_opened_are_problems(
    tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tortie("datastore", "migrate", "lock")
    code, found = examined(tortie)
    assert (code, found["datastore"][0]) == (2, "problem")
    assert "locked" in found["datastore"][1]
    (tmp_path / "broken").write_text("no database" * 100)
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "broken"))
    code, found = examined(tortie)
    assert (code, found["datastore"][0]) == (2, "problem")
    assert "broken" in found["datastore"][1]


@pytest.mark.parametrize(
    ("status", "problems"),
    [
        ({"ready": True}, []),
        ({"ready": False, "reasons": ["dataplane: no route"]}, ["pid 7, dataplane: no route"]),
        ({"ready": True, "datastoreConnected": False}, ["no connection: what the agent has stays in force"]),
        ({"ready": True, "bird": "it died"}, ["it died"]),
        (
            {"ready": True, "problems": {"NetworkPolicy(a/b)": "bad"}, "parameters": ["X: y"]},
            ["X: y", "NetworkPolicy(a/b): bad"],
        ),
    ],
)
def test_what_the_agent_reports_is_told(status: dict[str, Any], problems: list[str]) -> None:
    checks = check_agent(7, status)
    assert [check.detail for check in checks if check.state == "problem"] == problems
    assert verdict(checks) == (not problems)


def test_nodes_that_this_one_has_no_way_to_are_told_once_and_are_no_fault_of_this_one() -> None:
    withheld = [{"destination": f"10.0.{number}.0/26", "node": "far", "reason": "far has no address"} for number in range(3)]
    checks = check_agent(7, {"ready": True, "routes": {"withheld": withheld}})
    told = [(check.state, check.detail) for check in checks if check.name == "agent routes"]
    assert told == [("note", "no way to what node far has: far has no address")]
    assert verdict(checks)


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [(b"\x7fELF..", 0o755, "ok"), (b"#!python", 0o755, "note"), (b"\x7fELF", 0o644, "problem")],
)
def test_the_plugin_is_a_shim_or_its_fallback(tmp_path: Path, content: bytes, mode: int, state: str) -> None:
    path = tmp_path / "tortie-cni"
    path.write_bytes(content)
    path.chmod(mode)
    assert check_plugin(path).state == state
    assert check_plugin(None).state == "note"


def test_a_problem_says_why_it_matters_and_what_to_do(tortie: Tortie) -> None:
    tortie("datastore", "migrate", "lock")
    lines = tortie("doctor", "--run-dir", "run").out.splitlines()
    at = lines.index("1 problem:")
    assert lines[at + 2].startswith("problem: datastore: it is locked")
    assert lines[at + 3].startswith("  why it matters: ")
    assert lines[at + 4].startswith("  what to do:     ")
    found = json.loads(tortie("doctor", "--run-dir", "run", "-o", "json").out)["checks"]
    (problem,) = [check for check in found if check["state"] == "problem"]
    assert problem["why"]
    assert problem["fix"]


def test_a_datastore_from_the_future_means_a_wrong_clock() -> None:
    tier = Tier(metadata=Metadata(name="t", creation_timestamp="2026-01-01T00:01:00Z"))
    at_midnight = 1767225600.0
    found = clock_check([tier], now=at_midnight)
    assert (found.state, found.detail) == ("problem", "Tier(t) was written 60 s later than it is here")
    assert clock_check([tier], now=at_midnight + 59).state == "ok"


def test_each_session_that_is_down_is_a_problem_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    up = PeerStatus("Mesh_a", parse_address("10.0.0.2"), 64512, "Established", "12:00", "", 1, 1)
    down = PeerStatus("Node_b", parse_address("10.0.0.3"), 64512, "Active", "12:00", "", 0, 0)
    said = {"bgpPeers": [{"name": "Node_b", "reason": "Connection refused"}]}

    async def ask(_: Path) -> NodeReport:
        return NodeReport(1, said, (up, down), True)

    monkeypatch.setattr(node, "ask", ask)
    (check,) = asyncio.run(_sessions(Path("run")))
    assert check.state == "problem"
    assert check.detail == "Node_b (10.0.0.3) is down: Active (Connection refused)"


@pytest.mark.parametrize("others", [0, 1])
def test_a_session_that_bird_was_not_given_is_a_problem_however_well_all_others_are(
    monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    up = PeerStatus("Mesh_a", parse_address("10.0.0.2"), 64512, "Established", "12:00", "", 1, 1)
    withheld = {"name": "Global_b", "address": "10.0.0.3", "state": "NotConfigured", "reason": "secret 'tor': there is no file"}

    async def ask(_: Path) -> NodeReport:
        return NodeReport(1, {"bgpPeers": [{"name": "Mesh_a", "state": "Established"}, withheld]}, (up,) * others, True)

    monkeypatch.setattr(node, "ask", ask)
    (check,) = asyncio.run(_sessions(Path("run")))
    assert check.state == "problem"
    assert check.detail == "Global_b (10.0.0.3) is not configured: secret 'tor': there is no file"


@pytest.mark.parametrize(
    ("ipip", "state", "words"),
    [
        ({"carrier": "kernel", "problem": ""}, "ok", "the kernel's tunl0"),
        ({"carrier": "ebpf", "problem": ""}, "ok", "our eBPF programs"),
        ({"carrier": "", "problem": "there is no way to carry IPIP on this node"}, "problem", "no way to carry IPIP"),
    ],
)
def test_who_carries_ipip_is_told_where_it_is_in_use(ipip: dict[str, str], state: str, words: str) -> None:
    (found,) = [check for check in check_agent(7, {"ready": True, "ipip": ipip}) if check.name == "ipip"]
    assert found.state == state
    assert words in found.detail
    assert state == "ok" or "module ipip" in advised(found).fix
    assert [check.name for check in check_agent(7, {"ready": True, "ipip": {"carrier": "", "problem": ""}})] == ["agent"]
