"""Server-side apply, by its laws."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tortie.apiserver import ownership
from tortie.apiserver.ownership import Manager, applied, fields_of, fields_v1, read_fields_v1, updated

NAMES = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.booleans() | st.integers(-2, 2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=6,
)
SPECS = st.dictionaries(NAMES, TREES, max_size=3).map(lambda spec: {"spec": spec} if spec else {})
LISTS: dict[tuple[str, ...], tuple[str, ...]] = {("f:metadata", "f:finalizers"): (), ("f:metadata", "f:owners"): ("uid",)}
META = st.fixed_dictionaries(
    {},
    optional={
        "finalizers": st.lists(st.sampled_from("xyz"), unique=True, min_size=1),
        "owners": st.lists(
            st.fixed_dictionaries({"uid": st.sampled_from("12")}, optional={"n": st.integers(0, 2)}),
            unique_by=lambda owner: owner["uid"],
            min_size=1,
        ),
    },
).map(lambda meta: {"metadata": meta} if meta else {})
DOCUMENTS = st.tuples(SPECS, META).map(lambda both: {**both[0], **both[1]})


def manager(name: str, operation: str = "Apply", time: str = "now") -> Manager:
    return Manager(name, operation, "", "v3", frozenset(), time)


@given(DOCUMENTS)
def test_field_sets_survive_being_written(document: dict[str, Any]) -> None:
    fields = fields_of(document, LISTS.get)
    assert read_fields_v1(fields_v1(fields)) == fields


@given(DOCUMENTS, DOCUMENTS)
def test_applying_twice_changes_nothing_more(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    once = applied(live, wanted, (), manager("m"), list_type=LISTS.get)
    twice = applied(once.document, wanted, once.managers, manager("m", time="later"), list_type=LISTS.get)
    assert twice.document == once.document
    assert twice.managers == once.managers
    assert twice.conflicts == ()


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_applied_is_there_and_owned(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    result = applied(live, wanted, (), manager("m"), list_type=LISTS.get)
    fields = fields_of(wanted, LISTS.get)
    assert fields <= fields_of(result.document, LISTS.get)
    assert [one.fields for one in result.managers] == ([fields] if fields else [])
    assert ownership.agreeing(wanted, result.document, LISTS.get) == wanted


@given(DOCUMENTS, DOCUMENTS)
def test_what_a_lone_applier_no_longer_says_is_gone(first: dict[str, Any], second: dict[str, Any]) -> None:
    one = applied({}, first, (), manager("m"), list_type=LISTS.get)
    two = applied(one.document, second, one.managers, manager("m"), list_type=LISTS.get)
    assert fields_of(two.document, LISTS.get) == fields_of(second, LISTS.get)


@given(DOCUMENTS, DOCUMENTS)
def test_two_appliers_conflict_exactly_where_they_disagree(first: dict[str, Any], second: dict[str, Any]) -> None:
    one = applied({}, first, (), manager("one"), list_type=LISTS.get)
    two = applied(one.document, second, one.managers, manager("two"), list_type=LISTS.get)
    agree = applied(one.document, first, one.managers, manager("two"), list_type=LISTS.get)
    assert agree.conflicts == ()
    for conflict in two.conflicts:
        assert conflict.manager.name == "one"
        assert conflict.path in fields_of(first, LISTS.get)
    owners = {one.name: one.fields for one in two.managers}
    assert owners.get("two", frozenset()) == fields_of(second, LISTS.get)
    assert not owners.get("one", frozenset()) & {conflict.path for conflict in two.conflicts}


@given(DOCUMENTS, DOCUMENTS)
def test_an_update_owns_what_it_changed_and_nobody_what_is_gone(before: dict[str, Any], after: dict[str, Any]) -> None:
    creator = Manager("creator", "Update", "", "v3", fields_of(before, LISTS.get), "then")
    managers = updated((creator,), manager("editor", "Update"), before=before, after=after, list_type=LISTS.get)
    owned = [path for one in managers for path in one.fields]
    assert sorted(owned) == sorted(fields_of(after, LISTS.get))
    if before == after:
        assert managers == ((creator,) if creator.fields else ())


def test_an_applier_that_lets_go_of_a_shared_field_leaves_it_to_the_other() -> None:
    one = applied({}, {"spec": {"a": 1}}, (), manager("one"), list_type=LISTS.get)
    two = applied(one.document, {"spec": {"a": 1, "b": 2}}, one.managers, manager("two"), list_type=LISTS.get)
    left = applied(two.document, {"spec": {"b": 2}}, two.managers, manager("two"), list_type=LISTS.get)
    assert left.document == {"spec": {"a": 1, "b": 2}}
    assert {each.name: each.fields for each in left.managers} == {
        "one": frozenset({("f:spec", "f:a")}),
        "two": frozenset({("f:spec", "f:b")}),
    }


def test_items_of_sets_and_of_keyed_lists_are_owned_one_by_one() -> None:
    first = {"metadata": {"finalizers": ["x"], "owners": [{"uid": "1", "n": 1}]}}
    second = {"metadata": {"finalizers": ["y"], "owners": [{"uid": "2"}]}}
    one = applied({}, first, (), manager("one"), list_type=LISTS.get)
    two = applied(one.document, second, one.managers, manager("two"), list_type=LISTS.get)
    assert two.conflicts == ()
    assert two.document["metadata"]["finalizers"] == ["x", "y"]
    assert two.document["metadata"]["owners"] == [{"uid": "1", "n": 1}, {"uid": "2"}]
    gone = applied(two.document, {}, two.managers, manager("one"), list_type=LISTS.get)
    assert gone.document == {"metadata": {"finalizers": ["y"], "owners": [{"uid": "2"}]}}


def test_paths_are_written_as_kubectl_shows_them() -> None:
    assert ownership.dotted(("f:spec", "f:order")) == ".spec.order"
    assert ownership.dotted(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers["x"]'


def test_identity_and_server_fields_belong_to_nobody() -> None:
    document = {"apiVersion": "v3", "kind": "K", "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}}}
    assert fields_of(document, LISTS.get) == {("f:metadata", "f:labels", "f:a")}
