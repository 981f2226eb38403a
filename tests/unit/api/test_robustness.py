"""Whatever a document holds: it is accepted and survives a store, or it is refused with errors of ours. Never a crash."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.wild_documents import documents

from tortie.api.defaults import with_defaults
from tortie.api.documents import decode, encode, from_json, load_documents, to_json
from tortie.api.errors import ApiError
from tortie.api.kinds import KINDS
from tortie.api.validation import validate


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "FelixConfiguration"])
@given(data=st.data())
@settings(max_examples=60)
def test_no_document_makes_us_crash(kind: str, data: st.DataObject) -> None:
    document = data.draw(documents(KINDS[kind]))
    try:
        resource = decode(document)
    except ApiError:
        return
    filled = with_defaults(resource)
    assert all(error.path and error.reason for error in validate(filled))
    assert with_defaults(filled) == filled
    assert from_json(kind, to_json(filled)) == filled
    assert decode(encode(filled)) == filled


@given(st.text(alphabet="abk: -[]{}&*!|>\"'#\n\t,0123.~%@`\x00\ufeff", max_size=40))
def test_no_text_makes_us_crash(text: str) -> None:
    with contextlib.suppress(ApiError):
        load_documents(text, origin="f")
