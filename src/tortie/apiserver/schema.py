"""OpenAPI schemas of what is served, read off the api's own types.

Descriptions are the first words that a type says of itself. Lists are atomic, as Calico's are; of metadata, finalizers are a
set and ownerReferences a map by uid.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from tortie.api.resource import Metadata, OwnerReference
from tortie.apiserver.ownership import Steps
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


def list_type(path: Steps) -> Sequence[str] | None:
    """How a list is merged by server-side apply (`ownership.ListType`)."""
    match path:
        case ("f:metadata", "f:finalizers"):
            return ()
        case ("f:metadata", "f:ownerReferences"):
            return ("uid",)
        case _:
            return None


def _kind_schema(served: Served, ref: str) -> dict[str, Any]:
    type_ = inspect.type_info(served.kind.struct)
    assert isinstance(type_, inspect.StructType)
    properties: dict[str, Any] = {
        "apiVersion": {**_TEXT, "description": _FIELDS["apiVersion"]},
        "kind": {**_TEXT, "description": _FIELDS["kind"]},
        "metadata": _reference(ref, OBJECT_META, _FIELDS["metadata"]),
    }
    for known in type_.fields:
        if known.encode_name not in properties:
            schema = _of(known.type)
            own = schema.get("description", "")
            properties[known.encode_name] = {**schema, "description": own or _FIELDS.get(known.encode_name, "")}
    return {"type": "object", "description": _words(served.kind.struct), "properties": properties}


def _of(type_: inspect.Type) -> dict[str, Any]:
    match type_:
        case inspect.StructType(cls):
            return _struct(cls)
        case inspect.DictType(value_type=value_type):
            return {"type": "object", "additionalProperties": _of(value_type)}
        case inspect.VarTupleType(item_type) | inspect.ListType(item_type):
            return {"type": "array", "items": _of(item_type), "x-kubernetes-list-type": "atomic"}
        case inspect.UnionType(types):
            choices = [each for each in types if not isinstance(each, inspect.NoneType)]
            return _of(choices[0]) if len(choices) == 1 else {"x-kubernetes-int-or-string": True}
        case inspect.LiteralType(values):
            number = isinstance(values[0], int)
            return {"type": "integer" if number else "string", "enum": list(values)}
        case inspect.StrType(pattern=pattern):
            return {**_TEXT, "pattern": pattern} if pattern else dict(_TEXT)
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType(ge=lowest, le=highest):
            bounds = {"minimum": lowest, "maximum": highest}
            return {"type": "integer", "format": "int64", **{key: value for key, value in bounds.items() if value is not None}}
        case inspect.FloatType():
            return {"type": "number", "format": "double"}
        case _:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@cache
def _struct(cls: type[msgspec.Struct]) -> dict[str, Any]:
    type_ = inspect.type_info(cls)
    assert isinstance(type_, inspect.StructType)
    found: dict[str, Any] = {"type": "object", "description": _words(cls)}
    found["properties"] = {known.encode_name: _of(known.type) for known in type_.fields}
    required = [known.encode_name for known in type_.fields if known.required]
    return found | ({"required": required} if required else {})


@cache
def _object_meta() -> dict[str, Any]:
    schema = dict(_struct(Metadata))
    properties = dict(schema["properties"])
    properties["ownerReferences"] = {
        "type": "array",
        "items": _struct(OwnerReference),
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
    found = {"allOf": [{"$ref": f"{ref}{name}"}]} if ref.startswith("#/components") else {"$ref": f"{ref}{name}"}
    return found | ({"description": description} if description and "allOf" in found else {})


def _words(cls: type[Any]) -> str:
    """The first paragraph of a type's docstring, on one line."""
    text = (cls.__doc__ or "").strip().partition("\n\n")[0]
    return re.sub(r"\s+", " ", text).replace("`", "")
