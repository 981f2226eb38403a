"""Listings, page by page at one resource version, each object decoded as far as it is needed and its bytes let go of."""

import asyncio
from collections.abc import Mapping

import msgspec

from tortie.api.resource import Key, Resource
from tortie.datastore.errors import Compacted, Unavailable
from tortie.datastore.kubernetes.connection import Connection
from tortie.datastore.kubernetes.objects import Reader
from tortie.datastore.kubernetes.places import Place, Source
from tortie.datastore.unreadable import Unreadable

PAGE = 500
_SLICE = 100
"""Objects decoded in one go: some milliseconds."""


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: tuple[msgspec.Raw, ...] | None = None


class Listed:
    """What a listing of one resource gave; pages are added to it."""

    def __init__(self, revision: str = "") -> None:
        self.items: dict[Key, Resource] = {}
        self.unreadable: dict[Key, Unreadable] = {}
        self.revision = revision


async def read_all(connection: Connection, source: Source, reader: Reader, *, namespace: str = "") -> Listed:
    """Every object of a resource at one resource version, or of one namespace. Raises as `Connection.read`."""
    try:
        return await _read_pages(connection, source, reader, namespace=namespace, limit=PAGE)
    except Compacted:
        # The version of the first page is gone before the last one was read. One page of everything cannot expire.
        return await _read_pages(connection, source, reader, namespace=namespace, limit=0)


async def check_history(connection: Connection, place: Place, revision: str) -> None:
    """Raise Compacted when the server has not come as far as `revision`: it was restored from a backup.

    A read at least that new would be the shorter question. But the API server answers it from what it watches in etcd itself,
    which for a quiet resource is seconds behind, and says the same 504 to a version that is only a moment old.
    """
    body = await connection.read(place.path(), {"limit": "1"}, verb="list", key=Key(place.kind, "", ""))
    try:
        newest = msgspec.json.decode(body, type=_Page).metadata.resource_version
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{connection.server}: the list of {place.name} cannot be read: {error}") from error
    if newest.isdecimal() and revision.isdecimal() and int(newest) < int(revision):
        raise Compacted(f"{place.name} is at version {newest} now, {revision} was seen before: list again")


async def _read_pages(connection: Connection, source: Source, reader: Reader, *, namespace: str, limit: int) -> Listed:
    listed = Listed()
    query: Mapping[str, str] = {"limit": str(limit)} if limit else {}
    path = source.place.path(namespace)
    while True:
        body = await connection.read(path, query, verb="list", key=Key(source.place.kind, namespace, ""))
        try:
            page = msgspec.json.decode(body, type=_Page)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{connection.server}: the list of {source.place.name} cannot be read: {error}") from error
        raws = page.items or ()
        for at in range(0, len(raws), _SLICE):
            for raw in raws[at : at + _SLICE]:
                reader.add(raw, listed.items, listed.unreadable)
            await asyncio.sleep(0)
        listed.revision = page.metadata.resource_version
        if not page.metadata.continue_:
            return listed
        query = {"limit": str(limit), "continue": page.metadata.continue_}
