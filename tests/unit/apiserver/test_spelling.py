"""Objects shown as they were applied."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tortie.api.defaults import with_defaults
from tortie.apiserver.objects import document, resource_of
from tortie.apiserver.served import catalogue
from tortie.apiserver.spelling import LAST_APPLIED, as_applied

CATALOGUE = catalogue(standalone=True)
POOLS = CATALOGUE["projectcalico.org", "v3", "ippools"]
POLICIES = CATALOGUE["projectcalico.org", "v3", "globalnetworkpolicies"]


def shown(plural: str, stored: dict[str, Any], applied: Any) -> dict[str, Any]:
    """The spec that is shown where this is stored and that was applied last."""
    served = CATALOGUE["projectcalico.org", "v3", plural]
    text = applied if isinstance(applied, str) else json.dumps({"metadata": {"name": "x"}, "spec": applied})
    metadata = {"name": "x", "annotations": {LAST_APPLIED: text}}
    resource = with_defaults(resource_of(served, {"metadata": metadata, "spec": stored}))
    found: dict[str, Any] = as_applied(served, document(resource))["spec"]
    return found


def test_what_says_nothing_is_shown_where_it_was_applied() -> None:
    applied = {"cidr": "192.0.2.0/24", "natOutgoing": False, "disabled": False, "namespaceSelector": ""}
    found = shown("ippools", applied, applied)
    assert applied.items() <= found.items()


def test_inside_of_lists_too_as_long_as_they_are_the_same() -> None:
    rules = [{"action": "Allow", "source": {}, "destination": {"nets": [], "ports": [80]}}]
    assert shown("globalnetworkpolicies", {"ingress": rules}, {"ingress": rules})["ingress"] == rules
    other = [{"action": "Deny"}]
    assert shown("globalnetworkpolicies", {"ingress": other}, {"ingress": rules})["ingress"] == other


def test_what_was_changed_since_is_shown_as_it_is() -> None:
    stored = {"cidr": "192.0.2.0/24", "natOutgoing": True}
    assert shown("ippools", stored, {"cidr": "192.0.2.0/24", "natOutgoing": False})["natOutgoing"] is True
    assert "natOutgoing" not in shown("ippools", {"cidr": "192.0.2.0/24"}, stored)


def test_an_annotation_that_makes_no_sense_changes_nothing() -> None:
    stored = {"cidr": "192.0.2.0/24"}
    plain = shown("ippools", stored, stored)
    nonsense: list[Any] = [
        "",
        "{",
        "[]",
        "null",
        '{"spec": 5}',
        "[" * 5000,
        {"unknown": 1},
        {"natOutgoing": "x"},
        {"disabled": None},
    ]
    for each in nonsense:
        assert shown("ippools", stored, each) == plain


@given(
    st.fixed_dictionaries(
        {"cidr": st.just("192.0.2.0/24")}, optional={"natOutgoing": st.booleans(), "disabled": st.booleans()}
    ),
    st.fixed_dictionaries(
        {}, optional={"natOutgoing": st.booleans(), "disabled": st.booleans(), "blockSize": st.integers(0, 32)}
    ),
)
def test_what_is_shown_means_what_is_stored(stored: dict[str, Any], applied: dict[str, Any]) -> None:
    resource = with_defaults(resource_of(POOLS, {"metadata": {"name": "x"}, "spec": stored}))
    found = shown("ippools", stored, applied)
    assert with_defaults(resource_of(POOLS, {"metadata": {"name": "x"}, "spec": found})) == resource
