"""Real etcd for tests: members on loopback ports, data in a folder of their own, gone when the test process is.

What only an administrator does (users, compaction, looking at raw bytes) goes through etcd's JSON gateway, so that these tests
do not ask the client under test.
"""

import atexit
import base64
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Waiting for the disk is not what these tests are about.
_MEMORY = Path("/dev/shm")
_FAST = ["--heartbeat-interval=50", "--election-timeout=500"]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Member:
    """One etcd process, startable again on its data after a kill."""

    def __init__(
        self, folder: Path, name: str, *, ports: tuple[int, int], initial: str, options: Sequence[str], tls: bool
    ) -> None:
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{ports[0]}"
        self._data = folder / name
        self._log = folder / f"{name}.log"
        peer = f"http://127.0.0.1:{ports[1]}"
        self._command = [
            "setpriv", "--pdeathsig", "KILL", "etcd", f"--name={name}", f"--data-dir={self._data}",
            f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={initial}", "--log-level=error", *_FAST, *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.tls: ssl.SSLContext | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait(self) -> None:
        """Return when it answers, which it does once it has a leader."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                self.ask("kv/range", key=b"x")
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"etcd did not start: {self._log.read_text()[-1500:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def snapshot(self, file: Path) -> None:
        """A backup, as etcd's administrators make it."""
        self._etcdctl("snapshot", "save", str(file))

    def put_back(self, file: Path) -> None:
        """Killed, and started on a backup instead of its data."""
        self.kill()
        shutil.rmtree(self._data)
        keep = ("--name", "--data-dir", "--initial-cluster=", "--initial-advertise-peer-urls")
        self._etcdctl("snapshot", "restore", str(file), *(word for word in self._command if word.startswith(keep)))
        self.start()
        self.wait()

    def _etcdctl(self, *words: str) -> None:
        command = ["etcdctl", f"--endpoints={self.url}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-500:]}"

    def ask(self, what: str, **fields: Any) -> Any:
        """A request to the JSON gateway."""
        body = {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in fields.items()}
        request = urllib.request.Request(f"{self.url}/v3/{what}", data=json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    @property
    def revision(self) -> int:
        return int(self.ask("kv/range", key=b"x")["header"]["revision"])

    @property
    def is_leader(self) -> bool:
        status = self.ask("maintenance/status")
        return bool(status["leader"] == status["header"]["member_id"])

    def raw(self) -> dict[str, bytes]:
        """Everything that is stored."""
        found = self.ask("kv/range", key=b"\0", range_end=b"\0").get("kvs", ())
        return {base64.b64decode(pair["key"]).decode(): base64.b64decode(pair.get("value", "")) for pair in found}

    def put(self, key: str, value: bytes) -> None:
        self.ask("kv/put", key=key.encode(), value=value)

    def clear(self) -> None:
        self.ask("kv/deleterange", key=b"\0", range_end=b"\0")

    def compact(self) -> None:
        """Forget all history before now."""
        self.ask("kv/compaction", revision=str(self.revision), physical=True)

    def require_users(self, password: str) -> None:
        """From now on only root and `tortie`, who may do everything, and `nobody`, who may do nothing, are let in."""
        for user in ("root", "tortie", "nobody"):
            self.ask("auth/user/add", name=user, password=password)
        self.ask("auth/role/add", name="root")
        self.ask("auth/user/grant", user="root", role="root")
        self.ask("auth/role/add", name="tortie")
        everything = {"permType": "READWRITE", "key": _text(b"/calico/"), "range_end": _text(b"/tortie0")}
        self.ask("auth/role/grant", name="tortie", perm=everything)
        self.ask("auth/user/grant", user="tortie", role="tortie")
        self.ask("auth/enable")


@contextmanager
def cluster(size: int = 1, *, options: Sequence[str] = (), tls: ssl.SSLContext | None = None) -> Iterator[list[Member]]:
    """Members that have found each other; killed, and their data removed, at the end."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed: hack/setup does it")
    folder = Path(tempfile.mkdtemp(prefix=f"te-{os.getpid()}-", dir=_MEMORY if _MEMORY.is_dir() else None))
    ports = free_ports(2 * size)
    pairs = list(zip(ports[:size], ports[size:], strict=True))
    initial = ",".join(f"m{number}=http://127.0.0.1:{pair[1]}" for number, pair in enumerate(pairs))
    members = [
        Member(folder, f"m{number}", ports=pair, initial=initial, options=options, tls=tls is not None)
        for number, pair in enumerate(pairs)
    ]
    try:
        for member in members:
            member.tls = tls
            member.start()
        for member in members:
            member.wait()
        yield members
    finally:
        for member in members:
            member.kill()
        shutil.rmtree(folder)


@cache
def shared() -> Member:
    """One member for all tests that only need an empty store; it ends with the test process."""
    stack = ExitStack()
    member = stack.enter_context(cluster())[0]
    atexit.register(stack.close)
    return member


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
