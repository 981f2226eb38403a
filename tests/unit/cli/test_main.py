"""The command line itself: finding commands, exit codes, messages instead of tracebacks."""

import importlib
import subprocess
import sys

import click
import pytest

from tortie import __version__
from tortie.base.errors import TortieError
from tortie.cli import main as main_module
from tortie.cli.main import COMMANDS, Command, run


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


def test_a_defect_is_not_dressed_up_as_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "failing", Command(f"{__name__}:failing", "Fail."))
    with pytest.raises(ExceptionGroup):
        run(["failing", "defect"])
