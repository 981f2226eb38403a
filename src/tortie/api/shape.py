"""From decoded YAML or JSON to a struct, reporting every misfit and not just the first.

`fit` follows the struct's types beside the data: it reports unknown and missing fields and values of a wrong type, each with
its path, and drops nulls where a null means "absent" (as Go's decoder does). What it returns, msgspec converts without error.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from tortie.api.errors import FieldError, Path, field_path

_NAMES: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.StructType: "a map",
    inspect.DictType: "a map",
    inspect.VarTupleType: "a list",
}


@dataclass(slots=True)
class Fitting:
    """One walk: the errors found so far; `strict` refuses unknown fields, otherwise they are dropped.

    `ignored` are fields that are accepted anywhere at that path and never kept.
    """

    strict: bool
    ignored: frozenset[Path] = frozenset()
    errors: list[FieldError] = field(default_factory=list)

    def fit(self, struct: type[msgspec.Struct], value: Any, path: Path = ()) -> Any:
        """`value` as msgspec can convert it to `struct`, provided that `errors` stays empty."""
        return self._fit(_type_of(struct), value, path)

    def _fit(self, type_: inspect.Type, value: Any, path: Path) -> Any:
        match type_:
            case inspect.AnyType():
                return value
            case inspect.UnionType(types):
                return self._fit_union(types, value, path)
            case inspect.StructType(cls):
                return self._fit_struct(cls, value, path)
            case inspect.DictType(value_type=value_type):
                return self._fit_map(value_type, value, path)
            case inspect.VarTupleType(item_type):
                return self._fit_list(item_type, value, path)
            case _:
                return self._fit_scalar(type_, value, path)

    def _fit_union(self, types: Collection[inspect.Type], value: Any, path: Path) -> Any:
        if value is None and any(isinstance(type_, inspect.NoneType) for type_ in types):
            return None
        choices = [type_ for type_ in types if not isinstance(type_, inspect.NoneType)]
        if len(choices) == 1:
            return self._fit(choices[0], value, path)
        # All other unions are of scalars: `int | str`.
        if not any(_scalar_problem(choice, value) is None for choice in choices):
            self._refuse(path, value, "must be " + " or ".join(_NAMES[type(choice)] for choice in choices))
        return value

    def _fit_struct(self, cls: type[msgspec.Struct], value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, value, "must be a map")
        fields = _fields(cls)
        fitted: dict[str, Any] = {}
        for key, item in value.items():
            where = (*path, key)
            known = fields.get(key)
            if known is None:
                if self.strict and where not in self.ignored:
                    self._refuse(where, None, _unknown(key, fields))
            elif item is not None or _takes_none(known.type):
                fitted[key] = self._fit(known.type, item, where)
        for name, known in fields.items():
            if known.required and name not in fitted and (name not in value or value[name] is None):
                self._refuse((*path, name), None, "is required")
        return fitted

    def _fit_map(self, value_type: inspect.Type, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, value, "must be a map")
        return {key: self._fit(value_type, item, (*path, key)) for key, item in value.items() if item is not None}

    def _fit_list(self, item_type: inspect.Type, value: Any, path: Path) -> Any:
        if not isinstance(value, list):
            return self._refuse(path, value, "must be a list")
        return [self._fit(item_type, item, (*path, index)) for index, item in enumerate(value)]

    def _fit_scalar(self, type_: inspect.Type, value: Any, path: Path) -> Any:
        reason = _scalar_problem(type_, value)
        return value if reason is None else self._refuse(path, value, reason)

    def _refuse(self, path: Path, value: Any, reason: str) -> Any:
        self.errors.append(FieldError(field_path(path) or "document", value, reason))
        return value


def _scalar_problem(type_: inspect.Type, value: Any) -> str | None:
    """Why `value` is not of this type, or None."""
    match type_:
        case inspect.LiteralType(values):
            return (
                None
                if value in values and type(value) in map(type, values)
                else f"must be one of {', '.join(map(str, values))}"
            )
        case inspect.StrType():
            return _text_problem(type_, value)
        case inspect.BoolType():
            return None if isinstance(value, bool) else "must be true or false"
        case inspect.IntType(ge=lowest, le=highest):
            if not isinstance(value, int) or isinstance(value, bool):
                return "must be an integer"
            if (lowest is not None and value < lowest) or (highest is not None and value > highest):
                return f"must be {_bounds(lowest, highest)}"
            return None if -(2**63) <= value < 2**63 else "is too large"
        case inspect.FloatType():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            # 1e999 reads as infinity, which JSON cannot say.
            return None if is_number and abs(value) < 1e300 else "must be a number"
        case _:
            raise AssertionError(f"the api uses no fields of type {type_!r}")


def _text_problem(type_: inspect.StrType, value: Any) -> str | None:
    if not isinstance(value, str):
        hint = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
        return f"must be text{hint}"
    if type_.pattern is not None and re.fullmatch(type_.pattern, value) is None:
        return f"must match {type_.pattern}"
    return None


def _bounds(lowest: float | None, highest: float | None) -> str:
    if highest is None:
        return f"at least {lowest}"
    return f"at most {highest}" if lowest is None else f"from {lowest} to {highest}"


def _unknown(key: str, fields: Mapping[str, inspect.Field]) -> str:
    for name in fields:
        if name.lower() == key.lower():
            return f"unknown field; did you mean {name}?"
    return "field in document is not recognized or is in the wrong location"


def _takes_none(type_: inspect.Type) -> bool:
    if isinstance(type_, inspect.UnionType):
        return type_.includes_none
    return isinstance(type_, inspect.AnyType)


@cache
def _type_of(struct: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(struct)


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    type_ = _type_of(struct)
    assert isinstance(type_, inspect.StructType), struct
    return {known.encode_name: known for known in type_.fields}
