"""Pages of a listing: all show the same moment, which is held for a while; later the client is told to begin anew."""

import base64
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tortie.api.resource import Resource
from tortie.apiserver.errors import Refusal, expired

_SECONDS = 300.0
_HELD = 32


class _Token(msgspec.Struct, frozen=True):
    snapshot: str
    at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a listing; `token` asks for the rest and is empty on the last page."""

    items: Sequence[Resource]
    revision: str
    token: str = ""
    remaining: int = 0


class Pages:
    """Listings that somebody is still reading."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[float, str, Sequence[Resource]]] = OrderedDict()
        self._made = 0

    def first(self, scope: str, items: Sequence[Resource], revision: str, *, limit: int) -> Page:
        """The first page; `scope` says whose listing of what this is. 0 means no limit."""
        if not limit or len(items) <= limit:
            return Page(items, revision)
        self._made += 1
        snapshot = f"{self._made}/{scope}"
        self._held[snapshot] = (time.monotonic() + _SECONDS, revision, items)
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
        return self._page(snapshot, 0, limit=limit)

    def following(self, scope: str, token: str, *, limit: int) -> Page:
        """The page that a token stands for. Raises Refusal: 400 for what is no token of ours, 410 for one that is too old."""
        try:
            found = msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=_Token)
        except (ValueError, msgspec.MsgspecError):
            raise Refusal(400, "continue key is not valid: list again without it") from None
        if found.snapshot.partition("/")[2] != scope or found.at < 0:
            raise Refusal(400, "continue key belongs to another listing: list again without it")
        for old in [name for name, (until, _, _) in self._held.items() if until < time.monotonic()]:
            del self._held[old]
        if found.snapshot not in self._held:
            raise expired("The provided continue parameter is too old to display a consistent list result: list again")
        return self._page(found.snapshot, found.at, limit=limit)

    def _page(self, snapshot: str, at: int, *, limit: int) -> Page:
        _, revision, items = self._held[snapshot]
        end = at + limit if limit else len(items)
        if end >= len(items):
            return Page(items[at:], revision)
        token = base64.urlsafe_b64encode(msgspec.json.encode(_Token(snapshot, end))).decode()
        return Page(items[at:end], revision, token, len(items) - end)
