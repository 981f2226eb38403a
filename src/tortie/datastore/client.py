"""The client protocol: what every backend (sqlite, etcd, kubernetes) promises. tests/conformance holds them to it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tortie.api.resource import Key, Resource
from tortie.datastore.errors import Incompatible
from tortie.datastore.unreadable import Unreadable


class Listing(NamedTuple):
    """Resources in key order, and the revision of the store they were read at (watch from here misses nothing).

    Only `list_many` gives `unreadable` values; `list` raises Incompatible for the first one.
    """

    items: tuple[Resource, ...]
    revision: str
    unreadable: tuple[Unreadable, ...] = ()

    def whole(self) -> tuple[Resource, ...]:
        """The items, for whom no gap will do. Raises Incompatible if a value could not be read."""
        if self.unreadable:
            raise Incompatible(self.unreadable[0].reason)
        return self.items


@dataclass(frozen=True, slots=True)
class Event:
    """One committed change. Events arrive in commit order (in Kubernetes: those of one resource); `revision` is the store's
    after it.

    `value` None: deleted, or, where `unreadable` says so, stored but not to be read.
    """

    key: Key
    value: Resource | None
    revision: str
    unreadable: Unreadable | None = None


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
        """Read all of several kinds at one revision, whatever can be read of them (see `Listing`).

        Kubernetes has one revision for each resource: there kinds are of moments of their own, all after the call began.
        """
        ...

    def watch(self, kinds: Sequence[str], *, revision: str) -> AsyncIterator[Sequence[Event]]:
        """Batches of changes after `revision`, without end. Raises Compacted when that history is gone: list again."""
        ...

    async def close(self) -> None:
        """Give back files and threads. Idempotent."""
        ...
