"""A node's table in the kernel: 2,000 sets of 100 addresses and 1,000 policies, two chains each, for 100 endpoints.

Measured in this process as the agent does it (one loop, one table's thread, the graph before the dataplane), in fresh network
namespaces: the first programming beside `nft -f` of the same ruleset, and then single changes, from the datastore's update to
the kernel's acknowledgement. The loop must not be held meanwhile: nothing else of the agent would run.
"""

import asyncio
import contextlib
import gc
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import msgspec
from tests.bench import ground, idle_loop
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.agent import garbage
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.networkset import GlobalNetworkSet, NetworkSetSpec
from tortie.api.policy import GlobalNetworkPolicy
from tortie.api.resource import Metadata, Resource, Update
from tortie.calc.graph import Graph
from tortie.dataplane.linux import LinuxDataplane
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Routes
from tortie.kernel.route_table import RouteTable

_NODE = "here"
_SETS, _MEMBERS, _POLICIES, _ENDPOINTS = 2000, 100, 1000, 100
_CHANGES = 500
_FIRST_SECONDS, _CHANGE_P50_MS, _CHANGE_P99_MS = 2.0, 2.0, 10.0
_HOLD_LIMIT = 10.0
_THRESHOLDS = gc.get_threshold()
_SIZE = f"{_SETS} sets x {_MEMBERS}, {2 * _POLICIES} policy chains"
_CHANGE = f"one policy changes, datastore's update to kernel's acknowledgement, {_SIZE}"
_ROWS = (
    Row("first-programming", f"first programming, {_SIZE}", "`nft -f` of the same ruleset", "s"),
    Row("first-programming-bound", f"first programming, {_SIZE}", "the bound: 2 s", "s", target=1.0),
    Row(
        "programming-hold",
        "longest hold of the loop meanwhile",
        "the rule: 10 ms, or what an idle loop suffers",
        "ms",
        target=1.0,
    ),
    Row("policy-change-p50", f"{_CHANGE}, p50", "the bound: 2 ms", "ms", target=1.0),
    Row("policy-change-p99", f"{_CHANGE}, p99", "the bound: 10 ms", "ms", quantile=0.99, target=1.0),
)


class _Took(NamedTuple):
    seconds: float
    longest_hold: float
    changes: list[float]


def resources() -> Iterator[Resource]:
    """What the datastore holds: sets, policies that name two of them, and a hundred endpoints, ten policies on each."""
    for number in range(_SETS):
        nets = tuple(f"10.{number >> 6}.{number % 64 * 4 + (i >> 5)}.{i % 32 * 8}" for i in range(_MEMBERS))
        yield GlobalNetworkSet(
            metadata=Metadata(name=f"set-{number}", labels={"set": str(number)}), spec=NetworkSetSpec(nets=nets)
        )
    for number in range(_POLICIES):
        yield policy(number, port=8000)
    for number in range(_ENDPOINTS):
        spec = WorkloadEndpointSpec(
            orchestrator="k8s",
            node=_NODE,
            pod=f"pod-{number}",
            endpoint="eth0",
            interface_name=f"cali{number:011x}",
            ip_networks=(f"192.168.{number}.1/32",),
        )
        name = f"{_NODE}-k8s-pod--{number}-eth0"
        yield WorkloadEndpoint(metadata=Metadata(name=name, namespace="bench", labels={"pod": str(number)}), spec=spec)


def policy(number: int, *, port: int) -> GlobalNetworkPolicy:
    """One that two sets stand in, and a network."""
    ingress = [
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {"selector": f"set == '{2 * number}'"},
            "destination": {"ports": [f"{port}:{port + number % 100}"]},
        },
        {"action": "Allow", "protocol": "TCP", "source": {"nets": [f"172.{number >> 8}.{number & 255}.0/24"]}},
    ]
    egress = [{"action": "Deny", "destination": {"selector": f"set == '{2 * number + 1}'"}}]
    spec = {
        "selector": f"pod == '{number % _ENDPOINTS}'",
        "types": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return msgspec.convert({"metadata": {"name": f"policy-{number:05d}"}, "spec": spec}, GlobalNetworkPolicy)


async def _changed(graph: Graph, dataplane: LinuxDataplane) -> list[float]:
    """Milliseconds of single changes, one after the other."""
    taken = []
    for number in range(_CHANGES):
        changed = policy(number % _POLICIES, port=9000 + number % 500)
        started = time.perf_counter()
        graph.on_updates([Update(changed.key, changed)])
        dataplane.on_messages(graph.flush())
        await dataplane.apply()
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0)
    return taken


async def program(fd: int, what: list[Resource]) -> _Took:
    """One first programming of a namespace, then changes."""
    graph = Graph(_NODE)
    graph.on_updates(Update(each.key, each) for each in what)
    graph.on_in_sync()
    messages = graph.flush()
    table, routes, conntrack = NftTable(netns_fd=fd), Routes(fd), Conntrack(fd)
    dataplane = LinuxDataplane(table, RouteTable(routes), conntrack=conntrack)
    gc.collect()
    gc.freeze()
    garbage.start_loading()
    try:
        async with asyncio.TaskGroup() as group:
            holds: list[float] = []
            ticking = group.create_task(idle_loop.tick(holds))
            await asyncio.sleep(0.05)
            holds.clear()
            started = time.perf_counter()
            dataplane.on_messages(messages)
            await dataplane.apply()
            seconds = time.perf_counter() - started
            await asyncio.sleep(0.005)
            ticking.cancel()
        garbage.loaded()
        return _Took(seconds, max(holds), await _changed(graph, dataplane))
    finally:
        garbage.loaded()
        gc.unfreeze()
        gc.set_threshold(*_THRESHOLDS)
        await table.close()
        routes.close()
        conntrack.close()


def _nft(namespace: str, *arguments: str, text: str = "") -> str:
    command = ["nft", *arguments]
    return netns.run_in_named(
        namespace, lambda: subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    )


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    what = list(resources())
    with ground.spaces(1) as (namespace,), netns.opened(namespace) as fd:
        await program(fd, what)
        ruleset = _nft(namespace, "list", "table", "inet", "tortie")

    async def measure(_: int) -> Mapping[str, Pair]:
        with ground.spaces(2) as (ours, peer):
            with netns.opened(ours) as fd, idle_loop.running() as beside:
                took = await program(fd, what)
            started = time.perf_counter()
            _nft(peer, "-f", "-", text=ruleset)
            seconds = time.perf_counter() - started
        return {
            "first-programming": Pair([took.seconds], [seconds]),
            "first-programming-bound": Pair([took.seconds], [_FIRST_SECONDS]),
            "programming-hold": Pair([took.longest_hold], [max(_HOLD_LIMIT, beside.longest)]),
            "policy-change-p50": Pair(took.changes, [_CHANGE_P50_MS]),
            "policy-change-p99": Pair(took.changes, [_CHANGE_P99_MS]),
        }

    yield measure


BENCH = Bench("programming", _ROWS, _stage)
