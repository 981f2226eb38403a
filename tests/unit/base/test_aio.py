"""Backing off and throttling, on a clock of the test's own."""

import asyncio

from tortie.base.aio import Backoff, Throttle


def test_delays_double_up_to_the_limit_and_begin_again_after_a_success() -> None:
    backoff = Backoff(first=1.0, last=4.0)
    delays = [backoff.next_delay() for _ in range(4)]
    assert all(base <= delay <= base * 1.25 for base, delay in zip((1, 2, 4, 4), delays, strict=True))
    backoff.reset()
    assert backoff.next_delay() <= 1.25


def test_a_lone_call_never_waits_and_a_burst_does() -> None:
    async def scenario() -> tuple[float, float]:
        throttle = Throttle(burst=2, interval=0.05)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await throttle.wait()
        lone = loop.time() - started
        for _ in range(3):
            await throttle.wait()
        return lone, loop.time() - started

    lone, burst = asyncio.run(scenario())
    assert lone < 0.02
    assert burst >= 0.09
