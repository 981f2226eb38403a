"""A node and its pods as network namespaces, with the CNI server inside the node, driven as a container runtime does."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kernel.spaces import named_space

from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kubernetes import Namespace, Pod, PodSpec
from tortie.api.resource import Key, Metadata
from tortie.base import process
from tortie.cni import build
from tortie.cni.plugin import Plugin
from tortie.cni.server import CniServer
from tortie.convert.names import veth_name
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.sqlite.client import SqliteClient
from tortie.intent.keys import EndpointId
from tortie.ipam.allocator import Ipam
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.route import PROTOCOL, Routes

NODE = "node1"
CONFIG: dict[str, Any] = {
    "name": "k8s-pod-network",
    "cniVersion": "1.1.0",
    "type": "tortie-cni",
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"},
}


@dataclass
class Answer:
    """What the runtime saw."""

    status: int
    document: dict[str, Any]

    @property
    def code(self) -> int:
        return int(self.document.get("code", 0))

    @property
    def words(self) -> str:
        return f"{self.document.get('msg', '')} {self.document.get('details', '')}"

    @property
    def addresses(self) -> list[str]:
        return [entry["address"] for entry in self.document["ips"]]


class Troubled:
    """Passes calls on, except those that are to fail."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.failing: dict[str, Exception] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in self.failing or not callable(found):
            return found

        async def fail(*_: Any, **__: Any) -> Any:
            raise self.failing[name]

        return fail


@dataclass
class Stage:
    """What a test works with. Everything runs in the node's namespace."""

    node: str
    executable: Path
    socket: Path
    client: Any
    ipam: Any
    stack: contextlib.ExitStack
    stop_serving: Callable[[], Awaitable[None]]
    pods: dict[str, str] = field(default_factory=dict)
    programmed: Callable[[EndpointId, float], Awaitable[bool]] | None = None
    not_ready: str = ""
    waited_for: list[EndpointId] = field(default_factory=list)

    @property
    def mtu_file(self) -> Path:
        """Where the node says its MTU, if it does."""
        return self.socket.parent / "mtu"

    async def wait_until_programmed(self, endpoint: EndpointId, timeout: float) -> bool:
        self.waited_for.append(endpoint)
        return True if self.programmed is None else await self.programmed(endpoint, timeout)

    async def pod(self, name: str, **metadata: Any) -> str:
        """A pod in the datastore and its namespace; returns the namespace's path."""
        pod = Pod(
            metadata=Metadata(name=name, namespace="shop", labels={"app": name}, **metadata),
            spec=PodSpec(node_name=NODE, service_account_name="default"),
        )
        await self.client.create(pod)
        return self.sandbox(name)

    def sandbox(self, name: str) -> str:
        """A fresh network namespace for a pod."""
        self.pods[name] = self.stack.enter_context(named_space("tcp"))
        return netns.path_of(self.pods[name])

    def environment(self, command: str, pod: str, container: str, **more: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns.path_of(self.pods[pod]) if pod in self.pods else "",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}",
            "TORTIE_CNI_SOCKET": str(self.socket),
            **more,
        }

    async def call(self, command: str, pod: str, container: str = "c1", *, env: Any = None, **config: Any) -> Answer:
        """Execute the plugin."""
        environment = self.environment(command, pod, container, **(env or {}))
        done = await process.run([str(self.executable)], stdin=json.dumps({**CONFIG, **config}).encode(), env=environment)
        assert done.stderr == b""
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout else {})

    async def residue(self) -> list[str]:
        """What is left of pods anywhere, in words."""
        found = []
        with Links() as links, Routes() as routes:
            found += [f"device {link.name}" for link in links.list() if link.name.startswith("cali")]
            found += [f"route {route}" for route in routes.list(protocol=PROTOCOL)]
        for pod, name in self.pods.items():
            if netns.exists(name):
                with netns.opened(name) as fd, Links(fd) as links, Routes(fd) as routes:
                    found += [f"{pod}: device {link.name}" for link in links.list() if not link.loopback]
                    found += [f"{pod}: route {route}" for route in routes.list() if route.device != "lo"]
        for kind in ("WorkloadEndpoint", "IPAMHandle"):
            found += [str(item.key) for item in (await self.client.list(kind)).items]
        return found

    def in_pod(self, pod: str, *argv: str) -> str:
        """What a command says inside a pod."""
        done = process.run_blocking(list(argv), netns_path=netns.path_of(self.pods[pod])).check()
        return done.stdout.decode()

    def veth(self, pod: str) -> str:
        return veth_name("shop", pod)

    async def endpoint(self, pod: str) -> Any:
        return await self.client.get(Key("WorkloadEndpoint", "shop", f"{NODE}-k8s-{pod}-eth0"))


@contextlib.asynccontextmanager
async def _staged(node: str, executable: Path, folder: Path, *, stack: contextlib.ExitStack) -> AsyncIterator[Stage]:
    client = Troubled(SqliteClient(str(folder / "tortie.sqlite")))
    try:
        await ensure_initialized(client.inner)
        await client.create(Namespace(metadata=Metadata(name="shop")))
        for name, cidr in (("v4", "10.65.0.0/16"), ("v6", "fd00:65::/48")):
            await client.create(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr)))
        ipam = Troubled(Ipam(client.inner))
        ended = asyncio.Event()

        async def stop_serving() -> None:
            """Leave the socket to another server."""
            task.cancel()
            await ended.wait()

        stage = Stage(node, executable, folder / "cni.sock", client, ipam, stack, stop_serving)
        plugin = Plugin(
            client=client,
            ipam=ipam,
            node=NODE,
            wait_until_programmed=stage.wait_until_programmed,
            mtu_files=(stage.mtu_file,),
            not_ready=lambda: stage.not_ready,
        )
        server = CniServer(stage.socket, plugin)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.run())
            task.add_done_callback(lambda _: ended.set())
            while not server.serving:
                await asyncio.sleep(0.005)
            try:
                yield stage
            finally:
                task.cancel()
    finally:
        await client.close()


def ok(answer: Answer) -> Answer:
    """An answer that is no error."""
    assert answer.status == 0, answer.document
    return answer


def on_node(executable: Path, scenario: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scenario inside a fresh node."""

    async def run(node: str, stack: contextlib.ExitStack, folder: Path) -> None:
        async with _staged(node, executable, folder, stack=stack) as stage:
            await scenario(stage)

    folder = Path(tempfile.mkdtemp(prefix=f"tc{os.getpid()}-{secrets.token_hex(3)}"))
    try:
        with contextlib.ExitStack() as stack:
            node = stack.enter_context(named_space("tcn"))
            netns.run_in_named(node, lambda: asyncio.run(run(node, stack, folder)))
    finally:
        shutil.rmtree(folder)


def build_executables(folder: Path) -> dict[str, Path]:
    """Both forms of the plugin."""
    shim, client = folder / "shim" / "tortie-cni", folder / "client" / "tortie-cni"
    shim.parent.mkdir()
    client.parent.mkdir()
    build.build_shim(shim, compiler="gcc")
    build.install_client(client)
    return {"shim": shim, "client": client}
