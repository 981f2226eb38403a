"""The messages of etcd's v3 API that we exchange, with its field numbers (package etcdserverpb; key values: mvccpb).

Fields that we neither send nor read are left out; servers and `wire` allow it.
"""

from typing import Annotated

from tortie.datastore.etcd.wire import Message

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
WATCH = "/etcdserverpb.Watch/Watch"
AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"

EQUAL = 0
"""Compare.result."""
VERSION, MOD_REVISION = 0, 2
"""Compare.target."""
PUT, DELETE = 0, 1
"""Event.type."""


class Header(Message, frozen=True, gc=False):
    """Of every answer: which cluster spoke, and its revision."""

    cluster_id: Annotated[int, 1] = 0
    member_id: Annotated[int, 2] = 0
    revision: Annotated[int, 3] = 0
    raft_term: Annotated[int, 4] = 0


class KeyValue(Message, frozen=True, gc=False):
    """A stored pair. `version` counts the writes since the key was created."""

    key: Annotated[bytes, 1] = b""
    create_revision: Annotated[int, 2] = 0
    mod_revision: Annotated[int, 3] = 0
    version: Annotated[int, 4] = 0
    value: Annotated[bytes, 5] = b""


class RangeRequest(Message, frozen=True, gc=False):
    """Read one key, or the keys from `key` up to, not including, `range_end`. Revision 0 means now, limit 0 means all."""

    key: Annotated[bytes, 1] = b""
    range_end: Annotated[bytes, 2] = b""
    limit: Annotated[int, 3] = 0
    revision: Annotated[int, 4] = 0
    keys_only: Annotated[bool, 8] = False
    count_only: Annotated[bool, 9] = False


class RangeResponse(Message, frozen=True, gc=False):
    """`more`: the limit cut the answer short."""

    header: Annotated[Header, 1] = Header()
    kvs: Annotated[tuple[KeyValue, ...], 2] = ()
    more: Annotated[bool, 3] = False
    count: Annotated[int, 4] = 0


class PutRequest(Message, frozen=True, gc=False):
    """Write one key."""

    key: Annotated[bytes, 1] = b""
    value: Annotated[bytes, 2] = b""


class DeleteRangeRequest(Message, frozen=True, gc=False):
    """Remove one key."""

    key: Annotated[bytes, 1] = b""


class DeleteRangeResponse(Message, frozen=True, gc=False):
    """How many were there."""

    header: Annotated[Header, 1] = Header()
    deleted: Annotated[int, 2] = 0


class RequestOp(Message, frozen=True, gc=False):
    """One operation of a transaction: exactly one field is set."""

    range: Annotated[RangeRequest | None, 1] = None
    put: Annotated[PutRequest | None, 2] = None
    delete_range: Annotated[DeleteRangeRequest | None, 3] = None


class ResponseOp(Message, frozen=True, gc=False):
    """Its answer."""

    range: Annotated[RangeResponse | None, 1] = None
    delete_range: Annotated[DeleteRangeResponse | None, 3] = None


class Compare(Message, frozen=True, gc=False):
    """A condition: the target of a key has this value. A key that is not there has version 0."""

    result: Annotated[int, 1] = EQUAL
    target: Annotated[int, 2] = VERSION
    key: Annotated[bytes, 3] = b""
    version: Annotated[int | None, 4] = None
    mod_revision: Annotated[int | None, 6] = None


class TxnRequest(Message, frozen=True, gc=False):
    """All conditions hold: `success` happens, else `failure`, each as one change."""

    compare: Annotated[tuple[Compare, ...], 1] = ()
    success: Annotated[tuple[RequestOp, ...], 2] = ()
    failure: Annotated[tuple[RequestOp, ...], 3] = ()


class TxnResponse(Message, frozen=True, gc=False):
    """Which branch happened, and the answers of its operations in order."""

    header: Annotated[Header, 1] = Header()
    succeeded: Annotated[bool, 2] = False
    responses: Annotated[tuple[ResponseOp, ...], 3] = ()


class Event(Message, frozen=True, gc=False):
    """One change. A deletion's kv has only the key and, as mod_revision, the revision of the deletion."""

    type: Annotated[int, 1] = PUT
    kv: Annotated[KeyValue, 2] = KeyValue()


class WatchCreateRequest(Message, frozen=True, gc=False):
    """Events of a range from a revision on; `progress_notify` asks for a word now and then when there are none."""

    key: Annotated[bytes, 1] = b""
    range_end: Annotated[bytes, 2] = b""
    start_revision: Annotated[int, 3] = 0
    progress_notify: Annotated[bool, 4] = False


class WatchRequest(Message, frozen=True, gc=False):
    """What is sent on the stream of a watch."""

    create: Annotated[WatchCreateRequest | None, 1] = None


class WatchResponse(Message, frozen=True, gc=False):
    """What comes: `created` once, then events, whole revisions at a time, or the end: `canceled` with a reason."""

    header: Annotated[Header, 1] = Header()
    watch_id: Annotated[int, 2] = 0
    created: Annotated[bool, 3] = False
    canceled: Annotated[bool, 4] = False
    compact_revision: Annotated[int, 5] = 0
    cancel_reason: Annotated[str, 6] = ""
    events: Annotated[tuple[Event, ...], 11] = ()


class AuthenticateRequest(Message, frozen=True, gc=False):
    """A name and its password; never logged."""

    name: Annotated[str, 1] = ""
    password: Annotated[str, 2] = ""

    def __repr__(self) -> str:
        return f"AuthenticateRequest(name={self.name!r})"


class AuthenticateResponse(Message, frozen=True, gc=False):
    """The token that the following requests carry."""

    header: Annotated[Header, 1] = Header()
    token: Annotated[str, 2] = ""

    def __repr__(self) -> str:
        return "AuthenticateResponse()"
