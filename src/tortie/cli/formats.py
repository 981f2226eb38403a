"""The values of `get -o`: read once and refused at once, before the datastore is asked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tortie.api.columns import Column
from tortie.api.documents import encode
from tortie.api.kinds import Kind
from tortie.api.resource import Resource
from tortie.cli.files import InputError
from tortie.cli.gotemplate import GoTemplate
from tortie.cli.jsonpath import Template
from tortie.cli.output import NAMESPACE

FORMATS = (
    *("table", "wide", "yaml", "json", "name", "jsonpath=TEMPLATE", "jsonpath-file=FILE", "custom-columns=A,B:.path"),
    *("go-template=TEMPLATE", "go-template-file=FILE"),
)

_PLAIN = {"table": "table", "ps": "table", "wide": "wide", "yaml": "yaml", "yml": "yaml", "json": "json", "name": "name"}
_COMMA = re.compile(r",(?![^\[(]*[\])])")
"""A comma that is not inside brackets."""


@dataclass(frozen=True, slots=True)
class Form:
    """How to print: `name` is table, wide, yaml, json, name, jsonpath (with `template`), go-template (with `go_template`) or
    custom-columns (with `columns`)."""

    name: str
    template: Template | None = None
    go_template: GoTemplate | None = None
    columns: tuple[str, ...] = ()

    def columns_for(self, kind: Kind) -> tuple[Column, ...]:
        """The custom columns of a kind: headings that it has, and `HEADING:.path` for any field. Raises InputError."""
        known = {column.heading: column for column in (*kind.columns, *kind.wide_columns)}
        if kind.namespaced:
            known = {NAMESPACE.heading: NAMESPACE} | known
        found: list[Column] = []
        for text in self.columns:
            heading, colon, path = text.partition(":")
            if colon:
                found.append(_path_column(heading, path))
            elif heading.upper() in known:
                found.append(known[heading.upper()])
            else:
                raise InputError(f"unknown heading {heading}, valid values are: {', '.join(known)}")
        return tuple(found)


def read_form(text: str) -> Form:
    """What `-o` asks for. Raises InputError, and JsonPathError for a template that cannot be read."""
    if text in _PLAIN:
        return Form(_PLAIN[text])
    name, _, value = text.partition("=")
    match name:
        case "jsonpath":
            if not value:
                raise InputError("need to specify a template: -o jsonpath='{.metadata.name}'")
            return Form(name, template=Template(value))
        case "jsonpath-file":
            if not value:
                raise InputError("need to specify a template file: -o jsonpath-file=FILE")
            return Form("jsonpath", template=Template(_content(value)))
        case "custom-columns":
            columns = tuple(column.strip() for column in _COMMA.split(value))
            if not all(columns):
                raise InputError("need to specify at least one column: -o custom-columns=NAME,TIER")
            for column in columns:
                heading, colon, path = column.partition(":")
                if colon:
                    _path_column(heading, path)
            return Form(name, columns=columns)
        case "go-template":
            if not value:
                raise InputError("need to specify a template")
            return Form(name, go_template=GoTemplate(value))
        case "go-template-file":
            if not value:
                raise InputError("need to specify a template file")
            return Form("go-template", go_template=GoTemplate(_content(value)))
    raise InputError(f"unrecognized output format '{text}': use one of {', '.join(FORMATS)}")


def _path_column(heading: str, path: str) -> Column:
    if not heading or not path:
        raise InputError(f"custom column '{heading}:{path}': write HEADING:.path.of.field")
    template = Template(path)

    def cell(resource: Resource) -> str:
        return template.text(encode(resource)) or "<none>"

    return Column(heading, cell)


def _content(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def without_identity(resources: Sequence[Resource]) -> list[Resource]:
    """The resources as they could be applied to another cluster (--export)."""
    return [
        msgspec.structs.replace(
            resource,
            metadata=msgspec.structs.replace(
                resource.metadata,
                namespace="",
                uid="",
                resource_version="",
                creation_timestamp=None,
                deletion_timestamp=None,
            ),
        )
        for resource in resources
    ]
