"""WireGuard where the kernel has none: a wireguard-go for each device, which outlives the agent as BIRD does.

wireguard-go insists on /var/run/wireguard/<device>.sock. Nodes that share a machine would meet there, so each process has a
mount namespace in which that folder is the node's own; outside, the socket lies in that folder. The device is a TUN interface
of the network namespace that the process is started in, and goes with it. The process takes its leave when the device does.
"""

import asyncio
import errno
import os
import shutil
import socket
from pathlib import Path

from tortie.base import log, process
from tortie.base.process import ProcessError
from tortie.kernel import mount
from tortie.kernel.errors import Busy, KernelError, NotFound, Unsupported, kernel_error
from tortie.kernel.link import Links, check_name
from tortie.kernel.wireguard import receive_buffers, uapi
from tortie.kernel.wireguard.device import Change, Device

_log = log.get(__name__)
KIND = "tun"
_PROGRAM = "wireguard-go"
_BEFORE_OTHERS = ("nice", "-n", "-10")
"""Packets do not wait: what a socket's buffer cannot hold while the process is not running is lost."""
_THEIR_FOLDER = "/var/run/wireguard"
_ANSWER_SECONDS = 5.0
_START_SECONDS = 10.0
_END_SECONDS = 2.0
_PACE_SECONDS = 0.01


class UserspaceWireguard:
    """The wireguard-go processes whose sockets lie in `folder`, with devices in the namespace of `links`.

    `netns_path` is the file of that namespace, None the calling thread's.
    """

    def __init__(self, links: Links, folder: Path, *, netns_path: str | None = None) -> None:
        self._links = links
        self._folder = folder
        self._netns_path = netns_path
        self._narrow: set[str] = set()
        """Devices whose buffers could not be widened; said once."""

    async def create(self, name: str) -> None:
        """Start a wireguard-go, or adopt the one that serves the device already."""
        check_name(name)
        if self.serves(name):
            return
        await self.delete(name)
        started = self._start(name)
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while not self.serves(name):
            if not process.is_alive(started):
                raise Unsupported(f"wireguard-go ended at once: {self._last_words(name)}", errno.EOPNOTSUPP)
            if asyncio.get_running_loop().time() > deadline:
                await process.stop(started)
                raise Busy(f"wireguard-go for {name} does not answer after {_START_SECONDS:g} s", errno.ETIMEDOUT)
            await asyncio.sleep(_PACE_SECONDS)
        _log.info("wireguard-go is started device=%s pid=%d", name, started)

    async def delete(self, name: str) -> bool:
        """Remove the device and end the process that serves it. True if the device was there."""
        pid = self._pid(name)
        found = self._links.delete(name)
        if pid is not None:
            deadline = asyncio.get_running_loop().time() + _END_SECONDS
            while process.is_alive(pid) and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_PACE_SECONDS)
            await process.stop(pid)
        for path in (self._socket(name), self._pid_file(name)):
            path.unlink(missing_ok=True)
        return found

    def serves(self, name: str) -> bool:
        """True if the device is there and its process answers."""
        if self._links.find(name) is None:
            return False
        try:
            self.read(name)
        except KernelError:
            return False
        return True

    def read(self, name: str) -> Device:
        """How the device is set."""
        return uapi.parse_device(self._ask(name, uapi.GET, action=f"read WireGuard device {name}"))

    def write(self, name: str, change: Change) -> None:
        """All of the change in one request."""
        if change:
            self._ask(name, uapi.set_request(change), action=f"set WireGuard device {name}")

    def widen(self, name: str) -> None:
        """Room for what comes in while the process has no processor. Its sockets are new with every port and every time the
        device goes up, at a moment that nobody tells; so this may be called at any time. A process that is gone is fine.
        """
        pid = self._pid(name)
        if pid is None:
            return
        try:
            widened = receive_buffers.widen(pid)
        except NotFound:
            return
        except KernelError as error:
            if name not in self._narrow:
                _log.warning("WireGuard device %s will lose packets under load: %s", name, error)
                self._narrow.add(name)
            return
        self._narrow.discard(name)
        if widened:
            _log.debug("receive buffers are widened device=%s sockets=%d", name, widened)

    def _start(self, name: str) -> int:
        environment = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin", "LOG_LEVEL": "error"}
        if shutil.which(_PROGRAM, path=environment["PATH"]) is None:
            text = "this kernel has no WireGuard, and there is no wireguard-go: install the package wireguard-go"
            raise Unsupported(text, errno.EOPNOTSUPP)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.makedirs(_THEIR_FOLDER, exist_ok=True, mode=0o700)
            self._log(name).unlink(missing_ok=True)
        except OSError as error:
            raise kernel_error(error.errno or 0, f"prepare {self._folder} for wireguard-go") from error

        def start() -> int:
            return process.start_detached_here(
                [*_BEFORE_OTHERS, _PROGRAM, "-f", name], log_path=self._log(name), env=environment, netns_path=self._netns_path
            )

        try:
            pid = mount.with_bound(str(self._folder), _THEIR_FOLDER, start)
        except ProcessError as error:
            raise KernelError(str(error)) from error
        self._pid_file(name).write_text(f"{pid}\n")
        return pid

    def _ask(self, name: str, request: bytes, *, action: str) -> list[tuple[str, str]]:
        """One request over a connection of its own; blocking, as every driver is."""
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                    connection.settimeout(_ANSWER_SECONDS)
                    # By the folder's descriptor: a path of any length fits.
                    connection.connect(f"/proc/self/fd/{folder}/{name}.sock")
                    connection.sendall(request)
                    return uapi.check_answer(_answer(connection), action=action)
            finally:
                os.close(folder)
        except TimeoutError as error:
            raise Busy(f"{action}: wireguard-go does not answer within {_ANSWER_SECONDS:g} s", errno.ETIMEDOUT) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotFound(f"{action}: no wireguard-go serves it", errno.ENODEV) from error
        except OSError as error:
            raise kernel_error(error.errno or 0, action) from error

    def _socket(self, name: str) -> Path:
        return self._folder / f"{name}.sock"

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _pid(self, name: str) -> int | None:
        """The pid of the device's process. A pid file may outlive its process, and the number may be another's by now."""
        try:
            pid = int(self._pid_file(name).read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = os.path.basename(words[0]) == _PROGRAM.encode() and name.encode() in words
        return pid if ours and process.is_alive(pid) else None

    def _last_words(self, name: str) -> str:
        try:
            lines = self._log(name).read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return next((line for line in reversed(lines) if "ERROR" in line), "it gave no reason")


def _answer(connection: socket.socket) -> bytes:
    """All of the answer: up to the empty line behind errno."""
    received = b""
    while not received.endswith(uapi.END):
        part = connection.recv(1 << 16)
        if not part:
            break
        received += part
    return received
