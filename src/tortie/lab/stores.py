"""The datastore of a lab: a sqlite file, an etcd that the lab runs, or a Kubernetes that it runs (kubernetes_store).

etcd listens on unix sockets in the lab's folder and on nothing else: they are reached from every network namespace, the
nodes' and the machine's own, without a route, and no port of the machine is taken. It ends with the lab's other processes.
"""

import asyncio
import dataclasses
import shutil
import socket
from functools import partial
from typing import Any

from tortie.base import process
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.kubernetes.settings import Settings, read_settings
from tortie.kernel import netns
from tortie.lab import kubernetes_store
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError, LabSpec

_START_SECONDS = 20.0
AddressInfo = tuple[Any, ...]
"""As of getaddrinfo: family, type, protocol, name, address."""
_CLIENTS, _PEERS = "clients:0", "peers:0"
"""etcd makes sockets of these names in its working directory; it insists on the form host:port."""


def lay_out(names: LabNames, spec: LabSpec) -> None:
    """Decide what the lab's datastore is: from now on `environment` answers. Raises LabError when its programs are missing."""
    if spec.datastore == "kubernetes":
        kubernetes_store.lay_out(names, spec)
    elif spec.datastore == "etcd":
        if shutil.which("etcd") is None:
            raise LabError("etcd is not installed: on Debian, `apt-get install etcd-server` or `make setup`")
        names.etcd.mkdir(mode=0o700)


def environment(names: LabNames, *, user: str = "admin") -> dict[str, str]:
    """The variables by which a process finds the lab's datastore; `user` is whom a Kubernetes knows it as."""
    if names.kubernetes.is_dir():
        return {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(names.kubernetes / f"{user}.kubeconfig")}
    if names.etcd.is_dir():
        return {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": f"unix://{names.etcd / _CLIENTS}"}
    return {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(names.datastore)}


def connect(names: LabNames) -> Client:
    """A client of the lab's datastore for this very process, wherever it is. Connects to nothing yet."""
    if not names.kubernetes.is_dir():
        return open_client(environment(names), None)
    # 100 ms of imports that other labs need not wait for.
    from tortie.datastore.kubernetes.client import KubernetesClient

    return KubernetesClient(kubernetes_settings(names))


def kubernetes_settings(names: LabNames) -> Settings:
    """How this very process reaches the API server of a lab, wherever it is, as the administrator."""
    settings = read_settings(environment(names), {})
    return dataclasses.replace(settings, open_socket=partial(_open_in_fabric, names))


def _open_in_fabric(names: LabNames, address: AddressInfo) -> socket.socket:
    """A socket of the fabric's network namespace: there, and not in the machine's, the API server is reached."""
    return netns.run_in_named(names.fabric, lambda: socket.socket(address[0], address[1], address[2]))


def way(names: LabNames) -> str | None:
    """The network namespace from which the datastore is reached, as a path; None where it is reached from everywhere."""
    return netns_path(names.fabric) if names.kubernetes.is_dir() else None


async def start(names: LabNames, spec: LabSpec) -> None:
    """Start what there is to start, and return when it listens. Raises LabError with the end of its log."""
    if names.kubernetes.is_dir():
        await kubernetes_store.start(names, spec)
    if not names.etcd.is_dir():
        return
    peers = f"unix://{_PEERS}"
    log_path = names.etcd / "etcd.log"
    # In the fabric's namespace, so that whatever a later etcd may open is not the machine's either.
    pid = await process.start_detached(
        [
            "env", "-C", str(names.etcd), "etcd", "--name=lab", f"--data-dir={names.etcd / 'data'}", "--log-level=warn",
            f"--listen-client-urls=unix://{_CLIENTS}", f"--advertise-client-urls=unix://{_CLIENTS}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=lab={peers}",
            "--heartbeat-interval=50", "--election-timeout=500",
        ],
        log_path=log_path,
        netns_path=netns_path(names.fabric),
    )  # fmt: skip
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not (names.etcd / _CLIENTS).exists():
        if not process.is_alive(pid) or asyncio.get_running_loop().time() > deadline:
            raise LabError(f"etcd did not start:\n{log_path.read_text(errors='replace')[-1500:]}")
        await asyncio.sleep(0.02)
