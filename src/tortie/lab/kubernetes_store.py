"""The Kubernetes of a lab: its control plane in the fabric's network namespace, where every node reaches it by the fabric's own
address; its kubeconfigs; its kubelet. The machine itself has no way there: kubectl is run inside (`tortie lab kubectl`).
"""

import os
import sys
from pathlib import Path

from tortie.base import process
from tortie.base.net import Family
from tortie.lab import fabric
from tortie.lab import kubernetes_guest as guest
from tortie.lab.kubectl import Kubectl, KubectlError
from tortie.lab.kubernetes_binaries import find_binaries, find_kubectl
from tortie.lab.kubernetes_plane import MASTERS, ControlPlane, environment
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError, LabSpec

PORT = 6443
START_SECONDS = 60.0
AGENT_USER = "tortie-agent"


def plane_of(names: LabNames, spec: LabSpec) -> ControlPlane:
    """The control plane of a lab. Raises MissingBinaries."""
    families = tuple(Family(version) for version in spec.families)
    return ControlPlane(names.kubernetes, find_binaries(), _near(spec), PORT, families)


def lay_out(names: LabNames, spec: LabSpec) -> None:
    """Write certificates and kubeconfigs: `admin` for people, `kubelet` for the lab itself, `agent` for the nodes' agents.

    On somebody else's cluster all three are the user that its kubeconfig names.
    """
    names.kubernetes.mkdir(mode=0o700)
    if spec.kubeconfig:
        users = ("admin", "kubelet", "agent")
        guest.adopt(names, find_kubectl(), Path(spec.kubeconfig), near=_near(spec), port=PORT, users=users)
        return
    plane = plane_of(names, spec)
    plane.lay_out()
    plane.kubeconfig("kubelet", user="tortie-lab-kubelet", groups=(MASTERS,))
    plane.kubeconfig("agent", user=AGENT_USER, groups=(MASTERS,))


async def start(names: LabNames, spec: LabSpec) -> None:
    """Start the control plane, or the way to somebody else's; return when it is ready. Raises LabError."""
    if guest.is_guest(names):
        await guest.start_relay(names, near=_near(spec), port=PORT)
        await kubectl(names, "admin").wait_ready(seconds=START_SECONDS)
        return
    plane = plane_of(names, spec)
    pids = {}
    for command in plane.commands():
        pids[command.name] = await process.start_detached(
            command.argv, log_path=command.log, env=environment(), netns_path=netns_path(names.fabric)
        )
    try:
        await kubectl(names, "admin").wait_ready(seconds=START_SECONDS)
    except KubectlError as error:
        dead = [name for name, pid in pids.items() if not process.is_alive(pid)]
        log = plane.folder / f"{(dead or ['apiserver'])[0]}.log"
        raise LabError(
            f"the Kubernetes control plane did not start: {error}\n{_tail(log.read_text(errors='replace'))}"
        ) from error


async def start_kubelet(names: LabNames) -> int:
    """Start the lab's kubelet, which goes on until the lab ends."""
    path = os.environ.get("PATH", os.defpath)
    words = {name: os.environ[name] for name in ("PYTHONPATH", "TORTIE_LAB_ROOT", *_FINDERS) if name in os.environ}
    return await process.start_detached(
        [sys.executable, "-m", "tortie.lab.kubelet", names.lab],
        log_path=names.folder / "kubelet.log",
        env={**environment(), **words, "PATH": f"{path}:/usr/sbin:/sbin"},
        netns_path=netns_path(names.fabric),
    )


_FINDERS = ("KUBEBUILDER_ASSETS", "TORTIE_KUBERNETES_CACHE", "XDG_CACHE_HOME", "HOME")


def kubectl(names: LabNames, user: str, *, inside: bool = False) -> Kubectl:
    """kubectl as one of the lab's users; `inside` from the fabric's network namespace. Raises MissingBinaries."""
    space = None if inside else netns_path(names.fabric)
    return Kubectl(find_kubectl(), names.kubernetes / f"{user}.kubeconfig", space)


async def wait_for_service_account(names: LabNames, namespace: str, account: str = "default") -> None:
    """Return when the controllers have made it: pods of the namespace are refused before. Raises KubectlError."""
    await kubectl(names, "admin").run(
        "wait", f"--namespace={namespace}", "--for=create", f"serviceaccount/{account}", "--timeout=20s"
    )


def _near(spec: LabSpec) -> str:
    """Where every node reaches the API server."""
    return str(fabric.gateway(Family(spec.families[0])).address)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-15:])
