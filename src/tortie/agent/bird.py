"""BIRD's life on one node: started once, adopted by later agents, reconfigured on change, restarted when it died.

BIRD runs in a session of its own and outlives the agent. Everything that must be known about it lies in its run directory: the
configuration that it runs (with its hash), its control socket, its pid file and its log.
"""

import asyncio
import os
from pathlib import Path

from tortie.agent.options import AgentError
from tortie.base import log, process
from tortie.base.errors import OUT_OF_MEANS
from tortie.bgp.config import Passwords, config_hash, render
from tortie.bgp.control import GREETING, Control, Reply, encode_command
from tortie.bgp.errors import BgpError, ConfigError, ControlError
from tortie.bgp.status import DaemonStatus, PeerStatus, RouteStatus, parse_peers, parse_routes, parse_status
from tortie.intent.routing import Bgp

_log = log.get(__name__)

LONGEST_SOCKET_PATH = 107
_PROGRAM = "bird"
_ANSWER_SECONDS = 10.0
_START_SECONDS = 10.0


class Bird:
    """One BIRD and its files in `run_dir`. Requests may come from several tasks; changes take their turn."""

    def __init__(self, run_dir: Path) -> None:
        """Raises ControlError when the control socket's path is longer than the kernel takes."""
        self._config = run_dir / "bird.conf"
        self._socket = run_dir / "bird.ctl"
        self._pid_file = run_dir / "bird.pid"
        self._log_file = run_dir / "bird.log"
        self._lock = asyncio.Lock()
        length = len(os.fsencode(self._socket))
        if length > LONGEST_SOCKET_PATH:
            raise ControlError(
                f"the path of BIRD's control socket has {length} bytes; at most {LONGEST_SOCKET_PATH} are possible:"
                " choose a shorter run directory"
            )

    async def apply(self, bgp: Bgp, *, passwords: Passwords | None = None) -> None:
        """Make BIRD run this. Nothing is touched when a running BIRD has it already; a BIRD that died is started.

        A configuration that BIRD does not accept raises ConfigError, and the old one goes on. Raises ControlError and
        ProcessError when BIRD cannot be started or does not answer.
        """
        text = render(bgp, passwords)
        async with self._lock:
            running = await self._answers()
            if running and config_hash(self._stored()) == config_hash(text):
                return
            candidate = await self._checked(text)
            if running:
                # BIRD first, the file second: an agent that dies in between finds the old hash and configures again.
                (await self._ask(f'configure "{candidate}"')).check()
                candidate.replace(self._config)
                _log.info("BIRD is reconfigured peers=%d blocks=%d", len(bgp.peers), len(bgp.blocks))
            else:
                candidate.replace(self._config)
                await self._start()

    async def refusal(self, bgp: Bgp, passwords: Passwords) -> str:
        """BIRD's words about what it would not take of this, "" if it would. Nothing is changed. Raises ProcessError."""
        trial = self._config.with_suffix(".trial")
        try:
            _write_private(trial, render(bgp, passwords))
            words = await _verdict(trial)
        except ConfigError as error:
            return str(error)
        finally:
            trial.unlink(missing_ok=True)
        return "" if words is None else words.removeprefix("bird: ").removeprefix(str(trial)).lstrip(":0123456789 ")

    async def status(self) -> DaemonStatus:
        """The daemon. Raises ControlError when BIRD does not answer."""
        return parse_status(await self._ask("show status"))

    async def peers(self) -> list[PeerStatus]:
        """The BGP sessions, by name. Raises ControlError when BIRD does not answer."""
        return list(parse_peers(await self._ask("show protocols all")))

    async def routes(self) -> list[RouteStatus]:
        """BIRD's tables. Raises ControlError when BIRD does not answer."""
        return list(parse_routes(await self._ask("show route")))

    async def stop(self) -> None:
        """End BIRD; that it does not run is fine. Its routes stay in the kernel until somebody else owns them."""
        async with self._lock:
            pid = self._pid()
            try:
                await self._ask("down")
            except BgpError as error:
                _log.debug("BIRD does not take its leave: %s", error)
            if pid is not None:
                for _ in range(100):
                    if not process.is_alive(pid):
                        return
                    await asyncio.sleep(0.02)
                await process.stop(pid)

    async def _answers(self) -> bool:
        try:
            return (await self.status()).ready
        except BgpError:
            return False

    def _stored(self) -> str:
        try:
            return self._config.read_text()
        except FileNotFoundError:
            return ""

    async def _checked(self, text: str) -> Path:
        """Write the configuration beside the current one and let BIRD parse it."""
        candidate = self._config.with_suffix(".new")
        _write_private(candidate, text)
        words = await _verdict(candidate)
        if words is not None:
            raise ConfigError(f"BIRD does not accept its configuration: {words}")
        return candidate

    async def _start(self) -> None:
        """Start BIRD. One that died left its pid file: its kernel routes are then kept until its peers are back (-R)."""
        left = self._pid_file.exists()
        pid = self._pid()
        if pid is not None:
            _log.warning("BIRD does not answer and is ended pid=%d", pid)
            await process.stop(pid)
        files = ["-c", str(self._config), "-s", str(self._socket), "-P", str(self._pid_file)]
        started = await process.start_detached([_PROGRAM, "-f", *(["-R"] if left else []), *files], log_path=self._log_file)
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while not await self._answers():
            if not process.is_alive(started):
                raise ControlError(f"BIRD ended at once; {self._log_file} says why")
            if asyncio.get_running_loop().time() > deadline:
                raise ControlError(f"BIRD was started and does not answer after {_START_SECONDS:g} s; see {self._log_file}")
            await asyncio.sleep(0.02)
        _log.info("BIRD is started pid=%d recovery=%s", started, left)

    def _pid(self) -> int | None:
        """The pid of our BIRD. A pid file may outlive its process, and the number may be another's by now."""
        try:
            pid = int(self._pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._socket) in arguments and process.is_alive(pid) else None

    async def _ask(self, command: str) -> Reply:
        """One command over a connection of its own."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(encode_command(command))
                    return await _answer(reader)
                finally:
                    writer.close()
        except TimeoutError as error:
            raise ControlError(f"BIRD does not answer `{command.split()[0]}` within {_ANSWER_SECONDS:g} s") from error
        except OSError as error:
            if error.errno in OUT_OF_MEANS:
                raise AgentError(f"BIRD cannot be asked, and is left alone: {error.strerror}") from error
            raise ControlError(f"BIRD's control socket {self._socket} cannot be used: {error.strerror}") from error


async def _verdict(path: Path) -> str | None:
    """What BIRD has against a configuration; None for nothing."""
    verdict = await process.run([_PROGRAM, "-p", "-c", str(path)], timeout=_ANSWER_SECONDS)
    if verdict.returncode == 0:
        return None
    words = verdict.stderr.decode(errors="replace").strip().splitlines()
    return words[-1] if words else "no reason given"


def _write_private(path: Path, text: str) -> None:
    """A configuration may hold passwords: others cannot read it, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "w") as file:
        file.write(text)


async def _answer(reader: asyncio.StreamReader) -> Reply:
    """The first reply after the greeting."""
    control = Control()
    while data := await reader.read(1 << 16):
        for reply in control.receive(data):
            if reply.code != GREETING:
                return reply
    control.end()
    raise ControlError("BIRD closed its control socket without an answer")
