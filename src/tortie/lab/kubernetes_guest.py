"""A lab as a guest of somebody else's cluster: its API server is reached through a relay, under the fabric's own address."""

import asyncio
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tortie.base import process
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError

LABEL = "lab.tortie.io/lab"
"""On every node and namespace that a lab adds to a cluster; its value is the lab's name."""
_READY_SECONDS = 10.0


def adopt(names: LabNames, kubectl: Path, kubeconfig: Path, *, near: str, port: int, users: tuple[str, ...]) -> None:
    """Write a kubeconfig for each of our users: the current context of theirs, led to the relay. Raises LabError.

    The server keeps its name for TLS. What it really is goes to the file `server`.
    """
    words = [str(kubectl), "config", "view", "--raw", "--flatten", "--minify", "-o", "json", f"--kubeconfig={kubeconfig}"]
    try:
        config: dict[str, Any] = msgspec.json.decode(process.run_blocking(words).check().stdout)
        cluster = config["clusters"][0]["cluster"]
        server = urlsplit(cluster["server"])
    except (process.ProcessError, msgspec.DecodeError, LookupError, TypeError, ValueError) as error:
        raise LabError(f"kubeconfig {kubeconfig}: {error}") from error
    if not server.hostname or "proxy-url" in cluster:
        raise LabError(f"kubeconfig {kubeconfig}: a server that is reached without a proxy is needed")
    host = f"[{near}]" if ":" in near else near
    cluster["server"] = f"{server.scheme}://{host}:{port}{server.path}"
    if server.scheme == "https" and not cluster.get("insecure-skip-tls-verify"):
        cluster.setdefault("tls-server-name", server.hostname)
    for user in users:
        path = names.kubernetes / f"{user}.kubeconfig"
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(config))
    real = (server.hostname, server.port or (443 if server.scheme == "https" else 80))
    _server_file(names).write_bytes(msgspec.json.encode(real))


def is_guest(names: LabNames) -> bool:
    """The cluster is somebody else's."""
    return _server_file(names).exists()


async def start_relay(names: LabNames, *, near: str, port: int) -> None:
    """Start the relay; return when it listens. Raises LabError."""
    host, far_port = msgspec.json.decode(_server_file(names).read_bytes(), type=tuple[str, int])
    log = names.folder / "relay.log"
    space = netns_path(names.fabric)
    pid = await process.start_detached(
        [sys.executable, "-m", "tortie.lab.relay", f"{names.folder}/", space, near, str(port), host, str(far_port)],
        log_path=log,
    )
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    while "ready" not in log.read_text(errors="replace"):
        if asyncio.get_running_loop().time() > deadline or not process.is_alive(pid):
            raise LabError(f"the relay to {host} did not start: {log.read_text(errors='replace')[-500:]}")
        await asyncio.sleep(0.02)


def _server_file(names: LabNames) -> Path:
    return names.kubernetes / "server"
