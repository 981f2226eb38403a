"""A command line and a datastore of a test's own."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tortie.cli.main import run


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Tortie = Callable[..., Answer]


def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    """Runs one command line against a new datastore, with the current directory in `tmp_path`."""
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "store" / "t.sqlite"))
    monkeypatch.delenv("DATASTORE_TYPE", raising=False)
    monkeypatch.chdir(tmp_path)
    # How far it has come, a command tells when it takes long, which is the machine's doing here.
    monkeypatch.setattr("tortie.cli.progress._FIRST_SECONDS", 3600.0)

    def call(*arguments: str, stdin: str = "") -> Answer:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run([*arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call
