"""Routes: 65,536 of them programmed and read back, and those of a cluster of 500 nodes, from the datastore to the kernel.

Measured in this process as the agent does it, in fresh network namespaces; the floor is `ip -batch` adding the same routes.
"""

import asyncio
import contextlib
import gc
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import ground, idle_loop
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.agent import garbage
from tortie.agent.pipeline import Pipeline
from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec
from tortie.api.ipam import BlockAffinity, BlockAffinitySpec, affinity_name
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Metadata, Resource
from tortie.base.metrics import Metrics
from tortie.base.net import FAMILIES, Family, Prefix, parse_address, parse_interface, parse_prefix
from tortie.calc.graph import KINDS, Graph
from tortie.convert.feed import convert_update
from tortie.dataplane.linux import LinuxDataplane
from tortie.datastore.config import open_client
from tortie.datastore.syncer import Batch, Syncer
from tortie.intent.messages import Message
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.link import Links
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import PROTOCOL, Route, Routes
from tortie.kernel.route_table import RouteTable

_ROUTES, _NODES, _BLOCKS = 65_536, 500, 8
_RATE, _RESYNC_SECONDS, _HOLD_LIMIT = 40_000, 0.3, 10.0
_NODE = "n0"
_CLUSTER = f"{_NODES} nodes x {_BLOCKS} blocks, datastore in sqlite"


class _Ground(NamedTuple):
    """Of one family: where a node is, the machine behind it, the first of its blocks, and how rows are called."""

    own: str
    via: str
    block: str
    prefix: str = ""
    words: str = ""


_GROUNDS = {
    Family.V4: _Ground("172.16.0.1/16", "172.16.0.9", "10.0.0.0/26"),
    Family.V6: _Ground("fd00:172::1/64", "fd00:172::9", "fd00:10::/122", "ipv6-", " IPv6"),
}


def _rows(family: Family) -> tuple[Row, ...]:
    _, _, _, prefix, words = _GROUNDS[family]
    put, read = f"{_ROUTES}{words} routes put and applied", f"{_ROUTES}{words} routes read back, nothing changed"
    idle = "the rule: 10 ms, or what an idle loop suffers"
    return (
        Row(f"{prefix}routes-65536", put, f"`ip -{family.value} -batch` adds the same", "s"),
        Row(f"{prefix}routes-65536-bound", put, f"the bound: {_RATE} routes/s", "s", target=1.0),
        Row(f"{prefix}routes-resync", read, f"the bound: {_RESYNC_SECONDS} s", "s", target=1.0),
        Row(f"{prefix}routes-hold", f"longest hold of the loop meanwhile{words and ','}{words}", idle, "ms", target=1.0),
    )


_CLUSTER_ROWS = (
    Row("cluster-500", f"in sync to all routes in the kernel, {_CLUSTER}", "`ip -batch` adds the same routes", "s"),
    Row("cluster-500-start", f"nothing read to all routes in the kernel, {_CLUSTER}", "`ip -batch` adds the same routes", "s"),
)


class _Took(NamedTuple):
    program: float
    resyncs: list[float]
    hold: float


def _equip(fd: int, family: Family = Family.V4) -> None:
    with Links(fd) as links:
        links.create_veth("up0", "up0p")
        links.set_up("up0")
        links.set_up("up0p")
        links.add_address("up0", parse_interface(_GROUNDS[family].own))


def _floor(namespace: str, routes: Sequence[Route]) -> float:
    """Seconds that iproute2 takes in a namespace of its own."""
    family = routes[0].dst.family
    with netns.opened(namespace) as fd:
        _equip(fd, family)
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"route add {each.dst} via {each.via} dev up0 onlink proto {PROTOCOL}\n" for each in routes)
        file.flush()
        started = time.perf_counter()
        netns.run_in_named(namespace, lambda: subprocess.run(["ip", f"-{family.value}", "-batch", file.name], check=True))
        return time.perf_counter() - started


@contextlib.contextmanager
def _as_an_agent() -> Iterator[None]:
    """The garbage collector as the agent has it."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    garbage.start_loading()
    try:
        yield
    finally:
        garbage.loaded()
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def _many(family: Family = Family.V4) -> list[Route]:
    block, via = parse_prefix(_GROUNDS[family].block), parse_address(_GROUNDS[family].via)
    dsts = [Prefix(family, block.value + (number << 6), block.length) for number in range(_ROUTES)]
    return [Route(dst=dst, via=via, device="up0", onlink=True) for dst in dsts]


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def _program(fd: int, wanted: Sequence[Route]) -> _Took:
    with Routes(fd) as routes, _as_an_agent():
        table = RouteTable(routes)

        async def first() -> None:
            for number, route in enumerate(wanted):
                table.put(route)
                if not number % 500:
                    await asyncio.sleep(0)
            await table.apply_in_slices()

        async with asyncio.TaskGroup() as group:
            holds: list[float] = []
            ticking = group.create_task(idle_loop.tick(holds))
            await asyncio.sleep(0.05)
            holds.clear()
            program = await _timed(first)
            garbage.loaded()
            resyncs = []
            for _ in range(3):
                table.distrust()
                resyncs.append(await _timed(table.apply_in_slices))
            await asyncio.sleep(0.005)
            ticking.cancel()
        if len(routes.list(protocol=PROTOCOL)) != len(wanted):
            raise RuntimeError("not all routes are in the kernel")
        return _Took(program, resyncs, max(holds))


def _routes_bench(family: Family) -> Bench:
    prefix = _GROUNDS[family].prefix

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[Measure]:
        wanted = _many(family)

        async def measure(_: int) -> Mapping[str, Pair]:
            with ground.spaces(2) as (ours, peer):
                with netns.opened(ours) as fd, idle_loop.running() as beside:
                    _equip(fd, family)
                    took = await _program(fd, wanted)
                floor = _floor(peer, wanted)
            return {
                f"{prefix}routes-65536": Pair([took.program], [floor]),
                f"{prefix}routes-65536-bound": Pair([took.program], [_ROUTES / _RATE]),
                f"{prefix}routes-resync": Pair(took.resyncs, [_RESYNC_SECONDS]),
                f"{prefix}routes-hold": Pair([took.hold], [max(_HOLD_LIMIT, beside.longest)]),
            }

        yield measure

    return Bench(f"{prefix}routes", _rows(family), stage)


# ---- a cluster ----
def _resources() -> Iterator[Resource]:
    """Nodes of one subnet, each with its blocks, all routes the agent's."""
    yield IPPool(metadata=Metadata(name="pool"), spec=IPPoolSpec(cidr="10.0.0.0/8", block_size=26))
    yield BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(program_cluster_routes="Disabled"))
    for number in range(_NODES):
        name, address = f"n{number}", f"172.16.{(number + 1) >> 8}.{(number + 1) & 255}/16"
        yield Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=NodeBGP(ipv4_address=address)))
        for block in range(_BLOCKS):
            index = number * _BLOCKS + block
            cidr = str(Prefix(Family.V4, parse_prefix("10.0.0.0/26").value + (index << 6), 26))
            spec = BlockAffinitySpec(state="confirmed", node=name, cidr=cidr)
            yield BlockAffinity(metadata=Metadata(name=affinity_name(name, cidr)), spec=spec)


async def _from_datastore(fd: int, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds until all routes are in the kernel, from the first request and from in-sync."""
    client = open_client(environment, None)
    table, routes, conntrack, links = NftTable(netns_fd=fd), Routes(fd), Conntrack(fd), Links(fd)
    dataplane = LinuxDataplane(table, RouteTable(routes), conntrack=conntrack, links=links)
    graph = Graph(_NODE, overrides={"ProgramClusterRoutes": "EnabledNoEncapOnly"})
    complete = asyncio.Event()

    def deliver(messages: Sequence[Message]) -> None:
        dataplane.on_messages(messages)

    pipeline = Pipeline(graph, Metrics(), deliver)
    in_sync_at = 0.0

    async def on_batch(batch: Batch) -> None:
        nonlocal in_sync_at
        if batch.in_sync:
            in_sync_at = time.perf_counter()
        await pipeline.on_batch(batch)
        if batch.in_sync:
            complete.set()

    started = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(Syncer(client, KINDS, convert=convert_update).run(on_batch))
            await complete.wait()
            await dataplane.apply()
            ended = time.perf_counter()
            following.cancel()
        found = len(routes.list(protocol=PROTOCOL))
        if found != _NODES * _BLOCKS:
            raise RuntimeError(f"{found} routes are in the kernel, {_NODES * _BLOCKS} should be")
        return ended - started, ended - in_sync_at
    finally:
        await table.close()
        await client.close()
        for each in (routes, conntrack, links):
            each.close()


@contextlib.asynccontextmanager
async def _cluster_stage() -> AsyncIterator[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(Path(folder) / "store.db")}
        client = open_client(environment, None)
        await ground.fill(client, _resources())
        await client.close()
        wanted = _many()[: _NODES * _BLOCKS]

        async def measure(_: int) -> Mapping[str, Pair]:
            with ground.spaces(2) as (ours, peer):
                with netns.opened(ours) as fd, _as_an_agent():
                    _equip(fd)
                    whole, from_in_sync = await _from_datastore(fd, environment)
                floor = _floor(peer, wanted)
            return {"cluster-500": Pair([from_in_sync], [floor]), "cluster-500-start": Pair([whole], [floor])}

        yield measure


BENCHES = (*map(_routes_bench, FAMILIES), Bench("cluster-500", _CLUSTER_ROWS, _cluster_stage))
