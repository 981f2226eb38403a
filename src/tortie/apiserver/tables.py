"""Other shapes of an answer: a Table with a kind's columns, and metadata alone."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from tortie.api.columns import Column
from tortie.api.resource import Resource
from tortie.apiserver.errors import Refusal
from tortie.apiserver.objects import document
from tortie.apiserver.served import Served

Shape = Literal["object", "table", "metadata"]
Include = Literal["None", "Metadata", "Object"]


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
    """meta.k8s.io/v1 Table: the columns that `tortie get` shows, those of its wide form with a lower priority, and the age."""
    columns = _columns(served)
    now = datetime.now(UTC)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {"name": heading, "type": "string", "format": "name" if heading == "Name" else "", "description": "",
             "priority": priority}
            for heading, priority, _ in columns
        ],
        "rows": [
            {
                "cells": [_age(item, now) if column is None else column.text(item) for _, _, column in columns],
                "object": _included(item, include),
            }
            for item in items
        ],
    }  # fmt: skip


def metadata_only(resource: Resource) -> dict[str, Any]:
    """PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": document(resource)["metadata"]}


def _columns(served: Served) -> Sequence[tuple[str, int, Column | None]]:
    """Heading, priority, cell; None stands for the age."""
    shown = {column.heading for column in served.kind.columns}
    name = Column("NAME", lambda item: item.metadata.name)
    rest = [column for column in served.kind.columns if column.heading != "NAME"]
    wide = [column for column in served.kind.wide_columns if column.heading not in shown and column.heading != "NAME"]
    return (
        ("Name", 0, name),
        *((_heading(column.heading), 0, column) for column in rest),
        ("Age", 0, None),
        *((_heading(column.heading), 1, column) for column in wide),
    )


def _heading(text: str) -> str:
    return text.capitalize()


def _age(item: Resource, now: datetime) -> str:
    """How long ago a resource was made, in the largest unit."""
    try:
        made = datetime.fromisoformat(item.metadata.creation_timestamp or "")
    except ValueError:
        return "<unknown>"
    seconds = max(0, int((now - made).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _included(item: Resource, include: Include) -> dict[str, Any] | None:
    if include == "None":
        return None
    return document(item) if include == "Object" else metadata_only(item)
