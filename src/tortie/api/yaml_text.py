"""YAML text to plain values with the line of each, and back. The one module that imports yaml, and only when it is used.

Scalars follow YAML 1.2's core schema less its surprises: `on`, `yes`, `010`, `12:30:45`, `2024-01-01` and `.nan` are text.
A key that occurs twice is an error, and so are merge keys and tags other than the standard ones. JSON is YAML.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tortie.api.errors import DocumentError, Path

_MAX_DEPTH = 100
_TAG = "tag:yaml.org,2002:"
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


@dataclass(slots=True)
class YamlDocument:
    """One document of a text. `positions` gives the line (from 1) of every value by its path; `line` is where it begins."""

    value: Any
    line: int
    positions: dict[Path, int] = field(default_factory=dict)


def parse_yaml(text: str, *, origin: str = "") -> list[YamlDocument]:
    """All documents that are not empty. Raises DocumentError, which names `origin`, the line and the problem."""
    import yaml

    try:
        documents = [
            _Construction(origin, budget=10 * len(text) + 1000).document(node)
            for node in yaml.compose_all(text, Loader=_loader())
        ]
    except yaml.MarkedYAMLError as error:
        if (decoded := _json(text)) is not None:
            return [YamlDocument(decoded, 1)]
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise DocumentError(f"{_place(origin, line)}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise DocumentError(f"{_place(origin, 0)}{error}") from error
    return [document for document in documents if document.value is not None]


def format_yaml(values: Iterable[Any]) -> str:
    """Plain values as YAML documents. Text that some YAML reader would take for something else is quoted."""
    import yaml

    return str(
        yaml.dump_all(
            list(values),
            Dumper=_dumper(),
            sort_keys=False,
            default_flow_style=False,
            allow_unicode=True,
            width=1_000_000,
        )
    )


def resolved_tag(text: str) -> str:
    """What a plain scalar is: null, bool, int, float or str."""
    if _NULL.fullmatch(text):
        return "null"
    if _BOOL.fullmatch(text):
        return "bool"
    if _INT.fullmatch(text):
        return "int"
    return "float" if _FLOAT.fullmatch(text) else "str"


@dataclass(slots=True)
class _Construction:
    """From composed nodes to values. `budget` bounds how far aliases may blow a short text up."""

    origin: str
    budget: int
    positions: dict[Path, int] = field(default_factory=dict)

    def document(self, node: Any) -> YamlDocument:
        value = self._value(node, ())
        return YamlDocument(value, node.start_mark.line + 1, self.positions)

    def _value(self, node: Any, path: Path) -> Any:
        self.budget -= 1
        if self.budget < 0 or len(path) > _MAX_DEPTH:
            raise self._error(node, "nested too deeply, or aliases that expand too far")
        self.positions.setdefault(path, node.start_mark.line + 1)
        match node.id:
            case "mapping":
                return self._map(node, path)
            case "sequence":
                return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
            case _:
                return self._scalar(node)

    def _map(self, node: Any, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, item in node.value:
            if key_node.id != "scalar":
                raise self._error(key_node, "a key must be text")
            key = str(key_node.value)
            if key in value:
                raise self._error(key_node, f"key {key!r} occurs twice in one map")
            self.positions[*path, key] = key_node.start_mark.line + 1
            value[key] = self._value(item, (*path, key))
        return value

    def _scalar(self, node: Any) -> Any:
        text = str(node.value)
        tag = str(node.tag).removeprefix(_TAG)
        kind = resolved_tag(text) if tag == "plain" else tag
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool" if _BOOL.fullmatch(text):
                return text.lower() == "true"
            case "int" if _INT.fullmatch(text):
                return int(text, 0)
            case "float" if resolved_tag(text) in ("int", "float"):
                return float(text)
        raise self._error(node, f"cannot read {text!r} as {node.tag}")

    def _error(self, node: Any, problem: str) -> DocumentError:
        return DocumentError(f"{_place(self.origin, node.start_mark.line + 1)}{problem}")


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Composes nodes only; a plain scalar keeps the tag `plain`, for `resolved_tag` to decide."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
            if kind is yaml.ScalarNode and implicit[0]:
                return f"{_TAG}plain"
            return {yaml.ScalarNode: f"{_TAG}str", yaml.SequenceNode: f"{_TAG}seq", yaml.MappingNode: f"{_TAG}map"}[kind]

    return Loader


@cache
def _dumper() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        """Never writes aliases, and quotes whatever our own reader would not take for text."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = None if resolved_tag(value) == "str" else "'"
        return dumper.represent_scalar(f"{_TAG}str", value, style="|" if "\n" in value else style)

    Dumper.add_representer(str, text)
    return Dumper


def _json(text: str) -> Any:
    """The value of text that is JSON, or None. Escaped surrogate pairs are legal in JSON and not in YAML."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        # Half a pair is no character: json takes it, and no store could keep it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _place(origin: str, line: int) -> str:
    parts: Iterator[str] = (part for part in (origin, str(line) if line else "") if part)
    place = ":".join(parts)
    return f"{place}: " if place else ""
