"""Realistic Calico YAML means what its folder says: our validation accepts the good and names the field of the bad."""

from typing import Any

import msgspec
import pytest
from msgspec import inspect
from tests.yaml_corpus.corpus import DIFFERENCES, Example, bad, examples, good, our_kinds

from tortie.api.documents import decode, encode, from_json, load_documents, to_json
from tortie.api.errors import ValidationError
from tortie.api.kinds import KINDS
from tortie.api.resource import Metadata
from tortie.api.schema import fields_of
from tortie.api.validation import check, check_document


@pytest.mark.parametrize("example", good(), ids=str)
def test_what_is_good_is_accepted_and_comes_back_the_same(example: Example) -> None:
    (document,) = load_documents(example.text, origin=example.name)
    resource = check_document(document)
    assert check(decode(encode(resource))) == resource
    assert from_json(resource.kind, to_json(resource)) == resource


def check_all(example: Example) -> None:
    for document in load_documents(example.text, origin=example.name):
        check_document(document)


@pytest.mark.parametrize("example", bad(), ids=str)
def test_what_is_bad_is_refused_with_the_field(example: Example) -> None:
    with pytest.raises(ValidationError) as caught:
        check_all(example)
    assert example.refused in {error.path for error in caught.value.errors}
    assert all(error.line for error in caught.value.errors)


def _visit(type_: inspect.Type, value: Any, seen: set[tuple[type[msgspec.Struct], str]]) -> None:
    match type_:
        case inspect.UnionType(types):
            for choice in types:
                _visit(choice, value, seen)
        case inspect.VarTupleType(item_type) if isinstance(value, list):
            for item in value:
                _visit(item_type, item, seen)
        case inspect.StructType(cls) if isinstance(value, dict) and cls is not Metadata:
            for known in fields_of(cls):
                if known.encode_name in value:
                    seen.add((cls, known.name))
                    _visit(known.type, value[known.encode_name], seen)


def _all_fields(type_: inspect.Type, found: set[tuple[type[msgspec.Struct], str]]) -> None:
    match type_:
        case inspect.UnionType(types):
            for choice in types:
                _all_fields(choice, found)
        case inspect.VarTupleType(item_type):
            _all_fields(item_type, found)
        case inspect.StructType(cls) if cls is not Metadata:
            for known in fields_of(cls):
                if (cls, known.name) not in found:
                    found.add((cls, known.name))
                    _all_fields(known.type, found)


def test_every_kind_and_every_field_occurs_in_a_good_document() -> None:
    assert {example.kind.kind for example in good()} == our_kinds()
    assert our_kinds() - {example.kind.kind for example in bad()} == {"AgentStatus"}
    wanted: set[tuple[type[msgspec.Struct], str]] = set()
    seen: set[tuple[type[msgspec.Struct], str]] = set()
    for kind in our_kinds():
        _all_fields(inspect.type_info(KINDS[kind].struct), wanted)
    for example in good():
        _visit(inspect.type_info(example.kind.struct), example.document, seen)
    assert {f"{struct.__name__}.{field}" for struct, field in wanted - seen} == set()


def test_every_difference_is_explained_and_used() -> None:
    assert {example.crd for example in examples() if example.crd} == set(DIFFERENCES)
    assert not any(example.crd for example in good())
