"""tortie node status and stop without a node: what is told when nothing runs, and of a BIRD that answers."""

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

PEERS = (
    "2002-name       proto      table      state  since         info",
    "1002-Mesh_172_18_0_3 BGP        ---        up     10:00:00.000  Established   ",
    "1006-  BGP state:          Established",
    "     Neighbor address: 172.18.0.3",
    "     Neighbor AS:      64512",
    "     Routes:         3 imported, 2 exported, 1 preferred",
    "1002-Global_fd00__9 BGP        ---        start  10:00:01.000  Active        Socket: Connection refused",
    "1006-  BGP state:          Active",
    "     Neighbor address: fd00::9",
    "     Neighbor AS:      64513",
    "0000 ",
)


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    monkeypatch.delenv("TORTIE_RUN_DIR", raising=False)
    return command_line(tmp_path, monkeypatch, capsys)


class _Bird(socketserver.StreamRequestHandler):
    """A control socket that knows one answer."""

    def handle(self) -> None:
        self.wfile.write(b"0001 BIRD 2.0.12 ready.\n")
        self.rfile.readline()
        self.wfile.write(("\n".join(PEERS) + "\n").encode())


@pytest.fixture
def bird(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "run" / "bird").mkdir(parents=True)
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "run" / "bird" / "bird.ctl"), _Bird) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_nothing_runs(tortie: Tortie) -> None:
    answer = tortie("node", "status", "--run-dir", "run")
    assert (answer.code, answer.err) == (2, "")
    assert answer.out == "The agent is not running.\nThe BGP backend process (BIRD) is not running.\n"
    found = json.loads(tortie("node", "status", "--run-dir", "run", "-o", "json").out)
    assert found == {
        "agent": {"running": False, "pid": None, "status": {}},
        "bird": {"running": False, "wanted": True},
        "peers": [],
        "notConfigured": [],
    }


@pytest.mark.usefixtures("bird")
def test_peers_stand_in_a_table_by_family(tortie: Tortie) -> None:
    out = tortie("node", "status", "--run-dir", "run").out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    heading = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO", "IN", "OUT"]
    assert rows == [
        heading,
        ["172.18.0.3", "node-to-node mesh", "up", "10:00:00.000", "Established", "3", "2"],
        heading,
        ["fd00::9", "global", "down", "10:00:01.000", "Active (Socket: Connection refused)", "0", "0"],
    ]
    assert out.index("IPv4 BGP status") < out.index("172.18.0.3") < out.index("IPv6 BGP status") < out.index("fd00::9")


@pytest.mark.usefixtures("bird")
def test_a_session_that_bird_was_not_given_is_told_with_its_reason(
    tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tortie.agent.leaving.running_agent", lambda _: 4711)
    entry = {"name": "Node_fd00__7", "address": "fd00::7", "state": "NotConfigured", "reason": "there is no BGPFilter 'edge'"}
    (tmp_path / "run" / "status.json").write_text(json.dumps({"node": "n1", "bgpPeers": [entry]}))
    (row,) = [line for line in tortie("node", "status", "--run-dir", "run").out.splitlines() if "fd00::7" in line]
    assert "NotConfigured (there is no BGPFilter 'edge')" in row
    found = json.loads(tortie("node", "status", "--run-dir", "run", "-o", "json").out)["notConfigured"]
    assert found == [{"name": "Node_fd00__7", "address": "fd00::7", "reason": "there is no BGPFilter 'edge'"}]


@pytest.mark.usefixtures("bird")
def test_the_addresses_are_told_with_their_reasons(tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tortie.agent.leaving.running_agent", lambda _: 4711)
    known = {"family": 4, "address": "192.0.2.1/24", "method": "cidr=192.0.2.0/24", "interface": "eth0", "why": "the first"}
    none = {"family": 6, "address": "", "method": "IP6=none", "interface": "", "why": "switched off"}
    mtu = {"uplink": 1500, "interface": "eth0", "pods": 1450, "because": "vxlan of IPv4"}
    (tmp_path / "run" / "status.json").write_text(json.dumps({"node": "n1", "addresses": [known, none], "mtu": mtu}))
    out = tortie("node", "status", "--run-dir", "run").out
    assert "IPv4 address: 192.0.2.1/24 of eth0 (cidr=192.0.2.0/24: the first)." in out
    assert "IPv6 address: none (IP6=none: switched off)." in out
    assert "New pods send up to 1450 bytes (vxlan of IPv4); eth0 takes 1500." in out


@pytest.mark.usefixtures("bird")
@pytest.mark.parametrize(
    ("ipip", "line"),
    [
        ({"carrier": "kernel", "problem": ""}, "IPIP: by the kernel's tunl0"),
        ({"carrier": "ebpf", "problem": ""}, "IPIP: by eBPF programs around tunl0"),
        ({"carrier": "", "problem": "there is no way"}, "IPIP: there is no way"),
        ({"carrier": "", "problem": ""}, None),
    ],
)
def test_who_carries_ipip_is_told_where_it_is_in_use(
    tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ipip: dict[str, str], line: str | None
) -> None:
    monkeypatch.setattr("tortie.agent.leaving.running_agent", lambda _: 4711)
    (tmp_path / "run" / "status.json").write_text(json.dumps({"node": "n1", "ipip": ipip}))
    out = tortie("node", "status", "--run-dir", "run").out.splitlines()
    assert [each for each in out if each.startswith("IPIP")] == ([line] if line else [])


@pytest.mark.usefixtures("bird")
def test_json_tells_the_peers_as_values(tortie: Tortie) -> None:
    answer = tortie("node", "status", "--run-dir", "run", "-o", "json")
    assert answer.code == 2  # BIRD outlives its agent
    found = json.loads(answer.out)
    assert found["bird"] == {"running": True, "wanted": True}
    assert [(peer["address"], peer["type"], peer["established"], peer["asNumber"]) for peer in found["peers"]] == [
        ("fd00::9", "global", False, 64513),
        ("172.18.0.3", "node-to-node mesh", True, 64512),
    ]


@pytest.mark.parametrize(
    ("content", "said"), [("{", "status.json is not JSON"), ("[]", "status.json is no agent's"), ("null", "is no agent's")]
)
def test_a_status_that_is_damaged_is_told(tortie: Tortie, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(content)
    answer = tortie("node", "status", "--run-dir", "run")
    assert answer.code == 1
    assert said in answer.err


def test_stopping_needs_root(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    answer = tortie("node", "stop", "--run-dir", "run", "--uninstall")
    assert answer.code == 1
    assert "needs root" in answer.err


def test_stopping_what_does_not_run_is_fine(tortie: Tortie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert tortie("node", "stop", "--run-dir", "run").out.splitlines()[:2] == ["The agent does not run.", "BIRD does not run."]
