"""From intent to the kernel: at once for a lone change, throttled in a burst, again after a failure.

Whoever must know that an endpoint is enforced (the CNI plugin) waits here.
"""

import asyncio
from collections.abc import Iterator, Sequence

from tortie.agent import garbage
from tortie.base import log
from tortie.base.aio import Backoff, Throttle
from tortie.base.metrics import Metrics
from tortie.dataplane.linux import LinuxDataplane
from tortie.intent.keys import EndpointId
from tortie.intent.messages import Message

_log = log.get(__name__)


class Applier:
    """Owns the dataplane. `on_messages` and `wake` may be called at any time from the loop."""

    def __init__(self, dataplane: LinuxDataplane, metrics: Metrics) -> None:
        self._dataplane = dataplane
        self._metrics = metrics
        self._dirty = asyncio.Event()
        self._applied = asyncio.Condition()
        self._seen_at: float | None = None
        self._busy_since: float | None = None
        self.failure = ""
        """Why the last apply failed, "" after a success."""
        self.applies = 0
        self.turns = 0
        """How often the dataplane was told to apply, successful or not."""
        self._begun = 0
        self.in_sync = False
        """True once the kernel held a complete state, except for single objects that it refused."""

    @property
    def busy_seconds(self) -> float:
        """For how long the apply that runs now has been running; 0 while none does."""
        return 0.0 if self._busy_since is None else asyncio.get_running_loop().time() - self._busy_since

    def on_messages(self, messages: Sequence[Message], *, seen_at: float | None = None) -> None:
        """Take new intent. `seen_at`, on the loop's clock: when the change behind it was seen in the datastore."""
        self._dataplane.on_messages(messages)
        self._metrics.count("felix_int_dataplane_messages", len(messages))
        self._metrics.observe("felix_int_dataplane_msg_batch_size", len(messages))
        if self._seen_at is None:
            self._seen_at = seen_at
        self._dirty.set()

    def wake(self, reason: str) -> None:
        """The kernel changed by another hand, or may have: read back what is there and repair it."""
        _log.info("dataplane will be read back: %s", reason)
        self._dataplane.invalidate(reason)
        self._dirty.set()

    def retry(self) -> None:
        """Try again what could not be done before (a link appeared, say)."""
        self._dirty.set()

    async def run(self) -> None:
        """Apply whenever there is something to apply, without end."""
        throttle = Throttle(burst=10, interval=0.1)
        backoff = Backoff(first=0.05, last=10.0)
        retry_in: float | None = None
        while True:
            await self._wait_for_work(retry_in)
            await throttle.wait()
            self._dirty.clear()
            try:
                await self._apply()
            except* Exception as failures:
                self.failure = "; ".join(dict.fromkeys(_reasons(failures)))
                self._metrics.count("felix_int_dataplane_failures")
                _log.error("apply failed, will be tried again: %s", self.failure)
            if not self.failure:
                backoff.reset()
                retry_in = None
            elif self._dataplane.transaction is None:  # nothing at all is possible now
                await backoff.wait()
                self._dirty.set()
            else:  # what is refused is tried again later, what is new does not wait for it
                retry_in = backoff.next_delay()

    async def _wait_for_work(self, retry_in: float | None) -> None:
        """Return when something changed, when the dataplane has something to do by itself, or to try again."""
        due = [seconds for seconds in (retry_in, self._dataplane.due_in()) if seconds is not None]
        try:
            async with asyncio.timeout(min(due, default=None)):
                await self._dirty.wait()
        except TimeoutError:
            return

    async def _apply(self) -> None:
        loop = asyncio.get_running_loop()
        started = self._busy_since = loop.time()
        self._begun += 1
        seen_at, self._seen_at = self._seen_at, None
        try:
            await self._dataplane.apply()
            self.failure = ""
            self.applies += 1
            if seen_at is not None:
                self._metrics.observe("tortie_policy_to_kernel_seconds", loop.time() - seen_at)
                seen_at = None
        finally:
            self._busy_since = None
            self.turns += 1
            if self._dataplane.transaction is not None:
                self.in_sync = self._dataplane.in_sync
            if self._dataplane.in_sync:
                garbage.loaded()  # also after a failure: it must not stay off
            if seen_at is not None:  # not in the kernel yet: it is the oldest still
                self._seen_at = seen_at
            self._count_transaction()
            # Also after a failure: one bad route must not keep waiting whose own endpoint is in the kernel.
            self._metrics.observe("felix_int_dataplane_apply_time_seconds", loop.time() - started)
            async with self._applied:
                self._applied.notify_all()

    def _count_transaction(self) -> None:
        done = self._dataplane.transaction
        if done is None:
            self._metrics.count("felix_nft_errors")
            return
        self._metrics.count("felix_nft_calls", 1 if done.messages else 0)
        self._metrics.count("felix_nft_list_calls", 1 if done.read_back else 0)

    async def wait_until_taken_over(self, timeout_seconds: float) -> bool:
        """True once all that was told before is applied, and every route that was BIRD's and is ours now is in the kernel;
        False when that took too long."""
        turn = self._begun + 1  # what runs now may have begun without the last messages
        self._dirty.set()
        try:
            async with asyncio.timeout(timeout_seconds), self._applied:
                await self._applied.wait_for(lambda: self.turns >= turn and not self._dataplane.taking_over)
        except TimeoutError:
            return False
        return True

    async def wait_for_turn(self, turns: int) -> None:
        """Return once `turns` is no longer this many."""
        async with self._applied:
            await self._applied.wait_for(lambda: self.turns != turns)

    async def wait_until_programmed(self, endpoint: EndpointId, timeout_seconds: float) -> bool:
        """True once the endpoint's policy is in the kernel; False when that took too long."""
        try:
            async with asyncio.timeout(timeout_seconds), self._applied:
                await self._applied.wait_for(lambda: self._dataplane.programmed(endpoint))
        except TimeoutError:
            return False
        return True


def _reasons(error: Exception) -> Iterator[str]:
    """What went wrong itself, not that something did: groups are named by what is in them."""
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _reasons(each)
    else:
        yield str(error) or type(error).__name__
