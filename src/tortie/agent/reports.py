"""The agent's status in the datastore: one AgentStatus for each node, written on change and every so often."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tortie.api.agent import AgentStatus, AgentStatusSpec
from tortie.api.resource import Metadata
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict

_log = log.get(__name__)
_WRITE_SECONDS = 2.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often to write, in seconds. `interval` 0: not at all. `delay` is the least time between two writes."""

    interval: float
    ttl: float
    delay: float


class StatusReports:
    """`report` says how things are, without times; `schedule` is asked anew each time, so that it may change."""

    def __init__(
        self, client: Client, node: str, *, report: Callable[[], AgentStatusSpec], schedule: Callable[[], Schedule]
    ) -> None:
        self._client = client
        self._node = node
        self._report = report
        self._schedule = schedule
        self._stored: AgentStatus | None = None
        self.failure = ""

    async def run(self) -> None:
        """Without end. A report that cannot be written is tried again; nothing else waits for it."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        written: AgentStatusSpec | None = None
        written_at = -1e9
        while True:
            schedule = self._schedule()
            report = self._report()
            age = loop.time() - written_at
            if schedule.interval > 0 and (age >= schedule.interval or (report != written and age >= schedule.delay)):
                written_at = loop.time()
                if await self._write(_timed(report, ttl=schedule.ttl, uptime=loop.time() - started)):
                    written = report
            await asyncio.sleep(_POLL_SECONDS)

    async def _write(self, spec: AgentStatusSpec) -> bool:
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._put(spec)
        except (TimeoutError, TortieError) as error:
            failure = str(error) or f"no answer within {_WRITE_SECONDS:g} s"
            if failure != self.failure:
                _log.warning("status report cannot be written, will be tried again: %s", failure)
            self.failure = failure
            return False
        self.failure = ""
        return True

    async def _put(self, spec: AgentStatusSpec) -> None:
        """Create or replace; somebody else's change in between is written over."""
        while True:
            try:
                if self._stored is None:
                    wanted = AgentStatus(metadata=Metadata(name=self._node), spec=spec)
                    stored = await self._client.create(wanted)
                else:
                    stored = await self._client.update(msgspec.structs.replace(self._stored, spec=spec))
                assert isinstance(stored, AgentStatus)
                self._stored = stored
                return
            except (AlreadyExists, UpdateConflict):
                found = await self._read()
                self._stored = found
            except DoesNotExist:
                self._stored = None

    async def _read(self) -> AgentStatus | None:
        try:
            found = await self._client.get(AgentStatus(metadata=Metadata(name=self._node)).key)
        except DoesNotExist:
            return None
        assert isinstance(found, AgentStatus)
        return found


def _timed(report: AgentStatusSpec, *, ttl: float, uptime: float) -> AgentStatusSpec:
    # The one place where the wall clock counts: readers on other machines compare it with theirs.
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return msgspec.structs.replace(report, reported_at=now, ttl_seconds=int(ttl), uptime_seconds=int(uptime))
