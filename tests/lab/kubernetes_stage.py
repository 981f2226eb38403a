"""A lab on a real Kubernetes to break things in: what its users do by kubectl, what becomes of its API server."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.lab.faults_stage import FaultyLab, eventually
from tests.lab.stage import Done, is_running, tortie

from tortie.lab.kubernetes_binaries import MissingBinaries, find_binaries
from tortie.lab.kubernetes_store import AGENT_USER

POLICY_NAMES = "networkpolicies.crd.projectcalico.org"


class Asked(NamedTuple):
    """A kind of request, as RBAC sees it; behind a resource stands its group: `pods/status`, `tiers.crd.projectcalico.org`."""

    verb: str
    resource: str


class KubernetesLab(FaultyLab):
    """`FaultyLab` whose datastore is an API server of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(Path("/run/tortie/lab"), name, "kubernetes")
        self.root = {}

    def kubectl(self, *words: str, stdin: str = "") -> Done:
        """As the administrator."""
        return tortie("lab", "kubectl", "--name", self.name, *words, stdin=stdin)

    def tortie(self, *arguments: str, stdin: str = "") -> Done:
        """`tortie ...` by an administrator who stands where the API server is."""
        return tortie("lab", "exec", "--name", self.name, "fabric", "--", "tortie", *arguments, stdin=stdin)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json").ok().out)

    def apply(self, *documents: dict[str, Any]) -> None:
        """kubectl apply."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listing)).ok()

    def pods(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "kubelet.json").read_text()))

    # ---- what the API server wrote down of the agents ----
    def audited(self) -> list[dict[str, Any]]:
        """The agents' requests so far."""
        lines = (self.folder / "kubernetes" / "audit.log").read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["user"].get("username") == AGENT_USER]

    def asked(self, events: list[dict[str, Any]], accepted: Callable[[int], bool]) -> set[Asked]:
        """The kinds of requests about resources that were answered with a status like that."""
        return {
            Asked(event["verb"], resource_of(event))
            for event in events
            if "objectRef" in event and accepted(event.get("responseStatus", {}).get("code", 0))
        }

    # ---- processes ----
    @contextlib.contextmanager
    def dead(self, name: str) -> Iterator[None]:
        """SIGKILL to `apiserver` or `etcd` of the control plane; after the block the same command again."""
        folder = self.folder / "kubernetes"
        sign = {"apiserver": f"--audit-log-path={folder}/audit.log", "etcd": f"--data-dir={folder}/etcd/data"}[name]
        pid = _running_with(sign)
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), f"{name} is dead")
        try:
            yield
        finally:
            if name == "etcd":
                for left in ("clients:0", "peers:0"):  # etcd does not remove what a dead one left
                    (folder / "etcd" / left).unlink(missing_ok=True)
            with (folder / f"{name}.log").open("ab") as output:
                started = subprocess.Popen(
                    ["nsenter", f"--net=/run/netns/tortie-{self.name}.fabric", "--", *command],
                    cwd=folder / "etcd", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            self._started.append(started)
            self.eventually_served()

    def eventually_served(self) -> None:
        eventually(lambda: self.kubectl("get", "--raw", "/readyz").code == 0, "the API server is ready", seconds=60)


def resource_of(event: dict[str, Any]) -> str:
    """What an audit event is about."""
    about = event["objectRef"]
    name = about["resource"] + (f"/{about['subresource']}" if "subresource" in about else "")
    return f"{name}.{about['apiGroup']}" if about.get("apiGroup") else str(name)


def _running_with(word: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(word) in path.read_bytes().split(b"\0") and is_running(int(path.parent.name)):
                return int(path.parent.name)
    raise AssertionError(f"no process has {word}")


@contextlib.contextmanager
def kubernetes_lab(nodes: int, *, filled: bool = True) -> Iterator[KubernetesLab]:
    """Up, filled, and down again. Skips where Kubernetes' programs cannot be had."""
    try:
        find_binaries()
    except MissingBinaries as error:
        pytest.skip(str(error))
    lab = KubernetesLab(f"k6{os.getpid() % 100000}{secrets.token_hex(2)}")
    try:
        lab.lab("up", "--nodes", str(nodes), "--datastore", "kubernetes", timeout=120).ok()
        if filled:
            lab.fill()
        yield lab
    finally:
        done = lab.lab("down")
        lab.reap()
        done.ok()
