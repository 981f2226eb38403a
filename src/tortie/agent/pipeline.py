"""From the datastore to intent: the syncer's batches through the calculation graph, in slices, to whoever enforces them.

The loop is never held for long: a batch is at most a few hundred updates, and between slices the loop runs. While the first
snapshot loads the garbage collector is off (see garbage).
"""

import asyncio
from collections.abc import Callable, Sequence

from tortie.agent import garbage
from tortie.base import log
from tortie.base.metrics import Metrics
from tortie.calc.graph import Graph
from tortie.datastore.syncer import Batch
from tortie.intent.messages import Message

_log = log.get(__name__)
SLICE = 50
"""Updates between two yields to the loop."""


class Pipeline:
    """A sink for `Syncer.run`. `deliver` gets every flush; it must only mark, not work."""

    def __init__(self, graph: Graph, metrics: Metrics, deliver: Callable[[Sequence[Message]], None]) -> None:
        self._graph = graph
        self._metrics = metrics
        self._deliver = deliver
        self.in_sync = False
        self.seen_at = 0.0
        """When the batch that is being worked on came, on the loop's clock."""
        self._busy_since: float | None = None
        self._batches = 0
        """How many are being worked on or wait for that: one after the other, in the order in which they came."""
        self._one = asyncio.Lock()
        self._turn = asyncio.Condition()

    @property
    def busy_seconds(self) -> float:
        """For how long the present batch has been worked on; 0 between batches."""
        return 0.0 if self._busy_since is None else asyncio.get_running_loop().time() - self._busy_since

    async def on_batch(self, batch: Batch) -> None:
        """Feed one batch; hand over what follows from it."""
        self._batches += 1
        try:
            async with self._one:
                self.seen_at = self._busy_since = asyncio.get_running_loop().time()
                try:
                    await self._take(batch)
                finally:
                    self._busy_since = None
        finally:
            self._batches -= 1
            async with self._turn:
                self._turn.notify_all()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds after a batch, or holds already."""
        async with self._turn:
            await self._turn.wait_for(condition)

    async def settled(self) -> None:
        """Return once all that was reported so far has been handed over."""
        await self.wait_for(lambda: not self._batches)

    async def _take(self, batch: Batch) -> None:
        if not self.in_sync:
            garbage.start_loading()
        for start in range(0, len(batch.updates), SLICE):
            self._graph.on_updates(batch.updates[start : start + SLICE])
            self._metrics.count("felix_calc_graph_updates_processed", len(batch.updates[start : start + SLICE]))
            self._flush()
            await asyncio.sleep(0)
        if batch.in_sync and not self.in_sync:
            self.in_sync = True
            self._graph.on_in_sync()
            _log.info("datastore in sync")
        self._flush()

    def _flush(self) -> None:
        started = asyncio.get_running_loop().time()
        messages = self._graph.flush()
        self._metrics.observe("felix_calc_graph_update_time_seconds", asyncio.get_running_loop().time() - started)
        if messages:
            self._metrics.count("felix_calc_graph_output_events", len(messages))
            self._deliver(messages)
