"""Routes that change hands between the agent and BIRD: the new one comes before the old one goes.

To BIRD: our route stays until BIRD's own is in the kernel. From BIRD: ours is written at once, its metric wins, and whoever
configures BIRD waits while `taking_over` says that one is missing.
"""

import asyncio
import time
from collections.abc import Iterable

from tortie.base import log
from tortie.base.net import Prefix
from tortie.intent.routes import Owner
from tortie.kernel.route import UNREACHABLE
from tortie.kernel.route_table import BIRD_PROTOCOL, RouteTable

_log = log.get(__name__)
PATIENCE_SECONDS = 60.0
"""For so long a route of ours stays for BIRD's to come. Then it goes: what it says may not be true any more."""
_LOOK_AGAIN_SECONDS = 1.0
_SLICE = 2000


class HandOver:
    """Knows which destinations are changing hands. `moved` is told of every one whose owner is, or may be, another."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._since: dict[Prefix, float] = {}
        self._taking: set[Prefix] = set()
        self._missing: set[Prefix] = set()

    def moved(self, dst: Prefix, before: Owner | None, after: Owner | None, *, first: bool) -> None:
        """`first`: nothing is known of earlier times, so that BIRD may have it."""
        self._missing.discard(dst)
        if after is Owner.AGENT and (first or before is Owner.BIRD):
            self._taking.add(dst)
        elif after is not Owner.AGENT:
            self._taking.discard(dst)

    @property
    def taking_over(self) -> bool:
        """True while a route that was BIRD's was not in the kernel as ours when `settle` looked last."""
        return bool(self._taking)

    @property
    def in_progress(self) -> bool:
        """True while routes of ours stay only until BIRD has its own."""
        return bool(self._since)

    async def settle(self) -> bool:
        """Look what has changed hands. Give up what BIRD has by now, or has not in time; True if there is any of that: then
        the routes are to be applied again."""
        for count, dst in enumerate(list(self._taking), 1):
            if self._routes.holds(dst) and self._routes.desired[dst].kind != UNREACHABLE:
                self._taking.discard(dst)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        handed = self._routes.handed
        if not handed:
            self._since.clear()
            return False
        now = time.monotonic()
        present = await self._routes.destinations(BIRD_PROTOCOL)
        self._since = {dst: self._since.get(dst, now) for dst in handed}
        late = {dst for dst, since in self._since.items() if dst not in present and now - since >= PATIENCE_SECONDS}
        if late:
            _log.warning("BIRD has no route to %s and %d others; ours are removed", min(late), len(late) - 1)
            self._missing |= late
        done = late | (present & self._since.keys())
        for dst in done:
            self._routes.remove(dst)
            del self._since[dst]
        return bool(done)

    def concerns(self, destinations: Iterable[Prefix]) -> bool:
        """Another process touched routes to these. True if BIRD's may be among them that we wait for."""
        if not self._since and not self._missing:
            return False
        touched = set(destinations)
        self._missing -= touched
        return not touched.isdisjoint(self._since)

    def due_in(self) -> float | None:
        """Seconds until it should be looked at again; None if nothing waits for BIRD."""
        return _LOOK_AGAIN_SECONDS if self._since else None

    @property
    def problems(self) -> dict[str, str]:
        """Destinations that BIRD should have, and has not."""
        if not self._missing:
            return {}
        others = f" (and {len(self._missing) - 1} others)" if len(self._missing) > 1 else ""
        text = f"BIRD programs it{others} by now, and has had no route to it for {PATIENCE_SECONDS:g} s"
        return {f"route {min(self._missing)}": text}
