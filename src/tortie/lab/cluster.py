"""One lab, from up to down. Every step is safe to repeat, and `down` works on whatever is there."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from tortie.api.resource import V3
from tortie.base import process
from tortie.base.errors import TortieError
from tortie.base.net import Family, Interface
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.initialize import ensure_initialized
from tortie.kernel import netns
from tortie.lab import fabric, kubernetes_store, settings, stores
from tortie.lab.convergence import wait_for_policies, wait_for_routes
from tortie.lab.kubernetes_workloads import KubernetesWorkloads
from tortie.lab.names import LabNames, netns_path
from tortie.lab.residue import lab_processes
from tortie.lab.spec import LabError, LabSpec, PodSpec, check_pod
from tortie.lab.state import LabState, PodState, load_kubelet_pods, load_state, read_agent_status, save_state
from tortie.lab.workloads import StoredWorkloads

Progress = Callable[[str], None]
READY_SECONDS = 20.0


class Lab:
    """A lab that is up, or is being built. Made by `Lab.up` or `Lab.attached`."""

    def __init__(self, names: LabNames, state: LabState, client: Client) -> None:
        self.names = names
        self.state = state
        self.client = client
        self._workloads: StoredWorkloads | KubernetesWorkloads
        if self._is_on_kubernetes:
            self._workloads = KubernetesWorkloads(names, self.families)
        else:
            self._workloads = StoredWorkloads(names, client, self.families)

    # ---- life ----
    @classmethod
    async def up(cls, spec: LabSpec, *, progress: Progress = lambda _: None) -> "Lab":
        """Build everything that the spec names. On a failure what was built is torn down again."""
        names = LabNames(spec.name)
        if names.folder.exists():
            raise LabError(f"there is a lab named {spec.name!r} already: `tortie lab down --name {spec.name}` removes it")
        for node in spec.nodes:
            names.cni_socket(node.name)  # refuses names that make a socket's path too long
        names.folder.mkdir(parents=True, mode=0o755)
        lab = None
        try:
            stores.lay_out(names, spec)
            client = stores.connect(names)
            lab = cls(names, LabState(spec=spec), client)
            save_state(names, lab.state)
            await lab._build(progress)
        except BaseException:
            if lab is not None:
                await lab.client.close()
            await asyncio.shield(tear_down(names))
            raise
        return lab

    @classmethod
    @contextlib.asynccontextmanager
    async def attached(cls, name: str) -> AsyncIterator["Lab"]:
        """A lab that another command built."""
        names = LabNames(name)
        state = load_state(names)
        client = stores.connect(names)
        try:
            yield cls(names, state, client)
        finally:
            await client.close()

    async def _build(self, progress: Progress) -> None:
        spec = self.state.spec
        progress(f"fabric and {len(spec.nodes)} nodes")
        fabric.build_fabric(self.names, families=self.families, racks=[0, *(node.rack for node in spec.nodes)], mtu=spec.mtu)
        for index, node in enumerate(spec.nodes):
            fabric.connect_node(self.names, node, index=index, families=self.families, mtu=spec.mtu)
        progress("datastore")
        await stores.start(self.names, spec)
        await self._fill_datastore()
        progress("agents and BIRD")
        async with asyncio.TaskGroup() as tasks:
            for node in spec.nodes:
                tasks.create_task(self.start_agent(node.name))
        if self._is_on_kubernetes:
            await kubernetes_store.start_kubelet(self.names)
        if spec.pods:
            progress(f"{len(spec.pods)} pods")
            nodes = [spec.nodes[index % len(spec.nodes)].name for index in range(len(spec.pods))]
            await self._add_pods(spec.pods, nodes)
        for path in spec.apply:
            await self.apply_file(Path(path))
        if spec.apply:
            await wait_for_policies(self.client, self.names, spec)
        save_state(self.names, self.state)
        if spec.pods:
            progress("routes")
            await self.wait_for_routes()

    async def wait_for_routes(self) -> None:
        """Return once every node knows the way to every block. Raises LabError naming what is missing."""
        await wait_for_routes(self.client, self.names, self.state.spec)

    @property
    def _is_on_kubernetes(self) -> bool:
        return self.state.spec.datastore == "kubernetes"

    @property
    def families(self) -> tuple[Family, ...]:
        """IP versions of this lab."""
        return tuple(Family(version) for version in self.state.spec.families)

    def node_interface(self, node: str, family: Family) -> Interface:
        """A node's address on the fabric. Raises KeyError for an unknown node."""
        return fabric.node_interfaces(self.state.spec, family)[node]

    async def _fill_datastore(self) -> None:
        spec = self.state.spec
        await ensure_initialized(self.client)
        for resource in (*settings.configurations(spec), *settings.pools(spec)):
            await operations.apply(self.client, resource)
        for namespace in spec.namespaces:
            await self.add_namespace(namespace.name, namespace.labels)
        await self._workloads.add_nodes(spec.nodes)

    # ---- agents ----
    async def start_agent(self, node: str, *, wait: bool = True) -> int:
        """Start a node's agent and, by default, wait until it has programmed what the datastore says."""
        run_dir = self.names.run_dir(node)
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        (run_dir / "status.json").unlink(missing_ok=True)
        environment = {
            **stores.environment(self.names, user="agent"),
            **{name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ},
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
            "CALICO_NETWORKING_BACKEND": self.state.spec.backend,
            "IP": str(self.node_interface(node, Family.V4)) if Family.V4 in self.families else "none",
            "IP6": str(self.node_interface(node, Family.V6)) if Family.V6 in self.families else "none",
        }
        command = [
            sys.executable, "-m", "tortie.cli.main", "agent", "--node", node,
            "--run-dir", str(run_dir), "--state-dir", str(self.names.state_dir(node)),
        ]  # fmt: skip
        pid = await process.start_detached(
            command, log_path=run_dir / "agent.log", env=environment, netns_path=netns_path(self.names.node(node))
        )
        self.state.agents[node] = pid
        if wait:
            await self.wait_for_agent(node)
        return pid

    async def wait_for_agent(self, node: str) -> None:
        """Return once the agent has applied a complete state and serves CNI. Raises LabError with the end of its log."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            status = read_agent_status(self.names, node)
            if status and status.get("ready"):
                return
            if not process.is_alive(self.state.agents[node]):
                break
            await asyncio.sleep(0.02)
        raise LabError(f"node {node}: its agent did not become ready:\n{self._log_tail(node)}")

    def _log_tail(self, node: str) -> str:
        try:
            return "\n".join((self.names.run_dir(node) / "agent.log").read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return "(no log)"

    def kill_agent(self, node: str) -> None:
        """SIGKILL, as a crash would; the kernel keeps what it has."""
        pid = self.state.agents.pop(node)
        process.send_signal(pid, signal.SIGKILL)
        while process.is_alive(pid):
            pass

    # ---- what users bring ----
    async def add_namespace(self, name: str, labels: dict[str, str]) -> None:
        """A Kubernetes Namespace and its default ServiceAccount."""
        await self._workloads.add_namespace(name, labels)

    async def apply_file(self, path: Path) -> None:
        """What `tortie apply -f` does, and on Kubernetes `kubectl apply -f` for what is Kubernetes' own.

        Raises TortieError before anything is written.
        """
        from tortie.api.documents import load_documents
        from tortie.api.validation import check

        documents = load_documents(path.read_text(), origin=str(path))
        checked = [check(document.resource) for document in documents]
        if self._is_on_kubernetes and all(resource.api_version != V3 for resource in checked):
            await kubernetes_store.kubectl(self.names, "admin").run("apply", "-f", str(path))
            return
        for resource in checked:
            await operations.apply(self.client, resource)

    # ---- pods ----
    async def add_pod(self, pod: PodSpec, *, default_node: str = "") -> PodState:
        """Create the Pod object, its sandbox, its wiring by CNI, and the servers in it."""
        await self._add_pods([pod], [default_node])
        return self.pod(pod.name)

    async def _add_pods(self, pods: Sequence[PodSpec], default_nodes: Sequence[str]) -> None:
        problems: list[str] = []
        placed: list[tuple[PodSpec, str]] = []
        for pod, default in zip(pods, default_nodes, strict=True):
            problems += check_pod(pod)
            node = pod.node or default
            if node not in {entry.name for entry in self.state.spec.nodes}:
                problems.append(f"node {node!r}: there is no such node in this lab")
            if pod.name in self.state.pods:
                problems.append(f"pod {pod.name} is there already")
            placed.append((pod, node))
        if problems:
            raise LabError("; ".join(problems))
        self.state.pods.update(await self._workloads.add_pods(placed))
        save_state(self.names, self.state)

    async def remove_pod(self, name: str) -> None:
        """Stop the servers, CNI DEL, delete the namespace and the Pod object. Raises LabError for an unknown pod."""
        await self._workloads.remove_pod(self.pod(name))
        del self.state.pods[name]
        save_state(self.names, self.state)

    def pod(self, name: str) -> PodState:
        """A running pod by namespace/name. Raises LabError."""
        if name not in self.state.pods:
            raise LabError(f"there is no pod {name!r} in this lab; there are {', '.join(sorted(self.state.pods)) or 'none'}")
        return self.state.pods[name]

    async def down(self) -> None:
        """Remove all pods by CNI DEL as a kubelet would, then everything else."""
        if self._is_on_kubernetes:
            self.state.pods = load_kubelet_pods(self.names)
        with contextlib.suppress(TortieError):  # an agent or the datastore is gone: all the rest goes in any case
            await self._workloads.remove_all(list(self.state.pods.values()))
        await self.client.close()
        await tear_down(self.names)


async def tear_down(names: LabNames) -> None:
    """Remove whatever there is of a lab: processes, network namespaces, folder. Nothing there is fine."""
    found = [pid for pid, _ in lab_processes(names)]
    async with asyncio.TaskGroup() as tasks:
        for pid in found:
            tasks.create_task(process.stop(pid, grace=3.0))
    for name in netns.list_names():
        if name.startswith(names.prefix):
            netns.delete(name)
    shutil.rmtree(names.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        names.folder.parent.rmdir()  # the last lab takes the root of all labs with it


def lab_environment(names: LabNames) -> dict[str, str]:
    """The variables by which a command finds the datastore of a lab."""
    return stores.environment(names)
