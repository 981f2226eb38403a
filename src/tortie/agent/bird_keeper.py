"""Keeps BIRD in line with the last BgpUpdate, and knows how its peers are."""

import asyncio
from typing import Any

from tortie.agent.bird import Bird
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.base.errors import TortieError
from tortie.intent.routing import Bgp

_log = log.get(__name__)
POLL_SECONDS = 1.0


class BirdKeeper:
    """`want` may be called at any time from the loop; `run` does the work. A failure is tried again, and told in `failure`."""

    def __init__(self, bird: Bird) -> None:
        self._bird = bird
        self._wanted: Bgp | None = None
        self._changed = asyncio.Event()
        self.ready = False
        """True once BIRD runs with the configuration that was wanted last."""
        self.failure = ""
        self.peers: list[dict[str, Any]] = []

    def want(self, bgp: Bgp | None) -> None:
        """Take the newest intent. None (this node has no address) leaves BIRD as it is."""
        if bgp is not None:
            self._wanted = bgp
            self.ready = False
            self._changed.set()

    async def run(self) -> None:
        """Without end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="bird configuration")
            tasks.create_task(self._watch(), name="bird peers")

    async def _follow(self) -> None:
        backoff = Backoff(first=0.1, last=10.0)
        while True:
            await self._changed.wait()
            self._changed.clear()
            assert self._wanted is not None
            try:
                await self._bird.apply(self._wanted)
                self.ready = not self._changed.is_set()
                self.failure = ""
                backoff.reset()
            except TortieError as error:
                self.failure = str(error)
                _log.error("BIRD: %s", error)
                self._changed.set()
                await backoff.wait()

    async def _watch(self) -> None:
        """Peers' states for the status file; a BIRD that died is started again."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._wanted is None:
                continue
            try:
                found = await self._bird.peers()
            except TortieError as error:
                self.peers = []
                _log.warning("BIRD does not answer, starting it again: %s", error)
                self._changed.set()
                continue
            self.peers = [
                {
                    "name": peer.name,
                    "state": peer.state,
                    "since": peer.since,
                    "reason": peer.reason,
                    "established": peer.established,
                }
                for peer in found
            ]
