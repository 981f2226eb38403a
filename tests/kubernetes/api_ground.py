"""`tortie apiserver` as a process of its own, and the real kubectl in front of it: alone, or behind a control plane.

with standalone(tmp_path) as api:
    api.kubectl("get", "tiers")
with behind(cluster, tmp_path) as api:
    ...
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubernetes.control_plane import Cluster

from tortie.lab.kubernetes_binaries import MissingBinaries, find_binaries

START_SECONDS = 40.0
REPOSITORY = Path(__file__).resolve().parents[2]


class Api:
    """A server that runs. `kubeconfig` is an administrator's."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, kubeconfig: Path, *, port: int) -> None:
        self.process = process
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.port = port
        self._kubectl = str(find_binaries().kubectl)

    def process_of(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """kubectl, while it runs."""
        return subprocess.Popen(
            self._line(*words, kubeconfig=kubeconfig),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._environment(),
        )  # fmt: skip

    @contextmanager
    def watching(self, path: str) -> Iterator[Iterator[Any]]:
        """The events of a watch, each as it comes; the watch ends with the block."""
        process = self.process_of("get", "--raw", path)
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()
            process.communicate()

    def run(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """kubectl, whatever comes of it."""
        return subprocess.run(
            self._line(*words, kubeconfig=kubeconfig),
            input=stdin, capture_output=True, text=True, timeout=50, check=False, env=self._environment(),
        )  # fmt: skip

    def kubectl(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """kubectl's output; its failure is the test's."""
        done = self.run(*words, stdin=stdin, kubeconfig=kubeconfig)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def refused(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What kubectl says when it must not succeed."""
        done = self.run(*words, stdin=stdin, kubeconfig=kubeconfig)
        assert done.returncode != 0, f"kubectl {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def get(self, *words: str) -> Any:
        """`kubectl get -o json`, decoded."""
        return json.loads(self.kubectl("get", *words, "-o", "json", "--show-managed-fields"))

    def log(self) -> str:
        """What the server said."""
        return (self.folder / "apiserver.log").read_text()

    def _line(self, *words: str, kubeconfig: Path | None) -> list[str]:
        return [self._kubectl, f"--kubeconfig={kubeconfig or self.kubeconfig}", f"--cache-dir={self.folder}/cache", *words]

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)}


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def start(folder: Path, *words: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """`tortie apiserver` with these options; its log is in the folder."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATASTORE", "ETCD", "KUBE", "CALICO"))
    }
    with (folder / "apiserver.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tortie.cli.main", "apiserver", *words, "-c", str(folder / "none.cfg")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=inherited | environment,
        )  # fmt: skip


def wait_for(folder: Path, process: subprocess.Popen[bytes], text: str) -> None:
    """Until the log says `text`; fails with the log when the server ends before."""
    deadline = time.monotonic() + START_SECONDS
    log = folder / "apiserver.log"
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"no {text!r} in: {log.read_text()}"
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, and the exit status."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(30)
    finally:
        process.kill()


@contextmanager
def standalone(folder: Path, *words: str, environment: dict[str, str] | None = None) -> Iterator[Api]:
    """A server without Kubernetes, on a sqlite file in the folder or what `environment` says. Skips without kubectl."""
    needs_kubectl()
    port, kubeconfig = free_port(), folder / "kubeconfig"
    process = start(
        folder, "--standalone", f"--port={port}", f"--dir={folder}/pki", f"--write-kubeconfig={kubeconfig}", *words,
        environment=environment or {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(folder / "store.sqlite")},
    )  # fmt: skip
    try:
        wait_for(folder, process, "ready")
        yield Api(process, folder, kubeconfig, port=port)
    finally:
        stop(process)


@contextmanager
def behind(cluster: Cluster, folder: Path, *, environment: dict[str, str] | None = None) -> Iterator[Api]:
    """A server behind a control plane's aggregation layer, with the rights of the shipped manifest and no others."""
    address, user = _own_address(), "system:serviceaccount:tortie-system:tortie-apiserver"
    port = free_port(address)
    store = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(folder / "store.sqlite")}
    documents = [one for one in yaml.safe_load_all((REPOSITORY / "manifests" / "apiserver.yaml").read_text()) if one]
    cluster.apply(*(one for one in documents if one["kind"] in ("Namespace", "ServiceAccount")))
    cluster.apply(*(one for one in documents if "Role" in one["kind"]))
    certificates = folder / "pki"
    process = start(
        folder, f"--port={port}", f"--kubeconfig={cluster.kubeconfig(user)}", f"--dir={certificates}",
        "--name=tortie-apiserver.tortie-system.svc", environment=environment or store,
    )  # fmt: skip
    try:
        wait_for(folder, process, "ready")
        service, endpoints, api_service = _services(documents, address, port, (certificates / "ca.crt").read_bytes())
        # By the time the APIService comes it should be known where it leads: who asks too early asks again in a minute.
        cluster.apply(service, endpoints)
        cluster.apply(api_service)
        cluster.kubectl("wait", "apiservice/v3.projectcalico.org", "--for=condition=Available", "--timeout=45s")
        cluster.wait_found("projectcalico.org", "v3", "tiers")
        yield Api(process, folder, cluster.admin, port=port)
    finally:
        cluster.kubectl("delete", "apiservice/v3.projectcalico.org", "--ignore-not-found", "--wait=false", check=False)
        stop(process)


def needs_kubectl() -> None:
    """Skip the test where Kubernetes' programs cannot be had; in CI they must be there."""
    try:
        find_binaries()
    except MissingBinaries as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def _services(documents: list[Any], address: str, port: int, authority: bytes) -> list[dict[str, Any]]:
    """The Service and APIService of the manifest; endpoints are set by hand, as there is neither pod nor controller."""
    service = next(one for one in documents if one["kind"] == "Service")
    api_service = next(one for one in documents if one["kind"] == "APIService")
    del service["spec"]["selector"]
    service["spec"]["ports"][0]["targetPort"] = port
    api_service["spec"]["caBundle"] = base64.b64encode(authority).decode()
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    return [service, endpoints, api_service]


def _own_address() -> str:
    """An address of this machine that is no loopback, which no endpoint may have. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])
