"""The lab as the kubelet of all its nodes, and their scheduler: `python -m tortie.lab.kubelet LAB`, one process a lab.

Pods bound to the lab's nodes are wired by tortie-cni in fresh network namespaces, listen on what they declare, and are reported
as running; deleted ones are unwired, and only then does the API server forget them. Pods bound nowhere are bound in turn.
What is wired is in kubelet.json; a kubelet that is killed goes on from there. It runs in the fabric's network namespace.
"""

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import Iterable

from tortie.base import process
from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.kernel import netns
from tortie.lab import fabric, kubernetes_store
from tortie.lab import kubernetes_guest as guest
from tortie.lab import kubernetes_objects as objects
from tortie.lab.kubectl import Kubectl, KubectlError
from tortie.lab.kubelet_step import next_step
from tortie.lab.kubernetes_objects import Document
from tortie.lab.names import LabNames
from tortie.lab.runtime import Runtime, Sandbox
from tortie.lab.servers import start_server
from tortie.lab.spec import LabSpec
from tortie.lab.state import PodState, load_kubelet_pods, load_state, save_kubelet_pods

PODS = "/api/v1/pods"
RETRY_SECONDS = 1.0
REPEAT_SECONDS = 5.0
SIGN_OF_LIFE_SECONDS = 10.0


class Kubelet:
    """The pods of one lab's nodes."""

    def __init__(self, names: LabNames, spec: LabSpec, kubectl: Kubectl) -> None:
        self._names = names
        self._kubectl = kubectl
        self._runtime = Runtime(names, map(Family, spec.families))
        self._nodes = {
            node.name: tuple(
                str(fabric.node_interface(index, family, rack=node.rack).address) for family in map(Family, spec.families)
            )
            for index, node in enumerate(spec.nodes)
        }
        self._pods: dict[str, Document] = {}
        self._listed = False
        self._wired = load_kubelet_pods(names)
        self._bound = 0
        self._busy: set[str] = set()
        self._done: dict[str, tuple[str, str, float]] = {}
        """Last step of a pod: which, for which version, and when it may be repeated if nothing changes."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What is wired stays."""
        self._sweep()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            if guest.is_guest(self._names):
                tasks.create_task(self._show_signs_of_life())
            while True:
                self._wake.clear()
                if self._listed:
                    for name in sorted({*self._pods, *self._wired} - self._busy):
                        self._begin(name, tasks)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._wake.wait()

    def _sweep(self) -> None:
        """Namespaces of pods that were being wired when an earlier kubelet was killed."""
        known = {state.netns for state in self._wired.values()}
        for name in netns.list_names():
            if name.startswith(f"{self._names.prefix}pod.") and name not in known:
                netns.delete(name)

    async def _show_signs_of_life(self) -> None:
        """Where somebody watches over nodes, ours must be seen to live."""
        while True:
            for node, addresses in self._nodes.items():
                try:
                    status = objects.node_status(node, addresses, now=objects.timestamp())
                    await self._kubectl.patch_status("node", "", node, status)
                except KubectlError as error:
                    _log(f"node {node}: {error}")
            await asyncio.sleep(SIGN_OF_LIFE_SECONDS)

    # ---- what the API server says ----
    async def _follow(self) -> None:
        while True:
            try:
                listing = await self._kubectl.get(PODS)
                self._pods = {_key(item): item for item in listing["items"]}
                self._listed = True
                self._wake.set()
                await self._watch(str(listing["metadata"]["resourceVersion"]))
            except KubectlError as error:
                _log(f"pods cannot be watched: {error}")
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self, version: str) -> None:
        while True:
            async with self._kubectl.watching(PODS, version) as events:
                async for event in events:
                    item = event["object"]
                    version = str(item["metadata"]["resourceVersion"])
                    if event["type"] == "DELETED":
                        self._pods.pop(_key(item), None)
                    elif event["type"] in ("ADDED", "MODIFIED"):
                        self._pods[_key(item)] = item
                    self._wake.set()
            await asyncio.sleep(0.1)

    # ---- what is done about it ----
    def _begin(self, name: str, tasks: asyncio.TaskGroup) -> None:
        pod, wired = self._pods.get(name), self._wired.get(name)
        step = next_step(
            pod,
            wired_uid=wired.uid if wired else "",
            addresses=wired.sandbox.addresses if wired else (),
            nodes=self._nodes,
        )
        if step == "nothing" or (step == "bind" and guest.is_guest(self._names)):  # there the scheduler is another's
            self._done.pop(name, None)
            return
        done_step, done_version, again = self._done.get(name, ("", "", 0.0))
        if (step, _version(pod)) == (done_step, done_version) and asyncio.get_running_loop().time() < again:
            return
        self._remember(name, step, pod, REPEAT_SECONDS)
        self._busy.add(name)
        tasks.create_task(self._take(name, step, pod))

    async def _take(self, name: str, step: str, pod: Document | None) -> None:
        try:
            match step:
                case "bind" if pod is not None:
                    await self._bind(name, pod)
                case "wire" if pod is not None:
                    await self._wire(name, pod)
                case "report" if pod is not None:
                    await self._report(name, pod)
                case "unwire":
                    await self._unwire(name)
                    if pod is not None and objects.is_leaving(pod):
                        await self._finish(name, pod)
                case "finish" if pod is not None:
                    await self._finish(name, pod)
        except TortieError as error:
            _log(f"pod {name}: {step}: {error}")
            self._remember(name, step, pod, RETRY_SECONDS)
        finally:
            self._busy.discard(name)
            self._wake.set()

    def _remember(self, name: str, step: str, pod: Document | None, seconds: float) -> None:
        """The step is done, and not done again for a while unless something changes: its own change has yet to come back."""
        self._done[name] = (step, _version(pod), asyncio.get_running_loop().time() + seconds)

    async def _bind(self, name: str, pod: Document) -> None:
        nodes = sorted(self._nodes)
        node = nodes[self._bound % len(nodes)]
        self._bound += 1
        path = f"/api/v1/namespaces/{objects.namespace_of(pod)}/pods/{objects.name_of(pod)}/binding"
        await self._kubectl.create(path, objects.binding_document(pod, node))
        _log(f"pod {name}: bound to {node} (the lab is the scheduler: nodes in turn)")

    async def _wire(self, name: str, pod: Document) -> None:
        namespace, short, node = objects.namespace_of(pod), objects.name_of(pod), objects.node_of(pod)
        space = self._names.pod(namespace, short)
        sandbox = Sandbox(namespace, short, node, uuid.uuid4().hex, space, {})
        serve = objects.served_ports(pod)
        netns.create(space)
        try:
            sandbox = await self._runtime.add(sandbox)
            server = await start_server(self._names, name, serve, node=node, netns=space)
        except BaseException as error:
            if isinstance(error, TortieError):
                why = objects.waiting_status(pod, reason="FailedCreatePodSandBox", message=str(error)[:500])
                with contextlib.suppress(KubectlError):
                    await self._say(pod, why)
            await asyncio.shield(self._discard(sandbox, insist=isinstance(error, TortieError)))
            netns.delete(space)
            raise
        self._wired[name] = PodState(
            namespace=namespace, pod=short, node=node, container_id=sandbox.container_id, netns=space,
            result=sandbox.result, server_pid=server, serve=serve, uid=objects.uid_of(pod),
        )  # fmt: skip
        save_kubelet_pods(self._names, self._wired)
        _log(f"pod {name}: wired on {node}: {' '.join(sandbox.addresses)}")
        await self._report(name, pod)

    async def _discard(self, sandbox: Sandbox, *, insist: bool) -> None:
        """DEL of a sandbox that was not finished. Kubelets repeat it: its addresses come back no other way."""
        while True:
            try:
                await self._runtime.delete(sandbox)
                return
            except TortieError as error:
                _log(f"pod {sandbox.name}: discard: {error}")
            if not insist:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _report(self, name: str, pod: Document) -> None:
        hosts = self._nodes[objects.node_of(pod)]
        wired = self._wired.get(name)
        addresses: Iterable[str] = wired.sandbox.addresses if wired else hosts
        status = objects.running_status(pod, addresses=addresses, host_addresses=hosts, now=objects.timestamp())
        await self._say(pod, status)
        self._remember(name, "report", pod, REPEAT_SECONDS)

    async def _say(self, pod: Document, status: Document) -> None:
        await self._kubectl.patch_status("pod", objects.namespace_of(pod), objects.name_of(pod), status)

    async def _unwire(self, name: str) -> None:
        state = self._wired[name]
        if state.server_pid:
            await process.stop(state.server_pid)
        await self._runtime.delete(state.sandbox)
        netns.delete(state.netns)
        del self._wired[name]
        save_kubelet_pods(self._names, self._wired)
        _log(f"pod {name}: unwired")

    async def _finish(self, name: str, pod: Document) -> None:
        self._remember(name, "finish", pod, REPEAT_SECONDS)
        try:
            await self._kubectl.delete(
                f"/api/v1/namespaces/{objects.namespace_of(pod)}/pods/{objects.name_of(pod)}", objects.removal(pod)
            )
        except KubectlError as error:
            if "NotFound" not in str(error) and "Conflict" not in str(error):
                raise


def _key(item: Document) -> str:
    return f"{objects.namespace_of(item)}/{objects.name_of(item)}"


def _version(item: Document | None) -> str:
    return str(item["metadata"].get("resourceVersion", "")) if item else ""


def _log(text: str) -> None:
    sys.stderr.write(f"{objects.timestamp()} {text}\n")
    sys.stderr.flush()


async def _main(lab: str) -> None:
    names = LabNames(lab)
    state = load_state(names)
    loop, ours = asyncio.get_running_loop(), asyncio.current_task()
    assert ours is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ours.cancel)
    try:
        await Kubelet(names, state.spec, kubernetes_store.kubectl(names, "kubelet", inside=True)).run()
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
