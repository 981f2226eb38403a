"""The client of the embedded datastore: the protocol's promises over `store.Store` on a thread of its own."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Resource
from tortie.base.aio import Backoff
from tortie.datastore import requests
from tortie.datastore.client import Event, Listing
from tortie.datastore.errors import Incompatible, Unavailable
from tortie.datastore.layout import check_key, path_of
from tortie.datastore.sqlite.schema import Synchronous
from tortie.datastore.sqlite.store import Store
from tortie.datastore.sqlite.wakeup import Wakeup

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BUSY_SECONDS = 10.0
_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_FOREIGN_CODES = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})


class SqliteClient:
    """`datastore.client.Client` over one sqlite file. The file is opened by the first request.

    Use it from one event loop. `history` changes are kept for watchers; `synchronous` FULL makes every commit survive a
    power cut, NORMAL may lose the last ones then (never a process's death, never half a change). Without `create` a file that
    is not there is Unavailable.
    """

    def __init__(self, path: str, *, synchronous: Synchronous = "NORMAL", history: int = 20_000, create: bool = True) -> None:
        self._path = path
        self._store = Store(path, synchronous=synchronous, history=history, create=create)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._wakeup = Wakeup(path)
        self._closed = False

    async def create(self, resource: Resource) -> Resource:
        """See `Client.create`. Raises InvalidRequest when resourceVersion is set."""
        path = path_of(resource)
        requests.check_create(resource)
        created = await self._run(self._store.create, requests.with_new_identity(resource), path)
        self._wakeup.notify()
        return created

    async def update(self, resource: Resource) -> Resource:
        """See `Client.update`. Raises InvalidRequest when resourceVersion is empty."""
        path = path_of(resource)
        requests.check_update(resource)
        updated = await self._run(self._store.update, resource, path)
        self._wakeup.notify()
        return updated

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        """See `Client.delete`."""
        check_key(key)
        requests.refuse_built_in("delete", key)
        deleted = await self._run(self._store.delete, key, revision)
        self._wakeup.notify()
        return deleted

    async def get(self, key: Key) -> Resource:
        """See `Client.get`."""
        check_key(key)
        if key == DEFAULT_ALLOW.key:
            return DEFAULT_ALLOW
        return await self._run(self._store.get, key)

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        """See `Client.list`."""
        requests.check_kinds((kind,))
        listing = await self._decoded(await self._run(self._store.read_many, (kind,), namespace, name_prefix))
        listing.whole()
        return listing

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        """See `Client.list_many`."""
        requests.check_kinds(kinds)
        return await self._decoded(await self._run(self._store.read_many, tuple(kinds), "", ""))

    async def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """See `Client.watch`. A watcher keeps no queue: it reads the log from where it stands, as fast as it is asked to."""
        requests.check_kinds(kinds)
        position = requests.parse_revision(revision)
        opening = await self._run(self._store.open)
        with self._wakeup.listener() as news:
            while True:
                news.clear()
                events, position = await self._run(self._store.changes, tuple(kinds), position, opening=opening)
                if events:
                    yield events
                else:
                    await news.wait()

    async def close(self) -> None:
        """See `Client.close`. Watches in flight end with Unavailable."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=False)
        self._wakeup.notify()

    async def _decoded(self, decode: Callable[[], Listing]) -> Listing:
        """Outside of the owner thread: a long listing must not keep a short request waiting."""
        return await asyncio.to_thread(decode)

    async def _run(self, request: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """One transaction on the owner thread, repeated while another process holds the file, for a bounded time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BUSY_SECONDS
        backoff = Backoff(first=0.002, last=0.1)
        while True:
            if self._closed:
                raise Unavailable(f"the client of datastore {self._path} is closed")
            try:
                return await loop.run_in_executor(self._thread, lambda: request(*args, **kwargs))
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in _FOREIGN_CODES:
                    raise Incompatible(f"datastore {self._path} is damaged or no sqlite file: {error}") from error
                if code not in _BUSY_CODES:
                    raise Unavailable(f"datastore {self._path}: {error}") from error
                if loop.time() > deadline:
                    raise Unavailable(f"datastore {self._path} was held by another process for {_BUSY_SECONDS:g} s") from error
            except OSError as error:
                raise Unavailable(f"datastore {self._path}: {error.strerror or error}") from error
            await backoff.wait()
