"""docs/reference/ from the models: one page for each kind, one for rules, one for the agents' parameters.

What a kind means stands in the docstrings of the models; types, defaults and limits of its fields come from the schemas that
CRDs have, and what this release does with each from `dataplane.enforcement`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from tortie.agent.parameters import Handling, default_text, handling
from tortie.api.crd import NOT_CUSTOM, PRINTER_COLUMNS, SELECTABLE, SHORT_NAMES, V1_NAMES, custom_kinds
from tortie.api.felix import FelixConfigurationSpec
from tortie.api.felix_params import BY_FIELD, PARAMETERS
from tortie.api.field_docs import describe
from tortie.api.kinds import KINDS, Kind
from tortie.api.policy import Rule
from tortie.api.resource import Metadata
from tortie.api.schema import description_of, field_schema, fields_of, required_fields
from tortie.api.schema_rules import RULES
from tortie.dataplane.enforcement import RELEASE, TABLE

FOLDER = Path("docs/reference")
NOTE = "<!-- Written by hack/generate.py from the models in src/tortie. Do not edit. -->\n"

SINCE: Mapping[str, str] = {}
"""The release in which a kind came, by its name; kinds that are missing came with the first, 0.1."""

_FILLED: Mapping[str, Mapping[str, str]] = {
    "types": {"NetworkPolicy": "by the rules", "GlobalNetworkPolicy": "by the rules"},
    "order": {"Tier": "1000000"},
    "blockSize": {"IPPool": "26 (IPv4), 122 (IPv6)"},
    "allowedUses": {"IPPool": "Workload, Tunnel"},
    "ipipMode": {"IPPool": "Never"},
    "vxlanMode": {"IPPool": "Never"},
    "leakGracePeriod": {"KubeControllersConfiguration": "15m0s"},
    "prometheusMetricsPort": {"KubeControllersConfiguration": "9094"},
    "floatingIPs": {"FelixConfiguration": "Disabled"},
}
"""Defaults that are computed when a document is written, by field and kind."""

_HANDLING = {
    Handling.LIVE: "changed live",
    Handling.RESTART: "restarts the agent in place",
    Handling.START: "read at start",
    Handling.UNSUPPORTED: "not acted on",
}


class _Row(NamedTuple):
    path: str
    meaning: str
    type: str
    default: str
    allowed: str
    release: str


def pages() -> dict[Path, str]:
    """Every page by its path below the root of the repository."""
    kinds = [kind for kind in KINDS.values() if kind.is_ours or kind in custom_kinds()]
    found = {FOLDER / f"{kind.plural}.md": _kind_page(kind) for kind in kinds}
    found[FOLDER / "rules.md"] = _rules_page()
    found[FOLDER / "agent-parameters.md"] = _parameters_page()
    found[FOLDER / "README.md"] = _index(kinds)
    return {path: NOTE + text for path, text in found.items()}


def _index(kinds: list[Kind]) -> str:
    lines = ["# Reference", "", "Every kind that Tortie keeps, field by field; and every parameter of the agents.", ""]
    lines += ["| kind | apiVersion | scope | acted on by this release |", "| --- | --- | --- | --- |"]
    for kind in sorted(kinds, key=lambda kind: kind.kind):
        scope = "namespaced" if kind.namespaced else "cluster"
        lines.append(f"| [{kind.kind}]({kind.plural}.md) | {kind.api_version} | {scope} | {_share(kind)} |")
    lines += [
        "",
        "Rules of policies and profiles: [rules](rules.md). Parameters of the agents: [agent-parameters](agent-parameters.md).",
    ]
    lines += [
        "",
        "What clients refuse because nothing acts on it can be stored with `--allow-unenforced`, for those who migrate.",
    ]
    return "\n".join(lines) + "\n"


def _share(kind: Kind) -> str:
    coverage = TABLE.get(_spec_of(kind))
    if coverage is None or not coverage.refused:
        return "yes"
    return "all but what its page names" if coverage.enforced else "no"


def _spec_of(kind: Kind) -> type[msgspec.Struct]:
    (spec,) = (known.type for known in fields_of(kind.struct) if known.encode_name == "spec")
    assert isinstance(spec, inspect.StructType)
    return spec.cls


def _kind_page(kind: Kind) -> str:
    lines = [f"# {kind.kind}", "", _sentence(description_of(kind.struct)), ""]
    group = kind.api_version.partition("/")[0]
    names = [name for name in kind.aliases if name not in (kind.kind.lower(), kind.plural, f"{kind.plural}.{group}")]
    stored = V1_NAMES.get(kind.kind, (kind.kind, kind.plural))
    facts = [
        ("apiVersion", kind.api_version),
        ("scope", "namespaced" if kind.namespaced else "cluster"),
        ("words for `tortie get`", ", ".join([kind.kind.lower(), kind.plural, *names])),
        ("short names of kubectl", ", ".join(SHORT_NAMES.get(kind.kind, ()))),
        ("columns of kubectl", ", ".join(column.name for column in PRINTER_COLUMNS.get(kind.kind, ()))),
        ("fields to select by", ", ".join(path.lstrip(".") for path in SELECTABLE.get(kind.kind, ()))),
        ("on Kubernetes", _on_kubernetes(kind, stored[1])),
        ("since", SINCE.get(kind.kind, "0.1")),
    ]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in facts if text), ""]
    lines += _table(list(_rows_of_kind(kind)))
    rules = list(_rules(kind.struct, ""))
    if rules:
        lines += ["", "What is refused besides, by field:", "", *(f"- {rule}" for rule in rules)]
    return "\n".join(lines) + "\n"


def _on_kubernetes(kind: Kind, stored_plural: str) -> str:
    if kind.kind in NOT_CUSTOM:
        return "a view of Kubernetes' own objects, no custom resource"
    if not kind.is_ours:
        return f"custom resource {kind.plural}.{kind.api_version.partition('/')[0]}"
    return f"custom resource {kind.plural}.projectcalico.org, or {stored_plural}.crd.projectcalico.org as form of storage"


def _rows_of_kind(kind: Kind) -> Iterator[_Row]:
    for known in fields_of(kind.struct):
        if isinstance(_bare(known.type), inspect.StructType) and known.encode_name in ("spec", "status"):
            struct = _bare(known.type)
            assert isinstance(struct, inspect.StructType)
            yield from _rows(struct.cls, known.encode_name, kind=kind.kind)
        elif known.encode_name not in ("apiVersion", "kind", "metadata"):
            yield _row(kind.struct, known, known.encode_name, kind=kind.kind)


def _rows(struct: type[msgspec.Struct], path: str, *, kind: str) -> Iterator[_Row]:
    for known in sorted(fields_of(struct), key=lambda known: known.encode_name):
        where = f"{path}.{known.encode_name}"
        yield _row(struct, known, where, kind=kind)
        inner = _struct_below(known.type)
        if inner is not None and inner is not Rule and not (path == "status" and known.name == "running_config"):
            suffix = "[]" if isinstance(_bare(known.type), inspect.VarTupleType) else ""
            yield from _rows(inner, where + suffix, kind=kind)


def _row(struct: type[msgspec.Struct], known: inspect.Field, where: str, *, kind: str) -> _Row:
    schema = field_schema(struct, known, rules=True)
    default = schema.get("default")
    shown = str(default).lower() if isinstance(default, bool) else "" if default is None else str(default)
    if known.default is False:
        shown = "false"
    shown = shown or _FILLED.get(known.encode_name, {}).get(kind, "")
    if struct is FelixConfigurationSpec and not shown and known.encode_name in BY_FIELD:
        shown = default_text(BY_FIELD[known.encode_name])
    required = known.encode_name in required_fields(struct)
    name = where + (" *" if required else "")
    return _Row(name, describe(struct, known.name), _type(known.type), shown, _allowed(schema), _release(struct, known, where))


def _release(struct: type[msgspec.Struct], known: inspect.Field, where: str) -> str:
    if where.startswith("status"):
        return "reported"
    coverage = TABLE.get(struct)
    if coverage is None or known.name in coverage.enforced:
        return "yes"
    harmless = [str(value) for value in coverage.refused.get(known.name, ()) if value]
    return f"only {', '.join(harmless)}" if harmless else "no"


def _type(type_: inspect.Type) -> str:
    match type_:
        case inspect.UnionType(types):
            choices = [choice for choice in types if not isinstance(choice, inspect.NoneType)]
            return " or ".join(_type(choice) for choice in choices)
        case inspect.StructType(cls):
            return "[Rule](rules.md)" if cls is Rule else "object"
        case inspect.VarTupleType(item_type):
            return f"list of {_type(item_type)}"
        case inspect.DictType(value_type=value_type):
            return f"map to {_type(value_type)}"
        case inspect.LiteralType(values):
            return "integer" if isinstance(values[0], int) else "string"
    names: dict[type[inspect.Type], str] = {
        inspect.StrType: "string",
        inspect.IntType: "integer",
        inspect.FloatType: "number",
        inspect.BoolType: "boolean",
    }
    return names.get(type(type_), "any")


def _allowed(schema: Mapping[str, Any]) -> str:
    parts = []
    if "enum" in schema:
        parts.append(", ".join(str(value) or '""' for value in schema["enum"]))
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if lowest is not None or highest is not None:
        bounds = (
            f"{lowest} to {highest}"
            if None not in (lowest, highest)
            else f"from {lowest}"
            if highest is None
            else f"to {highest}"
        )
        parts.append(bounds)
    if schema.get("format") in ("cidr", "date-time"):
        parts.append("a CIDR" if schema["format"] == "cidr" else "a time, RFC 3339")
    for name, text in (("maxLength", "at most {} characters"), ("maxItems", "at most {} items")):
        if name in schema:
            parts.append(text.format(schema[name]))
    if "pattern" in schema:
        parts.append(f"`{schema['pattern']}`")
    parts += [rule["message"] for rule in schema.get("x-kubernetes-validations", ()) if "properties" not in schema]
    if schema.get("x-kubernetes-list-type") == "set":
        parts.append("no repetitions")
    items = schema.get("items", {})
    if isinstance(items, dict) and items and "properties" not in items and (inside := _allowed(items)):
        parts.append(f"each: {inside}")
    return "; ".join(parts)


def _rules(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    for rule in RULES.get(struct, ()):
        field = f"{path}{rule.field}".lstrip(".")
        yield f"`{field or 'the object'}` {rule.message}" if not rule.message.startswith("metadata.") else rule.message
    for known in fields_of(struct):
        inner = _struct_below(known.type)
        if inner is not None and inner not in (Rule, Metadata) and known.name != "running_config":
            suffix = "[]" if isinstance(_bare(known.type), inspect.VarTupleType) else ""
            yield from _rules(inner, f"{path}.{known.encode_name}{suffix}")


def _bare(type_: inspect.Type) -> inspect.Type:
    if isinstance(type_, inspect.UnionType):
        return next(choice for choice in type_.types if not isinstance(choice, inspect.NoneType))
    return type_


def _struct_below(type_: inspect.Type) -> type[msgspec.Struct] | None:
    bare = _bare(type_)
    if isinstance(bare, inspect.VarTupleType):
        bare = _bare(bare.item_type)
    return bare.cls if isinstance(bare, inspect.StructType) else None


def _rules_page() -> str:
    lines = ["# Rules of policies and profiles", "", _sentence(description_of(Rule)), ""]
    lines += ["They stand in `spec.ingress` and `spec.egress`. `destination` has the fields of `source`.", ""]
    rows = [row for row in _rows(Rule, "rule", kind="") if not row.path.startswith("rule.destination.")]
    lines += _table(rows)
    lines += [
        "",
        "What is refused besides, by field:",
        "",
        *(f"- {rule}" for rule in _rules(Rule, "") if not rule.startswith("`destination.se")),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: list[_Row]) -> list[str]:
    lines = [f"Fields with * are required; the last column says whether release {RELEASE} acts on the field.", ""]
    lines += ["| field | meaning | type | default | allowed | acted on |", "| --- | --- | --- | --- | --- | --- |"]
    return lines + [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]


def _parameters_page() -> str:
    lines = ["# Parameters of the agents", ""]
    lines += [
        "The strongest source that sets a parameter wins: the command line; the environment (`FELIX_` and the name, in any",
        "case); the configuration file; the FelixConfiguration `node.NAME`; the oldest whose `nodeSelector` selects the node;",
        "the one named `default`; the built-in default. Parameters without a field, and those marked local, are not taken from",
        "the datastore. What a value that cannot be read leads to: [agent](../agent.md).",
        "",
        "| parameter | field of FelixConfiguration | default | type | what a change does | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for parameter in sorted(PARAMETERS, key=lambda parameter: parameter.name.lower()):
        marks = [word for word, is_set in (("local", parameter.local), ("must be readable", parameter.fatal)) if is_set]
        done = _HANDLING[handling(parameter.name)]
        cells = (parameter.name, parameter.field, default_text(parameter), parameter.type, done, ", ".join(marks))
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\|", r"\\|", text).replace("<", "&lt;")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
