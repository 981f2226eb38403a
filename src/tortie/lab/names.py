"""Where everything of one lab lives: namespaces, folders, sockets. Nothing of a lab is outside these names."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tortie.lab.spec import LabError

ROOT = Path(os.environ.get("TORTIE_LAB_ROOT", "/run/tortie/lab"))
UNIX_PATH_LIMIT = 107
"""Bytes of a unix socket's path (sockaddr_un, less the terminating zero)."""
NETNS_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class LabNames:
    """Names of one lab."""

    lab: str

    @property
    def prefix(self) -> str:
        """What the names of all its network namespaces begin with."""
        return f"tortie-{self.lab}."

    @property
    def fabric(self) -> str:
        """Network namespace of the fabric."""
        return f"{self.prefix}fabric"

    def node(self, node: str) -> str:
        """Network namespace of a node."""
        return f"{self.prefix}node.{node}"

    def pod(self, namespace: str, pod: str) -> str:
        """Network namespace of a pod; long names are cut and carry a hash."""
        name = f"{self.prefix}pod.{namespace}.{pod}"
        if len(name) > NETNS_NAME_LIMIT:
            name = name[: NETNS_NAME_LIMIT - 13] + "-" + hashlib.sha256(name.encode()).hexdigest()[:12]
        return name

    @property
    def folder(self) -> Path:
        """Everything on disk."""
        return ROOT / self.lab

    @property
    def state_file(self) -> Path:
        """What `lab up` wrote for the other commands."""
        return self.folder / "lab.json"

    @property
    def datastore(self) -> Path:
        """The lab's sqlite file."""
        return self.folder / "datastore" / "tortie.sqlite"

    @property
    def etcd(self) -> Path:
        """Sockets and data of the lab's etcd; there only in a lab that has one."""
        return self.folder / "etcd"

    @property
    def kubernetes(self) -> Path:
        """The lab's Kubernetes control plane: secrets, kubeconfigs, logs; there only in a lab that has one."""
        return self.folder / "kubernetes"

    @property
    def kubelet_file(self) -> Path:
        """The pods that the lab's kubelet has wired."""
        return self.folder / "kubelet.json"

    def run_dir(self, node: str) -> Path:
        """A node's run directory."""
        return self.folder / node

    def state_dir(self, node: str) -> Path:
        """A node's state directory."""
        return self.folder / node / "state"

    def cni_socket(self, node: str) -> Path:
        """Where the node's agent serves CNI. Raises LabError when the path is too long for a unix socket."""
        path = self.run_dir(node) / "cni.sock"
        if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
            raise LabError(f"{path}: a socket's path has at most {UNIX_PATH_LIMIT} bytes; choose shorter lab and node names")
        return path


def netns_path(name: str) -> str:
    """The file that stands for a named network namespace."""
    return f"/run/netns/{name}"


def all_labs() -> list[str]:
    """Names of the labs that have a folder here, sorted."""
    return sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir()) if ROOT.is_dir() else []
