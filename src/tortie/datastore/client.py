"""The client protocol: what every backend (sqlite, etcd, kubernetes) promises. tests/conformance holds them to it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tortie.api.resource import Key, Resource


class Listing(NamedTuple):
    """Resources in key order, and the revision of the store they were read at (watch from here misses nothing)."""

    items: tuple[Resource, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change. `value` None: deleted. Events arrive in commit order; `revision` is the store's after it."""

    key: Key
    value: Resource | None
    revision: str


class Client(Protocol):
    """Requests. Values come back with metadata.resource_version set to the revision of their last write.

    Errors are those of `tortie.datastore.errors`: AlreadyExists, DoesNotExist, UpdateConflict, Compacted, Unavailable.
    """

    async def create(self, resource: Resource) -> Resource:
        """Store a new resource. Fills uid and creationTimestamp when absent. Raises AlreadyExists."""
        ...

    async def update(self, resource: Resource) -> Resource:
        """Replace, if metadata.resource_version is still the stored one. Raises DoesNotExist, UpdateConflict."""
        ...

    async def delete(self, key: Key, *, revision: str = "") -> Resource:
        """Remove and return what was there. With a revision: compare first. Raises DoesNotExist, UpdateConflict."""
        ...

    async def get(self, key: Key) -> Resource:
        """Read one. Raises DoesNotExist."""
        ...

    async def list(self, kind: str, *, namespace: str = "", name_prefix: str = "") -> Listing:
        """Read all of a kind, optionally of one namespace and with names that begin with a prefix."""
        ...

    async def list_many(self, kinds: Sequence[str]) -> Listing:
        """Read all of several kinds at one revision."""
        ...

    def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """Batches of changes after `revision`, without end. Raises Compacted when that history is gone: list again."""
        ...

    async def close(self) -> None:
        """Give back files and threads. Idempotent."""
        ...
