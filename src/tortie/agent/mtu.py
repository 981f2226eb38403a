"""How large the packets of pods may be: found on the uplink, from the ways in use, written where CNI reads it, and kept so.

New pods get the MTU of the day. Those that run keep theirs: their packets are measured by the routes that they take, whose
MTU follows at once, and the kernel tells a sender whose packet is too large (path MTU discovery).
"""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tortie.agent.parameters import Parameters
from tortie.base import log
from tortie.dataplane.mtu import Mtus
from tortie.dataplane.render.config import Config, parse
from tortie.intent.messages import ConfigUpdate, Message, OverlayUpdate
from tortie.intent.routes import Overlay
from tortie.kernel.errors import KernelError, Overflow
from tortie.kernel.link import Link, LinkMonitor, Links

_log = log.get(__name__)
_RETRY_SECONDS = 10.0
FALLBACK = 1460
"""Where no interface can be an uplink (Calico's value)."""
CALICO_DIRECTORY_VARIABLE = "TORTIE_CALICO_DIR"
"""Names Calico's own directory (/var/lib/calico), where others look for `mtu`; not set: nothing is written there."""


def uplink_mtu(links: Sequence[Link], pattern: str) -> tuple[int, str]:
    """The smallest MTU among interfaces that are up and match MTUIfacePattern, and whose it is; FALLBACK and "" if none."""
    matching = re.compile(pattern)
    found = [(link.mtu, link.name) for link in links if link.running and not link.loopback and matching.search(link.name)]
    return min(found, default=(FALLBACK, ""))


class MtuKeeper:
    """Looks when links change or the configuration does. `tell` gets the uplink's MTU whenever that is another one."""

    def __init__(
        self, links: Links, *, parameters: Callable[[], Parameters], files: Sequence[Path], tell: Callable[[int], None]
    ) -> None:
        self._links = links
        self._parameters = parameters
        self._files = tuple(files)
        self._tell = tell
        self._config = Config()
        self._overlay: Overlay | None = None
        self._host: tuple[int, str] | None = None
        self._written: dict[Path, int] = {}
        self._unseen = False
        """The links could not be read when they should have been."""
        self.failure = ""
        """Why a file could not be written, "" if all were."""
        self.look()

    @property
    def blocking(self) -> str:
        """Why no pod may be made, where RequireMTUFile says so."""
        return self.failure if self._parameters()["RequireMTUFile"] else ""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Take the configuration and the ways in use."""
        for message in messages:
            match message:
                case ConfigUpdate(values=values):
                    self._config = parse(dict(values))
                    self.look()
                case OverlayUpdate(overlay=overlay):
                    self._overlay = overlay
                    self._write()

    def look(self) -> None:
        """Look at the links now, and let everybody know what follows. What cannot be read is as it was, for a while."""
        try:
            links = self._links.list()
        except KernelError as error:  # who tells us of a message must not fail for it
            _log.warning("the uplink's MTU is not known now, will be looked for again: %s", error)
            self._unseen = True
            if self._host is None:
                self.failure = f"no MTU file is written: {error}"
            self._write()
            return
        self._unseen = False
        host = uplink_mtu(links, self._parameters()["MTUIfacePattern"])
        if host != self._host:
            changed = self._host is None or self._host[0] != host[0]
            self._host = host
            if changed:
                _log.info("%s takes packets of %d bytes", host[1] or "no uplink found: it is assumed that it", host[0])
                self._tell(host[0])
        self._write()

    async def run(self, monitor: LinkMonitor) -> None:
        """Look again whenever a link changes that may be an uplink, without end."""

        def on_readable() -> None:
            try:
                names = {change.link.name for change in monitor.read()}
            except Overflow:
                self.look()
                return
            matching = re.compile(self._parameters()["MTUIfacePattern"])
            if any(matching.search(name) for name in names):
                self.look()

        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), on_readable)
        try:
            while True:
                await asyncio.sleep(_RETRY_SECONDS)
                self._look_after()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    def _look_after(self) -> None:
        """Do what could not be done before, and put back a file that somebody took away."""
        if self._unseen:
            self.look()
        self._written = {file: mtu for file, mtu in self._written.items() if os.path.exists(file)}
        self._write()

    def describe(self) -> dict[str, Any]:
        """What the status file says of it."""
        pods, because = self._mtus().narrowest(self._overlay)
        uplink, interface = self._host or (FALLBACK, "")
        return {
            "uplink": uplink,
            "interface": interface,
            "pods": pods,
            "because": because if interface or because != "the uplink" else "no interface matches MTUIfacePattern",
            "failure": self.failure,
        }

    def _mtus(self) -> Mtus:
        return replace(self._config.mtus, host=self._host[0] if self._host else FALLBACK)

    def _write(self) -> None:
        if self._host is None:
            return
        mtu = self._mtus().pods(self._overlay)
        failures = []
        for file in self._files:
            if self._written.get(file) == mtu:
                continue
            try:
                _replace(file, f"{mtu}\n")
            except OSError as error:
                failures.append(f"MTU file {file} cannot be written: {error.strerror}")
            else:
                self._written[file] = mtu
                _log.info("new pods get MTU %d (%s)", mtu, file)
        failure = "; ".join(failures)
        if failure and failure != self.failure:
            _log.error("%s; will be tried again", failure)
        self.failure = failure


def _replace(file: Path, text: str) -> None:
    """Put a file in place as a whole; readers never see a part of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="ascii") as opened:
        opened.write(text)
    temporary.replace(file)
