"""Address assignment, one after the other, beside the floor: that many bare writes to the same datastore."""

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kubernetes import Namespace
from tortie.api.networkset import NetworkSet, NetworkSetSpec
from tortie.api.node import Node
from tortie.api.resource import Metadata
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import AssignRequest, Ipam

_PODS = 100
_LEAST_CALLS = 3.0
"""Read the block, swap the block, write the handle."""
_ROWS = (
    Row("ipam-rate", "IPv4 assignments", "bare creates in the same datastore", "/s", better="more"),
    Row("ipam-calls", "datastore calls per pod, IPv4", "the least there can be", ""),
)
_CALLS = frozenset({"create", "update", "delete", "get", "list", "list_many"})


class _Counting:
    """Passes calls on and counts them."""

    def __init__(self, inner: Client) -> None:
        self._inner = inner
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name in _CALLS:
            self.calls += 1
        return getattr(self._inner, name)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    with tempfile.TemporaryDirectory(prefix="tortie-bench-") as folder:
        client = SqliteClient(str(Path(folder) / "ipam.sqlite"))
        counting = _Counting(client)
        ipam = Ipam(cast(Client, counting))
        try:
            await ensure_initialized(client)
            await operations.apply(client, Node(metadata=Metadata(name="n1")))
            await operations.apply(client, Namespace(metadata=Metadata(name="bench")))
            pool = IPPool(metadata=Metadata(name="pool"), spec=IPPoolSpec(cidr="10.97.0.0/16", block_size=26))
            await operations.apply(client, pool)

            async def measure(number: int) -> Mapping[str, Pair]:
                handles = [f"bench.{number}-{pod}" for pod in range(_PODS)]
                before, ours, peer = counting.calls, 0.0, 0.0
                for handle in handles:
                    request = AssignRequest(node="n1", handle=handle, num_v4=1, num_v6=0, namespace="bench")
                    started = time.perf_counter()
                    assigned = await ipam.auto_assign(request)
                    ours += time.perf_counter() - started
                    if len(assigned.v4) != 1:
                        raise RuntimeError(f"no address: {'; '.join(assigned.messages)}")
                    floor = NetworkSet(
                        metadata=Metadata(name=handle, namespace="bench"), spec=NetworkSetSpec(nets=("10.0.0.0/24",))
                    )
                    started = time.perf_counter()
                    await client.create(floor)
                    peer += time.perf_counter() - started
                calls = (counting.calls - before) / _PODS
                for handle in handles:
                    await ipam.release_by_handle(handle)
                return {"ipam-rate": Pair([_PODS / ours], [_PODS / peer]), "ipam-calls": Pair([calls], [_LEAST_CALLS])}

            yield measure
        finally:
            await client.close()


BENCH = Bench("ipam", _ROWS, _stage)
