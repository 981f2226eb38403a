"""OpenAPI schemas of what is served: those of the CRDs (`tortie.api.schema`) and of what all objects have.

Lists are atomic unless their schema says otherwise; of metadata, finalizers are a set and ownerReferences a map by uid.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from tortie.api.resource import Metadata, OwnerReference
from tortie.api.schema import description_of, field_schema, fields_of, schema_of
from tortie.apiserver.ownership import ListType, Steps
from tortie.apiserver.served import Catalogue, Served

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_OWN = "io.projectcalico.v3."

_FIELDS: dict[str, str] = {
    "apiVersion": "The version of the schema of this object.",
    "kind": "What this object is.",
    "metadata": "Name, labels and what else all objects have.",
    "spec": "What is wanted.",
    "status": "What is observed.",
}
_ONLY_IN_3 = frozenset({"nullable", "anyOf", "oneOf", "not"})
_TEXT: dict[str, Any] = {"type": "string"}


def schema_name(served: Served) -> str:
    """The name of a kind's schema."""
    prefix = _OWN if served.kind.is_ours else f"io.k8s.api.{served.group or 'core'}.{served.version}."
    return f"{prefix}{served.kind.document_kind}"


def schemas(catalogue: Catalogue, *, group: str, version: str, ref: str = "#/components/schemas/") -> dict[str, Any]:
    """Every schema of one group and version, by name; references begin with `ref`."""
    found: dict[str, Any] = {OBJECT_META: _object_meta(), LIST_META: _list_meta()}
    for served in catalogue.values():
        if (served.group, served.version) != (group, version):
            continue
        gvk = {"group": served.group, "version": served.version, "kind": served.kind.document_kind}
        name = schema_name(served)
        found[name] = {**_kind_schema(served, ref), "x-kubernetes-group-version-kind": [gvk]}
        found[f"{name}List"] = {
            "type": "object",
            "description": f"A list of {served.kind.document_kind}.",
            "required": ["items"],
            "properties": {
                "apiVersion": _TEXT,
                "kind": _TEXT,
                "metadata": _reference(ref, LIST_META, ""),
                "items": {"type": "array", "items": _reference(ref, name, "")},
            },
            "x-kubernetes-group-version-kind": [{**gvk, "kind": f"{gvk['kind']}List"}],
        }
    return found


def without_3(schema: Any) -> Any:
    """A schema as OpenAPI 2 has it. kube-apiserver drops a whole document in which it finds one word of version 3."""
    if isinstance(schema, list):
        return [without_3(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: without_3(item) for key, item in schema.items() if key not in _ONLY_IN_3 or not _is_keyword(key, item)}
    if found.get("x-kubernetes-int-or-string") or found.get("x-kubernetes-preserve-unknown-fields"):
        found.pop("type", None)
    return found


def _is_keyword(key: str, item: Any) -> bool:
    """Whether this is the word of the language, and not a field of that name."""
    return isinstance(item, bool) if key == "nullable" else isinstance(item, (list, dict)) and "type" not in item


def list_types(served: Served) -> ListType:
    """How lists of a kind are merged by server-side apply."""
    return _list_types(served.kind.struct)


@cache
def _list_types(struct: type[msgspec.Struct]) -> ListType:
    root = {"type": "object", "properties": {**_properties(struct), "metadata": _object_meta()}}

    @cache
    def list_type(path: Steps) -> Sequence[str] | None:
        schema: dict[str, Any] = root
        for step in path:
            if step.startswith("f:"):
                schema = schema.get("properties", {}).get(step[2:]) or schema.get("additionalProperties") or {}
            else:
                schema = schema.get("items", {})
        match schema.get("x-kubernetes-list-type"):
            case "set":
                return ()
            case "map":
                return tuple(schema["x-kubernetes-list-map-keys"])
            case _:
                return None

    return list_type


def _kind_schema(served: Served, ref: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "apiVersion": {**_TEXT, "description": _FIELDS["apiVersion"]},
        "kind": {**_TEXT, "description": _FIELDS["kind"]},
        "metadata": _reference(ref, OBJECT_META, _FIELDS["metadata"]),
    }
    for name, schema in _properties(served.kind.struct).items():
        properties[name] = {**schema, "description": schema.get("description", "") or _FIELDS.get(name, "")}
    return {"type": "object", "description": description_of(served.kind.struct), "properties": properties}


@cache
def _properties(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """What a kind has besides what all kinds have."""
    own = [known for known in fields_of(struct) if known.encode_name not in ("apiVersion", "kind", "metadata")]
    return {known.encode_name: field_schema(struct, known, rules=False) for known in own}


@cache
def _object_meta() -> dict[str, Any]:
    schema = schema_of(Metadata, rules=False)
    properties = dict(schema["properties"])
    properties["ownerReferences"] = {
        "type": "array",
        "items": schema_of(OwnerReference, rules=False),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["uid"],
    }
    properties["finalizers"] = {"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"}
    properties["managedFields"] = {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "atomic"}
    return schema | {"properties": properties}


def _list_meta() -> dict[str, Any]:
    properties = {"continue": _TEXT, "resourceVersion": _TEXT, "remainingItemCount": {"type": "integer", "format": "int64"}}
    return {"type": "object", "description": "What all lists have.", "properties": properties}


def _reference(ref: str, name: str, description: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        {"allOf": [{"$ref": f"{ref}{name}"}]} if ref.startswith("#/components") else {"$ref": f"{ref}{name}"}
    )
    return found | ({"description": description} if description and "allOf" in found else {})
