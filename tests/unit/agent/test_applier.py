"""What the applier knows of its own work: how long it takes, how late it is, when it is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import cast

from tortie.agent.applier import Applier
from tortie.base.metrics import Metrics
from tortie.dataplane.linux import LinuxDataplane
from tortie.intent.messages import InSync, Message
from tortie.kernel.errors import NftError
from tortie.kernel.nft.table import ApplyStats


class Dataplane:
    """Does what it is told in place of programming a kernel."""

    def __init__(self) -> None:
        self.action: Callable[[], Awaitable[None]] = self._done
        self.in_sync = False
        self.taking_over = False
        self.transaction: ApplyStats | None = ApplyStats(messages=1, read_back="first apply")

    def on_messages(self, messages: Iterable[Message]) -> None:
        self.in_sync = self.in_sync or any(isinstance(each, InSync) for each in messages)

    async def apply(self) -> None:
        await self.action()

    def due_in(self) -> float | None:
        return None

    async def _done(self) -> None:
        return


@contextlib.asynccontextmanager
async def applying() -> AsyncIterator[tuple[Applier, Dataplane, Metrics]]:
    dataplane, metrics = Dataplane(), Metrics()
    applier = Applier(cast(LinuxDataplane, dataplane), metrics)
    task = asyncio.ensure_future(applier.run())
    try:
        async with asyncio.timeout(10):
            yield applier, dataplane, metrics
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_an_apply_that_hangs_is_busy_for_longer_and_longer() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, _):
            assert applier.busy_seconds == 0
            released = asyncio.Event()

            async def hang() -> None:
                await released.wait()

            dataplane.action = hang
            applier.on_messages([InSync()])
            await asyncio.sleep(0.05)
            first = applier.busy_seconds
            await asyncio.sleep(0.05)
            assert 0 < first < applier.busy_seconds
            assert not applier.in_sync
            released.set()
            await applier.wait_for_turn(0)
            assert applier.busy_seconds == 0
            assert applier.in_sync

    asyncio.run(run())


def test_latency_runs_from_the_oldest_change_that_is_not_in_the_kernel_yet() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, metrics):
            loop = asyncio.get_running_loop()
            failures = 1

            async def fail_first() -> None:
                nonlocal failures
                dataplane.transaction = None if failures else ApplyStats()
                if failures:
                    failures -= 1
                    raise NftError("refused")

            dataplane.action = fail_first
            applier.on_messages([InSync()], seen_at=loop.time() - 5)
            await applier.wait_for_turn(0)
            assert "tortie_policy_to_kernel_seconds" not in metrics.observed
            applier.on_messages([], seen_at=loop.time())
            while applier.applies == 0:
                await asyncio.sleep(0.01)
            seen = metrics.observed["tortie_policy_to_kernel_seconds"]
            assert seen.count == 1
            assert 5 <= seen.largest < 10
            assert metrics.counters["felix_nft_errors"] == 1
            assert metrics.counters["felix_int_dataplane_failures"] == 1

    asyncio.run(run())


def test_what_a_transaction_did_is_counted() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, metrics):
            applier.on_messages([InSync()])
            await applier.wait_for_turn(0)
            dataplane.transaction = ApplyStats()
            turns = applier.turns
            applier.retry()
            await applier.wait_for_turn(turns)
            assert metrics.counters["felix_nft_calls"] == 1
            assert metrics.counters["felix_nft_list_calls"] == 1

    asyncio.run(run())


def test_what_is_refused_holds_up_nothing_new() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, _):

            async def refuse_one() -> None:
                raise ExceptionGroup("incomplete", [NftError("one endpoint cannot be programmed")])

            dataplane.action = refuse_one
            applier.on_messages([InSync()])
            while applier.turns < 5:  # by now the next attempt is most of a second away, then more
                await applier.wait_for_turn(applier.turns)
            assert applier.in_sync, "all but one object is in force"
            assert applier.failure
            started, turns = asyncio.get_running_loop().time(), applier.turns
            applier.on_messages([])
            await applier.wait_for_turn(turns)
            assert asyncio.get_running_loop().time() - started < 0.3
            dataplane.action = dataplane._done
            applier.retry()
            await applier.wait_for_turn(applier.turns)
            assert not applier.failure

    asyncio.run(run())


def test_a_failure_names_what_failed_and_each_only_once() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, _):

            async def fail() -> None:
                full, busy = NftError("no room for a route"), NftError("device is busy")
                raise ExceptionGroup("the node is not complete", [ExceptionGroup("VXLAN", [full, busy]), full])

            dataplane.action = fail
            applier.on_messages([])
            await applier.wait_for_turn(0)
            await asyncio.sleep(0)
            assert applier.failure == "no room for a route; device is busy"

    asyncio.run(run())


def test_after_a_refused_transaction_everything_waits() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, _):

            async def refuse_all() -> None:
                dataplane.transaction = None
                raise NftError("refused")

            dataplane.action = refuse_all
            applier.on_messages([InSync()])
            while applier.turns < 3:
                await applier.wait_for_turn(applier.turns)
            turns = applier.turns
            for _ in range(10):
                applier.on_messages([])
                await asyncio.sleep(0.005)
            assert applier.turns == turns
            assert not applier.in_sync

    asyncio.run(run())


def test_bird_waits_for_an_apply_that_knows_all_that_was_told_and_for_every_route_that_was_its_own() -> None:
    async def run() -> None:
        async with applying() as (applier, dataplane, _):
            going_on, waited = asyncio.Event(), asyncio.Event()

            async def slow() -> None:
                waited.set()
                await going_on.wait()

            dataplane.action = slow
            applier.retry()
            await waited.wait()  # an apply is running that may not know the last message
            dataplane.taking_over = True
            asked = asyncio.ensure_future(applier.wait_until_taken_over(10))
            await asyncio.sleep(0)
            going_on.set()
            while applier.turns < 2:
                await asyncio.sleep(0.001)
            assert not asked.done()
            dataplane.taking_over = False
            applier.retry()
            assert await asked
            dataplane.taking_over = True
            assert not await applier.wait_until_taken_over(0.05)

    asyncio.run(run())
