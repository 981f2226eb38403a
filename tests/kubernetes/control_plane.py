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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tortie.lab.kubernetes_binaries import Binaries, MissingBinaries, find_binaries
from tortie.lab.kubernetes_plane import CONTROLLERS, Command, ControlPlane, environment, memory_folder

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
START_SECONDS = 60.0
SETTLE_SECONDS = 40.0
"""How long a busy machine may take until every part of an API server has seen what was stored. Whoever waits, asks: roles, CRDs
and what discovery says come to it through watches of its own, some time after the answer to whoever wrote them."""


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

    def wait_allowed(self, verb: str, resource: str, *, user: str = "", groups: tuple[str, ...] = (), **where: str) -> None:
        """Return when the API server knows of a right that was given to a user, or to whoever is in these groups. `where` is
        what a SubjectAccessReview says besides: `group`, `namespace`, `name`."""
        spec = {"user": user, "groups": groups, "resourceAttributes": {"verb": verb, "resource": resource, **where}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        opener, path = self._opener(), "/apis/authorization.k8s.io/v1/subjectaccessreviews"

        def allowed() -> bool:
            return self._ask(opener, path, review)["status"]["allowed"] is True

        self._settled(allowed, lambda: f"{user or groups} may {verb} {resource} {where}")

    def wait_served(self) -> None:
        """Return when all CRDs that there are can be listed, and are found by whoever looks for them (as kubectl does)."""
        opener = self._opener()
        waiting = {
            (item["spec"]["group"], version["name"], item["spec"]["names"]["plural"])
            for item in self._ask(opener, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
            for version in item["spec"]["versions"]
            if version["served"]
        }

        def served() -> bool:
            for one in sorted(waiting & self._found(opener)):
                try:
                    self._ask(opener, f"/apis/{'/'.join(one)}?limit=1")
                except urllib.error.HTTPError as error:
                    error.close()
                else:
                    waiting.discard(one)
            return not waiting

        self._settled(served, lambda: f"served: {sorted(waiting)}")

    def wait_found(self, group: str, version: str, plural: str) -> None:
        """Return when whoever asks the API server what there is, as kubectl does, is told of a resource."""
        opener = self._opener()
        self._settled(lambda: (group, version, plural) in self._found(opener), lambda: f"found: {plural} of {group}/{version}")

    def _found(self, opener: urllib.request.OpenerDirector) -> set[tuple[str, str, str]]:
        """Group, version and plural of every resource that is not of the core."""
        return {
            (entry["metadata"]["name"], version["version"], resource["resource"])
            for entry in self._ask(opener, "/apis", accept=_AGGREGATED)["items"]
            for version in entry["versions"]
            for resource in version.get("resources", ())
        }

    def _ask(
        self, opener: urllib.request.OpenerDirector, path: str, body: object = None, *, accept: str = "application/json"
    ) -> Any:
        """One answer of the API server, decoded."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": accept, "Content-Type": "application/json"}
        with opener.open(urllib.request.Request(self.server + path, data=data, headers=headers), timeout=30) as answer:
            return json.load(answer)

    def _settled(self, holds: Callable[[], bool], what: Callable[[], str]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"after {SETTLE_SECONDS:g} s it is still not so: {what()}"
            time.sleep(0.05)

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
        if name != CONTROLLERS:
            self.wait()

    # ---- life ----
    def _start(self, command: Command) -> None:
        with command.log.open("ab") as log:
            self._processes[command.name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command.argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
            )  # fmt: skip

    def start_all(self) -> None:
        """Return when all are ready."""
        for command in self.plane.commands():
            if command.name == CONTROLLERS:
                self.wait()
            self._start(command)
        self.wait()

    def kill_all(self) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    def wait(self) -> None:
        """Return when the API server is ready, has the namespace `default` and, with controllers, a service account in it."""
        deadline = time.monotonic() + START_SECONDS
        paths = ["/readyz", "/api/v1/namespaces/default"]
        if CONTROLLERS in self._processes:
            paths.append("/api/v1/namespaces/default/serviceaccounts/default")
        opener = self._opener()
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

    def _opener(self) -> urllib.request.OpenerDirector:
        """Asks as the administrator, without a process for it."""
        tls = ssl.create_default_context(cafile=str(self.ca))
        pki = self.plane.authority.folder
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))

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
