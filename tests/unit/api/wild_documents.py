"""Documents of a kind that are mostly well formed and mean anything at all: for laws that hold for whatever people write."""

from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from tortie.api.kinds import Kind

_MEANINGFUL = (
    *("", "a", "all()", "global()", "a ==", "10.0.0.0/8", "10.0.0.1", "fd00::/64", "fd00::1", "default", "80", "1:2", "TCP"),
    *("6", "5s", "Never", "Enabled", "node.x", "02:00:00:00:00:01", "1.10", "é", "\x00", "99999999999999999999", "-1"),
)
_TEXTS = st.sampled_from(_MEANINGFUL) | st.text(max_size=6)
_NUMBERS = st.sampled_from([0, 1, -1, 4, 6, 26, 80, 65536, 2**32, 2**70, 0.5, 1e30, float("inf")])
_ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), _TEXTS, st.just([]), st.just({}), st.just([{}]), st.just({"a": 1})
)


def _values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    """Values that mostly have the right type, so that the checks behind the types are reached."""
    match type_:
        case inspect.UnionType(types):
            return st.one_of([_values(each) for each in types])
        case inspect.NoneType():
            return st.none()
        case inspect.StructType(fields=fields):
            required = {field.encode_name: _values(field.type) for field in fields if field.required}
            optional = {field.encode_name: _values(field.type) for field in fields if not field.required}
            return st.fixed_dictionaries(required, optional=optional)
        case inspect.VarTupleType(item_type):
            return st.lists(_values(item_type), max_size=2)
        case inspect.DictType(value_type=value_type):
            return st.dictionaries(_TEXTS, _values(value_type), max_size=2)
        case inspect.LiteralType(values):
            return st.sampled_from(values)
        case inspect.BoolType():
            return st.booleans()
        case inspect.StrType():
            return _TEXTS
        case inspect.IntType() | inspect.FloatType():
            return _NUMBERS
        case _:
            return _ANYTHING


def documents(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of `kind`, right and wrong."""
    type_ = inspect.type_info(kind.struct)
    assert isinstance(type_, inspect.StructType)
    parts = {
        field.encode_name: _values(field.type) | _ANYTHING
        for field in type_.fields
        if field.name not in ("kind", "api_version")
    }
    body = st.fixed_dictionaries({}, optional=parts)
    return body.map(lambda given: given | {"apiVersion": kind.api_version, "kind": kind.document_kind})
