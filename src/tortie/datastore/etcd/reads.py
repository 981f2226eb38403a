"""Reading keys: one, a few, or whole ranges page by page at one revision."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tortie.datastore.errors import Compacted, Unavailable
from tortie.datastore.etcd.connection import Connection
from tortie.datastore.etcd.messages import (
    RANGE,
    TXN,
    KeyValue,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)

PAGE = 1000
"""Keys in one answer: a page is decoded in some milliseconds, in which the event loop stands still."""
_OPERATIONS = 100
"""Operations in one transaction; etcd allows 128."""
_BEGINNINGS = 3
"""How often ranges are read anew when their history is compacted meanwhile."""


class Span(NamedTuple):
    """Keys from `start` up to, not including, `end`."""

    start: bytes
    end: bytes


def span_of(prefix: str) -> Span:
    """The keys that begin with a prefix."""
    data = prefix.encode().rstrip(b"\xff")
    return Span(data, data[:-1] + bytes([data[-1] + 1]))


def path_of_pair(pair: KeyValue) -> str:
    """The key as text; one that is not UTF-8 is none of ours, whatever it then looks like."""
    return pair.key.decode(errors="replace")


class Reads:
    """Linearizable reads: they show every write that was confirmed before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def one(self, path: str, *, revision: int = 0) -> KeyValue | None:
        """What is stored, now or at a revision. Raises Compacted for one that is gone."""
        found = await self._connection.read(RANGE, RangeRequest(key=path.encode(), revision=revision), RangeResponse)
        return found.kvs[0] if found.kvs else None

    async def some(self, paths: Sequence[str]) -> list[KeyValue]:
        """What is stored at these paths."""
        found: list[KeyValue] = []
        for at in range(0, len(paths), _OPERATIONS):
            reads = [RequestOp(range=RangeRequest(key=path.encode())) for path in paths[at : at + _OPERATIONS]]
            answer = await self._connection.read(TXN, TxnRequest(success=tuple(reads)), TxnResponse)
            found += [pair for response in answer.responses if response.range for pair in response.range.kvs]
        return found

    async def spans(self, spans: Iterable[Span]) -> tuple[list[KeyValue], int]:
        """Everything in some ranges, at one revision: the one that comes with it."""
        spans = tuple(spans)
        for _ in range(_BEGINNINGS):
            try:
                return await self._spans(spans)
            except Compacted as error:
                compacted = error
        raise Unavailable(f"etcd compacts its history faster than it can be listed: {compacted}")

    async def _spans(self, spans: Sequence[Span]) -> tuple[list[KeyValue], int]:
        pairs: list[KeyValue] = []
        revision = 0
        for span in spans:
            start, more = span.start, True
            while more:
                request = RangeRequest(key=start, range_end=span.end, limit=PAGE, revision=revision)
                page = await self._connection.read(RANGE, request, RangeResponse)
                revision = revision or page.header.revision
                pairs += page.kvs
                more = page.more and bool(page.kvs)
                start = page.kvs[-1].key + b"\0" if more else start
        return pairs, revision
