"""AgentStatus in the datastore: on change, every so often, over the edits of others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from tortie.agent.reports import Schedule, StatusReports
from tortie.api.agent import AgentStatus, AgentStatusSpec
from tortie.api.resource import Key, Metadata
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.sqlite.client import SqliteClient

KEY = Key("AgentStatus", "", "n")


class Node:
    def __init__(self, client: SqliteClient) -> None:
        self.client = client
        self.report = AgentStatusSpec(node="n")
        self.schedule = Schedule(interval=60, ttl=90, delay=0)

    async def stored(self) -> AgentStatus | None:
        try:
            found = await self.client.get(KEY)
        except DoesNotExist:
            return None
        assert isinstance(found, AgentStatus)
        return found

    async def until(self, condition: Callable[[AgentStatus], bool]) -> AgentStatus:
        async with asyncio.timeout(30):
            while True:
                found = await self.stored()
                if found is not None and condition(found):
                    return found
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def reporting(folder: Path, schedule: Schedule | None = None) -> AsyncIterator[Node]:
    client = SqliteClient(str(folder / "db.sqlite"))
    node = Node(client)
    node.schedule = schedule or node.schedule
    reports = StatusReports(client, "n", report=lambda: node.report, schedule=lambda: node.schedule)
    task = asyncio.ensure_future(reports.run())
    try:
        yield node
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await client.close()


def test_a_change_is_reported_soon_with_time_and_ttl(tmp_path: Path) -> None:
    async def run() -> None:
        async with reporting(tmp_path) as node:
            first = await node.until(lambda each: not each.spec.ready)
            assert first.spec.ttl_seconds == 90
            assert first.spec.reported_at.endswith("Z")
            node.report = msgspec.structs.replace(node.report, ready=True, local_endpoints=3)
            second = await node.until(lambda each: each.spec.ready)
            assert second.spec.local_endpoints == 3
            assert second.metadata.uid == first.metadata.uid

    asyncio.run(run())


def test_a_report_is_repeated_after_its_interval_and_never_with_interval_zero(tmp_path: Path) -> None:
    async def run() -> None:
        async with reporting(tmp_path, Schedule(interval=0, ttl=90, delay=0)) as node:
            await asyncio.sleep(0.8)
            assert await node.stored() is None
            node.schedule = Schedule(interval=0.5, ttl=90, delay=0)
            first = await node.until(lambda each: True)
            await node.until(lambda each: each.metadata.resource_version != first.metadata.resource_version)

    asyncio.run(run())


def test_what_somebody_else_did_to_the_report_is_written_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with reporting(tmp_path) as node:
            first = await node.until(lambda each: True)
            await node.client.update(msgspec.structs.replace(first, spec=AgentStatusSpec(node="wrong")))
            node.report = msgspec.structs.replace(node.report, ready=True)
            await node.until(lambda each: each.spec.ready and each.spec.node == "n")
            await node.client.delete(KEY)
            node.report = msgspec.structs.replace(node.report, ready=False)
            await node.until(lambda each: not each.spec.ready)

    asyncio.run(run())


def test_a_report_of_an_earlier_agent_is_taken_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with reporting(tmp_path, Schedule(interval=0, ttl=90, delay=0)) as node:
            await node.client.create(AgentStatus(metadata=Metadata(name="n"), spec=AgentStatusSpec(node="old")))
            node.schedule = Schedule(interval=60, ttl=90, delay=0)
            await node.until(lambda each: each.spec.node == "n")

    asyncio.run(run())
