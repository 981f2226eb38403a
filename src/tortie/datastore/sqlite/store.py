"""What happens on the owner thread: one method, one transaction.

A change takes the next revision from the log `changes`, whose key never repeats and never skips; the row carries the revision
of its last change. So "everything after revision r" is one range of the log, in commit order.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from tortie.api.resource import Key, Resource
from tortie.datastore.client import Event, Listing
from tortie.datastore.codec import decode, encode, read
from tortie.datastore.errors import AlreadyExists, Compacted, DoesNotExist, Unavailable, UpdateConflict
from tortie.datastore.requests import with_built_in, with_revision, with_stored_identity
from tortie.datastore.sqlite.schema import Synchronous, connect
from tortie.datastore.unreadable import Unreadable

_COMPACT_EVERY = 500
_READ_CHANGES = 500
_ROW = "SELECT value, revision, path FROM rows WHERE kind = ? AND namespace = ? AND name = ?"
_LAST_CHARACTER = "\U0010ffff"


class Changes(NamedTuple):
    """Events after some revision, and the revision up to which nothing else happened to the kinds that were asked for."""

    events: tuple[Event, ...]
    revision: int


class Store:
    """The connection and what is done with it. Every call comes from one thread; the file is opened by the first.

    Only the first call makes a file that is not there, and only with `create`. Later on a missing file was taken away: an empty
    one in its place would be a lie, and in the way of the one that comes back.
    """

    def __init__(self, path: str, *, synchronous: Synchronous, history: int, create: bool) -> None:
        self._path = path
        self._create = create
        self._synchronous = synchronous
        self._history = history
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._opened = 0

    def open(self) -> int:
        """Open the file now, so that its directory is there to be watched. Returns which opening this is, for `changes`."""
        with self._transaction("DEFERRED"):
            return self._opened

    def create(self, resource: Resource, path: str) -> Resource:
        """Insert. Raises AlreadyExists."""
        key, value = resource.key, encode(resource)
        with self._transaction("IMMEDIATE") as db:
            if db.execute(_ROW, key).fetchone() is not None:
                raise AlreadyExists(key)
            revision = self._log(db, key, path, value)
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", (path, *key, value, revision, revision))
        return with_revision(resource, revision)

    def update(self, resource: Resource, path: str) -> Resource:
        """Replace when the stored revision is the resource's. uid and creationTimestamp stay. DoesNotExist, UpdateConflict."""
        key = resource.key
        with self._transaction("IMMEDIATE") as db:
            row = db.execute(_ROW, key).fetchone()
            if row is None:
                raise DoesNotExist(key)
            if str(row[1]) != resource.metadata.resource_version:
                raise UpdateConflict(key)
            resource = with_stored_identity(resource, row[0])
            value = encode(resource)
            revision = self._log(db, key, path, value)
            # The path of an affinity follows its spec (type host or virtual), so it may change with the value.
            db.execute(
                "UPDATE rows SET path = ?, value = ?, revision = ? WHERE kind = ? AND namespace = ? AND name = ?",
                (path, value, revision, *key),
            )
        return with_revision(resource, revision)

    def delete(self, key: Key, revision: str) -> Resource:
        """Remove, comparing with `revision` unless it is empty. DoesNotExist, UpdateConflict."""
        with self._transaction("IMMEDIATE") as db:
            row = db.execute(_ROW, key).fetchone()
            if row is None:
                raise DoesNotExist(key)
            if revision and str(row[1]) != revision:
                raise UpdateConflict(key)
            self._log(db, key, row[2], None)
            db.execute("DELETE FROM rows WHERE kind = ? AND namespace = ? AND name = ?", key)
        return decode(key, row[2], row[0], revision=str(row[1]))

    def get(self, key: Key) -> Resource:
        """Read one. Raises DoesNotExist."""
        with self._transaction("DEFERRED") as db:
            row = db.execute(_ROW, key).fetchone()
        if row is None:
            raise DoesNotExist(key)
        return decode(key, row[2], row[0], revision=str(row[1]))

    def read_many(self, kinds: Sequence[str], namespace: str, name_prefix: str) -> Callable[[], Listing]:
        """Read all of the kinds in one transaction, so at one revision. What is returned decodes the rows, for which the
        owner thread is not needed; what cannot be decoded is listed apart."""
        rows: list[tuple[str, str, str, str, bytes, int]] = []
        with self._transaction("DEFERRED") as db:
            revision = _last_revision(db)
            for kind in sorted(set(kinds)):
                rows += db.execute(
                    "SELECT kind, namespace, name, path, value, revision FROM rows"
                    " WHERE kind = ? AND (? = '' OR namespace = ?) AND name >= ? AND name < ? ORDER BY namespace, name",
                    (kind, namespace, namespace, name_prefix, name_prefix + _LAST_CHARACTER),
                ).fetchall()

        def decoded() -> Listing:
            found = [read(Key(*row[:3]), row[3], row[4], revision=str(row[5])) for row in rows]
            items = [each for each in found if not isinstance(each, Unreadable)]
            listed = with_built_in(items, kinds, namespace=namespace, name_prefix=name_prefix)
            return Listing(listed, str(revision), tuple(each for each in found if isinstance(each, Unreadable)))

        return decoded

    def changes(self, kinds: Sequence[str], after: int, *, opening: int) -> Changes:
        """The next events of the kinds after a revision, at most a batch of them. Raises Compacted, and Unavailable when the
        file is another one than at `opening`: it has another history, even where the revisions happen to fit."""
        with self._transaction("DEFERRED") as db:
            if self._opened != opening:
                raise Unavailable(f"datastore {self._path} was replaced while in use: list again")
            last = _last_revision(db)
            if last == after:
                return Changes((), after)
            oldest = db.execute("SELECT min(revision) FROM changes").fetchone()[0]
            if after > last or oldest is None or after < oldest - 1:
                raise Compacted(f"changes after revision {after} are gone, the store is at {last}: list again")
            rows = db.execute(
                "SELECT kind, namespace, name, path, value, revision FROM changes"
                " WHERE revision > ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY revision LIMIT ?",
                (after, msgspec.json.encode(kinds).decode(), _READ_CHANGES),
            ).fetchall()
        return Changes(tuple(_event(row) for row in rows), rows[-1][5] if len(rows) == _READ_CHANGES else last)

    def close(self) -> None:
        """Close the file. Idempotent; the next call would open it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[sqlite3.Connection]:
        there = _file_identity(self._path)
        if self._connection is not None and there != self._file:
            self.close()  # what was written there would be lost
        if there is None and not self._create:
            what = "was removed while in use" if self._opened else "is not there"
            raise Unavailable(f"datastore {self._path} {what}: put it back")
        if self._connection is None:
            self._connection = connect(self._path, synchronous=self._synchronous, create=self._create)
            self._file = _file_identity(self._path)
            self._opened += 1
            self._create = False
        db = self._connection
        db.execute(f"BEGIN {mode}")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _log(self, db: sqlite3.Connection, key: Key, path: str, value: bytes | None) -> int:
        cursor = db.execute(
            "INSERT INTO changes (path, kind, namespace, name, value) VALUES (?, ?, ?, ?, ?)", (path, *key, value)
        )
        revision = cursor.lastrowid
        assert revision is not None
        if revision % _COMPACT_EVERY == 0:
            db.execute("DELETE FROM changes WHERE revision <= ?", (revision - self._history,))
        return revision


def _last_revision(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return int(row[0]) if row else 0


def _event(row: tuple[str, str, str, str, bytes | None, int]) -> Event:
    key, revision = Key(*row[:3]), str(row[5])
    if row[4] is None:
        return Event(key, None, revision)
    value = read(key, row[3], row[4], revision=revision)
    return Event(key, None, revision, value) if isinstance(value, Unreadable) else Event(key, value, revision)


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
