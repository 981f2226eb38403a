"""v3 selectors become selectors over the labels that the graph sees (selectors.md, section 7)."""

from typing import Any

import msgspec
import pytest
from tests.graph.states import global_policy, policy

from tortie.api.policy import EntityRule
from tortie.api.selector import SelectorError, parse_selector
from tortie.calc.selectors import policy_selector, rule_selectors, scope_selector

NS = "projectcalico.org/namespace"
SA = "projectcalico.org/serviceaccount"


@pytest.mark.shows("PS-6.1")
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, f"{NS} == 'ns'"),
        ({"selector": "a == 'b'"}, f"(a == 'b') && {NS} == 'ns'"),
        ({"selector": "a == 'b' || c == 'd'"}, f"(a == 'b' || c == 'd') && {NS} == 'ns'"),
        ({"serviceAccountSelector": "r == '1'"}, f"({NS} == 'ns') && pcsa.r == '1'"),
        ({"selector": "x == ''", "serviceAccountSelector": "all()"}, f"((x == '') && {NS} == 'ns') && all()"),
    ],
)
def test_a_namespaced_policy_selects_within_its_namespace(spec: dict[str, Any], text: str) -> None:
    assert policy_selector(policy("p", **spec)) == parse_selector(text)


@pytest.mark.shows("PS-6.3", "PS-6.4", "PS-6.5", "PS-6.6")
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "all()"),
        ({"selector": "a == 'b'"}, "a == 'b'"),
        ({"namespaceSelector": "team == 'x'"}, "pcns.team == 'x'"),
        ({"namespaceSelector": "all()"}, f"has({NS})"),
        ({"selector": "all()", "namespaceSelector": "t == 'x'"}, f"(has({NS})) && pcns.t == 'x'"),
        ({"selector": "a == 'b'", "serviceAccountSelector": "all()"}, f"(a == 'b') && has({SA})"),
        ({"namespaceSelector": "t == 'x'", "serviceAccountSelector": "r == '1'"}, "(pcns.t == 'x') && pcsa.r == '1'"),
    ],
)
def test_a_global_policy_selects_by_labels_of_namespaces_and_accounts(spec: dict[str, Any], text: str) -> None:
    assert policy_selector(global_policy("p", **spec)) == parse_selector(text)


@pytest.mark.parametrize("text", ["has(a)) || (all()", "((", "a == 'b"])
def test_a_part_cannot_close_the_parenthesis_of_another(text: str) -> None:
    with pytest.raises(SelectorError):
        policy_selector(policy("p", selector=text))
    with pytest.raises(SelectorError):
        rule_selectors(EntityRule(selector=text, namespace_selector="all()"), "ns")
    with pytest.raises(SelectorError):
        rule_selectors(EntityRule(not_selector=text, selector="all()"), "ns")


def test_the_scope_of_a_policy_never_fails() -> None:
    assert scope_selector(policy("p", ns="ns")).text == f'{NS} == "ns"'
    assert scope_selector(global_policy("p")).text == "all()"
    assert scope_selector(policy("p", ns="it's")).text == "all()"


def positive(namespace: str, **side: Any) -> str | None:
    selector, negative = rule_selectors(msgspec.convert(side, EntityRule), namespace)
    assert negative is None
    return None if selector is None else selector.text


@pytest.mark.shows("PS-7.25", "PS-7.28", "PS-7.29", "PS-7.32")
@pytest.mark.parametrize(
    ("side", "in_namespace", "global_"),
    [
        ({"nets": ["10.0.0.0/8"]}, None, None),
        ({"ports": [80]}, None, None),
        ({"selector": "a == 'b'"}, f"({NS} == 'ns') && (a == 'b')", "a == 'b'"),
        ({"namespaceSelector": "t == 'x'"}, "pcns.t == 'x'", "pcns.t == 'x'"),
        ({"namespaceSelector": "all()"}, f"has({NS})", f"has({NS})"),
        ({"namespaceSelector": "global()"}, f"!has({NS})", f"!has({NS})"),
        (
            {"namespaceSelector": "global()", "selector": "set == '1'"},
            f"(!has({NS})) && (set == '1')",
            f"(!has({NS})) && (set == '1')",
        ),
        (
            {"serviceAccounts": {"names": ["b", "a"]}},
            f"({NS} == 'ns') && ({SA} in {{'a', 'b'}})",
            f"{SA} in {{'a', 'b'}}",
        ),
        (
            {"serviceAccounts": {"names": ["a"], "selector": "r == '1'"}, "selector": "x == 'y'"},
            f"({NS} == 'ns') && (((pcsa.r == '1') && ({SA} in {{'a'}})) && (x == 'y'))",
            f"((pcsa.r == '1') && ({SA} in {{'a'}})) && (x == 'y')",
        ),
    ],
)
def test_a_rule_is_limited_to_its_namespace_only_where_it_selects(
    side: dict[str, Any], in_namespace: str | None, global_: str | None
) -> None:
    assert positive("ns", **side) == (in_namespace and parse_selector(in_namespace).text)
    assert positive("", **side) == (global_ and parse_selector(global_).text)


@pytest.mark.shows("PS-7.27")
def test_a_lone_negative_selector_stays_alone_in_a_global_policy() -> None:
    assert rule_selectors(EntityRule(not_selector="a == 'b'"), "") == (None, parse_selector("a == 'b'"))


@pytest.mark.shows("PS-7.26")
def test_a_negative_selector_is_folded_into_a_positive_one() -> None:
    expected = parse_selector(f"({NS} == 'ns') && (!(a == 'b'))")
    assert rule_selectors(EntityRule(not_selector="a == 'b'"), "ns") == (expected, None)
    both = EntityRule(selector="x == 'y'", not_selector="a == 'b'")
    assert rule_selectors(both, "") == (parse_selector("(x == 'y') && (!(a == 'b'))"), None)
