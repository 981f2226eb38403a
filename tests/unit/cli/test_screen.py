"""Colours and the pager are for terminals, and for those who want them."""

import sys
from collections.abc import Callable

import click
import pytest

from tortie.cli import screen


class _Terminal:
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(screen, "is_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "PAGER", "LESS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def paged(terminal: pytest.MonkeyPatch, lines: int) -> bool:
    called: list[str] = []
    record: Callable[..., None] = lambda text, color: called.append(text)  # noqa: E731
    terminal.setattr(click, "echo_via_pager", record)
    screen.show(["line"] * lines)
    return bool(called)


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show([screen.heading("NAME"), screen.word("problem"), screen.document("a: b", "yaml")] * 100)
    assert capsys.readouterr().out == "NAME\nproblem\na: b\n" * 100


def test_a_terminal_gets_colours_unless_somebody_does_not_want_them(terminal: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in screen.heading("NAME")
    assert "\x1b[" in screen.word("problem")
    assert click.unstyle(screen.document("a:\n- b: 1\n  c: d", "yaml")) == "a:\n- b: 1\n  c: d"
    assert "\x1b[" in screen.document('{\n  "a": 1\n}', "json")
    terminal.setenv("NO_COLOR", "1")
    assert screen.heading("NAME") == "NAME"
    terminal.delenv("NO_COLOR")
    terminal.setenv("TERM", "dumb")
    assert screen.word("problem") == "problem"


def test_long_texts_are_paged_unless_the_pager_is_cat(terminal: pytest.MonkeyPatch) -> None:
    assert paged(terminal, 500)
    assert not paged(terminal, 3)
    terminal.setenv("PAGER", "cat")
    assert not paged(terminal, 500)
