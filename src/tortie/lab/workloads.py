"""Namespaces and pods of a lab without Kubernetes: objects in the datastore, and the lab's own hand that wires and unwires."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence

from tortie.api.defaults import with_defaults
from tortie.api.kubernetes import Container, ContainerPort, Namespace, Pod, ServiceAccount
from tortie.api.kubernetes import PodSpec as KubernetesPodSpec
from tortie.api.resource import Key, Metadata
from tortie.base import process
from tortie.base.net import Family
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.kernel import netns
from tortie.lab.names import LabNames
from tortie.lab.runtime import Runtime, Sandbox
from tortie.lab.servers import start_server
from tortie.lab.settings import node_resource
from tortie.lab.spec import NodeSpec, PodSpec
from tortie.lab.state import PodState


class StoredWorkloads:
    """What a kubelet and an API server would do, done to a datastore that has neither."""

    def __init__(self, names: LabNames, client: Client, families: Sequence[Family]) -> None:
        self._names = names
        self._client = client
        self._runtime = Runtime(names, families)

    async def add_nodes(self, nodes: Sequence[NodeSpec]) -> None:
        """Make the nodes known."""
        for node in nodes:
            await operations.apply(self._client, with_defaults(node_resource(node)))

    async def add_namespace(self, name: str, labels: dict[str, str]) -> None:
        """A Kubernetes Namespace and its default ServiceAccount."""
        await operations.apply(self._client, with_defaults(Namespace(metadata=Metadata(name=name, labels=labels))))
        await self._add_service_account(name, "default")

    async def add_pods(self, pods: Sequence[tuple[PodSpec, str]]) -> dict[str, PodState]:
        """Pods and the nodes they run on: created, wired, serving, all at the same time."""
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(self._add_pod(pod, node)) for pod, node in pods]
        return {f"{state.namespace}/{state.pod}": state for state in (task.result() for task in made)}

    async def remove_pod(self, state: PodState) -> None:
        """Stop the servers, CNI DEL, delete the network namespace and the Pod object."""
        if state.server_pid:
            await process.stop(state.server_pid)
        await self._runtime.delete(state.sandbox)
        netns.delete(state.netns)
        with contextlib.suppress(DoesNotExist):  # an older copy of the datastore may not know it
            await operations.delete(self._client, Key("Pod", state.namespace, state.pod))

    async def remove_all(self, states: Sequence[PodState]) -> None:
        """Remove pods one after the other, up to the first failure: what failed it would fail the others too."""
        for state in states:
            await self.remove_pod(state)

    async def _add_pod(self, pod: PodSpec, node: str) -> PodState:
        await self._require_namespace(pod.namespace, pod.service_account)
        await operations.apply(self._client, with_defaults(_pod_object(pod, node)))
        space = self._names.pod(pod.namespace, pod.pod)
        sandbox = Sandbox(pod.namespace, pod.pod, node, uuid.uuid4().hex, space, {})
        netns.create(space)
        try:
            sandbox = await self._runtime.add(sandbox)
            server = await start_server(self._names, pod.name, pod.serve, node=node, netns=space)
        except BaseException:
            netns.delete(space)
            await asyncio.shield(operations.delete(self._client, Key("Pod", pod.namespace, pod.pod)))
            raise
        return PodState(
            namespace=pod.namespace, pod=pod.pod, node=node, container_id=sandbox.container_id, netns=space,
            result=sandbox.result, server_pid=server, serve=pod.serve,
        )  # fmt: skip

    async def _require_namespace(self, namespace: str, service_account: str) -> None:
        stored = await self._client.list("Namespace", name_prefix=namespace)
        if not any(item.metadata.name == namespace for item in stored.items):
            await self.add_namespace(namespace, {})
        if service_account != "default":
            await self._add_service_account(namespace, service_account)

    async def _add_service_account(self, namespace: str, name: str) -> None:
        await operations.apply(self._client, ServiceAccount(metadata=Metadata(name=name, namespace=namespace)))


def _pod_object(pod: PodSpec, node: str) -> Pod:
    ports = tuple(
        ContainerPort(name=name, container_port=int(text.partition(":")[2]), protocol=text.partition(":")[0].upper())
        for name, text in pod.ports.items()
    )
    return Pod(
        metadata=Metadata(name=pod.pod, namespace=pod.namespace, labels=pod.labels, annotations=pod.annotations),
        spec=KubernetesPodSpec(
            node_name=node,
            service_account_name=pod.service_account,
            containers=(Container(name="main", image="lab", ports=ports),),
        ),
    )
