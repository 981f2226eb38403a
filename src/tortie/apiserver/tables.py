"""Other shapes of an answer: a Table with a kind's columns, and metadata alone."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from tortie.api.columns import Column
from tortie.api.crd import AGE, NOT_CUSTOM, PRINTER_COLUMNS, PrinterColumn
from tortie.api.resource import Resource
from tortie.apiserver.errors import Refusal
from tortie.apiserver.objects import document
from tortie.apiserver.served import Served

Shape = Literal["object", "table", "metadata"]
Include = Literal["None", "Metadata", "Object"]

_STEP = re.compile(r"""\.([A-Za-z]+)|\[\?\(@\.type=="([A-Za-z]+)"\)\]""")
"""What the paths of our CRDs' columns are made of: a field, or the condition of a type."""


_METADATA = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}


class _Shown(NamedTuple):
    """One column: kubectl shows those of priority 0, and with `-o wide` the others."""

    heading: str
    cell: Callable[[Any, Mapping[str, Any]], Any]
    type: str = "string"
    priority: int = 0


def shape_of(accept: str) -> Shape:
    """The first shape of an Accept header that we can give. Raises Refusal (406) where there is none."""
    for choice in accept.split(",") if accept else ("*/*",):
        media, *parameters = [part.strip() for part in choice.split(";")]
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        match given.get("as", ""):
            case "":
                return "object"
            case "Table" if given.get("v", "v1") == "v1" and given.get("g", "meta.k8s.io") == "meta.k8s.io":
                return "table"
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if given.get("v", "v1") == "v1":
                return "metadata"
    raise Refusal(406, "only the following media types are accepted: application/json")


def table(served: Served, items: Iterable[Resource], *, meta: dict[str, Any], include: Include) -> dict[str, Any]:
    """meta.k8s.io/v1 Table: the columns of the kind's CRD, and with a lower priority those that `tortie get` has besides."""
    columns = _columns(served)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {"name": column.heading, "type": column.type, "format": "name" if column.heading == "Name" else "",
             "description": "", "priority": column.priority}
            for column in columns
        ],
        "rows": [_row(item, columns, include) for item in items],
    }  # fmt: skip


def metadata_only(resource: Resource) -> dict[str, Any]:
    """PartialObjectMetadata."""
    return _METADATA | {"metadata": document(resource)["metadata"]}


def _columns(served: Served) -> tuple[_Shown, ...]:
    """Those that kubectl shows where the kind is a CRD; `-o wide` adds `tortie get`'s."""
    kind = served.kind
    own = tuple(map(_of_text, (*kind.columns, *kind.wide_columns)))
    own = tuple({column.heading: column for column in own if column.heading != "Name"}.values())
    name = _Shown("Name", lambda item, _: item.metadata.name)
    if kind.kind in NOT_CUSTOM or not kind.is_ours:
        first = len([column for column in kind.columns if column.heading != "NAME"])
        return (name, *own[:first], _of_path(AGE), *(column._replace(priority=1) for column in own[first:]))
    defined = tuple(map(_of_path, PRINTER_COLUMNS.get(kind.kind, (AGE,))))
    known = {column.heading.replace(" ", "").casefold() for column in defined}
    rest = (column for column in own if not any(each in column.heading.casefold() for each in known))
    aged = () if "age" in known else (_of_path(AGE)._replace(priority=1),)
    return (name, *defined, *(column._replace(priority=1) for column in rest), *aged)


def _of_text(column: Column) -> _Shown:
    """A column of `tortie get`."""
    return _Shown(column.heading.capitalize(), lambda item, _: column.text(item))


def _of_path(column: PrinterColumn) -> _Shown:
    """A column of a CRD: its cell is the value at its path, of its type, or None where there is none."""
    steps = tuple(_STEP.findall(column.path))

    def cell(_: Resource, found: Mapping[str, Any]) -> Any:
        value: Any = found
        for field, condition in steps:
            if condition:
                conditions = value if isinstance(value, list) else []
                value = next((each for each in conditions if each.get("type") == condition), None)
            else:
                value = value.get(field) if isinstance(value, dict) else None
        if column.type == "date":
            return _age(value)
        return msgspec.json.encode(value).decode() if isinstance(value, list) else value

    return _Shown(column.name, cell, column.type)


def _age(moment: str | None) -> str:
    """How long ago something happened, in the largest unit."""
    try:
        made = datetime.fromisoformat(moment or "")
    except ValueError:
        return "<unknown>"
    seconds = max(0, int((datetime.now(UTC) - made).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _row(item: Resource, columns: Iterable[_Shown], include: Include) -> dict[str, Any]:
    found = document(item)
    included = {"None": None, "Object": found, "Metadata": _METADATA | {"metadata": found["metadata"]}}
    return {"cells": [column.cell(item, found) for column in columns], "object": included[include]}
