"""BIRD's control socket as a machine without a socket: bytes in any splits go in, whole replies come out.

A reply is a run of lines. `1002-text` is a line with its code, ` text` one more line of the same code, `0000 text` the last
line, whose code says how it went: 0xxx done, 8xxx failed, 9xxx not understood. BIRD greets with a reply of its own (0001), and
lines that begin with `+` are remarks between replies.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tortie.bgp.errors import ControlError

GREETING = 1
_LONGEST_LINE = 1 << 16


class Line(NamedTuple):
    """One line of a reply."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer. The last line's code is the outcome."""

    lines: tuple[Line, ...]

    @property
    def code(self) -> int:
        """The outcome."""
        return self.lines[-1].code

    @property
    def failed(self) -> bool:
        """True if BIRD could not or would not."""
        return self.code >= 8000

    @property
    def text(self) -> str:
        """All lines, as a person would read them."""
        return "\n".join(line.text for line in self.lines).strip()

    def check(self) -> "Reply":
        """Raise ControlError with BIRD's words if it failed."""
        if self.failed:
            raise ControlError(f"BIRD answers {self.code:04d}: {self.text}")
        return self


class Control:
    """The receiving half. Replies come out in order, the greeting first."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[Line] = []

    def receive(self, data: bytes) -> list[Reply]:
        """Take bytes, return the replies that they complete. Raises ControlError for what is not the protocol."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _LONGEST_LINE:
            raise ControlError(f"BIRD's control socket sent a line of more than {_LONGEST_LINE} bytes")
        replies = []
        for raw in lines:
            reply = self._line(raw.decode(errors="replace"))
            if reply is not None:
                replies.append(reply)
        return replies

    def end(self) -> None:
        """The socket was closed. Raises ControlError in the middle of a reply."""
        if self._buffer or self._lines:
            raise ControlError("BIRD closed its control socket in the middle of a reply")

    def _line(self, text: str) -> Reply | None:
        if text.startswith("+"):
            return None
        if text.startswith(" "):
            if not self._lines:
                raise ControlError(f"BIRD's control socket continues a reply that did not begin: {text[:80]!r}")
            self._lines.append(Line(self._lines[-1].code, text[1:]))
            return None
        code, kind, rest = text[:4], text[4:5], text[5:]
        if not (code.isascii() and code.isdigit() and len(code) == 4 and kind in ("-", " ")):
            raise ControlError(f"BIRD's control socket sent what is no reply: {text[:80]!r}")
        self._lines.append(Line(int(code), rest))
        if kind == "-":
            return None
        reply = Reply(tuple(self._lines))
        self._lines.clear()
        return reply


def encode_command(command: str) -> bytes:
    """A command as bytes for the socket. Raises ControlError for text that would be two commands."""
    if not command or any(character < " " for character in command):
        raise ControlError("a BIRD command is one line of text")
    return command.encode() + b"\n"
