"""The group itself: help, lazy modules, what a shell may complete."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from tests.unit.cli.stage import Tortie, command_line

from tortie.cli.main import tortie as main_group
from tortie.cli.policy import COMMANDS

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")
POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: %s, namespace: shop}
spec: {selector: all()}
---
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def offered(*words: str) -> list[str]:
    """What a press of the tab key offers behind these words."""
    shell = BashComplete(main_group, {}, "tortie", "_TORTIE_COMPLETE")
    return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]


def test_help_of_the_group_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); from tortie.cli.main import run; run(['policy', '--help'])\n"
        "heavy = {'asyncio', 'sqlite3', 'msgspec', 'yaml', 'rich', 'tortie.insight.world', 'tortie.cli.worlds'}\n"
        "assert not heavy & set(sys.modules) - before, heavy & set(sys.modules) - before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, command in COMMANDS.items():
        assert name in done.stdout
        assert command.summary.split()[0] in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(tortie: Tortie, name: str) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
    answer = tortie("policy", name, "--help")
    assert answer.code == 0
    assert f"tortie policy {name} " in answer.out.replace(f"Usage: tortie policy {name} ", "", 1)


def test_names_of_files_are_completed() -> None:
    assert offered("policy", "effective", "-f", SHOP, "shop/ca") == ["shop/cart", "shop/catalog"]
    assert offered("policy", "effective", "-f", SHOP, "hep/") == ["hep/node1-eth0"]
    assert offered("policy", "trace", "-f", SHOP, "shop/d") == ["shop/db", "shop/db-only-for-cart"]
    assert offered("policy", "lint", "--ignore", "TL06") == ["TL060", "TL061"]


def test_names_of_the_datastore_are_completed(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY % "web" + POLICY % "db")
    assert tortie("apply", "-f", "p.yaml").code == 0
    assert offered("policy", "trace", "shop/") == ["shop/db", "shop/web"]


def test_a_damaged_file_completes_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    assert offered("policy", "effective", "-f", str(tmp_path / "bad.yaml"), "x") == []


def test_commands_are_completed() -> None:
    assert offered("policy", "ma") == ["matrix"]
