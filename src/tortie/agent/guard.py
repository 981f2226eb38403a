"""One agent a node, and none beside a live Felix: two writers of one kernel are an outage."""

import fcntl
import os
from pathlib import Path

from tortie.agent.options import AgentError

FELIX_NAMES = ("calico-felix", "calico-node")


class AgentLock:
    """An exclusive lock on the run directory, held for the life of the process (the kernel drops it at its death)."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "agent.lock"
        self._file = -1

    def acquire(self) -> None:
        """Take the lock and write our pid into it. Raises AgentError when another agent holds it."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            self._file = -1
            raise AgentError(f"{self._path}: another agent (pid {holder}) runs on this node with this run directory") from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def refuse_beside_felix(proc: Path = Path("/proc")) -> None:
    """Raise AgentError if a Felix runs in our network namespace. Processes we may not look into are passed over."""
    ours = os.stat(proc / "self/ns/net").st_ino
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text().strip()
            if name in FELIX_NAMES and os.stat(entry / "ns/net").st_ino == ours:
                raise AgentError(
                    f"process {entry.name} ({name}) is a live Felix on this node: stop it first, both would program the kernel"
                )
        except OSError:
            continue
