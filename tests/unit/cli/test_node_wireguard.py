"""tortie node wireguard, and what node status and doctor say of encryption."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.stage import Tortie, command_line

from tortie.agent.checkup import check_agent, verdict
from tortie.agent.prometheus import render
from tortie.agent.wireguard_keys import is_rotation_pending
from tortie.base.metrics import Metrics

PEER = {
    "node": "n2",
    "publicKey": "AAAA",
    "endpoint": "172.18.0.3:51820",
    "networks": 2,
    "encrypted": True,
    "lastHandshake": 1.7e9,
    "lastHandshakeSeconds": 21.4,
    "receivedBytes": 180,
    "sentBytes": 272,
    "problem": "",
}
LOST = {
    **PEER,
    "node": "n3",
    "publicKey": "",
    "encrypted": False,
    "lastHandshakeSeconds": None,
    "problem": "node n3 has no key",
}


def status(*peers: Mapping[str, Any], key: str = "OLD=", problem: str = "") -> dict[str, Any]:
    device = {
        "device": "wireguard.cali",
        "family": 4,
        "inKernel": False,
        "publicKey": key,
        "port": 51820,
        "address": "10.244.0.1",
        "hostEncryption": False,
        "strict": True,
        "problem": problem,
        "peers": list(peers),
    }
    return {"node": "n1", "ready": True, "wireguard": {"problem": "", "devices": [device]}}


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    monkeypatch.delenv("TORTIE_RUN_DIR", raising=False)
    monkeypatch.setattr("tortie.agent.leaving.running_agent", lambda _: 4711)
    (tmp_path / "run").mkdir()
    return command_line(tmp_path, monkeypatch, capsys)


def test_status_shows_every_peer_with_its_last_handshake_and_its_problem(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "run" / "status.json").write_text(json.dumps(status(PEER, LOST)))
    out = tortie("node", "status", "--run-dir", "run").out
    assert "IPv4 WireGuard: wireguard.cali by wireguard-go, port 51820, pods, strict" in out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert rows[1] == ["n2", "172.18.0.3:51820", "yes", "21 s ago", "180", "272", ""]
    assert rows[2] == ["n3", "172.18.0.3:51820", "no", "never", "180", "272", "node n3 has no key"]


def test_status_says_nothing_of_wireguard_where_it_is_off(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "run" / "status.json").write_text(json.dumps({"node": "n1", "wireguard": {"problem": "", "devices": []}}))
    assert "WireGuard" not in tortie("node", "status", "--run-dir", "run").out


def test_a_new_key_is_asked_for_and_shown(tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    run_dir = tmp_path / "run"
    (run_dir / "status.json").write_text(json.dumps(status(PEER)))

    def agent() -> None:
        while not is_rotation_pending(run_dir):
            time.sleep(0.01)
        (run_dir / "wireguard" / "rotate-key").unlink()
        (run_dir / "status.new").write_text(json.dumps(status(PEER, key="NEW=")))
        (run_dir / "status.new").replace(run_dir / "status.json")

    thread = threading.Thread(target=agent)
    thread.start()
    answer = tortie("node", "wireguard", "rotate-key", "--run-dir", "run")
    thread.join()
    assert (answer.code, answer.out) == (0, "wireguard.cali has the public key NEW=.\n")


def test_no_new_key_without_wireguard_an_agent_or_root(tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ("node", "wireguard", "rotate-key", "--run-dir", "run")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in tortie(*call).err
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "WireGuard is not enabled" in tortie(*call).err
    monkeypatch.setattr("tortie.agent.leaving.running_agent", lambda _: None)
    answer = tortie(*call)
    assert answer.code == 1
    assert "no agent runs" in answer.err
    assert not is_rotation_pending(tmp_path / "run")


def test_doctor_counts_the_nodes_that_are_encrypted() -> None:
    (good,) = [check for check in check_agent(7, status(PEER)) if check.name == "wireguard"]
    assert good.state == "ok"
    assert good.detail.startswith("wireguard.cali: 1 of 1 other nodes encrypted, by wireguard-go")
    (bad,) = [check for check in check_agent(7, status(PEER, LOST)) if check.name == "wireguard"]
    assert (bad.state, "1 of 2" in bad.detail) == ("problem", True)
    (none,) = [check for check in check_agent(7, status(problem="no WireGuard here")) if check.name == "wireguard"]
    assert (none.state, none.detail) == ("problem", "no WireGuard here")
    unpublished = status(PEER)
    unpublished["wireguard"]["problem"] = "no answer"
    assert not verdict(check_agent(7, unpublished))


def test_metrics_have_calicos_names_for_each_peer_that_has_a_key() -> None:
    devices = status(PEER, LOST)["wireguard"]["devices"]
    lines = render(Metrics(), host="n1", process=False, runtime=False, wireguard=devices).splitlines()
    labels = 'hostname="n1",interface="wireguard.cali"'
    assert f'wireguard_meta{{{labels},listen_port="51820",public_key="OLD="}} 1' in lines
    peer = f'{{{labels},peer_endpoint="172.18.0.3:51820",peer_key="AAAA"}}'
    assert f"wireguard_bytes_rcvd{peer} 180" in lines
    assert f"wireguard_bytes_sent{peer} 272" in lines
    assert f"wireguard_latest_handshake_seconds{peer} 1700000000" in lines
    assert sum(line.startswith("wireguard_bytes_rcvd{") for line in lines) == 1
