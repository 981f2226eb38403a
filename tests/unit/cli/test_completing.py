"""What a press of the tab key offers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

SETS = """\
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: web, namespace: %s}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: db, namespace: %s}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def offered(*words: str, shell: str = "bash", **environment: str) -> list[str]:
    """What the completion of the last word offers, as the shell's script would ask."""
    asked = {"COMP_WORDS": " ".join(("tortie", *words)), "COMP_CWORD": str(len(words)), "_TORTIE_COMPLETE": f"{shell}_complete"}
    patient = "from tortie.cli import completing; completing._PATIENCE_SECONDS = 30.0"  # a machine may be busy
    done = subprocess.run(
        [sys.executable, "-c", f"{patient}; from tortie.cli.main import tortie; tortie(prog_name='tortie')"],
        env=os.environ | asked | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_kinds_are_offered(tortie: Tortie) -> None:
    assert offered("ver") == ["version"]
    assert {"get", "patch", "label", "node", "doctor"} <= set(offered(""))
    assert offered("get", "globalnetwork") == ["globalnetworkpolicy", "globalnetworkset"]
    assert offered("patch", "tie") == ["tier"]


@pytest.mark.parametrize("command", ["get", "delete", "patch", "label"])
def test_names_of_stored_resources_are_offered(tortie: Tortie, command: str) -> None:
    tortie("apply", "-f", "-", stdin=SETS % ("default", "shop"))
    assert offered(command, "networkset", "w") == ["web"]
    assert offered(command, "networkset", "-n", "shop", "d") == ["db"]
    assert offered(command, "networkset", "x") == []


def test_values_of_options_are_offered(tortie: Tortie) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
    pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: red}\nspec: {cidr: 10.0.0.0/24}\n"
    assert tortie("apply", "-f", "-", stdin=namespace + pool).code == 0
    assert offered("get", "networkset", "-n", "s") == ["shop"]
    assert offered("get", "networkset", "-o", "go") == ["go-template", "go-template-file"]
    assert offered("ipam", "split", "--name", "r") == ["red"]
    assert offered("ipam", "pool", "migrate", "r") == ["red"]


def test_a_press_of_the_key_makes_no_datastore(tortie: Tortie, tmp_path: Path) -> None:
    assert offered("get", "networkset", "w") == []
    assert not (tmp_path / "store").exists()


def test_names_that_were_given_are_not_offered_again(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=SETS % ("default", "default"))
    assert offered("get", "networkset", "web", "") == ["db"]


def test_a_datastore_that_cannot_be_asked_offers_nothing_and_says_nothing(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("no database" * 100)
    assert offered("get", "networkset", "w", TORTIE_SQLITE_PATH=str(tmp_path / "broken")) == []
    assert offered("get", "networkset", "w", DATASTORE_TYPE="frob") == []
    assert offered("get", "frobs", "w") == []


def test_completing_a_command_imports_no_command() -> None:
    code = (
        "import sys; from tortie.cli.main import tortie\n"
        "try: tortie(prog_name='tortie')\n"
        "except SystemExit: pass\n"
        "assert not {'asyncio', 'msgspec', 'yaml', 'tortie.cli.resources'} & set(sys.modules)"
    )
    asked = {"COMP_WORDS": "tortie g", "COMP_CWORD": "1", "_TORTIE_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "plain,get\n"), done.stderr


def test_bash_reads_its_script(tortie: Tortie) -> None:
    script = tortie("completion", "bash").out
    assert "_TORTIE_COMPLETE=bash_complete" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
