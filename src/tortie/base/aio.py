"""Small asyncio pieces: backing off, coalescing wake-ups, measuring the loop's lag."""

import asyncio
import random
from collections.abc import Awaitable, Callable


class Backoff:
    """Delays that double from `first` to `last` seconds, with up to 25% jitter; `reset` after a success."""

    def __init__(self, *, first: float = 0.1, last: float = 30.0) -> None:
        self._first = first
        self._last = last
        self._next = first

    def reset(self) -> None:
        """Begin again with the first delay."""
        self._next = self._first

    def next_delay(self) -> float:
        """The delay to wait now, in seconds."""
        delay = self._next
        self._next = min(self._next * 2, self._last)
        return delay * (1 + random.random() / 4)

    async def wait(self) -> None:
        """Sleep for the next delay."""
        await asyncio.sleep(self.next_delay())


class Throttle:
    """A leaky bucket: the first `burst` calls pass at once, then one per `interval` seconds. A lone event never waits."""

    def __init__(self, *, burst: int = 10, interval: float = 0.1, now: Callable[[], float] | None = None) -> None:
        self._burst = burst
        self._interval = interval
        self._now = now
        self._tokens = float(burst)
        self._at: float | None = None

    async def wait(self) -> None:
        """Return when the next call may run."""
        clock = self._now or asyncio.get_running_loop().time
        at = clock()
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (at - self._at) / self._interval)
        self._at = at
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) * self._interval)
        self._tokens -= 1


async def repeat(interval: float, action: Callable[[], Awaitable[None]]) -> None:
    """Call `action` every `interval` seconds, without end, the first time after one interval."""
    while True:
        await asyncio.sleep(interval)
        await action()


async def measure_lag(report: Callable[[float], None], *, interval: float = 0.5) -> None:
    """Report, without end, by how many seconds the loop was late to wake us."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        report(max(0.0, loop.time() - due))
