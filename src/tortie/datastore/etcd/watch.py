"""One watch of one range of keys, kept up over lost connections.

One range and not one for each kind: etcd promises the order of commits within one watch only.
"""

from collections.abc import AsyncIterator

from tortie.base import log
from tortie.datastore.errors import Compacted, Unauthorized, Unavailable
from tortie.datastore.etcd.connection import ANSWER_SECONDS, PATIENCE_SECONDS, Connection, Patience, WatchStream
from tortie.datastore.etcd.errors import Lost, TokenRefused
from tortie.datastore.etcd.messages import (
    RANGE,
    Event,
    Header,
    RangeRequest,
    RangeResponse,
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)
from tortie.datastore.etcd.reads import Span

_log = log.get(__name__)


async def follow(connection: Connection, span: Span, *, after: int) -> AsyncIterator[tuple[Event, ...]]:
    """Every change of the span after a revision, in commit order, whole revisions at a time, without end.

    Raises Compacted when that history is gone or was never this cluster's, Unavailable when no member answers for long.
    """
    cluster: int | None = None
    patience: Patience | None = None
    renewed = False
    while True:
        try:
            cluster = await _check_history(connection, span, after, cluster)
            request = WatchCreateRequest(key=span.start, range_end=span.end, start_revision=after + 1, progress_notify=True)
            async with connection.watch_stream(WatchRequest(create=request)) as stream:
                _check(stream, await stream.next(timeout=ANSWER_SECONDS))
                while True:
                    response = _check(stream, await stream.next())
                    patience, renewed = None, False
                    if response.events:
                        # The header may be ahead of the events: only they say how far we have come.
                        after = response.events[-1].kv.mod_revision
                        yield response.events
                    else:
                        after = max(after, response.header.revision)
        except (TokenRefused, Unauthorized) as error:
            # A watch with an old token is told that it has no permission, as one that has none is.
            if renewed:
                raise
            renewed = True
            connection.forget_token()
            _log.info("authenticating again for a watch: %s", error)
        except Lost as error:
            patience = patience or Patience()
            if not await patience.wait():
                raise Unavailable(f"{error} (no watch for {PATIENCE_SECONDS:g} s)") from error
            _log.info("watch goes on from revision %d with another stream: %s", after, error)


async def _check_history(connection: Connection, span: Span, after: int, cluster: int | None) -> int:
    """The cluster's identity. Raises Compacted when it is another cluster than before, or has not come as far as we have."""
    header: Header = (await connection.read(RANGE, RangeRequest(key=span.start, count_only=True), RangeResponse)).header
    if cluster is not None and header.cluster_id != cluster:
        raise Compacted("another etcd cluster answers than the one that was watched: list again")
    if header.revision < after:
        raise Compacted(f"etcd is at revision {header.revision} and has not reached {after}: list again")
    return header.cluster_id


def _check(stream: WatchStream, response: WatchResponse) -> WatchResponse:
    if response.compact_revision:
        raise Compacted(f"changes up to revision {response.compact_revision} were compacted: list again")
    if response.canceled:
        raise stream.refusal(response.cancel_reason or "the watch was cancelled")
    return response
