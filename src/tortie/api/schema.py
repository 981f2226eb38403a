"""Structural schemas from the models: what CRDs, OpenAPI and the reference documentation say of every field.

schema_of(NetworkPolicySpec, rules=True)   # a plain map as apiextensions.k8s.io/v1 wants it

Types, enums, patterns, bounds and defaults come from the structs; what msgspec does not know comes from `schema_facts`, rules
between fields from `schema_rules`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from tortie.api.field_docs import describe
from tortie.api.schema_facts import FACTS, NO_DEFAULT, REQUIRED
from tortie.api.schema_rules import RULES

Schema = dict[str, Any]

_INT_OR_STRING: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_UNKNOWN: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def schema_of(struct: type[msgspec.Struct], *, rules: bool) -> Schema:
    """The schema of one struct, all that it contains included. `rules`: with CEL rules."""
    schema: Schema = {"type": "object", "description": description_of(struct)}
    required = required_fields(struct)
    properties = {}
    for known in fields_of(struct):
        properties[known.encode_name] = field_schema(struct, known, rules=rules)
    schema["properties"] = dict(sorted(properties.items()))
    if required:
        schema["required"] = sorted(required)
    found = RULES.get(struct, ())
    if rules and found:
        schema["x-kubernetes-validations"] = [rule.as_schema() for rule in found]
    return schema


def field_schema(struct: type[msgspec.Struct], known: inspect.Field, *, rules: bool) -> Schema:
    """The schema of one field of `struct`, with its default."""
    facts = facts_of(struct, known.name)
    schema = _merged(_schema(known.type, rules=rules), _usable(facts, rules=rules))
    text = describe(struct, known.name)
    if text:
        schema = {**schema, "description": text}
    default = _default(struct, known)
    if default is not None:
        schema.setdefault("default", default)
    return schema


def required_fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The names, as documents write them, of fields that must be given."""
    forced = REQUIRED.get(struct, frozenset())
    return frozenset(known.encode_name for known in fields_of(struct) if known.required or known.name in forced)


def facts_of(struct: type[msgspec.Struct], field: str) -> Mapping[str, Any]:
    """What the table says of a field, of this struct or of one that it extends."""
    for cls in struct.__mro__:
        if (cls, field) in FACTS:
            return FACTS[cls, field]
    return {}


def description_of(struct: type[msgspec.Struct]) -> str:
    """The docstring as one paragraph, with the names of fields as documents write them."""
    text = " ".join((struct.__doc__ or "").split())
    for known in fields_of(struct):
        text = text.replace(f"`{known.name}`", known.encode_name)
    return text.replace("`", "")


@cache
def fields_of(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """The fields of a struct, as msgspec sees them."""
    type_ = inspect.type_info(struct)
    assert isinstance(type_, inspect.StructType)
    return type_.fields


def _schema(type_: inspect.Type, *, rules: bool) -> Schema:
    match type_:
        case inspect.UnionType(types):
            choices = [choice for choice in types if not isinstance(choice, inspect.NoneType)]
            return dict(_INT_OR_STRING) if len(choices) > 1 else _schema(choices[0], rules=rules)
        case inspect.StructType(cls):
            return schema_of(cls, rules=rules)
        case inspect.DictType(value_type=value_type):
            return {"type": "object", "additionalProperties": _schema(value_type, rules=rules)}
        case inspect.VarTupleType(item_type):
            items = _schema(item_type, rules=rules)
            if isinstance(item_type, inspect.UnionType) and item_type.includes_none:
                items["nullable"] = True
            return {"type": "array", "items": items}
        case inspect.LiteralType(values):
            return {"type": "integer" if isinstance(values[0], int) else "string", "enum": list(values)}
        case inspect.StrType(pattern=pattern):
            return {"type": "string"} | ({"pattern": pattern} if pattern else {})
        case inspect.IntType(ge=lowest, le=highest):
            bounds = {"minimum": lowest, "maximum": highest}
            return {"type": "integer"} | {name: bound for name, bound in bounds.items() if bound is not None}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.AnyType():
            return dict(_UNKNOWN)
        case _:
            raise AssertionError(f"the api uses no fields of type {type_!r}")


def _default(struct: type[msgspec.Struct], known: inspect.Field) -> Any:
    """The default of a scalar field that says more than its absence; None for all others."""
    if any((cls, known.name) in NO_DEFAULT for cls in struct.__mro__):
        return None
    default = known.default
    return default if isinstance(default, (str, int, float)) and default not in ("", 0) else None


def _usable(facts: Mapping[str, Any], *, rules: bool) -> dict[str, Any]:
    """The facts, without rules where those are not wanted."""
    kept = {key: value for key, value in facts.items() if rules or key != "x-kubernetes-validations"}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _usable(kept["items"], rules=rules)
    return kept


def _merged(schema: Schema, facts: Mapping[str, Any]) -> Schema:
    merged = dict(schema)
    for key, value in facts.items():
        merged[key] = _merged(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged
