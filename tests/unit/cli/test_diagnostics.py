"""node diags and cluster diags: what is in the archive, and what must not be."""

import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
from tests.unit.cli.stage import Answer, Tortie, command_line

from tortie.cli import diagnostics
from tortie.cli.diagnostics import blanked

TIER = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: security}\nspec: {order: 10}\n"


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    commands = {"date": "date -u +%FT%TZ", "ghost": "no-such-program --now"}
    monkeypatch.setattr(diagnostics, "NODE_COMMANDS", commands)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return command_line(tmp_path, monkeypatch, capsys)


def content(answer: Answer) -> dict[str, str]:
    assert answer.code == 0, answer.err
    path = Path(answer.out.splitlines()[0].removeprefix("Diagnostics saved to "))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
    return found


def test_a_nodes_archive_has_outputs_logs_and_what_the_agent_says(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "run" / "bird").mkdir(parents=True)
    (tmp_path / "run" / "status.json").write_text('{"ready": true}')
    (tmp_path / "run" / "bird" / "bird.conf").write_text('protocol bgp x { password "hunter2"; }')
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "felix.log").write_text("a line\n")
    (tmp_path / "log" / "shadow").symlink_to("/etc/shadow")
    found = content(tortie("node", "diags", "--run-dir", "run", "--log-dir", "log"))
    assert set(found) == {"date", "ghost", "run/status.json", "run/bird/bird.conf", "logs/felix.log"}
    assert found["date"].startswith("$ date -u")
    assert "cannot be started" in found["ghost"]
    assert "hunter2" not in found["run/bird/bird.conf"]


def test_a_clusters_archive_has_each_kind_that_there_is(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=TIER)
    found = content(tortie("cluster", "diags"))
    assert {"resources/tiers.yaml", "resources/clusterinformations.yaml", "ipam-check.txt"} <= set(found)
    assert "security" in found["resources/tiers.yaml"]
    assert "resources/networksets.yaml" not in found


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2",
        'password "hunter2";',
        "K8S_TOKEN=hunter2",
        '"secret": "hunter2"',
        "private-key: 'hunter2'",
        "psk = hunter2",
    ],
)
def test_secrets_are_blanked(text: str) -> None:
    assert b"hunter2" not in blanked(text.encode())


def test_what_is_no_secret_stays() -> None:
    text = b"passwordSecretRef:\n  name: bgp\n"
    assert blanked(text) == text


@pytest.mark.parametrize("options", [["--since", "yesterday"], ["--max-parallelism", "0"], ["--max-logs", "-1"]])
def test_bad_options_are_refused(tortie: Tortie, options: list[str]) -> None:
    answer = tortie("cluster", "diags", *options)
    assert answer.code == 1
    assert options[0] in answer.err
