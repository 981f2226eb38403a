"""A Kubernetes control plane as processes: etcd, kube-apiserver and, if wanted, kube-controller-manager. What is written for
them, their command lines, and when they are ready; who starts them (a lab, a test) decides where and how they end.

etcd is reached by a unix socket in the folder. The API server listens on one address and port of whatever network namespace it
is started in. Authorisation is Node and RBAC, every request is in audit.log, and aggregated API servers are welcome.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tortie.base import certificates
from tortie.base.certificates import Authority
from tortie.base.net import Family
from tortie.lab.kubernetes_binaries import Binaries, MissingBinaries

MASTERS = "system:masters"
CONTROLLERS = "controller-manager"
"""The name of the command that has to wait until the API server is ready: it gives up one that is not within ten seconds."""
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_SERVICES = {Family.V4: "10.96.0.0/16", Family.V6: "fd00:10:96::/112"}
_FIRST_SERVICE = {Family.V4: "10.96.0.1", Family.V6: "fd00:10:96::1"}
_FRONT_PROXY = "front-proxy-client"
_CLIENTS, _PEERS = "clients:0", "peers:0"
"""etcd makes sockets of these names in its working directory; it insists on the form host:port."""
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One process of the control plane: its words, and where its output goes."""

    name: str
    argv: tuple[str, ...]
    log: Path


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One control plane in a folder of its own. `address` is the API server's, without brackets."""

    folder: Path
    binaries: Binaries
    address: str
    port: int
    families: tuple[Family, ...] = (Family.V4, Family.V6)
    controllers: bool = True

    @property
    def server(self) -> str:
        """URL of the API server."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"https://{host}:{self.port}"

    @property
    def admin(self) -> Path:
        """The kubeconfig that may do everything."""
        return self.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON event a line for every request that was answered."""
        return self.folder / "audit.log"

    @property
    def authority(self) -> Authority:
        """Signs servers and users."""
        return Authority(self._pki, "ca")

    @property
    def front_proxy_authority(self) -> Authority:
        """Signs who may tell an aggregated API server which user is asking."""
        return Authority(self._pki, "front-proxy-ca")

    @property
    def _pki(self) -> Path:
        return self.folder / "pki"

    def lay_out(self) -> None:
        """Write what the processes need; the folder must exist. Raises CertificateError, or MissingBinaries."""
        if self.controllers and self.binaries.controller_manager is None:
            raise MissingBinaries(f"no kube-controller-manager beside {self.binaries.apiserver}; `make kubernetes` builds it")
        self._pki.mkdir(mode=0o700)
        (self.folder / "etcd").mkdir(mode=0o700)
        self.authority.create()
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        addresses = dict.fromkeys((self.address, "127.0.0.1", "::1", *(_FIRST_SERVICE[family] for family in self.families)))
        self.authority.sign_server("apiserver", names=names, addresses=tuple(addresses))
        self.front_proxy_authority.create()
        self.front_proxy_authority.sign_client(_FRONT_PROXY, user=_FRONT_PROXY)
        certificates.create_signing_key(self._pki, "service-account")
        (self.folder / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        self.kubeconfig("admin", user="tortie-admin", groups=(MASTERS,))
        if self.controllers:
            self.kubeconfig("controller-manager", user="system:kube-controller-manager")

    def kubeconfig(self, name: str, *, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A new kubeconfig `name`.kubeconfig for a user in groups, by a certificate. Raises CertificateError."""
        client = self.authority.sign_client(name, user=user, groups=groups)
        path, trusted = self.folder / f"{name}.kubeconfig", self.authority.pair.certificate
        path.touch(mode=0o600)
        path.write_bytes(
            certificates.kubeconfig(server=self.server, authority=trusted, client=client, name="tortie-lab", user="tortie-lab")
        )
        return path

    def commands(self) -> tuple[Command, ...]:
        """What to start, in this order; at once but for CONTROLLERS, as the API server waits for etcd."""
        commands = [self._command("etcd", self._etcd()), self._command("apiserver", self._apiserver())]
        if self.controllers:
            commands.append(self._command(CONTROLLERS, self._controller_manager()))
        return tuple(commands)

    def _command(self, name: str, argv: list[str]) -> Command:
        return Command(name, tuple(argv), self.folder / f"{name}.log")

    def _etcd(self) -> list[str]:
        peers = f"unix://{_PEERS}"
        return [
            "env", "-C", str(self.folder / "etcd"), str(self.binaries.etcd),
            "--name=plane", f"--data-dir={self.folder / 'etcd' / 'data'}", "--log-level=warn",
            f"--listen-client-urls=unix://{_CLIENTS}", f"--advertise-client-urls=unix://{_CLIENTS}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=plane={peers}",
            "--heartbeat-interval=50", "--election-timeout=500",
        ]  # fmt: skip

    def _apiserver(self) -> list[str]:
        keys = self._pki
        return [
            str(self.binaries.apiserver),
            f"--etcd-servers=unix://{self.folder / 'etcd' / _CLIENTS}",
            f"--bind-address={self.address}", f"--advertise-address={self.address}", f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={','.join(_SERVICES[family] for family in self.families)}",
            f"--tls-cert-file={keys / 'apiserver.crt'}", f"--tls-private-key-file={keys / 'apiserver.key'}",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={keys / 'service-account.pub'}",
            f"--service-account-signing-key-file={keys / 'service-account.key'}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            # Without controllers nobody makes the service accounts that this plugin asks every pod for.
            *(() if self.controllers else ("--disable-admission-plugins=ServiceAccount",)),
            f"--requestheader-client-ca-file={keys / 'front-proxy-ca.crt'}",
            f"--requestheader-allowed-names={_FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={keys / _FRONT_PROXY}.crt", f"--proxy-client-key-file={keys / _FRONT_PROXY}.key",
            # Services have no addresses that work here (there is no kube-proxy): aggregated servers are dialled by endpoint.
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={self.folder / 'audit-policy.yaml'}", f"--audit-log-path={self.audit_log}",
            "--allow-privileged=true", "--profiling=false",
        ]  # fmt: skip

    def _controller_manager(self) -> list[str]:
        config = self.folder / "controller-manager.kubeconfig"
        return [
            str(self.binaries.controller_manager), f"--kubeconfig={config}",
            f"--service-account-private-key-file={self._pki / 'service-account.key'}",
            f"--root-ca-file={self._pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={self._pki / 'ca.crt'}", f"--cluster-signing-key-file={self._pki / 'ca.key'}",
            "--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0",
            # No kubelet renews leases here: nodes would be given up for lost, and their pods evicted.
            "--controllers=*,-node-lifecycle-controller,-node-ipam-controller",
        ]  # fmt: skip


def administration(own: Mapping[str, str]) -> dict[str, str]:
    """A person's environment for kubectl: as it is, but no proxy stands between."""
    return {name: value for name, value in own.items() if name.lower() not in ("http_proxy", "https_proxy", "all_proxy")}


def environment() -> dict[str, str]:
    """What the processes inherit: no proxy, and a home where they find nothing."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def memory_folder() -> Path | None:
    """A folder in memory for what need not outlive the machine; None where there is no room for an etcd."""
    memory = Path("/dev/shm")  # noqa: S108  (a fresh folder is made in it)
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30 else None
