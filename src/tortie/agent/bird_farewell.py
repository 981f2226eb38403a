"""The end of a BIRD that an agent before us left on a node that has none any more (CALICO_NETWORKING_BACKEND)."""

import asyncio
from collections.abc import Awaitable, Callable

from tortie.agent.bird import Bird
from tortie.base import log
from tortie.bgp.errors import BgpError
from tortie.kernel.route import Routes
from tortie.kernel.route_table import BIRD_PROTOCOL

_log = log.get(__name__)
_LOOK_SECONDS = 0.2
_TAKE_OVER_SECONDS = 30.0


class BirdFarewell:
    """BIRD outlives its agent, and its routes outlive BIRD. It goes when our own routes are there, and then the routes that it
    said to be its own."""

    def __init__(self, bird: Bird, *, is_ready: Callable[[], bool], taken_over: Callable[[float], Awaitable[bool]]) -> None:
        self._bird = bird
        self._is_ready = is_ready
        self._taken_over = taken_over

    async def run(self) -> None:
        """Return when there is no BIRD of ours."""
        while True:
            try:
                await self._bird.status()
            except BgpError:
                return
            while not self._is_ready():
                await asyncio.sleep(_LOOK_SECONDS)
            if not await self._taken_over(_TAKE_OVER_SECONDS):
                _log.warning("BIRD is ended although routes that it gives up are not all in the kernel yet")
            try:
                told = {route.prefix for route in await self._bird.routes()}
            except BgpError as error:
                _log.warning("BIRD does not say which routes are its own: %s", error)
                continue
            await self._bird.stop()
            with Routes() as routes:
                left = [route for route in routes.list(protocol=BIRD_PROTOCOL) if route.dst in told]
                failures = routes.delete(left)
            _log.info("BIRD is ended, which this node has no more routes=%d failures=%d", len(left), len(failures))
            return
