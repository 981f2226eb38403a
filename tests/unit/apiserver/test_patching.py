"""Patches of all kinds."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.patching import merge_patch
from tortie.apiserver.errors import Refusal
from tortie.apiserver.patching import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, patched

VALUES = st.recursive(
    st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def difference(before: Any, after: Any) -> Any:
    """The merge patch from one to the other."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    patch = {key: None for key in before if key not in after}
    patch |= {
        key: difference(before.get(key), value) for key, value in after.items() if before.get(key) != value or key not in before
    }
    return patch


@given(DOCUMENTS, DOCUMENTS)
def test_a_json_patch_leads_where_the_library_says(before: dict[str, Any], after: dict[str, Any]) -> None:
    operations = jsonpatch.make_patch(before, after).patch
    original = copy.deepcopy(before)
    assert patched(before, operations, JSON_PATCH) == after
    assert before == original


@given(DOCUMENTS, DOCUMENTS)
def test_a_merge_patch_leads_from_one_document_to_any_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = difference(before, after)
    assert merge_patch(before, patch) == after
    assert merge_patch(after, patch) == after
    assert patched(before, patch, STRATEGIC_PATCH) == after


@pytest.mark.parametrize(
    ("patch", "kind", "code"),
    [
        ({}, JSON_PATCH, 400),
        ([{"op": "nonsense", "path": "/a"}], JSON_PATCH, 400),
        ([{"op": "remove", "path": "/nowhere"}], JSON_PATCH, 422),
        ([{"op": "test", "path": "/a", "value": 2}], JSON_PATCH, 422),
        ([{"op": "add", "path": "/a/b/c", "value": 2}], JSON_PATCH, 422),
        ([{"op": "replace", "path": "", "value": 2}], JSON_PATCH, 422),
        ([1], JSON_PATCH, 400),
        ([], MERGE_PATCH, 400),
        ({"a": {"$patch": "nonsense"}}, STRATEGIC_PATCH, 400),
        ({}, "text/plain", 415),
    ],
)
def test_what_is_no_patch_is_refused(patch: Any, kind: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        patched({"a": 1}, patch, kind)
    assert refused.value.code == code


def test_strategic_directives_replace_delete_keep_and_merge_what_is_merge_patch() -> None:
    before = {
        "metadata": {"finalizers": ["a"], "ownerReferences": [{"uid": "1", "name": "x"}, {"uid": "2"}], "labels": {"l": "1"}},
        "spec": {"list": [1, 2], "map": {"a": 1, "b": 2}, "other": {"x": 1, "y": 2}, "gone": {"z": 1}},
    }
    patch = {
        "metadata": {
            "finalizers": ["b"],
            "$setElementOrder/finalizers": ["a", "b"],
            "ownerReferences": [{"uid": "1", "name": "y"}, {"uid": "2", "$patch": "delete"}],
        },
        "spec": {
            "list": [3],
            "map": {"$patch": "replace", "c": 3},
            "other": {"$retainKeys": ["x"]},
            "gone": {"$patch": "delete"},
        },
    }
    assert patched(before, patch, STRATEGIC_PATCH) == {
        "metadata": {"finalizers": ["a", "b"], "ownerReferences": [{"uid": "1", "name": "y"}], "labels": {"l": "1"}},
        "spec": {"list": [3], "map": {"c": 3}, "other": {"x": 1}},
    }
    drop = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert patched(before, drop, STRATEGIC_PATCH)["metadata"]["finalizers"] == []
