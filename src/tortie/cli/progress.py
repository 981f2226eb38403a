"""How far a long piece of work is: one line on stderr, and only where the work takes long enough to wonder."""

import sys
import time

import click

_FIRST_SECONDS = 1.0
_PLAIN_SECONDS = 5.0
_TERMINAL_SECONDS = 0.2


class Progress:
    """Counts what is done of `total`. A terminal's line is written over; elsewhere a line comes every few seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _FIRST_SECONDS
        self._shown = False

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (_TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS)
            self._shown = True
            text = f"{self._what}: {self._done} of {self._total}"
            click.echo(f"\r{text}" if self._terminal else text, err=True, nl=not self._terminal)

    def end(self) -> None:
        """Nothing more comes: leave the line."""
        if self._shown and self._terminal:
            click.echo("", err=True)
