"""How fast the embedded datastore is: `python -m tests.bench.datastore [directory]`. Prints numbers, asserts nothing.

Latency is from the start of a create in this process to the moment the event is in the hands of a watcher in another one,
by the clock that processes share. It includes the event loops of both.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import msgspec

from tortie.api.networkset import NetworkSet, NetworkSetSpec
from tortie.api.resource import Metadata
from tortie.datastore.sqlite.client import SqliteClient
from tortie.datastore.sqlite.schema import Synchronous

_EVENTS = 500
_ROWS = 20_000


def _resource(name: str) -> NetworkSet:
    nets = tuple(f"10.0.{i}.0/24" for i in range(20))
    return NetworkSet(metadata=Metadata(name=name, namespace="bench"), spec=NetworkSetSpec(nets=nets))


def _line(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"{what:<44} p50 {statistics.median(ordered) * 1000:7.3f} ms   p99 {ordered[int(len(ordered) * 0.99)] * 1000:7.3f} ms"
    )


async def _watch(path: str) -> None:
    """The other process: prints each name and the time at which it was seen."""
    client = SqliteClient(path)
    revision = (await client.list("NetworkSet")).revision
    print("ready", flush=True)
    seen: list[str] = []
    async for batch in client.watch(["NetworkSet"], revision=revision):
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        seen += [f"{event.key.name} {now}" for event in batch]
        if len(seen) >= _EVENTS:
            break
    print("\n".join(seen), flush=True)
    await client.close()


async def _latency(path: str, synchronous: Synchronous) -> None:
    watcher = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.datastore", "--watch", path, stdout=asyncio.subprocess.PIPE
    )
    assert watcher.stdout is not None
    await watcher.stdout.readline()
    client = SqliteClient(path, synchronous=synchronous)
    started: dict[str, float] = {}
    took: list[float] = []
    for i in range(_EVENTS):
        resource = _resource(f"{synchronous.lower()}-{i}")
        started[resource.metadata.name] = before = time.clock_gettime(time.CLOCK_MONOTONIC)
        await client.create(resource)
        took.append(time.clock_gettime(time.CLOCK_MONOTONIC) - before)
        await asyncio.sleep(0.003)
    lines = (await watcher.stdout.read()).decode().split("\n")
    seen = dict(line.split() for line in lines if line)
    await watcher.wait()
    await client.close()
    _line(f"{synchronous}: create returns", took)
    _line(f"{synchronous}: create to seen by another process", [float(seen[name]) - at for name, at in started.items()])


async def _bulk(path: str) -> None:
    client = SqliteClient(path)
    at = time.perf_counter()
    for i in range(_ROWS):
        await client.create(_resource(f"bulk-{i}"))
    print(f"{_ROWS} creates one after the other{'':<15} {_ROWS / (time.perf_counter() - at):9.0f} /s")
    at = time.perf_counter()
    listing = await client.list("NetworkSet")
    print(f"list of {len(listing.items)}{'':<31} {time.perf_counter() - at:9.3f} s")
    at = time.perf_counter()
    first = listing.items[0]
    for _ in range(2000):
        first = await client.update(msgspec.structs.replace(first, spec=NetworkSetSpec()))
    print(f"2000 updates of one{'':<25} {2000 / (time.perf_counter() - at):9.0f} /s")
    await client.close()


def main() -> None:
    """Run all of it in a directory of its own."""
    if sys.argv[1:2] == ["--watch"]:
        asyncio.run(_watch(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        path = os.path.join(directory, "bench.sqlite")
        asyncio.run(_latency(path, "NORMAL"))
        asyncio.run(_latency(path, "FULL"))
        asyncio.run(_bulk(path))


if __name__ == "__main__":
    main()
