"""Patches of plain documents: the laws of the three kinds."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.patching import PatchError, json_patch, merge_patch, patched

SOMETHING = st.booleans() | st.integers(-5, 5) | st.text("ab/~$", max_size=3)
SCALARS = st.none() | SOMETHING
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner))
FULL = st.recursive(
    SOMETHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_do_what_the_rfc_lists(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(VALUES, FULL)
def test_a_merge_patch_is_idempotent_and_leaves_its_arguments_alone(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert (target, patch) == before


@given(st.dictionaries(st.text("ab", max_size=2), FULL), st.dictionaries(st.text("ab", max_size=2), FULL))
def test_without_lists_to_merge_a_strategic_patch_is_a_merge_patch(target: Any, patch: Any) -> None:
    assert patched(target, patch, "strategic") == merge_patch(target, patch)


def test_a_strategic_patch_merges_owners_by_uid_and_finalizers_as_a_set() -> None:
    document = {
        "metadata": {"ownerReferences": [{"uid": "1", "name": "a"}, {"uid": "2", "name": "b"}], "finalizers": ["x"]},
        "spec": {"ingress": [{"action": "Allow"}], "old": {"a": 1}},
    }
    patch = {
        "metadata": {
            "ownerReferences": [{"uid": "2", "name": "c"}, {"uid": "3", "name": "d"}, {"uid": "1", "$patch": "delete"}],
            "finalizers": ["y", "x"],
        },
        "spec": {"ingress": [{"action": "Deny"}], "old": {"$patch": "replace", "b": 2}},
    }
    assert patched(document, patch, "strategic") == {
        "metadata": {"ownerReferences": [{"uid": "2", "name": "c"}, {"uid": "3", "name": "d"}], "finalizers": ["x", "y"]},
        "spec": {"ingress": [{"action": "Deny"}], "old": {"b": 2}},
    }


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/b", "value": 2}], {"a": [1, 2], "m/n~": {"x": None}, "b": 2}),
        ([{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2], "m/n~": {"x": None}}),
        ([{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9], "m/n~": {"x": None}}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2], "m/n~": {"x": None}}),
        ([{"op": "replace", "path": "/m~1n~0/x", "value": 1}], {"a": [1, 2], "m/n~": {"x": 1}}),
        ([{"op": "move", "from": "/a/0", "path": "/first"}], {"a": [2], "m/n~": {"x": None}, "first": 1}),
        ([{"op": "copy", "from": "/a", "path": "/m~1n~0/x"}], {"a": [1, 2], "m/n~": {"x": [1, 2]}}),
        ([{"op": "test", "path": "/m~1n~0/x", "value": None}, {"op": "replace", "path": "", "value": 3}], 3),
    ],
)
def test_json_patches_do_what_their_operations_say(operations: Any, result: Any) -> None:
    assert json_patch({"a": [1, 2], "m/n~": {"x": None}}, operations) == result


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ({"op": "add"}, "a JSON patch is a list"),
        ([{"op": "frob", "path": "/a"}], "operation 0 of the patch: op 'frob' is unknown"),
        ([{"op": "add", "path": "/a/7", "value": 1}], "/a/7 does not exist"),
        ([{"op": "add", "path": "/a/01", "value": 1}], "is not an index"),
        ([{"op": "add", "path": "/b"}], "value is missing"),
        ([{"op": "remove", "path": "/z"}], "/z does not exist"),
        ([{"op": "replace", "path": "a", "value": 1}], "path must be a JSON pointer"),
        ([{"op": "test", "path": "/a/0", "value": True}], "test of /a/0 fails"),
        ([{"op": "move", "from": "/a", "path": "/a/0"}], "cannot be moved into itself"),
    ],
)
def test_a_json_patch_that_does_not_fit_names_the_operation_and_changes_nothing(operations: Any, message: str) -> None:
    document = {"a": [1, 2]}
    with pytest.raises(PatchError, match=message.replace("[", r"\[")):
        json_patch(document, operations)
    assert document == {"a": [1, 2]}


@given(VALUES, VALUES)
def test_what_was_added_is_found_and_removed_again(document: Any, value: Any) -> None:
    document = {"there": document}
    add = {"op": "add", "path": "/new~1", "value": value}
    test = {"op": "test", "path": "/new~1", "value": value}
    assert json_patch(document, [add, test, {"op": "remove", "path": "/new~1"}]) == document


@pytest.mark.parametrize("kind", ["merge", "strategic"])
def test_a_patch_that_is_no_map_is_refused(kind: str) -> None:
    with pytest.raises(PatchError, match="must be a map"):
        patched({}, [1], kind)
