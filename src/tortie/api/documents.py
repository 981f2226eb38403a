"""Resources in and out: YAML and JSON documents for people, compact JSON for stores.

load_documents(text, origin="policy.yaml")   # every document, every error with its line
decode(value), encode(resource)              # one resource from and to a plain map
to_json(resource), from_json(kind, data)     # the fast path of the stores
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from tortie.api.bgp import BGPConfigurationSpec
from tortie.api.cluster_policy import NamespacedPods
from tortie.api.controllers import KubeControllersConfigurationSpec
from tortie.api.errors import DocumentError, FieldError, Path, UnknownKindError, ValidationError, field_path
from tortie.api.ipam import BlockAffinitySpec, IPAMBlockSpec, IPAMConfigurationSpec, IPAMHandleSpec
from tortie.api.ippool import IPPoolSpec
from tortie.api.kinds import KINDS, Kind, kind_for
from tortie.api.kubernetes import KubernetesNetworkPolicySpec
from tortie.api.policy import GlobalNetworkPolicySpec, NetworkPolicySpec
from tortie.api.resource import Resource
from tortie.api.shape import Fitting
from tortie.api.staged import (
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicySpec,
)
from tortie.api.tier import TierSpec
from tortie.api.yaml_text import YamlDocument, format_yaml, parse_yaml

_IGNORED: frozenset[Path] = frozenset(
    (
        ("metadata", "clusterName"),
        ("metadata", "deletionGracePeriodSeconds"),
        # A status that some Kubernetes releases wrote; Calico's kinds have a typed status or none.
        ("status",),
    )
)

_STRICT_OF_KUBERNETES = frozenset(("KubernetesNetworkPolicy", "KubernetesClusterNetworkPolicy"))
"""Kinds of Kubernetes that we carry whole: what is not known there would be a part of a policy that nobody obeys."""

_ALWAYS_SHOWN: Mapping[type[msgspec.Struct], frozenset[str]] = {
    NetworkPolicySpec: frozenset(("tier",)),
    GlobalNetworkPolicySpec: frozenset(("tier",)),
    TierSpec: frozenset(("default_action",)),
    IPPoolSpec: frozenset(("node_selector", "assignment_mode")),
    IPAMConfigurationSpec: frozenset(("strict_affinity", "auto_allocate_blocks", "max_blocks_per_host")),
    # The schemas of these require the field even when it is empty.
    IPAMBlockSpec: frozenset(("allocations", "unallocated", "attributes", "strict_affinity")),
    IPAMHandleSpec: frozenset(("block",)),
    BlockAffinitySpec: frozenset(("state", "deleted", "type")),
    BGPConfigurationSpec: frozenset(("log_severity_screen",)),
    KubeControllersConfigurationSpec: frozenset(("controllers",)),
    KubernetesNetworkPolicySpec: frozenset(("pod_selector",)),
    StagedNetworkPolicySpec: frozenset(("tier", "staged_action")),
    StagedGlobalNetworkPolicySpec: frozenset(("tier", "staged_action")),
    StagedKubernetesNetworkPolicySpec: frozenset(("staged_action",)),
    # Empty selectors select everything and are required.
    NamespacedPods: frozenset(("namespace_selector", "pod_selector")),
}
"""Fields that people expect to read even when they hold their default, and that Calico stores then too."""


@dataclass(frozen=True, slots=True)
class Document:
    """One resource and where it was written: `line` is where it begins, `positions` the line of each of its fields."""

    resource: Resource
    origin: str = ""
    line: int = 0
    positions: Mapping[Path, int] = field(default_factory=dict)

    def located(self, errors: Iterable[FieldError]) -> list[FieldError]:
        """The same errors with the lines of their fields, or of the nearest field around them."""
        return _located(errors, self.positions, origin=self.origin)


def load_documents(text: str, *, origin: str = "", skip: Callable[[Mapping[str, Any]], bool] | None = None) -> list[Document]:
    """Every resource of a YAML or JSON text; lists are expanded. `origin` (a file name) appears in errors.

    Documents for which `skip` holds are left out unread: a file may also describe what is no business of ours.
    Raises ValidationError with every misfit of every document, or DocumentError where the text cannot be read at all.
    """
    documents: list[Document] = []
    errors: list[FieldError] = []
    for raw in parse_yaml(text, origin=origin):
        for item in _expanded(raw, origin):
            if skip is not None and isinstance(item.value, dict) and skip(item.value):
                continue
            try:
                resource = decode(item.value)
            except ValidationError as error:
                errors += _located(error.errors, item.positions, origin=origin)
            except UnknownKindError as error:
                unknown = FieldError("kind", item.value.get("kind"), str(error))
                errors += _located([unknown], item.positions, origin=origin)
            else:
                documents.append(Document(resource, origin, item.line, item.positions))
    if errors:
        raise ValidationError(errors)
    return documents


def load_raw(text: str, *, origin: str = "") -> list[Any]:
    """Every document of a text as plain values, for documents that are no resources. Raises DocumentError."""
    return [document.value for document in parse_yaml(text, origin=origin)]


def decode(obj: Any, *, where: str = "") -> Resource:
    """The resource that a plain map describes.

    Unknown fields are refused, except in kinds that Kubernetes owns and of which we read a part; nulls count as absent.
    Raises ValidationError with every misfit, or UnknownKindError. `where` names the source in errors.
    """
    if not isinstance(obj, dict):
        raise ValidationError([FieldError("document", obj, "must be a map with apiVersion, kind and metadata", 0, where)])
    kind = _kind_of(obj, where)
    return _fitted(kind, obj, where, strict=kind.is_ours or kind.kind in _STRICT_OF_KUBERNETES)


def _fitted(kind: Kind, obj: Mapping[str, Any], where: str, *, strict: bool) -> Resource:
    fitting = Fitting(strict=strict, ignored=_IGNORED)
    body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = {k: v for k, v in body["metadata"].items() if k not in ("managedFields", "selfLink")}
    fitted = fitting.fit(kind.struct, body)
    if fitting.errors:
        raise ValidationError(replace(error, origin=where) for error in fitting.errors)
    return msgspec.convert(fitted, kind.struct)


def encode(resource: Resource) -> dict[str, Any]:
    """The document of a resource as a plain map: its document kind, no defaults but those that people expect to read."""
    kind = KINDS[resource.kind]
    document: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.document_kind}
    body = {"metadata": {}} | _plain(resource)
    return document | {key: value for key, value in body.items() if key not in document}


def to_json(resource: Resource) -> bytes:
    """A resource as a store keeps it, metadata included; it is also a valid document."""
    kind = KINDS[resource.kind]
    body = {known.encode_name: _spelt_out(getattr(resource, known.name)) for known in msgspec.structs.fields(resource)}
    document = {key: value for key, value in body.items() if value is not None}
    return msgspec.json.encode(document | {"apiVersion": kind.api_version, "kind": kind.document_kind})


def from_json(kind: str, data: bytes) -> Resource:
    """The resource of `kind` (as in `Key.kind`) that a store holds. Raises ValidationError if it does not fit."""
    known = KINDS[kind]
    try:
        resource = msgspec.json.decode(data, type=known.struct)
    except msgspec.ValidationError:
        # Nulls for lists and maps, which Go writes and the fast path refuses: take the way that reports all misfits. As on
        # the fast path, fields of a later release are passed over.
        return _fitted(known, msgspec.json.decode(data, type=dict[str, Any]), "", strict=False)
    except msgspec.DecodeError as error:
        raise DocumentError(f"{kind}: stored value is not JSON: {error}") from error
    if resource.kind == kind and resource.api_version == known.api_version:
        return resource
    return msgspec.structs.replace(resource, kind=kind, api_version=known.api_version)


def to_yaml(objs: Iterable[Resource | Mapping[str, Any]]) -> str:
    """Resources, or maps that `encode` made, as YAML documents."""
    return format_yaml(encode(obj) if isinstance(obj, Resource) else obj for obj in objs)


def _kind_of(obj: Mapping[str, Any], where: str) -> Kind:
    missing = [key for key in ("apiVersion", "kind") if not isinstance(obj.get(key), str) or not obj[key]]
    if missing:
        raise ValidationError(FieldError(key, obj.get(key), "is required", 0, where) for key in missing)
    return kind_for(obj["apiVersion"], obj["kind"])


def _expanded(document: YamlDocument, origin: str) -> Iterator[YamlDocument]:
    """The document itself, or the items of a list: `kind: List`, `kind: NetworkPolicyList`, or a bare sequence."""
    value = document.value
    prefix: Path = ()
    inherited: dict[str, Any] = {}
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and "items" in value:
        prefix = ("items",)
        if value["kind"] != "List":
            inherited = {"apiVersion": value.get("apiVersion"), "kind": str(value["kind"]).removesuffix("List")}
        value = value["items"] or []
    if not isinstance(value, list):
        yield document
        return
    for index, item in enumerate(value):
        positions = _below(document.positions, (*prefix, index))
        line = positions.get((), document.line)
        if not isinstance(item, dict):
            raise DocumentError(f"{origin or 'document'}:{line}: an item of a list must be a resource")
        yield YamlDocument(inherited | item, line, positions)


def _below(positions: Mapping[Path, int], prefix: Path) -> dict[Path, int]:
    length = len(prefix)
    return {path[length:]: line for path, line in positions.items() if path[:length] == prefix}


def _located(errors: Iterable[FieldError], positions: Mapping[Path, int], *, origin: str) -> list[FieldError]:
    lines = {field_path(path): line for path, line in positions.items()}
    return [FieldError(e.path, e.value, e.reason, _line_of(e.path, lines), origin) for e in errors]


def _line_of(path: str, lines: Mapping[str, int]) -> int:
    while path and path not in lines:
        path = re.sub(r"(\[[^\[]*\]|\.[^.\[]*|^[^.\[]*)$", "", path)
    return lines.get(path, 0)


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            shown = _ALWAYS_SHOWN.get(type(value), frozenset())
            return {
                known.encode_name: _plain(getattr(value, known.name))
                for known in msgspec.structs.fields(value)
                if known.name in shown or _is_shown(known, getattr(value, known.name))
            }
        case tuple() | list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _spelt_out(value: Any) -> Any:
    """A spec with those defaults that Calico writes, too, and msgspec leaves out; anything else as it is."""
    shown = _ALWAYS_SHOWN.get(type(value))
    if shown is None:
        return value
    fields = (known for known in msgspec.structs.fields(value) if known.name in shown)
    return {known.encode_name: getattr(value, known.name) for known in fields} | msgspec.to_builtins(value)


def _is_shown(known: msgspec.structs.FieldInfo, value: Any) -> bool:
    """Whether people expect to read it: no default, or one that has such fields itself."""
    if type(value) in _ALWAYS_SHOWN:
        return True
    default = known.default if known.default_factory is msgspec.NODEFAULT else known.default_factory()
    return bool(value != default)
