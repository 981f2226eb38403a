"""The Kubernetes of a lab: its control plane in the fabric's network namespace, where every node reaches it by the fabric's own
address; its kubeconfigs; its kubelet. The machine itself has no way there: kubectl is run inside (`tortie lab kubectl`).
"""

import asyncio
import os
import sys
from pathlib import Path

from tortie.api.crd import definitions
from tortie.base import process
from tortie.base.net import Family
from tortie.lab import fabric
from tortie.lab import kubernetes_guest as guest
from tortie.lab import kubernetes_objects as objects
from tortie.lab.kubectl import Kubectl, KubectlError
from tortie.lab.kubernetes_binaries import find_binaries, find_kubectl
from tortie.lab.kubernetes_plane import CONTROLLERS, MASTERS, ControlPlane, environment
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError, LabSpec

PORT = 6443
START_SECONDS = 60.0
AGENT_USER = "system:serviceaccount:tortie-system:tortie-agent"
"""The service account of agent-rights.yaml (manifests/rbac): the agents of a lab may do what agents of a cluster may."""
_AGENT_RIGHTS = Path(__file__).with_name("agent-rights.yaml")


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
    plane.kubeconfig("agent", user=AGENT_USER)


async def start(names: LabNames, spec: LabSpec) -> None:
    """Start the control plane, or the way to somebody else's; return when it is ready. Raises LabError."""
    if guest.is_guest(names):
        await guest.start_relay(names, near=_near(spec), port=PORT)
        await kubectl(names, "admin").wait_ready(seconds=START_SECONDS)
        await install_kinds(names)
        return
    plane = plane_of(names, spec)
    pids = {}
    try:
        for command in plane.commands():
            if command.name == CONTROLLERS:
                await kubectl(names, "admin").wait_ready(seconds=START_SECONDS)
            pids[command.name] = await process.start_detached(
                command.argv, log_path=command.log, env=environment(), netns_path=netns_path(names.fabric)
            )
        await kubectl(names, "admin").run("wait", "--for=create", "namespace/kube-system", "--timeout=20s")
    except KubectlError as error:
        dead = [name for name, pid in pids.items() if not process.is_alive(pid)]
        log = plane.folder / f"{(dead or ['apiserver'])[0]}.log"
        raise LabError(
            f"the Kubernetes control plane did not start: {error}\n{_tail(log.read_text(errors='replace'))}"
        ) from error
    await kubectl(names, "admin").run("apply", "--server-side", "--validate=false", "-f", str(_AGENT_RIGHTS))
    await install_kinds(names)


async def install_kinds(names: LabNames) -> None:
    """Define Calico's kinds and our own in the API server; return when it serves them. What is there stays as it is."""
    admin = kubectl(names, "admin")
    there = {line.partition("/")[2] for line in (await admin.run("get", "crd", "-o", "name")).decode().split()}
    # A cluster that keeps Calico's kinds in the other group goes on with that.
    groups = {name.partition(".")[2] for name in there}
    native = "projectcalico.org" in groups and "crd.projectcalico.org" not in groups
    other = "crd.projectcalico.org" if native else "projectcalico.org"
    missing = [
        item for item in definitions().values() if item["spec"]["group"] != other and item["metadata"]["name"] not in there
    ]
    if missing:
        await admin.apply(missing)
        await _wait_until_served(admin, missing)


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


async def _wait_until_served(admin: Kubectl, kinds: list[objects.Document]) -> None:
    """What the API server lists below a group it serves; it lists no kind that is not established."""
    wanted: dict[str, set[str]] = {}
    for item in kinds:
        root = f"/apis/{item['spec']['group']}/{item['spec']['versions'][0]['name']}"
        wanted.setdefault(root, set()).add(item["spec"]["names"]["plural"])
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    for root, plurals in wanted.items():
        while True:
            try:
                served = {entry["name"] for entry in (await admin.get(root))["resources"]}
            except KubectlError:
                served = set()
            if plurals <= served:
                break
            if asyncio.get_running_loop().time() > deadline:
                raise LabError(f"the API server does not serve {', '.join(sorted(plurals - served))} below {root}")
            await asyncio.sleep(0.1)


def _near(spec: LabSpec) -> str:
    """Where every node reaches the API server."""
    return str(fabric.gateway(Family(spec.families[0])).address)


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-15:])
