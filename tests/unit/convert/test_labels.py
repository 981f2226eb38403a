"""Label selectors of Kubernetes in our selector language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.kubernetes import LabelSelector, LabelSelectorRequirement
from tortie.api.selector import parse_selector
from tortie.convert.errors import ConversionError
from tortie.convert.labels import namespace_selector_text, pod_selector_text

OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"]
KEYS = st.sampled_from(["a", "b"])
VALUES = st.sampled_from(["x", "y", ""])
REQUIREMENTS = st.builds(
    LabelSelectorRequirement, key=KEYS, operator=st.sampled_from(OPERATORS), values=st.lists(VALUES, min_size=1).map(tuple)
)
SELECTORS = st.builds(
    LabelSelector,
    match_labels=st.dictionaries(KEYS, VALUES),
    match_expressions=st.lists(REQUIREMENTS, max_size=3).map(tuple),
)


def holds(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Kubernetes' own meaning, written down a second time."""
    for requirement in selector.match_expressions:
        value = labels.get(requirement.key)
        verdict = {
            "In": value in requirement.values,
            "NotIn": value is None or value not in requirement.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not verdict[requirement.operator]:
            return False
    return all(labels.get(key) == value for key, value in selector.match_labels.items())


@given(SELECTORS, st.dictionaries(KEYS, VALUES))
def test_the_text_selects_what_the_label_selector_selects(selector: LabelSelector, labels: dict[str, str]) -> None:
    namespace = parse_selector(namespace_selector_text(selector))
    assert namespace.matches(labels) == holds(selector, labels)
    pod = parse_selector(pod_selector_text(selector))
    assert pod.matches(labels | {"projectcalico.org/orchestrator": "k8s"}) == holds(selector, labels)
    assert not pod.matches(labels)


def test_absent_and_empty_differ_for_namespaces_only() -> None:
    assert namespace_selector_text(None) == ""
    assert namespace_selector_text(LabelSelector()) == "all()"
    assert pod_selector_text(None) == pod_selector_text(LabelSelector()) == "projectcalico.org/orchestrator == 'k8s'"


def test_terms_are_written_in_order() -> None:
    selector = LabelSelector(
        match_labels={"b": "2", "a": "1"},
        match_expressions=(
            LabelSelectorRequirement(key="c", operator="NotIn", values=("x", "y")),
            LabelSelectorRequirement(key="d", operator="DoesNotExist"),
        ),
    )
    assert namespace_selector_text(selector) == "a == '1' && b == '2' && c not in { 'x', 'y' } && ! has(d)"


@pytest.mark.parametrize(
    "selector",
    [
        LabelSelector(match_labels={"a b": "x"}),
        LabelSelector(match_labels={"a": "'\""}),
        LabelSelector(match_expressions=(LabelSelectorRequirement(key="a", operator="Gt", values=("1",)),)),
    ],
)
def test_what_the_language_cannot_say_is_refused(selector: LabelSelector) -> None:
    with pytest.raises(ConversionError):
        pod_selector_text(selector)
