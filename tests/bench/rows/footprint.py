"""What an agent costs that has nothing to do: memory and CPU, with a large cluster in the store beside an empty one."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.names import workload_endpoint_name
from tortie.api.policy import NetworkPolicy
from tortie.api.resource import Metadata
from tortie.lab.cluster import Lab
from tortie.lab.spec import PodSpec

PODS, POLICIES, NODES = 5000, 1000, 100
_WINDOW_SECONDS = 4.0
_OURS = f"{PODS} pods, {POLICIES} policies"
_ROWS = (
    Row("agent-memory", f"agent's resident memory, {_OURS}", "agent, empty store", "MiB"),
    Row("agent-idle-cpu", f"idle agent's CPU, {_OURS}", "agent, empty store", "ms/s"),
)


def endpoints() -> Iterator[WorkloadEndpoint]:
    """Endpoints on other nodes, 50 a node."""
    for number in range(PODS):
        pod = f"pod-{number}"
        spec = WorkloadEndpointSpec(
            orchestrator="k8s",
            node=f"other-{number % NODES}",
            pod=pod,
            endpoint="eth0",
            interface_name=f"cali{number:011x}",
            ip_networks=(f"10.{60 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32",),
            profiles=(f"kns.{ground.NAMESPACE}",),
        )
        labels = {"app": f"a{number % 200}", "tier": f"t{number % 5}", "projectcalico.org/orchestrator": "k8s"}
        labels |= {"projectcalico.org/namespace": ground.NAMESPACE}
        yield WorkloadEndpoint(
            metadata=Metadata(name=workload_endpoint_name(spec), namespace=ground.NAMESPACE, labels=labels), spec=spec
        )


def policies() -> Iterator[NetworkPolicy]:
    """Five of them for each kind of pod."""
    for number in range(POLICIES):
        yield ground.other_policy(number, f"app == 'a{number % 200}'")


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1") as large, ground.lab("n1") as empty:
        await ground.fill(large.client, endpoints())
        await ground.fill(large.client, policies())
        await large.add_pod(PodSpec(name=f"{ground.NAMESPACE}/local", labels={"app": "a1"}), default_node="n1")
        large.kill_agent("n1")  # what counts is an agent that has started with all this
        await large.start_agent("n1")
        await asyncio.sleep(3)

        async def measure(_: int) -> Mapping[str, Pair]:
            before = time.perf_counter(), _cpu_seconds(large), _cpu_seconds(empty)
            time.sleep(_WINDOW_SECONDS)
            after = time.perf_counter(), _cpu_seconds(large), _cpu_seconds(empty)
            seconds, ours, peer = (late - early for early, late in zip(before, after, strict=True))
            return {
                "agent-memory": Pair([_resident_mib(large)], [_resident_mib(empty)]),
                "agent-idle-cpu": Pair([ours * 1000 / seconds], [peer * 1000 / seconds]),
            }

        yield measure


def _agent(lab: Lab) -> Path:
    return Path("/proc", str(lab.state.agents["n1"]))


def _resident_mib(lab: Lab) -> float:
    line = next(line for line in (_agent(lab) / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _cpu_seconds(lab: Lab) -> float:
    """Of all threads, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (_agent(lab) / "task").iterdir()) / 1e9


BENCH = Bench("footprint", _ROWS, _stage)
