"""How this node reaches everything, for people: a summary for status, and all of it in `routes.json` of the run directory.

`tortie node routes` reads the file. It says what was decided, not what the kernel has; what the kernel refuses is among the
agent's problems.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tortie.base import log
from tortie.base.net import Prefix
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import ClusterRouteUpdate, EndpointUpdate, Message
from tortie.intent.routes import ClusterRoute, Way

_log = log.get(__name__)
FILE_NAME = "routes.json"
_MOST_WITHHELD = 20
_INTERVAL = 1.0
_ROUTES_PER_SECOND = 2000
"""A file of many routes is written as much more seldom as it is larger."""


class RouteReport:
    """Follows the messages. Counts are kept, not counted: status asks often."""

    def __init__(self, node: str, run_dir: Path) -> None:
        self._node = node
        self._path = run_dir / FILE_NAME
        self._routes: dict[Prefix, ClusterRoute] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._encrypted = 0
        self._withheld: dict[Prefix, ClusterRoute] = {}
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._changed = asyncio.Event()
        self._changed.set()

    def on_messages(self, messages: Iterable[Message]) -> None:
        """Take note of what came and what went."""
        for message in messages:
            if isinstance(message, ClusterRouteUpdate):
                self._count(self._routes.pop(message.dst, None), -1)
                if message.route is not None:
                    self._routes[message.dst] = message.route
                    self._count(message.route, 1)
                self._changed.set()
            elif isinstance(message, EndpointUpdate):
                self._endpoints.pop(message.id, None)
                if message.endpoint is not None:
                    self._endpoints[message.id] = message.endpoint
                self._changed.set()

    def _count(self, route: ClusterRoute | None, number: int) -> None:
        if route is None:
            return
        self._counts[route.way, route.owner] += number
        self._encrypted += number * route.encrypted
        if route.way is not Way.NONE:
            return
        if number > 0:
            self._withheld[route.dst] = route
        else:
            del self._withheld[route.dst]

    def summary(self) -> dict[str, Any]:
        """Counts by way and owner; the first of those that lead nowhere, and why."""
        counts = [
            {"way": way, "owner": owner, "routes": number} for (way, owner), number in sorted(self._counts.items()) if number
        ]
        first = sorted(self._withheld)[:_MOST_WITHHELD]
        return {
            "counts": counts,
            "encrypted": self._encrypted,
            "withheld": [_document(self._withheld[dst]) for dst in first],
            "file": str(self._path),
        }

    async def run(self) -> None:
        """Keep the file true, without end."""
        failure = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                endpoints = [self._endpoints[each] for each in sorted(self._endpoints)]
                await asyncio.to_thread(self._write, [self._routes[dst] for dst in sorted(self._routes)], endpoints)
                failure = ""
            except OSError as error:  # no space: it passes
                if failure != str(error):
                    _log.error("%s cannot be written, will be tried again: %s", self._path, error.strerror)
                failure = str(error)
                self._changed.set()
            await asyncio.sleep(_INTERVAL + len(self._routes) / _ROUTES_PER_SECOND)

    def _write(self, routes: list[ClusterRoute], endpoints: list[Endpoint]) -> None:
        document = {
            "apiVersion": "tortie.io/v1",
            "kind": "NodeRoutes",
            "node": self._node,
            "routes": [_document(each) for each in routes],
            # Their addresses are here whatever block they are of: borrowed ones lie in that of another node.
            "workloads": [
                {"destination": str(address), "workload": each.workload, "interface": each.interface}
                for each in endpoints
                for address in each.addresses
            ],
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(document))
        temporary.replace(self._path)


def _document(route: ClusterRoute) -> dict[str, Any]:
    return {
        "destination": str(route.dst),
        "node": route.node,
        "way": str(route.way),
        "owner": str(route.owner),
        "nextHop": "" if route.next_hop is None else str(route.next_hop),
        "encrypted": route.encrypted,
        "reason": route.reason,
    }
