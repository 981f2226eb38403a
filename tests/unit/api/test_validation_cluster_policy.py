"""What a ClusterNetworkPolicy must keep, each shown by a document that breaks it."""

from typing import Any

import pytest

from tortie.api.documents import decode, encode
from tortie.api.errors import ValidationError
from tortie.api.validation import validate

ANY: dict[str, Any] = {"namespaces": {}}
GOOD: dict[str, Any] = {
    "tier": "Admin",
    "priority": 10,
    "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}},
    "ingress": [
        {
            "name": "guests",
            "action": "Accept",
            "from": [ANY, {"pods": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}}],
            "protocols": [
                {"tcp": {"destinationPort": {"number": 80}}},
                {"udp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}},
                {"sctp": {}},
                {"destinationNamedPort": "web"},
            ],
        }
    ],
    "egress": [
        {"action": "Deny", "to": [{"networks": ["10.0.0.0/8", "fd00::/8"]}, {"nodes": {}}, {"domainNames": ["*.example.org"]}]},
        {"action": "Pass", "to": [ANY]},
    ],
}


def document(change: dict[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "p"}}
    return head | {"spec": GOOD | change}


def problems(change: dict[str, Any]) -> dict[str, str]:
    return {error.path: error.reason for error in validate(decode(document(change)))}


def test_a_good_policy_is_accepted_and_printed_as_it_was_written() -> None:
    assert problems({}) == {}
    printed = encode(decode(document({})))
    assert (printed["kind"], printed["apiVersion"]) == ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2")
    assert decode(printed) == decode(document({}))


def rule(**change: Any) -> dict[str, Any]:
    return {"egress": [{"action": "Accept", "to": [ANY]} | change]}


@pytest.mark.parametrize(
    ("change", "path", "hint"),
    [
        ({"tier": "Default"}, "spec.tier", "Admin or Baseline"),
        ({"priority": 1001}, "spec.priority", "0 to 1000"),
        ({"priority": -1}, "spec.priority", "0 to 1000"),
        ({"subject": {}}, "spec.subject", "exactly one"),
        ({"subject": {"namespaces": {}, "pods": {}}}, "spec.subject", "namespaces and pods are given"),
        (
            {"subject": {"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}},
            "spec.subject.namespaces.matchExpressions[0].operator",
            "must be one of",
        ),
        ({"ingress": [{"action": "Deny", "from": [ANY]}] * 26}, "spec.ingress", "at most 25"),
        ({"ingress": [{"action": "Deny"}]}, "spec.ingress[0].from", "at least one peer"),
        ({"ingress": [{"action": "Deny", "from": [{}]}]}, "spec.ingress[0].from[0]", "exactly one"),
        (rule(to=[]), "spec.egress[0].to", "at least one peer"),
        (rule(to=[ANY] * 26), "spec.egress[0].to", "at most 25"),
        (rule(action="Allow"), "spec.egress[0].action", "Accept, Deny, Pass"),
        (rule(name="n" * 101), "spec.egress[0].name", "longer than 100"),
        (rule(to=[{"networks": ["10.0.0.1"]}]), "spec.egress[0].to[0].networks[0]", "10.0.0.1/32"),
        (rule(to=[{"networks": ["10.0.0.1/8"]}]), "spec.egress[0].to[0].networks[0]", "did you mean"),
        (rule(to=[{"networks": ["10.0.0.0/8"], "namespaces": {}}]), "spec.egress[0].to[0]", "namespaces and networks"),
        (rule(to=[{"networks": [f"10.{n}.0.0/16" for n in range(26)]}]), "spec.egress[0].to[0].networks", "at most 25"),
        (rule(protocols=[{}]), "spec.egress[0].protocols[0]", "exactly one"),
        (rule(protocols=[{"tcp": {}, "udp": {}}]), "spec.egress[0].protocols[0]", "tcp and udp are given"),
        (rule(protocols=[{"tcp": {"destinationPort": {}}}]), "spec.egress[0].protocols[0].tcp.destinationPort", "exactly one"),
        (
            rule(protocols=[{"tcp": {"destinationPort": {"number": 0}}}]),
            "spec.egress[0].protocols[0].tcp.destinationPort.number",
            "1 to 65535",
        ),
        (
            rule(protocols=[{"udp": {"destinationPort": {"range": {"start": 9, "end": 8}}}}]),
            "spec.egress[0].protocols[0].udp.destinationPort.range.end",
            "below start",
        ),
        (rule(protocols=[{"destinationNamedPort": "Web"}]), "spec.egress[0].protocols[0].destinationNamedPort", "port name"),
        (
            rule(to=[{"networks": ["10.0.0.0/8"]}], protocols=[{"destinationNamedPort": "web"}]),
            "spec.egress[0].protocols",
            "name no ports",
        ),
    ],
)
def test_a_bad_policy_is_refused_at_its_field(change: dict[str, Any], path: str, hint: str) -> None:
    found = problems(change)
    assert list(found) == [path]
    assert hint in found[path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"order": 5}, "spec.order"),
        (rule(protocols=[{"icmp": {}}]), "spec.egress[0].protocols[0].icmp"),
        (rule(to=[{"services": {}}]), "spec.egress[0].to[0].services"),
        ({"ingress": [{"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}]}, "spec.ingress[0].from[0].networks"),
    ],
)
def test_fields_that_it_does_not_have_are_refused_by_name(change: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        problems(change)
    assert [error.path for error in caught.value.errors] == [path]


def test_a_document_without_spec_lacks_a_tier_and_a_subject() -> None:
    bare = {key: value for key, value in document({}).items() if key != "spec"}
    assert [error.path for error in validate(decode(bare))] == ["spec.tier", "spec.subject"]
