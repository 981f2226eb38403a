"""A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on loopback, in a folder of their
own, gone when the test process is.

    with running() as cluster:                        # a few seconds; controllers=False is quicker, see `running`
        cluster.kubectl("get", "namespaces")
        config = cluster.kubeconfig("alice", "developers")

Most tests do with `shared()`, one plane for the whole test run: use a namespace of your own (`cluster.namespace()`).
Where Kubernetes' programs cannot be had the test skips with one line.
"""

import atexit
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tortie.lab.kubernetes_binaries import Binaries, MissingBinaries, find_binaries
from tortie.lab.kubernetes_plane import Command, ControlPlane, environment, memory_folder

START_SECONDS = 40.0


class Cluster:
    """A control plane that runs. `admin` is a kubeconfig that may do everything."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.folder = plane.folder
        self.server = plane.server
        self.admin = plane.admin
        self.ca = plane.authority.pair.certificate
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # ---- what tests ask ----
    def kubeconfig(self, user: str, *groups: str) -> Path:
        """A kubeconfig of any user in any groups, e.g. ("system:node:n1", "system:nodes"); a new file each time."""
        return self.plane.kubeconfig(f"user-{uuid.uuid4().hex[:12]}", user=user, groups=groups)

    def kubectl(self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator, or with another kubeconfig; its output. With `check` its failure is the test's."""
        done = self.kubectl_process(*words, stdin=stdin, kubeconfig=kubeconfig)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def kubectl_process(
        self, *words: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As `kubectl`, whatever comes of it: returncode, stdout, stderr."""
        return subprocess.run(
            [str(self.plane.binaries.kubectl), f"--kubeconfig={kubeconfig or self.admin}", *words],
            input=stdin, capture_output=True, text=True, timeout=50, check=False, env=self.environment(kubeconfig),
        )  # fmt: skip

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """What a process needs that is to talk to this cluster: no proxy, KUBECONFIG, kubectl on the PATH, a home."""
        path = f"{self.plane.binaries.kubectl.parent}:{os.environ.get('PATH', os.defpath)}"
        return {**environment(), "PATH": path, "HOME": str(self.folder), "KUBECONFIG": str(kubeconfig or self.admin)}

    def get(self, *words: str) -> Any:
        """`kubectl get ... -o json`, decoded."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        """kubectl apply, all at once."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))

    @contextmanager
    def namespace(self, **labels: str) -> Iterator[str]:
        """A new namespace, and the order to delete it at the end (nobody waits for that)."""
        name = f"t-{uuid.uuid4().hex[:10]}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", check=False)

    def audit(self) -> list[dict[str, Any]]:
        """The API server's audit events so far (level Metadata), oldest first."""
        lines = self.plane.audit_log.read_text().splitlines(keepends=True) if self.plane.audit_log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    # ---- faults ----
    def stop(self, name: str) -> None:
        """Kill one process: `etcd`, `apiserver` or `controller-manager`."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def start(self, name: str) -> None:
        """Start a killed one again, on its data; for the API server, return when it is ready."""
        self._start(next(command for command in self.plane.commands() if command.name == name))
        if name != "controller-manager":
            self.wait()

    # ---- life ----
    def _start(self, command: Command) -> None:
        with command.log.open("ab") as log:
            self._processes[command.name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command.argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            )  # fmt: skip

    def start_all(self) -> None:
        for command in self.plane.commands():
            self._start(command)

    def kill_all(self) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    def wait(self) -> None:
        """Return when the API server is ready, has the namespace `default` and, with controllers, a service account in it."""
        deadline = time.monotonic() + START_SECONDS
        paths = ["/readyz", "/api/v1/namespaces/default"]
        if "controller-manager" in self._processes:
            paths.append("/api/v1/namespaces/default/serviceaccounts/default")
        tls = ssl.create_default_context(cafile=str(self.ca))
        pki = self.plane.authority.folder
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
        said = "no answer"
        while paths and time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended: {self._log_tail(name)}")
            try:
                opener.open(self.server + paths[0], timeout=5).close()
                del paths[0]
            except OSError as error:
                said = str(error)
                time.sleep(0.05)
        if paths:
            raise AssertionError(f"{paths[0]} is not there after {START_SECONDS:g} s: {said}: {self._log_tail('apiserver')}")

    def _log_tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-1500:]


def require_binaries() -> Binaries:
    """Kubernetes' programs; the test skips with one line where they cannot be had."""
    try:
        return find_binaries()
    except MissingBinaries as error:
        pytest.skip(str(error))


@contextmanager
def running(*, controllers: bool = True) -> Iterator[Cluster]:
    """A control plane of your own. Without controllers namespaces are never deleted, and pods need no service account."""
    binaries = require_binaries()
    folder = Path(tempfile.mkdtemp(prefix=f"tk-{os.getpid()}-", dir=memory_folder()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plane = ControlPlane(folder, binaries, "127.0.0.1", port, controllers=controllers)
    cluster = Cluster(plane)
    try:
        plane.lay_out()
        cluster.start_all()
        cluster.wait()
        yield cluster
    finally:
        cluster.kill_all()
        shutil.rmtree(folder)


@cache
def shared() -> Cluster:
    """One plane, with controllers, for all tests that keep to themselves in it; it ends with the test process."""
    stack = ExitStack()
    cluster = stack.enter_context(running())
    atexit.register(stack.close)
    return cluster
