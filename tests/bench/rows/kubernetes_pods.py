"""List and watch of 50,000 pods of a Kubernetes API server, beside the same bytes read by aiohttp and decoded by json.loads.

The server is a process that plays bytes: what is measured is the client, up to resources that the agent can use.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.datastore.kubernetes.client import KubernetesClient
from tortie.datastore.kubernetes.places import CRD_V1
from tortie.datastore.kubernetes.settings import Login, Settings

PODS = 50_000
_PAGE = 500
_ROWS = (
    Row("kubernetes-list", f"list of {PODS} pods, decoded", "the same pages by aiohttp and json.loads", "s"),
    Row("kubernetes-endpoints", f"list of {PODS} pods as endpoints", "the same pages by aiohttp and json.loads", "s"),
    Row(
        "kubernetes-watch",
        f"watch of {PODS} changed pods",
        "the same lines by aiohttp and json.loads",
        "events/s",
        better="more",
    ),
)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    # Not a process group of its own: it ends with us, as its standard output does.
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.pods_server", str(PODS)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        server = f"http://127.0.0.1:{int(process.stdout.readline())}"

        async def measure(_: int) -> Mapping[str, Pair]:
            pods, endpoints, events = (
                await _ours(server, "Pod"),
                await _ours(server, "WorkloadEndpoint"),
                await _watched(server),
            )
            listed, watched = await _peers(server)
            return {
                "kubernetes-list": Pair([pods], [listed]),
                "kubernetes-endpoints": Pair([endpoints], [listed]),
                "kubernetes-watch": Pair([PODS / events], [PODS / watched]),
            }

        yield measure
    finally:
        process.kill()
        process.wait()


def _client(server: str) -> KubernetesClient:
    return KubernetesClient(Settings(server, Login(), group=CRD_V1))


async def _ours(server: str, kind: str) -> float:
    client = _client(server)
    try:
        started = time.perf_counter()
        listing = await client.list_many((kind,))
        spent = time.perf_counter() - started
        if len(listing.items) != PODS:
            raise RuntimeError(f"{len(listing.items)} of {PODS} were listed")
        return spent
    finally:
        await client.close()


async def _watched(server: str) -> float:
    client = _client(server)
    seen, started = 0, time.perf_counter()
    try:
        async with aclosing(client.watch(("Pod",), revision="1000000")) as batches:  # type: ignore[type-var]
            async for batch in batches:
                seen += len(batch)
                if seen >= PODS:
                    break
        return time.perf_counter() - started
    finally:
        await client.close()


async def _peers(server: str) -> tuple[float, float]:
    """Seconds for the list and for the watch."""
    import aiohttp

    async with aiohttp.ClientSession(read_bufsize=1 << 20) as session:
        started, rest, items = time.perf_counter(), "", list[Any]()
        while True:
            async with session.get(f"{server}/api/v1/pods?limit={_PAGE}&continue={rest or 0}") as answer:
                page = json.loads(await answer.read())
            items += page["items"]
            rest = page["metadata"]["continue"]
            if not rest:
                break
        listed = time.perf_counter() - started
        started, seen = time.perf_counter(), 0
        async with session.get(f"{server}/api/v1/pods?watch=1") as answer:
            async for line in answer.content:
                json.loads(line)
                seen += 1
                if seen == len(items):
                    break
        return listed, time.perf_counter() - started


BENCH = Bench("kubernetes", _ROWS, _stage)
