"""The calculation graph alone: a snapshot, one relabelled endpoint, a large cluster. Each in a process of its own.

Beside each stands its bound; beside the snapshot also a floor, which is decoding the same resources.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tests.bench.measuring import Bench, Measure, Pair, Row

_POLICIES, _LOCAL = 10_000, 200
_ENDPOINTS, _MANY_ENDPOINTS = 5_000, 100_000
_SNAPSHOT_SECONDS, _LARGE_SECONDS, _LARGE_MIB = 1.0, 10.0, 1536.0
_RELABEL_P50_MICROSECONDS, _RELABEL_P99_MICROSECONDS = 200.0, 2000.0

_SIZE = f"{_POLICIES} policies x {_ENDPOINTS} endpoints, {_LOCAL} local"
_LARGE = f"{_POLICIES} policies x {_MANY_ENDPOINTS} endpoints"
_RELABEL = f"one endpoint relabelled among {_SIZE}, collector on"
_ROWS = (
    Row("calc-snapshot", f"snapshot of {_SIZE}", "the bound: 1 s", "s", target=1.0),
    Row("calc-decode", f"snapshot of {_SIZE}", "decoding the same resources", "s"),
    Row("calc-relabel-p50", f"{_RELABEL}, p50", "the bound: 200 µs", "µs", target=1.0),
    Row("calc-relabel-p99", f"{_RELABEL}, p99", "the bound: 2 ms", "µs", quantile=0.99, target=1.0),
    Row("calc-large", f"snapshot of {_LARGE}", "the bound: 10 s", "s", target=1.0),
    Row("calc-large-memory", f"resident after {_LARGE}, input included", "the bound: 1.5 GiB", "MiB", target=1.0),
)


async def _measured(endpoints: int) -> dict[str, Any]:
    arguments = ("-m", "tests.bench.calculation", str(_POLICIES), str(endpoints), str(_LOCAL))
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"the calculation of {endpoints} endpoints ended with {child.returncode}")
    found: dict[str, Any] = json.loads(output)
    return found


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async def measure(_: int) -> Mapping[str, Pair]:
        usual, large = await _measured(_ENDPOINTS), await _measured(_MANY_ENDPOINTS)
        relabels = usual["relabelMicroseconds"]
        return {
            "calc-snapshot": Pair([usual["snapshot"]], [_SNAPSHOT_SECONDS]),
            "calc-decode": Pair([usual["snapshot"]], [usual["decode"]]),
            "calc-relabel-p50": Pair(relabels, [_RELABEL_P50_MICROSECONDS]),
            "calc-relabel-p99": Pair(relabels, [_RELABEL_P99_MICROSECONDS]),
            "calc-large": Pair([large["snapshot"]], [_LARGE_SECONDS]),
            "calc-large-memory": Pair([large["residentMib"]], [_LARGE_MIB]),
        }

    yield measure


BENCH = Bench("calculation", _ROWS, _stage)
