"""CustomResourceDefinitions are structural and say of every field what the models say."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from tortie.api.crd import (
    NOT_CUSTOM,
    PRINTER_COLUMNS,
    SELECTABLE,
    SHORT_NAMES,
    STORAGE_V1,
    custom_kinds,
    definition,
    definitions,
)
from tortie.api.kinds import KINDS
from tortie.api.resource import V3, Metadata
from tortie.api.schema import fields_of, schema_of
from tortie.api.schema_facts import FACTS, NO_DEFAULT, REQUIRED
from tortie.api.schema_rules import RULES

DEFINITIONS = definitions()


def _walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _walk(schema[name], f"{path}[]")


def _root(document: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _structs() -> set[type[msgspec.Struct]]:
    """Every struct below a custom kind."""
    seen: set[type[msgspec.Struct]] = set()
    todo: list[inspect.Type] = [inspect.type_info(kind.struct) for kind in custom_kinds()]
    while todo:
        match todo.pop():
            case inspect.UnionType(types):
                todo += types
            case inspect.VarTupleType(item_type):
                todo.append(item_type)
            case inspect.StructType(cls) if cls not in seen and cls is not Metadata:
                seen.add(cls)
                todo += [field.type for field in fields_of(cls)]
    return seen


def test_every_kind_has_its_definitions() -> None:
    kinds = {kind.kind for kind in KINDS.values() if kind.is_ours} - NOT_CUSTOM
    for kind in kinds:
        assert {
            document["spec"]["group"] for document in (definition(KINDS[kind], STORAGE_V1), definition(KINDS[kind], V3))
        } == {
            "crd.projectcalico.org",
            "projectcalico.org",
        }
    assert len(DEFINITIONS) == 2 * len(kinds) + 1
    assert "crd.projectcalico.org_ipamconfigs.yaml" in DEFINITIONS
    assert "projectcalico.org_ipamconfigurations.yaml" in DEFINITIONS
    assert "tortie.io_agentstatuses.yaml" in DEFINITIONS


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_schema_is_structural(name: str) -> None:
    for path, schema in _walk(_root(DEFINITIONS[name])):
        assert not {"$ref", "anyOf", "oneOf", "allOf", "definitions"} & set(schema) or schema.get("x-kubernetes-int-or-string")
        assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path
        if schema.get("type") == "array":
            assert "items" in schema, path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        if "default" in schema and "enum" in schema:
            assert schema["default"] in schema["enum"], path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path


def test_every_field_of_the_models_stands_in_the_schemas_and_no_other() -> None:
    for kind in custom_kinds():
        for api_version in (STORAGE_V1, V3) if kind.is_ours else (kind.api_version,):
            root = _root(definition(kind, api_version))
            assert set(root["properties"]) == {known.encode_name for known in fields_of(kind.struct)}
    for struct in _structs():
        schema = schema_of(struct, rules=True)
        assert set(schema["properties"]) == {known.encode_name for known in fields_of(struct)}
        for known in fields_of(struct):
            described = schema["properties"][known.encode_name]
            if known.required:
                assert known.encode_name in schema["required"]
            choices = known.type.types if isinstance(known.type, inspect.UnionType) else (known.type,)
            for choice in choices:
                if isinstance(choice, inspect.LiteralType):
                    assert set(described["enum"]) <= set(choice.values)


def test_only_the_v3_group_has_rules_columns_and_short_names() -> None:
    for document in DEFINITIONS.values():
        stored = document["spec"]["group"] == "crd.projectcalico.org"
        version = document["spec"]["versions"][0]
        has_rules = any("x-kubernetes-validations" in schema for _, schema in _walk(_root(document)))
        if stored:
            assert not has_rules
            assert "shortNames" not in document["spec"]["names"]
            assert not {"additionalPrinterColumns", "subresources", "selectableFields"} & set(version)
    policy = DEFINITIONS["projectcalico.org_networkpolicies.yaml"]["spec"]
    assert policy["names"]["shortNames"] == ["cnp", "caliconetworkpolicy"]
    assert policy["versions"][0]["selectableFields"] == [{"jsonPath": ".spec.tier"}]
    assert "subresources" not in policy["versions"][0]
    pool = DEFINITIONS["projectcalico.org_ippools.yaml"]["spec"]["versions"][0]
    assert pool["subresources"] == {"status": {}}
    assert [column["name"] for column in pool["additionalPrinterColumns"]][:2] == ["CIDR", "VXLAN"]


def test_a_claim_is_marked_as_deleted_by_a_text_in_the_form_of_storage() -> None:
    old, new = (DEFINITIONS[f"{group}_blockaffinities.yaml"] for group in ("crd.projectcalico.org", "projectcalico.org"))
    found = [_root(document)["properties"]["spec"]["properties"]["deleted"] for document in (old, new)]
    assert [(schema["type"], schema["default"]) for schema in found] == [("string", "false"), ("boolean", False)]


def test_the_tables_speak_of_fields_that_exist() -> None:
    structs = _structs()
    reachable = {cls for struct in structs for cls in struct.__mro__}
    for struct, field in (*FACTS, *NO_DEFAULT):
        assert struct in reachable
        assert field in struct.__struct_fields__
    for struct, names in REQUIRED.items():
        assert struct in structs
        assert names <= set(struct.__struct_fields__)
    for struct, rules in RULES.items():
        assert struct in structs
        for rule in rules:
            field = rule.field.split(".")[1] if rule.field else ""
            assert not field or field in {known.encode_name for known in fields_of(struct)}, (struct, rule)
    kinds = {kind.kind for kind in custom_kinds()}
    assert set(PRINTER_COLUMNS) | set(SHORT_NAMES) | set(SELECTABLE) <= kinds


def test_short_names_of_kubectl_mean_the_same_on_our_command_line() -> None:
    for kind, names in SHORT_NAMES.items():
        assert set(names) <= set(KINDS[kind].aliases)
