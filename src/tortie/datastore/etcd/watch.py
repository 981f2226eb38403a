"""One watch of one range of keys, kept up over lost connections.

One range and not one for each kind: etcd promises the order of commits within one watch only.
"""

from collections.abc import AsyncIterator

from tortie.base import log
from tortie.datastore.errors import Compacted, RolledBack, Unauthorized, Unavailable
from tortie.datastore.etcd.connection import ANSWER_SECONDS, PATIENCE_SECONDS, Connection, Patience, WatchStream
from tortie.datastore.etcd.errors import Lost, TokenRefused
from tortie.datastore.etcd.messages import (
    DELETE,
    RANGE,
    Event,
    Header,
    RangeRequest,
    RangeResponse,
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)
from tortie.datastore.etcd.reads import Reads, Span, path_of_pair

_log = log.get(__name__)


async def follow(connection: Connection, span: Span, *, after: int) -> AsyncIterator[tuple[Event, ...]]:
    """Every change of the span after a revision, in commit order, whole revisions at a time, without end.

    Raises Compacted when that history is gone or is not what the cluster has any more, Unavailable when no member answers for
    long.
    """
    history = _History(connection, span, after)
    patience: Patience | None = None
    renewed = False
    while True:
        try:
            create = WatchCreateRequest(
                key=span.start, range_end=span.end, start_revision=history.after + 1, progress_notify=True
            )
            async with connection.watch_stream(WatchRequest(create=create)) as stream:
                _check(stream, await stream.next(timeout=ANSWER_SECONDS))
                # Not before: a store that is put in this one's place from now on breaks the stream. etcd itself would let a
                # watch from a revision that it has not reached wait in silence until others have written so much.
                await history.check()
                while True:
                    response = _check(stream, await stream.next())
                    patience, renewed = None, False
                    history.note(response)
                    if response.events:
                        yield response.events
        except (TokenRefused, Unauthorized) as error:
            # A watch with an old token is told that it has no permission, as one that has none is.
            if renewed:
                raise
            renewed = True
            connection.forget_token()
            _log.info("authenticating again for a watch: %s", error)
        except Lost as error:
            history.broken = True
            patience = patience or Patience()
            if not await patience.wait():
                raise Unavailable(f"{error} (no watch for {PATIENCE_SECONDS:g} s)") from error
            _log.info("watch goes on from revision %d with another stream: %s", history.after, error)


class _History:
    """How far a watch has come, and in which history: revisions count up in every one.

    Where an older copy was put back while the watch was broken, what others wrote into it since has the numbers of what they
    had written before. So it is the last change seen that has to be there still, as it was.
    """

    def __init__(self, connection: Connection, span: Span, after: int) -> None:
        self._reads = Reads(connection)
        self._connection = connection
        self._span = span
        self._cluster: int | None = None
        self._reached = after
        self._last: Event | None = None
        self.after = after
        """What was seen: everything up to the change of this revision. Not what the cluster has reached without one."""
        self.broken = False
        """Whether a stream was lost, and so anything may have happened."""

    def note(self, response: WatchResponse) -> None:
        """What came on the stream."""
        self._reached = max(self._reached, response.header.revision)
        if response.events:
            # The header may be ahead of the events: only they say how far we have come.
            self._last = response.events[-1]
            self.after = self._last.kv.mod_revision

    async def check(self) -> None:
        """Raises Compacted when it is another cluster than before, or there is no telling; RolledBack when this one has not
        come as far, or has come there on another way."""
        request = RangeRequest(key=self._span.start, count_only=True)
        header: Header = (await self._connection.read(RANGE, request, RangeResponse)).header
        if self._cluster is not None and header.cluster_id != self._cluster:
            raise Compacted("another etcd cluster answers than the one that was watched: list again")
        self._cluster = header.cluster_id
        if header.revision < self._reached:
            raise RolledBack(f"etcd is at revision {header.revision} and has not reached {self._reached}: list again")
        if self.broken:
            if self._last is None:
                raise Compacted("the watch broke before it had seen anything that a copy put back would not have: list again")
            if not await self._is_there(self._last):
                raise RolledBack(f"etcd has another history up to revision {self.after} than was seen of it: list again")
        self.broken = False

    async def _is_there(self, last: Event) -> bool:
        path, revision = path_of_pair(last.kv), last.kv.mod_revision
        stored = await self._reads.one(path, revision=revision)
        if last.type != DELETE:
            return stored == last.kv
        return stored is None and await self._reads.one(path, revision=revision - 1) is not None


def _check(stream: WatchStream, response: WatchResponse) -> WatchResponse:
    if response.compact_revision:
        raise Compacted(f"changes up to revision {response.compact_revision} were compacted: list again")
    if response.canceled:
        raise stream.refusal(response.cancel_reason or "the watch was cancelled")
    return response
