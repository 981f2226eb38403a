"""What a terminal gets and a pipe does not: colours, and a pager for what is longer than the screen.

NO_COLOR (any value) and TERM=dumb turn colours off, PAGER names the pager; PAGER=cat or an empty PAGER is none.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator

import click

_YAML_KEY = re.compile(r"^(\s*(?:- )*)([\w./\"'-]+)(:)(?=\s|$)")
_JSON_KEY = re.compile(r'^(\s*)("(?:[^"\\]|\\.)*")(:)')
_COLOURS = {
    "ok": "green",
    "up": "green",
    "ADDED": "green",
    "note": "yellow",
    "MODIFIED": "yellow",
    "problem": "red",
    "down": "red",
    "DELETED": "red",
}


def is_terminal() -> bool:
    """True if a person reads stdout."""
    return sys.stdout.isatty()


def has_colours() -> bool:
    """True if a person reads stdout and wants colours."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


def heading(line: str) -> str:
    """The first line of a table."""
    return click.style(line, bold=True) if has_colours() else line


def word(text: str) -> str:
    """A state or an event, in the colour that it has."""
    colour = _COLOURS.get(text.strip())
    return click.style(text, fg=colour) if colour and has_colours() else text


def framed(lines: Iterable[str]) -> Iterator[str]:
    """A table with frames: states in colours."""
    for line in lines:
        yield "|".join(word(cell) for cell in line.split("|")) if has_colours() else line


def document(text: str, form: str) -> str:
    """YAML or JSON with its keys in colour."""
    if not has_colours():
        return text
    key = _YAML_KEY if form == "yaml" else _JSON_KEY
    return "\n".join(
        key.sub(lambda found: found[1] + click.style(found[2], fg="cyan") + found[3], line) for line in text.split("\n")
    )


def _coloured(found: re.Match[str]) -> str:
    return found[1] + click.style(found[2], fg="cyan") + found[3]


def show(lines: Iterable[str]) -> None:
    """Print lines; on a terminal that is too small for them, through the pager."""
    text = "\n".join(lines)
    if _is_long(text):
        # What git does: pass colours on, leave at once if it fits after all, leave the text on the screen.
        os.environ.setdefault("LESS", "FRX")
        click.echo_via_pager(f"{text}\n", color=has_colours())
        return
    click.echo(text, color=True if has_colours() else None)


def _is_long(text: str) -> bool:
    if not is_terminal() or not sys.stdin.isatty() or os.environ.get("PAGER", "less").strip() in ("", "cat"):
        return False
    return text.count("\n") + 1 >= shutil.get_terminal_size().lines
