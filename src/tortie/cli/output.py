"""Resources for the eye and for programs: tables, YAML, JSON, names."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.api.columns import Column
from tortie.api.documents import encode, to_yaml
from tortie.api.kinds import KINDS, Kind
from tortie.api.resource import Resource
from tortie.cli.screen import heading

NAMESPACE = Column("NAMESPACE", lambda resource: str(resource.metadata.namespace))
"""The column that stands first where resources of several namespaces are shown."""

_GAP = 3
_MINIMUM = 5


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of one kind, and how wide each is: `widths` follows what was seen first."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, kind: Kind, resources: Iterable[Resource], *, wide: bool, namespaces: bool) -> "Table":
        """The table that fits these resources. `namespaces` puts a namespace column first where the kind has one."""
        columns = kind.wide_columns if wide else kind.columns
        if namespaces and kind.namespaced:
            columns = (NAMESPACE, *columns)
        return cls.with_columns(columns, resources)

    @classmethod
    def with_columns(cls, columns: tuple[Column, ...], resources: Iterable[Resource]) -> "Table":
        """The table of these columns that fits these resources."""
        rows = [[column.text(resource) for column in columns] for resource in resources]
        cells = [[column.heading for column in columns], *rows]
        return cls(columns, tuple(max(_MINIMUM, *map(len, column)) for column in zip(*cells, strict=True)))

    @property
    def heading(self) -> str:
        """The first line."""
        return self._line([column.heading for column in self.columns])

    def row(self, resource: Resource) -> str:
        """One line."""
        return self._line([column.text(resource) for column in self.columns])

    def _line(self, cells: Sequence[str]) -> str:
        return (" " * _GAP).join(cell.ljust(width) for cell, width in zip(cells, self.widths, strict=True)).rstrip()


def tables(resources: Sequence[Resource], *, wide: bool, namespaces: bool, kinds: Mapping[str, Kind] = KINDS) -> Iterator[str]:
    """The lines of one table per kind, each with an empty line after it."""
    for kind in dict.fromkeys(resource.kind for resource in resources):
        group = [resource for resource in resources if resource.kind == kind]
        table = Table.of(kinds[kind], group, wide=wide, namespaces=namespaces)
        yield heading(table.heading)
        yield from map(table.row, group)
        yield ""


def listing(kind: Kind, resources: Iterable[Resource]) -> dict[str, Any]:
    """All of one kind as one document: `kind: NetworkPolicyList` and its items."""
    return {
        "apiVersion": kind.api_version,
        "kind": f"{kind.document_kind}List",
        "items": [encode(resource) for resource in resources],
    }


def mixed_listing(resources: Iterable[Resource]) -> dict[str, Any]:
    """Resources that were asked for by name as one document: `kind: List` and its items."""
    return {"apiVersion": "v1", "kind": "List", "items": [encode(resource) for resource in resources]}


def as_json(document: Mapping[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_yaml(document: Mapping[str, Any]) -> str:
    """One YAML document without a final line end."""
    return to_yaml([document]).rstrip("\n")


def short_name(resource: Resource) -> str:
    """`networkpolicy/allow-dns`: kind and name, as a delete command takes them."""
    return f"{resource.kind.lower()}/{resource.metadata.name}"
