"""The monitor tells of changes by others, and only of those."""

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.kernel.netlink_faults import Fault, injected
from tests.kernel.nft_ground import Ground, ground

from tortie.base.net import Family, Prefix, parse_prefix
from tortie.kernel.nft.monitor import NftMonitor
from tortie.kernel.nft.objects import ACCEPT, Chain, ElementType, Rule, SetSpec
from tortie.kernel.nft.table import NftTable

pytestmark = pytest.mark.kernel

CHAIN = Chain("rules", (Rule((ACCEPT,)),))


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


def watching(place: Ground, scenario: Callable[[NftTable, asyncio.Queue[str]], Awaitable[None]]) -> None:
    """Run a scenario with a table and the queue of what its monitor tells."""

    async def run() -> None:
        table = NftTable(netns_fd=place.fd)
        monitor = NftMonitor(own_ports=[table.port_id], netns_fd=place.fd)
        heard: asyncio.Queue[str] = asyncio.Queue()
        try:
            async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(monitor.watch(heard.put_nowait))
                table.put_chain(CHAIN)
                await table.apply()
                await scenario(table, heard)
                watch.cancel()
        finally:
            monitor.close()
            await table.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("add rule inet tortie rules drop", "rule added in chain rules by nft"),
        ("delete table inet tortie", "rule deleted in chain rules by nft"),
        ("add chain inet tortie stray", "chain stray changed by nft"),
        ("add set inet tortie stray { type ipv4_addr; }", "set stray added by nft"),
    ],
)
def test_a_change_by_the_nft_program_is_told_with_its_name(place: Ground, command: str, told: str) -> None:
    async def scenario(_: NftTable, heard: asyncio.Queue[str]) -> None:
        await asyncio.to_thread(place.nft, script=command)
        assert await heard.get() == told

    watching(place, scenario)


def test_own_changes_and_other_tables_are_not_told(place: Ground) -> None:
    async def scenario(table: NftTable, heard: asyncio.Queue[str]) -> None:
        table.put_chain(Chain("more", (Rule((ACCEPT,)),)))
        table.put_set(SetSpec("hosts", ElementType.IPV4), [parse_prefix("10.0.0.1/32")])
        await table.apply()
        await asyncio.to_thread(place.nft, script="table ip tortie { chain c { }\n }\ntable inet other { chain c { }\n }")
        await asyncio.to_thread(place.nft, script="add element inet tortie hosts { 10.0.0.2 }")
        assert await heard.get() == "element added in set hosts by nft", "the first thing told is the first by others"

    watching(place, scenario)


def test_a_monitor_of_the_arp_table_hears_of_that_alone(place: Ground) -> None:
    async def scenario() -> None:
        place.nft(script="table arp tortie { }\ntable inet tortie { }\n")
        monitor = NftMonitor(family="arp", netns_fd=place.fd)
        heard: asyncio.Queue[str] = asyncio.Queue()
        try:
            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(monitor.watch(heard.put_nowait))
                await asyncio.to_thread(place.nft, script="add chain inet tortie wrong")
                await asyncio.to_thread(place.nft, script="add chain arp tortie right")
                assert await heard.get() == "chain right changed by nft"
                watch.cancel()
        finally:
            monitor.close()

    asyncio.run(scenario())


def test_lost_announcements_are_told_as_an_overflow_and_the_watch_goes_on(place: Ground) -> None:
    async def scenario(table: NftTable, heard: asyncio.Queue[str]) -> None:
        members = [Prefix(Family.V4, (10 << 24) + n, 32) for n in range(150_000)]

        def churn() -> None:
            for wanted in (members, [], members):
                table.put_set(SetSpec("hosts", ElementType.IPV4), wanted)
                asyncio.run(table.apply())

        busy = threading.Thread(target=churn)
        busy.start()
        busy.join()  # holds the loop, so that announcements pile up unread
        assert await heard.get() == "overflow"
        await asyncio.sleep(0.5)  # the monitor reads what is still queued, all of it our own
        assert heard.empty()
        await asyncio.to_thread(place.nft, script="add rule inet tortie rules drop")
        assert await heard.get() == "rule added in chain rules by nft"

    watching(place, scenario)


def test_a_monitor_and_a_table_together_repair_the_table(place: Ground) -> None:
    async def scenario(table: NftTable, heard: asyncio.Queue[str]) -> None:
        for command in ("delete table inet tortie", "add rule inet tortie rules drop", "flush chain inet tortie rules"):
            await asyncio.to_thread(place.nft, script=command)
            table.invalidate(await heard.get())
            await table.apply()
            assert place.chain("rules") == ["accept"]
            while not heard.empty():
                heard.get_nowait()

    watching(place, scenario)


@pytest.mark.parametrize(
    "fault", [Fault("receive_fails", errno.ENOBUFS), Fault("receive_fails", errno.ENOMEM), Fault("receive_truncates")], ids=str
)
def test_a_reading_that_fails_is_told_as_an_overflow_and_the_watch_goes_on(place: Ground, fault: Fault) -> None:
    async def scenario(_: NftTable, heard: asyncio.Queue[str]) -> None:
        injector.arm(fault, at=1)
        await asyncio.to_thread(place.nft, script="add rule inet tortie rules drop")
        assert await heard.get() == "overflow"
        injector.disarm()
        await asyncio.to_thread(place.nft, script="add chain inet tortie stray")
        told = await heard.get()
        while "stray" not in told:
            assert told == "rule added in chain rules by nft", "only what was still queued"
            told = await heard.get()

    with injected() as injector:
        watching(place, scenario)
