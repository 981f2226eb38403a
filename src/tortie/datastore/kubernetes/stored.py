"""A custom resource's form, and back: in crd.projectcalico.org/v1 with metadata in an annotation (datastore.md, 3.3), in
projectcalico.org/v3 as it is.

Objects are read as far as they are needed, straight from bytes: managedFields, for one, are passed over.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from tortie.api import documents
from tortie.api.errors import ApiError
from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMConfigurationSpec, IPAMHandle
from tortie.api.kinds import KINDS
from tortie.api.resource import V3, Key, Metadata, OwnerReference, Resource
from tortie.convert.uid import converted_uid
from tortie.datastore.codec import NAME_ANNOTATION
from tortie.datastore.kubernetes.places import CRD_V1, is_translated, place_of
from tortie.datastore.unreadable import Unreadable

METADATA_ANNOTATION = NAME_ANNOTATION
TIERED = frozenset({"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"})
OLD_PREFIX = "default."
"""Earlier releases of Calico kept policies of the default tier under a longer name."""

_OURS = ("projectcalico.org/", "operator.tigera.io/")
_FAILURES = (ApiError, msgspec.MsgspecError, RecursionError, TypeError, ValueError)
_HOSTNAME_HASH = "projectcalico.org/hostname-hash"
_AFFINITY_TYPE = "projectcalico.org/affinity-type"
_IP_VERSION = "projectcalico.org/ip-version"


class Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metav1.ObjectMeta as the API server sends it, without what we do not use."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Head(msgspec.Struct, frozen=True):
    """Any object, as far as every object is alike."""

    metadata: Meta = Meta()


_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def encode(resource: Resource, group: str) -> bytes:
    """What to send to the API server for a custom resource."""
    kind = resource.kind
    place = place_of(kind, group)
    document = documents.encode(resource)
    document["apiVersion"], document["kind"] = place.api_version, place.kind
    document["spec"] = _spec(resource, document.get("spec") or {}, group)
    metadata = msgspec.structs.replace(resource.metadata, managed_fields=None, self_link="", generation=None)
    if isinstance(resource, BlockAffinity):
        metadata = msgspec.structs.replace(metadata, labels=metadata.labels | _affinity_labels(resource))
    if is_translated(kind, group):
        document["metadata"] = _translated(kind, metadata)
    else:
        metadata = msgspec.structs.replace(metadata, deletion_timestamp=None)
        document["metadata"] = msgspec.to_builtins(metadata) | {"name": stored_name(resource.key)}
    return msgspec.json.encode(document)


def stored_name(key: Key) -> str:
    """The name of the object behind a key."""
    return key.name.lower() if key.kind == "IPAMHandle" else key.name


def decode(kind: str, data: bytes | msgspec.Raw, group: str) -> Resource:
    """The resource of a custom or one of Kubernetes' own kinds. Raises one of msgspec's errors, ApiError or ValueError."""
    known = KINDS[kind]
    try:
        read = msgspec.json.decode(data, type=_projection(kind))
        fields = {name: getattr(read, name) for name in _names(kind)}
        meta = read.metadata
    except msgspec.ValidationError:
        # Nulls for lists and maps, or a real misfit: the long way tells. Affinities say "true" in text, see below.
        body = _with_plain_values(kind, data)
        resource = documents.from_json(kind, body)
        fields = {name: getattr(resource, name) for name in _names(kind)}
        meta = msgspec.json.decode(body, type=Head).metadata
    metadata = _from_stored(kind, meta, group, spec=fields.get("spec"))
    return known.struct(metadata=metadata, **fields)


def read(kind: str, data: bytes | msgspec.Raw, group: str) -> Resource | Unreadable:
    """As `decode`, for those who go on without what cannot be read."""
    try:
        return decode(kind, data, group)
    except _FAILURES as error:
        meta = msgspec.json.decode(data, type=Head).metadata
        key = Key(kind, meta.namespace, _v3_name(kind, meta, _stored_metadata(meta), "") if group == CRD_V1 else meta.name)
        return Unreadable(
            key, meta.resource_version, f"stored {key} cannot be read: {error}", _v3_bytes(data, meta, kind, group)
        )


def meta_of(meta: Meta) -> Metadata:
    """Metadata of Kubernetes' own objects, without what nobody asks for."""
    annotations = meta.annotations or {}
    if _LAST_APPLIED in annotations:
        annotations = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    return Metadata(
        name=meta.name,
        generate_name=meta.generate_name,
        namespace=meta.namespace,
        labels=meta.labels or {},
        annotations=annotations,
        uid=meta.uid,
        resource_version=meta.resource_version,
        creation_timestamp=meta.creation_timestamp,
        deletion_timestamp=meta.deletion_timestamp,
    )


def _spec(resource: Resource, spec: dict[str, Any], group: str) -> dict[str, Any]:
    match resource:
        case BlockAffinity(spec=ours) if group == CRD_V1:
            return spec | {"deleted": "true" if ours.deleted else "false"}
        case IPAMConfiguration(spec=ours) if ours == IPAMConfigurationSpec():
            return {"strictAffinity": False, "autoAllocateBlocks": True, "maxBlocksPerHost": 0}
    return spec


def _affinity_labels(affinity: BlockAffinity) -> dict[str, str]:
    """By what others find the claims of a host (datastore.md, section 3.5)."""
    digest = base64.b32encode(hashlib.sha3_256(affinity.spec.node.encode()).digest()).decode().rstrip("=")
    return {
        _HOSTNAME_HASH: digest,
        _AFFINITY_TYPE: affinity.spec.type or "host",
        _IP_VERSION: "6" if ":" in affinity.spec.cidr else "4",
    }


def _translated(kind: str, metadata: Metadata) -> dict[str, Any]:
    """Metadata of the v1 object: what Kubernetes needs, and an annotation with everything else."""
    kept = msgspec.structs.replace(
        metadata,
        name=metadata.name if kind in TIERED else "",
        namespace="",
        uid="",
        resource_version="",
        owner_references=tuple(
            msgspec.structs.replace(owner, api_version=CRD_V1, uid=converted_uid(owner.uid))
            if owner.api_version == V3
            else owner
            for owner in metadata.owner_references
        ),
    )
    annotations = {METADATA_ANNOTATION: msgspec.json.encode(kept).decode(), **_ours(metadata.annotations)}
    stored: dict[str, Any] = {"name": stored_name(Key(kind, "", metadata.name)), "annotations": annotations}
    if metadata.namespace:
        stored["namespace"] = metadata.namespace
    if metadata.resource_version:
        stored["resourceVersion"] = metadata.resource_version
    if metadata.uid:
        stored["uid"] = converted_uid(metadata.uid)
    if labels := _ours(metadata.labels):
        stored["labels"] = labels
    return stored


def _converted(owner: OwnerReference, api_version: str) -> OwnerReference:
    return msgspec.structs.replace(owner, api_version=api_version, uid=converted_uid(owner.uid))


def _ours(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if any(part in name for part in _OURS)}


def _from_stored(kind: str, meta: Meta, group: str, *, spec: Any) -> Metadata:
    """The resource's metadata out of the object's."""
    if not KINDS[kind].is_ours:
        return meta_of(meta)
    name = spec.handle_id if kind == "IPAMHandle" else meta.name
    if not is_translated(kind, group):
        return Metadata(
            name=name,
            generate_name=meta.generate_name,
            namespace=meta.namespace,
            labels=meta.labels or {},
            annotations=meta.annotations or {},
            uid=meta.uid,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
            deletion_timestamp=meta.deletion_timestamp,
            finalizers=meta.finalizers or (),
            owner_references=meta.owner_references or (),
        )
    kept = _stored_metadata(meta)
    source = meta if kept is None else kept
    annotations = {name: text for name, text in (meta.annotations or {}).items() if name != METADATA_ANNOTATION}
    if kind != "IPAMHandle":
        name = _v3_name(kind, meta, kept, getattr(spec, "tier", ""))
    return Metadata(
        name=name,
        generate_name=source.generate_name,
        namespace=meta.namespace,
        labels=(meta.labels or {}) | ((kept and kept.labels) or {}),
        annotations=annotations | ((kept and kept.annotations) or {}),
        uid=converted_uid(meta.uid),
        resource_version=meta.resource_version,
        creation_timestamp=source.creation_timestamp or meta.creation_timestamp,
        deletion_timestamp=source.deletion_timestamp,
        finalizers=source.finalizers or (),
        owner_references=tuple(
            _converted(owner, V3) if kept is not None and owner.api_version in (CRD_V1, V3) else owner
            for owner in source.owner_references or ()
        ),
    )


def _stored_metadata(meta: Meta) -> Meta | None:
    """What the annotation keeps; None where there is none (an object that somebody wrote by hand)."""
    text = (meta.annotations or {}).get(METADATA_ANNOTATION)
    return None if text is None else msgspec.json.decode(text, type=Meta)


def _v3_name(kind: str, meta: Meta, kept: Meta | None, tier: str) -> str:
    if kind not in TIERED:
        return meta.name
    if kept is not None and kept.name:
        return kept.name
    return meta.name.removeprefix(OLD_PREFIX) if tier in ("", "default") else meta.name


def _v3_bytes(data: bytes | msgspec.Raw, meta: Meta, kind: str, group: str) -> bytes:
    """A value that cannot be read, its labels where `unreadable` looks for them."""
    if not is_translated(kind, group):
        return bytes(data)
    try:
        kept = _stored_metadata(meta)
        raw = msgspec.json.decode(data, type=dict[str, Any])
        labels = (meta.labels or {}) | ((kept and kept.labels) or {})
        return msgspec.json.encode(raw | {"metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels}})
    except _FAILURES:
        return bytes(data)


def _with_plain_values(kind: str, data: bytes | msgspec.Raw) -> bytes:
    """The v1 form of an affinity says "true" where the API has a truth value."""
    raw = msgspec.json.decode(data, type=dict[str, Any])
    metadata = raw.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    spec = raw.get("spec")
    if kind == "BlockAffinity" and isinstance(spec, dict) and isinstance(spec.get("deleted"), str):
        spec["deleted"] = spec["deleted"].lower() == "true"
    return msgspec.json.encode(raw)


@cache
def _projection(kind: str) -> type[Any]:
    """The kind's struct with the metadata as it is sent, and without apiVersion and kind, which the place tells."""
    fields: list[Any] = [("metadata", Meta, msgspec.field(default=Meta()))]
    for known in msgspec.structs.fields(KINDS[kind].struct):
        if known.name in ("api_version", "kind", "metadata"):
            continue
        if known.default is not msgspec.NODEFAULT:
            default = msgspec.field(default=known.default, name=known.encode_name)
        elif known.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=known.default_factory, name=known.encode_name)
        else:
            default = msgspec.field(name=known.encode_name)
        fields.append((known.name, known.type, default))
    return msgspec.defstruct(f"{kind}Object", fields, kw_only=True, frozen=True)


@cache
def _names(kind: str) -> tuple[str, ...]:
    return tuple(name for name in _projection(kind).__struct_fields__ if name != "metadata")


def is_deleted(resource: Resource) -> bool:
    """Whether an object of IPAM is in the first of the two steps of its deletion (datastore.md, section 3.5)."""
    return isinstance(resource, IPAMBlock | BlockAffinity | IPAMHandle) and resource.spec.deleted


def as_deleted(resource: Resource) -> Resource:
    """The same object of IPAM in the first step of its deletion."""
    assert isinstance(resource, IPAMBlock | BlockAffinity | IPAMHandle)
    return msgspec.structs.replace(resource, spec=msgspec.structs.replace(resource.spec, deleted=True))
