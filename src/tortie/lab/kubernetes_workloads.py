"""Namespaces, nodes and pods of a lab on Kubernetes: written by kubectl; the lab's kubelet does the rest."""

import asyncio
from collections.abc import Collection, Sequence

from tortie.base.net import Family
from tortie.lab import fabric, kubernetes_store
from tortie.lab import kubernetes_guest as guest
from tortie.lab import kubernetes_objects as objects
from tortie.lab.names import LabNames
from tortie.lab.spec import LabError, NodeSpec, PodSpec
from tortie.lab.state import PodState, load_kubelet_pods

WIRED_SECONDS = 40.0


class KubernetesWorkloads:
    """What a user of kubectl would do."""

    def __init__(self, names: LabNames, families: Sequence[Family]) -> None:
        self._names = names
        self._families = families
        self._kubectl = kubernetes_store.kubectl(names, "admin")
        self._mark = {guest.LABEL: names.lab} if guest.is_guest(names) else {}

    async def add_nodes(self, nodes: Sequence[NodeSpec]) -> None:
        """Register the nodes, ready, each with its addresses on the fabric."""
        await self._kubectl.apply([objects.node_document(node, self._mark) for node in nodes])
        async with asyncio.TaskGroup() as tasks:
            for index, node in enumerate(nodes):
                addresses = [str(fabric.node_interface(index, family, rack=node.rack).address) for family in self._families]
                status = objects.node_status(addresses=addresses, name=node.name, now=objects.timestamp())
                tasks.create_task(self._kubectl.patch_status("node", "", node.name, status))

    async def add_namespace(self, name: str, labels: dict[str, str]) -> None:
        """A Namespace; the controllers will make its default service account."""
        await self._kubectl.apply([objects.namespace_document(name, {**labels, **self._mark})])

    async def add_pods(self, pods: Sequence[tuple[PodSpec, str]]) -> dict[str, PodState]:
        """Create pods, each bound to its node; return when the kubelet has wired them all."""
        await self._require_namespaces({pod.namespace for pod, _ in pods})
        accounts = {(pod.namespace, pod.service_account) for pod, _ in pods if pod.service_account != "default"}
        await self._kubectl.apply([objects.service_account_document(*account) for account in sorted(accounts)])
        await self._kubectl.apply([objects.pod_document(pod, node) for pod, node in pods])
        return await self.wait_until_running([pod.name for pod, _ in pods])

    async def remove_pod(self, state: PodState) -> None:
        """Delete the Pod; returns when the kubelet has unwired it and it is gone."""
        await self._kubectl.run("delete", "pod", state.pod, f"--namespace={state.namespace}", "--timeout=30s")

    async def remove_all(self, states: Sequence[PodState]) -> None:
        """Delete every pod of the lab, at once; from somebody else's cluster also our nodes and namespaces."""
        for namespace in sorted({state.namespace for state in states}):
            pods = [state.pod for state in states if state.namespace == namespace]
            await self._kubectl.run("delete", "pods", *pods, f"--namespace={namespace}", "--timeout=30s", "--ignore-not-found")
        for name, value in self._mark.items():
            await self._kubectl.run("delete", "nodes,namespaces", f"--selector={name}={value}", "--timeout=50s")

    async def wait_until_running(self, names: Collection[str]) -> dict[str, PodState]:
        """Return those pods once each is wired and the API server knows its addresses. Raises LabError."""
        deadline = asyncio.get_running_loop().time() + WIRED_SECONDS
        while not set(names) <= set(wired := load_kubelet_pods(self._names)):
            if asyncio.get_running_loop().time() > deadline:
                missing = ", ".join(sorted(set(names) - set(wired)))
                log = (self._names.folder / "kubelet.log").read_text(errors="replace").splitlines()[-15:]
                raise LabError(f"not running after {WIRED_SECONDS:g} s: {missing}; the lab's kubelet said:\n" + "\n".join(log))
            await asyncio.sleep(0.05)
        for namespace in sorted({name.partition("/")[0] for name in names}):
            short = [f"pod/{name.partition('/')[2]}" for name in sorted(names) if name.startswith(f"{namespace}/")]
            await self._kubectl.run("wait", "--for=condition=Ready", f"--namespace={namespace}", *short, "--timeout=20s")
        return {name: wired[name] for name in names}

    async def _require_namespaces(self, names: Collection[str]) -> None:
        found = (await self._kubectl.run("get", "namespaces", "-o", "name")).decode().split()
        for name in sorted(names):
            if f"namespace/{name}" not in found:
                await self.add_namespace(name, {})
            # Pods are refused before it is there.
            await self._kubectl.run("wait", f"--namespace={name}", "--for=create", "serviceaccount/default", "--timeout=20s")
