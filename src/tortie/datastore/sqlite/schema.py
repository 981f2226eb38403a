"""The file: its tables, how older files become current ones, how a connection is opened."""

import os
import sqlite3
from typing import Literal

from tortie.datastore.errors import Incompatible

Synchronous = Literal["NORMAL", "FULL"]

_BUSY_MILLISECONDS = 50
"""How long one attempt blocks the owner thread; the client repeats attempts, and reads go on between them."""

_MIGRATIONS = (
    """
    CREATE TABLE rows (
        path      TEXT PRIMARY KEY,
        kind      TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        value     BLOB NOT NULL,
        revision  INTEGER NOT NULL,
        created   INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX rows_by_key ON rows (kind, namespace, name);
    CREATE TABLE changes (
        revision  INTEGER PRIMARY KEY AUTOINCREMENT,
        path      TEXT NOT NULL,
        kind      TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        value     BLOB
    );
    """,
)
"""Statement i takes a file from version i to i + 1. Never edit one that was released: append."""

VERSION = len(_MIGRATIONS)


def connect(path: str, *, synchronous: Synchronous, create: bool) -> sqlite3.Connection:
    """Open the file, creating it (if asked to) or migrating it first. Raises Incompatible (also for a newer file),
    sqlite3.Error or OSError."""
    if create:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
    # sqlite gives -wal and -shm the mode of the main file, so making it first is enough to keep all three private. And sqlite
    # itself would make a file that is not there.
    os.close(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_MILLISECONDS / 1000, isolation_level=None)
    try:
        _refuse_newer(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _refuse_newer(connection: sqlite3.Connection, path: str) -> None:
    version = _version(connection)
    if version > VERSION:
        raise Incompatible(
            f"datastore {path} has schema version {version}, this release knows up to {VERSION}: use a newer tortie"
        )


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster while we waited for the lock.
        _refuse_newer(connection, path)
        if _version(connection) == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise Incompatible(f"{path} is a sqlite file of another program: choose another TORTIE_SQLITE_PATH")
        for statements in _MIGRATIONS[_version(connection) :]:
            for statement in statements.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
