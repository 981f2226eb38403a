"""Compare and set (datastore.md, section 1.4), and what to do when the answer to a write is lost.

Every write is conditional, so that at most one attempt of it can take effect. After a lost answer the stored state, or the
history behind it, says whether the write happened; only when it did not is it sent again.
"""

from collections.abc import Sequence

from tortie.api.resource import Key
from tortie.datastore.errors import AlreadyExists, Compacted, DoesNotExist, Unavailable, UpdateConflict
from tortie.datastore.etcd.connection import Connection, Patience
from tortie.datastore.etcd.errors import Lost
from tortie.datastore.etcd.messages import (
    MOD_REVISION,
    TXN,
    VERSION,
    Compare,
    DeleteRangeRequest,
    KeyValue,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from tortie.datastore.etcd.reads import Reads


class Writes:
    """The three writes of one key. `key` is for messages, `path` is where it lies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reads = Reads(connection)

    async def create(self, key: Key, path: str, *, value: bytes, must_be_absent: Sequence[str] = (), unmistakable: bool) -> int:
        """Put where nothing is; the revision. Raises AlreadyExists, and Unavailable when it cannot be found out what happened.

        `unmistakable`: nobody else would write these very bytes, so finding them means that we did.
        """
        compare = [Compare(target=VERSION, key=one.encode(), version=0) for one in (path, *must_be_absent)]
        put = RequestOp(put=PutRequest(key=path.encode(), value=value))
        patience, doubt = Patience(), None
        while True:
            try:
                answer = await self._transact(compare, put, path)
                if answer.succeeded:
                    return answer.header.revision
                if doubt is None or not _found(answer):  # not at this path means at another one that must be empty
                    raise AlreadyExists(key)
            except Lost as lost:
                doubt = lost
            born = await self._at_birth(path, doubt)
            if born is not None:
                if born.value != value:
                    raise AlreadyExists(key)
                if unmistakable:
                    return born.create_revision
                raise Unavailable(f"{doubt}: it is not known whether {key} was created by us or by another: look again")
            await _pause(patience, doubt)

    async def update(self, key: Key, path: str, *, value: bytes, revision: int) -> int:
        """Replace what was last written at `revision`; the new revision. Raises DoesNotExist, UpdateConflict."""
        compare = [Compare(target=MOD_REVISION, key=path.encode(), mod_revision=revision)]
        put = RequestOp(put=PutRequest(key=path.encode(), value=value))
        patience, doubt = Patience(), None
        while True:
            try:
                answer = await self._transact(compare, put, path)
                if answer.succeeded:
                    return answer.header.revision
                if doubt is None:
                    raise UpdateConflict(key) if _found(answer) else DoesNotExist(key)
            except Lost as lost:
                doubt = lost
            current = await self._reads.one(path)
            if current is None:
                raise DoesNotExist(key)
            if current.mod_revision != revision:
                successor = await self._successor(path, current, revision, doubt)
                if successor.value != value:
                    raise UpdateConflict(key)
                return successor.mod_revision
            await _pause(patience, doubt)

    async def delete(self, key: Key, stored: KeyValue) -> bool:
        """Remove this very version; False when it is not the newest any more. Raises DoesNotExist."""
        compare = [Compare(target=MOD_REVISION, key=stored.key, mod_revision=stored.mod_revision)]
        path = stored.key.decode()
        remove = RequestOp(delete_range=DeleteRangeRequest(key=stored.key))
        patience, doubt = Patience(), None
        while True:
            try:
                answer = await self._transact(compare, remove, path)
                if answer.succeeded:
                    return True
                if doubt is None:
                    if _found(answer):
                        return False
                    raise DoesNotExist(key)
            except Lost as lost:
                doubt = lost
            current = await self._reads.one(path)
            # Gone, or gone and made anew: whoever removed it, it is what was asked for.
            if current is None or current.create_revision > stored.mod_revision:
                return True
            if current.mod_revision != stored.mod_revision:
                return False
            await _pause(patience, doubt)

    async def _transact(self, compare: Sequence[Compare], change: RequestOp, path: str) -> TxnResponse:
        """Change if the conditions hold, else read. Sent once."""
        otherwise = RequestOp(range=RangeRequest(key=path.encode(), keys_only=True))
        request = TxnRequest(compare=tuple(compare), success=(change,), failure=(otherwise,))
        return await self._connection.send_once(TXN, request, TxnResponse)

    async def _at_birth(self, path: str, doubt: Lost | None) -> KeyValue | None:
        """The first version of what is there, None when nothing is."""
        current = await self._reads.one(path)
        if current is None or current.version == 1:
            return current
        return await self._earlier(path, current.create_revision, doubt)

    async def _successor(self, path: str, current: KeyValue, revision: int, doubt: Lost | None) -> KeyValue:
        """The version that followed the one of `revision`."""
        while True:
            if current.version == 1:
                return current
            before = await self._earlier(path, current.mod_revision - 1, doubt)
            if before is None or before.mod_revision <= revision:
                return current
            current = before

    async def _earlier(self, path: str, revision: int, doubt: Lost | None) -> KeyValue | None:
        try:
            return await self._reads.one(path, revision=revision)
        except Compacted as error:
            raise Unavailable(
                f"{doubt}: it is not known whether {path} was written, its history is gone: look again"
            ) from error


def _found(answer: TxnResponse) -> bool:
    """Whether the other branch of a transaction found the key."""
    return any(response.range is not None and response.range.kvs for response in answer.responses)


async def _pause(patience: Patience, doubt: Lost | None) -> None:
    """Before the next attempt. Raises Unavailable when it was the last: what was sent may still take effect."""
    if not await patience.wait():
        raise Unavailable(f"{doubt}: a write was not confirmed, it may still take effect: look again") from doubt
