"""Backing off and throttling, on a clock of the test's own."""

import asyncio

import pytest

from tortie.base.aio import Backoff, Throttle


def test_delays_double_up_to_the_limit_and_begin_again_after_a_success() -> None:
    backoff = Backoff(first=1.0, last=4.0)
    delays = [backoff.next_delay() for _ in range(4)]
    assert all(base <= delay <= base * 1.25 for base, delay in zip((1, 2, 4, 4), delays, strict=True))
    backoff.reset()
    assert backoff.next_delay() <= 1.25


def test_a_lone_call_never_waits_and_a_burst_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    async def scenario() -> None:
        nonlocal now
        throttle = Throttle(burst=2, interval=0.5, now=lambda: now)
        for calls, waits in ((1, []), (3, [0.5, 0.5])):
            for _ in range(calls):
                await throttle.wait()
            assert slept == pytest.approx(waits)
        now += 10
        await throttle.wait()
        assert len(slept) == 2, "after a while it is a lone call again"

    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(scenario())
