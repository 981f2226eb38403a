"""What the agent says of itself: `status.json` in its run directory, replaced as a whole, read by `tortie lab status`."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tortie.base import log

_log = log.get(__name__)
_LEAST_PROTOCOL, _PROTOCOLS = 5, 256
"""Those before are the kernel's and those of hand-made routes: never ours alone."""


class _Left(msgspec.Struct):
    protocols: tuple[int, ...] = msgspec.field(default=(), name="routeProtocols")


def left_route_protocols(run_dir: Path) -> tuple[int, ...]:
    """Which protocols the routes of the agent before us have, by its status file; none if there is no such file. It is as old
    as the kernel's routes: both go with a reboot."""
    try:
        found = msgspec.json.decode((run_dir / "status.json").read_bytes(), type=_Left)
    except (OSError, msgspec.MsgspecError):
        return ()
    return tuple(each for each in found.protocols if _LEAST_PROTOCOL <= each < _PROTOCOLS)


class StatusFile:
    """Writes a fresh report every `interval` seconds when it changed, and at once when asked to."""

    def __init__(self, run_dir: Path, report: Callable[[], Mapping[str, Any]], *, interval: float = 0.5) -> None:
        self._path = run_dir / "status.json"
        self._report = report
        self._interval = interval
        self._written = b""
        self._failure = ""

    async def run(self) -> None:
        """Keep the file true, without end."""
        while True:
            try:
                self.write()
                self._failure = ""
            except OSError as error:  # no space, or no file descriptors: it passes
                if self._failure != str(error):
                    _log.error("status file %s cannot be written, will be tried again: %s", self._path, error.strerror)
                self._failure = str(error)
            await asyncio.sleep(self._interval)

    def write(self) -> None:
        """Write now, if anything changed. The file is never seen half-written."""
        text = msgspec.json.format(msgspec.json.encode(self._report()), indent=2) + b"\n"
        if text == self._written:
            return
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:  # which notices when the disk takes only a part
            file.write(text)
        temporary.replace(self._path)
        self._written = text
