"""A real agent, its own process, in a node's network namespace; pods wired by hand, their endpoints in the datastore."""

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.kernel.dataplane_stage import NODE, Pod, Stage

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.kubernetes import Namespace
from tortie.api.resource import Metadata, Resource
from tortie.base.net import Family
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.sqlite.client import SqliteClient
from tortie.kernel import netns

T = TypeVar("T")
PATIENCE = 30.0


class AgentStage(Stage):
    """Namespaces of an agent's test."""

    def __init__(self) -> None:
        super().__init__()
        self._stem = f"ta{os.getpid()}{secrets.token_hex(2)}"
        self.node = f"{self._stem}n"
        self.outside = f"{self._stem}o"


class AgentNode:
    """One node: its stage, its datastore, and the agent's process while there is one."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.run_dir = folder / "run"
        self.database = folder / "db" / "tortie.sqlite"
        self.database.parent.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.do(ensure_initialized)

    def do(self, action: Callable[[Client], Awaitable[T]]) -> T:
        """One action on the datastore."""

        async def act() -> T:
            client = SqliteClient(str(self.database))
            try:
                return await action(client)
            finally:
                await client.close()

        return asyncio.run(act())

    def apply(self, *resources: Resource) -> None:
        """Create or replace."""

        async def act(client: Client) -> None:
            for resource in resources:
                await operations.apply(client, resource)

        self.do(act)

    def configure(self, **fields: Any) -> None:
        """The cluster's FelixConfiguration, as a whole."""
        self.apply(FelixConfiguration(metadata=Metadata(name="default"), spec=FelixConfigurationSpec(**fields)))

    def pod(self, number: int) -> Pod:
        """A pod that is wired, and whose endpoint is in the datastore."""
        pod = self.stage.pod(number)
        spec = WorkloadEndpointSpec(
            orchestrator="k8s",
            node="node1",
            pod=f"pod{number}",
            endpoint="eth0",
            interface_name=pod.interface,
            ip_networks=tuple(str(net) for net in pod.addresses),
            profiles=("kns.shop",),
        )
        metadata = Metadata(name=f"node1-k8s-pod{number}-eth0", namespace="shop", labels={"app": f"pod{number}"})
        self.apply(Namespace(metadata=Metadata(name="shop")), WorkloadEndpoint(metadata=metadata, spec=spec))
        return pod

    def start(self, *flags: str, wait: bool = True, **environment: str) -> int:
        """Start the agent; its pid."""
        self.run_dir.mkdir(exist_ok=True)
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATASTORE_TYPE": "sqlite",
            "TORTIE_SQLITE_PATH": str(self.database),
            "CALICO_NETWORKING_BACKEND": "none",
            "IP": f"{NODE[Family.V4]}/24",
            "IP6": f"{NODE[Family.V6]}/64",
            **environment,
        }
        command = [sys.executable, "-m", "tortie.cli.main", "agent", "--node", "node1"]
        command += ["--run-dir", str(self.run_dir), "--state-dir", str(self.folder / "state"), *flags]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={netns.path_of(self.stage.node)}", "--", *command],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.until(lambda: self.status().get("ready") is True)
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE)
        self.process = None
        return code

    def log(self) -> str:
        """All that the agents said so far."""
        return (self.folder / "agent.log").read_text()

    def status(self) -> dict[str, Any]:
        """status.json, empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.run_dir / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def get(self, path: str, *, port: int, timeout: float = 5.0) -> tuple[int, str]:
        """A page, fetched inside the node's namespace; status 0 when nobody answers."""

        def fetch() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except (ConnectionError, TimeoutError):
                return 0, ""
            finally:
                connection.close()

        return netns.run_in_named(self.stage.node, fetch)

    def until(self, condition: Callable[[], bool], *, patience: float = PATIENCE) -> None:
        """Return once it holds; fails with the agent's log when it does not in time."""
        deadline = time.monotonic() + patience
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the agent ended:\n{self.log()[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not come about; status {self.status()}\n{self.log()[-4000:]}")
            time.sleep(0.05)


@contextlib.contextmanager
def agent_node() -> Iterator[AgentNode]:
    """A node without an agent yet; everything is removed at the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ta-"))
        stack.callback(shutil.rmtree, folder)
        stage = AgentStage()
        stack.callback(stage.close)
        stage.build()
        node = AgentNode(stage, folder)
        try:
            yield node
        finally:
            if node.process is not None:
                node.process.kill()
                node.process.wait()
