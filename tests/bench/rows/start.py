"""How long an agent takes from its exec until it would wire a pod, with a large cluster in etcd or Kubernetes, beside sqlite.

It would when it has read everything, its kernel has the policy, and CNI STATUS says so. On Kubernetes the pods are pods.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import msgspec
from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row
from tests.bench.rows import footprint

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.resource import Key, Resource
from tortie.datastore.client import Client
from tortie.datastore.kubernetes.connection import Connection
from tortie.lab.cluster import Lab
from tortie.lab.runtime import find_plugin
from tortie.lab.spec import PodSpec
from tortie.lab.stores import kubernetes_settings

_OURS = "exec to ready for pods, {} pods and {} policies in {}"
_PATIENCE_SECONDS = 60.0
_AT_ONCE = 8
STORES = ("etcd", "kubernetes")


def _words(datastore: str) -> str:
    return _OURS.format(footprint.PODS, footprint.POLICIES, datastore)


_ROWS = tuple(Row(f"start-{datastore}", _words(datastore), _words("sqlite"), "s") for datastore in STORES)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with contextlib.AsyncExitStack() as stack:
        labs = {
            datastore: await stack.enter_async_context(ground.lab("n1", datastore=datastore))
            for datastore in ("sqlite", *STORES)
        }
        for datastore, lab in labs.items():
            if datastore == "kubernetes":
                await _fill_with_pods(lab)
            else:
                await _fill(lab.client, footprint.endpoints())
            await _fill(lab.client, footprint.policies())
            await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/local", labels={"app": "a1"}), default_node="n1")

        async def measure(_: int) -> Mapping[str, Pair]:
            seconds = {datastore: [await _start(lab)] for datastore, lab in labs.items()}
            return {f"start-{datastore}": Pair(seconds[datastore], seconds["sqlite"]) for datastore in STORES}

        yield measure


async def _start(lab: Lab) -> float:
    """Seconds from exec to ready. The agent before it is killed, and has left everything in the kernel."""
    lab.kill_agent("n1")
    lab.names.cni_socket("n1").unlink()
    started = time.perf_counter()
    await lab.start_agent("n1", wait=False)
    while not await asyncio.to_thread(_is_ready, lab):
        if time.perf_counter() - started > _PATIENCE_SECONDS:
            raise RuntimeError(f"the agent is not ready after {_PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.005)
    return time.perf_counter() - started


def _is_ready(lab: Lab) -> bool:
    environment = ground.tortie_environment("STATUS", container="", namespace="", pod="", socket=lab.names.cni_socket("n1"))
    return ground.ask(find_plugin(), environment, ground.TORTIE_CONFIG).status == 0


async def _fill(client: Client, resources: Iterable[Resource]) -> None:
    """`ground.fill`, some at a time: a request to a server is mostly waiting."""
    shared = iter(resources)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(ground.fill(client, shared))


async def _fill_with_pods(lab: Lab) -> None:
    """The same endpoints as pods on nodes of other clusters' kubelets; without their nodes they would be swept away."""
    connection = Connection(kubernetes_settings(lab.names))
    limit = asyncio.Semaphore(_AT_ONCE)

    async def create(path: str, document: dict[str, Any]) -> None:
        async with limit:
            body = msgspec.json.encode(document)
            await connection.write("POST", path, body=body, verb="create", key=Key("Pod", "", document["metadata"]["name"]))

    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(footprint.NODES):
                node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"other-{number}"}}
                tasks.create_task(create("/api/v1/nodes", node))
        async with asyncio.TaskGroup() as tasks:
            for endpoint in footprint.endpoints():
                tasks.create_task(create(f"/api/v1/namespaces/{ground.NAMESPACE}/pods", _pod(endpoint)))
    finally:
        await connection.close()


def _pod(endpoint: WorkloadEndpoint) -> dict[str, Any]:
    spec, (network,) = endpoint.spec, endpoint.spec.ip_networks
    labels = {name: text for name, text in endpoint.metadata.labels.items() if "projectcalico" not in name}
    notes = {"cni.projectcalico.org/podIP": network, "cni.projectcalico.org/podIPs": network}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": spec.pod, "namespace": endpoint.metadata.namespace, "labels": labels, "annotations": notes},
        "spec": {"nodeName": spec.node, "containers": [{"name": "main", "image": "none"}]},
    }


BENCH = Bench("start", _ROWS, _stage)
