"""The command line itself: finding commands, exit codes, messages instead of tracebacks."""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from tortie import __version__
from tortie.api.cluster import ClusterInformation
from tortie.api.resource import Key
from tortie.base.errors import TortieError
from tortie.cli import main as main_module
from tortie.cli.lazy import Command
from tortie.cli.main import COMMANDS, run
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.sqlite.client import SqliteClient


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); from tortie.cli.main import run; run(['--help'])\n"
        "heavy = {'asyncio', 'sqlite3', 'msgspec', 'yaml', 'rich', 'tortie.api.kinds', 'tortie.cli.resources'}\n"
        "assert not heavy & set(sys.modules) - before, heavy & set(sys.modules) - before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, command in COMMANDS.items():
        assert name in done.stdout
        assert command.summary.split()[0] in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_table_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)
    assert run([name, "--help"]) == 0
    assert "Usage: tortie" in capsys.readouterr().out


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--client"]) == 0
    assert capsys.readouterr().out == f"Client Version:    v{__version__}\nGit commit:        unknown\n"


def test_as_a_plugin_of_kubectl_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-tortie"])
    assert run(["get", "--help"]) == 0
    assert "Usage: kubectl tortie get" in capsys.readouterr().out


def test_options_of_all_commands_may_stand_before_and_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "t.sqlite"))
    options = ["--allow-version-mismatch", "-l", "panic", "--context", "there"]
    assert run([*options, "get", "tiers"]) == 0
    assert run(["get", "tiers", *options]) == 0
    assert run(["get", "tiers", "-l", "loud"]) == 1
    words = "Error: unknown log level: loud, expected one of: panic, fatal, error, warn, info, debug\n"
    assert capsys.readouterr().err.endswith(words)


def test_a_configuration_that_is_named_counts_instead_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "t.sqlite"))
    monkeypatch.setenv("DATASTORE_TYPE", "elsewhere")
    file = tmp_path / "mine.cfg"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec: {datastoreType: sqlite}\n", encoding="utf-8"
    )
    assert run(["get", "tiers", "-c", str(file)]) == 0
    assert run(["policy", "lint", "--config", str(file)]) == 0
    for silent in ([], ["-c", str(tmp_path / "missing.cfg")]):
        assert run(["get", "tiers", *silent]) == 1
        assert "DATASTORE_TYPE 'elsewhere' is unknown" in capsys.readouterr().err


def test_another_major_version_of_the_cluster_is_refused_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.sqlite"
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(path))

    async def fill(version: str) -> None:
        client = SqliteClient(str(path))
        await ensure_initialized(client)
        stored = await client.get(Key("ClusterInformation", "", "default"))
        assert isinstance(stored, ClusterInformation)
        spec = msgspec.structs.replace(stored.spec, calico_version=version, cluster_type="k8s,bgp")
        await client.update(msgspec.structs.replace(stored, spec=spec))
        await client.close()

    asyncio.run(fill("v3.31.0-0.dev"))
    assert run(["get", "tiers"]) == 0
    assert run(["version"]) == 0
    assert capsys.readouterr().out.endswith("Cluster Version:   v3.31.0-0.dev\nCluster Type:      k8s,bgp\n")
    asyncio.run(fill("v2.6.0"))
    assert run(["get", "tiers"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[2], lines[3]) == (
        "version mismatch.", "Cluster Version:  v2.6.0", "Use --allow-version-mismatch to override",
    )  # fmt: skip
    assert run(["get", "tiers", "--allow-version-mismatch"]) == 0


@pytest.mark.parametrize("arguments", [["frobnicate"], ["get", "--frob"], ["apply"], ["completion", "tcsh"]])
def test_a_wrong_command_line_is_an_error_with_code_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    assert "Error:" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_completion_script_asks_tortie(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_TORTIE_COMPLETE" in capsys.readouterr().out


@click.command()
@click.argument("how")
@click.pass_context
def failing(ctx: click.Context, how: str) -> None:
    """Fails in the way that it is told to."""
    match how:
        case "known":
            raise TortieError("the field is wrong")
        case "several":
            raise ExceptionGroup("tasks", [TortieError("one"), ExceptionGroup("inner", [TortieError("two")])])
        case "defect":
            raise ExceptionGroup("tasks", [TortieError("one"), ValueError("a defect")])
        case "no":
            ctx.exit(2)
        case "interrupt":
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("known", 1, "the field is wrong\n"),
        ("several", 1, "one\ntwo\n"),
        ("no", 2, ""),
        ("interrupt", 130, "\n"),
        ("fine", 0, ""),
    ],
)
def test_how_a_command_ends_is_its_exit_code(
    how: str, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "failing", Command(f"{__name__}:failing", "Fail."))
    assert run(["failing", how]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


@pytest.mark.parametrize(
    "arguments", [["get", "hep", "\udcff"], ["get", "np", "-n", "\udcff"], ["patch", "np", "x", "-p", "\udcff"]]
)
def test_an_argument_that_is_no_text_is_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATASTORE_TYPE", "sqlite")
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "db.sqlite"))
    assert run(arguments) == 1
    assert capsys.readouterr().err == "argument '\\udcff' is not UTF-8 text\n"


def test_a_defect_is_not_dressed_up_as_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "failing", Command(f"{__name__}:failing", "Fail."))
    with pytest.raises(ExceptionGroup):
        run(["failing", "defect"])
