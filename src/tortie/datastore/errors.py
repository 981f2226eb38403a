"""Errors of the datastore boundary, with Calico's texts (api.md, section 1.1)."""

from tortie.api.resource import Key
from tortie.base.errors import TortieError


class DatastoreError(TortieError):
    """Root of this boundary."""


class AlreadyExists(DatastoreError):
    """Create of a key that is there."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"resource already exists: {key}")
        self.key = key


class DoesNotExist(DatastoreError):
    """Get, update or delete of a key that is not there."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"resource does not exist: {key}")
        self.key = key


class UpdateConflict(DatastoreError):
    """Somebody else wrote in between: read again and decide again."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"update conflict: {key}")
        self.key = key


class StaleVersion(UpdateConflict):
    """The resource was written from a version that is no longer the newest."""

    def __init__(self, key: Key, given: str, latest: str) -> None:
        super().__init__(key)
        self.args = (
            f"update conflict: {key}: resource version '{given}' is out of date (latest: {latest}): "
            "get the resource again, or remove metadata.resourceVersion",
        )


class Compacted(DatastoreError):
    """The history that a watch asked for is gone: list again and watch from there."""


class RolledBack(Compacted):
    """The store is an older copy of what was watched: what it does not know was not deleted."""


class Unavailable(DatastoreError):
    """The store cannot be reached, read or written just now; the text says why."""


class Unauthorized(Unavailable):
    """The store does not accept who we are, or does not let us do this: credentials or permissions want mending."""


class InvalidRequest(DatastoreError):
    """The request itself is wrong; the text names the field. Asking again gives the same answer."""


class NotSupported(DatastoreError):
    """The kind or this object of it does not allow the operation."""

    def __init__(self, operation: str, key: Key, reason: str) -> None:
        super().__init__(f"operation {operation} is not supported on {key}: {reason}")
        self.key = key


class Incompatible(DatastoreError):
    """The store holds what this release cannot read: a newer schema, a foreign or a damaged file. Nothing was changed."""


class Replaced(DatastoreError):
    """The store that answers is not the one whose state is in force (identity): nothing of it is believed."""
