"""Label and field selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.policy import NetworkPolicy
from tortie.api.resource import Metadata
from tortie.apiserver.errors import Refusal
from tortie.apiserver.selecting import parse_fields, parse_labels

KEYS, VALUES = st.sampled_from("abc"), st.sampled_from("xyz")
LABELS = st.dictionaries(KEYS, VALUES)


@given(LABELS, KEYS, st.lists(VALUES, min_size=1))
def test_every_operator_means_what_it_says(labels: dict[str, str], key: str, values: list[str]) -> None:
    listed, first = ",".join(values), values[0]
    has, within = key in labels, labels.get(key) in values

    def holds(text: str) -> bool:
        return parse_labels(text).matches(labels)

    assert holds(key) is has
    assert holds(f"!{key}") is not has
    assert holds(f"{key}={first}") is holds(f"{key} == {first}") is (labels.get(key) == first)
    assert holds(f"{key}!={first}") is (labels.get(key) != first)
    assert holds(f"{key} in ({listed})") is within
    assert holds(f"{key} notin ({listed})") is not within


@given(LABELS, st.lists(st.tuples(KEYS, VALUES), max_size=3))
def test_terms_are_all_required(labels: dict[str, str], terms: list[tuple[str, str]]) -> None:
    text = ",".join(f"{key}={value}" for key, value in terms)
    assert parse_labels(text).matches(labels) is all(labels.get(key) == value for key, value in terms)


def test_numbers_are_compared_and_prefixes_are_allowed() -> None:
    assert parse_labels("level>2,level<4").matches({"level": "3"})
    assert not parse_labels("level>2").matches({"level": "two"})
    assert parse_labels("projectcalico.org/tier in (default, x)").matches({"projectcalico.org/tier": "default"})
    assert parse_labels("a in (),b=").matches({"a": "", "b": ""})


@pytest.mark.parametrize("text", ["a=b=c", "a in", "in (a)", "a in (b", "-a", "a=_b", "a>b", "a,,b", "a b", "!"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_labels(text)
    assert refused.value.code == 400


def test_fields_select_by_name_namespace_and_tier() -> None:
    found = NetworkPolicy(metadata=Metadata(name="n", namespace="s"))
    allowed = {"metadata.name", "metadata.namespace", "spec.tier"}
    assert parse_fields("metadata.name=n,metadata.namespace==s,spec.tier!=x", allowed=allowed).matches(found)
    assert not parse_fields("spec.tier!=default", allowed=allowed).matches(found)
    assert parse_fields("metadata.name=n", allowed=allowed).required("metadata.name") == "n"
    assert parse_fields("metadata.name!=n", allowed=allowed).required("metadata.name") is None
    for text in ("spec.order=1", "metadata.name"):
        with pytest.raises(Refusal):
            parse_fields(text, allowed=allowed)
