"""What every backend of ours checks before a request, and adds to what is stored: one set of rules, so that they agree."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from tortie.api.kinds import KINDS
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Resource
from tortie.datastore.codec import identity
from tortie.datastore.errors import AlreadyExists, InvalidRequest, NotSupported
from tortie.datastore.layout import IPAM_KINDS


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise InvalidRequest for a kind that is not kept."""
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidRequest(f"kind {kind!r} is not kept in the datastore")


def check_create(resource: Resource) -> None:
    """Raise InvalidRequest when resourceVersion is set, AlreadyExists for what is built in."""
    if resource.metadata.resource_version:
        raise InvalidRequest(f"metadata.resourceVersion of {resource.key} must be empty on create")
    if resource.key == DEFAULT_ALLOW.key:
        raise AlreadyExists(resource.key)


def check_update(resource: Resource) -> None:
    """Raise InvalidRequest when resourceVersion is empty, NotSupported for what is built in."""
    refuse_built_in("update", resource.key)
    if not resource.metadata.resource_version:
        raise InvalidRequest(
            f"metadata.resourceVersion of {resource.key} is empty: an update names the revision that it was made from"
        )


def refuse_built_in(operation: str, key: Key) -> None:
    """Raise NotSupported for the profile that is always there."""
    if key == DEFAULT_ALLOW.key:
        raise NotSupported(operation, key, "it is built in")


def parse_revision(revision: str) -> int:
    """The number of a revision to watch from. Raises InvalidRequest."""
    try:
        return int(revision)
    except ValueError:
        raise InvalidRequest(f"revision {revision!r} to watch from is not a number") from None


def with_new_identity(resource: Resource) -> Resource:
    """uid and creationTimestamp filled; IPAM's kinds have no place for them."""
    if resource.kind in IPAM_KINDS:
        return resource
    metadata = resource.metadata
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = msgspec.structs.replace(
        metadata,
        uid=metadata.uid or str(uuid.uuid4()),
        creation_timestamp=metadata.creation_timestamp or now,
    )
    return msgspec.structs.replace(resource, metadata=metadata)


def with_stored_identity(resource: Resource, stored: bytes) -> Resource:
    """uid and creationTimestamp of the stored bytes, whatever the update says; IPAM's kinds have none."""
    if resource.kind in IPAM_KINDS:
        return resource
    uid, created = identity(stored)
    metadata = msgspec.structs.replace(resource.metadata, uid=uid, creation_timestamp=created)
    return msgspec.structs.replace(resource, metadata=metadata)


def with_revision(resource: Resource, revision: int) -> Resource:
    """As a read at this revision would return it."""
    metadata = msgspec.structs.replace(resource.metadata, resource_version=str(revision), managed_fields=None, self_link="")
    return msgspec.structs.replace(resource, metadata=metadata)


def with_built_in(
    items: Iterable[Resource], kinds: Sequence[str], *, namespace: str = "", name_prefix: str = ""
) -> tuple[Resource, ...]:
    """A listing in key order, with the built-in profile where a store that held it would list it."""
    found = [item for item in items if item.key != DEFAULT_ALLOW.key]
    if "Profile" in kinds and not namespace and DEFAULT_ALLOW.metadata.name.startswith(name_prefix):
        found.append(DEFAULT_ALLOW)
    return tuple(sorted(found, key=lambda item: item.key))
