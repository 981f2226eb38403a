"""Resource <-> stored bytes: JSON as Calico keeps it in etcd, so that one codec serves every backend that we own.

The stored form has no resourceVersion (the store's revision takes its place on reading) and no selfLink.
"""

import msgspec

from tortie.api import documents
from tortie.api.errors import ApiError
from tortie.api.resource import Key, Metadata, Resource
from tortie.datastore import ipam_model
from tortie.datastore.errors import Incompatible
from tortie.datastore.layout import IPAM_KINDS
from tortie.datastore.unreadable import Unreadable

NAME_ANNOTATION = "projectcalico.org/metadata"
"""Calico writes the name of tiered policies into this annotation and hides it on reading."""

_TIERED = frozenset({"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"})


class _Head(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()


def encode(resource: Resource) -> bytes:
    """The bytes to store."""
    if resource.kind in IPAM_KINDS:
        return ipam_model.encode(resource)
    metadata = resource.metadata
    annotations = metadata.annotations
    if resource.kind in _TIERED:
        annotations = annotations | {NAME_ANNOTATION: msgspec.json.encode({"name": metadata.name}).decode()}
    metadata = msgspec.structs.replace(
        metadata, resource_version="", managed_fields=None, self_link="", annotations=annotations
    )
    return documents.to_json(msgspec.structs.replace(resource, metadata=metadata))


def decode(key: Key, path: str, data: bytes, *, revision: str) -> Resource:
    """The resource behind stored bytes, its resource_version set. Raises Incompatible when they are not of that kind."""
    try:
        if key.kind in IPAM_KINDS:
            resource = ipam_model.decode(key, path, data)
        else:
            resource = documents.from_json(key.kind, data)
    except (ApiError, msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
        raise Incompatible(f"stored {key} cannot be read: {error}") from error
    metadata = resource.metadata
    annotations = {name: text for name, text in metadata.annotations.items() if name != NAME_ANNOTATION}
    return msgspec.structs.replace(
        resource, metadata=msgspec.structs.replace(metadata, resource_version=revision, annotations=annotations)
    )


def read(key: Key, path: str, data: bytes, *, revision: str) -> Resource | Unreadable:
    """What is behind stored bytes, for those who go on without what cannot be read."""
    try:
        return decode(key, path, data, revision=revision)
    except Incompatible as error:
        return Unreadable(key, revision, str(error), data)


def identity(data: bytes) -> tuple[str, str | None]:
    """The uid and creationTimestamp inside stored bytes; empty for IPAM's kinds."""
    metadata = msgspec.json.decode(data, type=_Head).metadata
    return metadata.uid, metadata.creation_timestamp
