"""The rules that policies, tiers and profiles must keep, each shown by a document that breaks it."""

from typing import Any

import pytest

from tortie.api.defaults import with_defaults
from tortie.api.documents import decode
from tortie.api.errors import ValidationError
from tortie.api.kinds import KINDS
from tortie.api.validation import validate


def problems(kind: str, spec: dict[str, Any], *, name: str = "p") -> dict[str, str]:
    """Path to reason of everything that is wrong with a resource of ours."""
    metadata = {"name": name} | ({"namespace": "n"} if KINDS[kind].namespaced else {})
    document = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    return {error.path: error.reason for error in validate(with_defaults(decode(document)))}


def rule_problems(rule: dict[str, Any], *, kind: str = "NetworkPolicy", direction: str = "ingress") -> dict[str, str]:
    """The same for one rule; paths are relative to it."""
    found = problems(kind, {direction: [{"action": "Allow"} | rule]})
    prefix = f"spec.{direction}[0]."
    assert all(path.startswith(prefix) for path in found)
    return {path.removeprefix(prefix): reason for path, reason in found.items()}


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"protocol": "TCP", "destination": {"ports": [80, "80", "1:65535", "http"]}},
        {"protocol": 132, "source": {"notPorts": [1]}},
        {"protocol": "6", "source": {"ports": [1]}},
        {"destination": {"ports": ["http"]}},
        {"protocol": "ICMP", "ipVersion": 4, "icmp": {"type": 8, "code": 0}},
        {"protocol": 58, "icmp": {"type": 128}},
        {"protocol": "ICMPv6", "notICMP": {"type": 3}},
        {"source": {"nets": ["10.0.0.0/8", "192.168.1.1/32"]}, "destination": {"notNets": ["10.1.0.0/16"]}, "ipVersion": 4},
        {"source": {"namespaceSelector": "global()"}},
        {"source": {"namespaceSelector": "has(x) || all()", "selector": "a in {'b'}", "notSelector": "global()"}},
        {"source": {"services": {"name": "s"}}},
        {"protocol": "TCP", "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}},
        {"source": {"serviceAccounts": {"names": ["a", "b"], "selector": "all()"}}},
        {"metadata": {"annotations": {"example.org/why": "because"}}},
    ],
)
def test_good_rules_are_accepted(rule: dict[str, Any]) -> None:
    assert rule_problems(rule) == {}


@pytest.mark.parametrize(
    ("rule", "path", "hint"),
    [
        ({"destination": {"ports": [80]}}, "destination.ports", "need protocol"),
        ({"source": {"notPorts": ["1:2"]}}, "source.notPorts", "need protocol"),
        ({"notProtocol": "TCP", "source": {"ports": [1]}}, "source.ports", "need protocol"),
        ({"protocol": "ICMP", "source": {"ports": [1]}}, "source.ports", "only protocols TCP"),
        ({"protocol": "UDPLite", "source": {"ports": ["http"]}}, "source.ports", "only protocols TCP"),
        ({"protocol": "TCP", "destination": {"ports": [0]}}, "destination.ports[0]", "1 to 65535"),
        ({"protocol": "TCP", "destination": {"ports": [1, 65536]}}, "destination.ports[1]", "1 to 65535"),
        ({"protocol": "TCP", "destination": {"ports": ["9:8"]}}, "destination.ports[0]", "above the last"),
        ({"protocol": "TCP", "destination": {"ports": ["a b"]}}, "destination.ports[0]", "must be a port"),
        ({"protocol": "TCP", "destination": {"ports": ["UPPER"]}}, "destination.ports[0]", "port name"),
        ({"protocol": "TCP", "destination": {"ports": list(range(1, 52))}}, "destination.ports", "at most 50"),
        ({"protocol": "tcp"}, "protocol", "one of ICMP, TCP"),
        ({"protocol": 0}, "protocol", "1 to 255"),
        ({"notProtocol": 256}, "notProtocol", "1 to 255"),
        ({"protocol": "TCP", "icmp": {"type": 1}}, "icmp", "needs protocol ICMP"),
        ({"icmp": {"type": 1}}, "icmp", "needs protocol ICMP"),
        ({"protocol": "ICMP", "icmp": {"code": 1}}, "icmp.code", "needs a type"),
        ({"protocol": "ICMP", "icmp": {"type": 255}}, "icmp.type", "0 to 254"),
        ({"protocol": "ICMP", "icmp": {"type": 1, "code": 256}}, "icmp.code", "0 to 255"),
        ({"protocol": 1, "notICMP": {"type": -1}}, "notICMP.type", "0 to 254"),
        ({"notICMP": {"type": 3}}, "notICMP", "needs protocol ICMP"),
        ({"protocol": "ICMP", "ipVersion": 6}, "ipVersion", "must be 4"),
        ({"notProtocol": "ICMPv6", "ipVersion": 4}, "ipVersion", "must be 6"),
        ({"protocol": 1, "ipVersion": 6}, "ipVersion", "must be 4"),
        ({"source": {"nets": ["10.0.0.1"]}}, "source.nets[0]", "10.0.0.1/32"),
        ({"source": {"nets": ["10.0.0.1/8"]}}, "source.nets[0]", "did you mean 10.0.0.0/8"),
        ({"source": {"nets": ["ten"]}}, "source.nets[0]", "CIDR"),
        ({"source": {"nets": ["10.0.0.0/8", "10.0.0.0/8"]}}, "source.nets[1]", "occurs twice"),
        ({"source": {"nets": ["10.0.0.0/8"]}, "destination": {"nets": ["fd00::/8"]}}, "destination.nets[0]", "IPv6"),
        ({"ipVersion": 6, "destination": {"notNets": ["10.0.0.0/8"]}}, "destination.notNets[0]", "ipVersion"),
        ({"source": {"notNets": ["0.0.0.0/0"]}}, "source.notNets[0]", "every address"),
        ({"source": {"notNets": ["::/0"]}}, "source.notNets[0]", "every address"),
        ({"source": {"selector": "global()"}}, "source.selector", "global()"),
        ({"source": {"selector": "a = 'b'"}}, "source.selector", "column 3"),
        ({"source": {"selector": "has(" + "a" * 510 + ") && has(" + "b" * 510 + ")"}}, "source.selector", "longer than 1024"),
        ({"source": {"namespaceSelector": "global() && has(a)"}}, "source.namespaceSelector", "whole selector"),
        ({"source": {"serviceAccounts": {"names": ["A_b"]}}}, "source.serviceAccounts.names[0]", "a-z"),
        ({"source": {"serviceAccounts": {"selector": "("}}}, "source.serviceAccounts.selector", "column 2"),
        ({"source": {"services": {"namespace": "n"}}}, "source.services.name", "is required"),
        ({"source": {"services": {"name": "s"}, "selector": "all()"}}, "source.selector", "services"),
        ({"source": {"services": {"name": "s"}, "notSelector": "all()"}}, "source.notSelector", "services"),
        ({"source": {"services": {"name": "s"}, "namespaceSelector": "all()"}}, "source.namespaceSelector", "services"),
        ({"source": {"services": {"name": "s"}, "nets": ["10.0.0.0/8"]}}, "source.nets", "services"),
        ({"source": {"services": {"name": "s"}, "notNets": ["10.0.0.0/8"]}}, "source.notNets", "services"),
        ({"source": {"services": {"name": "s" * 254}}}, "source.services.name", "longer than 253"),
        ({"source": {"services": {"name": "s", "namespace": "n" * 254}}}, "source.services.namespace", "longer than 253"),
        ({"source": {"services": {"name": "s"}, "serviceAccounts": {}}}, "source.serviceAccounts", "services"),
        ({"destination": {"services": {"name": "s"}}}, "destination.services", "ingress rules"),
        ({"protocol": "UDP", "http": {}}, "protocol", "TCP"),
        ({"action": "Deny", "http": {}}, "action", "Allow"),
        ({"http": {"methods": ["GET", "GET"]}}, "http.methods[1]", "twice"),
        ({"http": {"paths": [{}]}}, "http.paths[0]", "exactly one"),
        ({"http": {"paths": [{"exact": "a"}]}}, "http.paths[0]", "begin with /"),
        ({"http": {"paths": [{"prefix": "/a?b"}]}}, "http.paths[0]", "begin with /"),
        ({"http": {"paths": [{"exact": "/a", "prefix": "/a"}]}}, "http.paths[0]", "exactly one"),
        ({"http": {"paths": [{"exact": "/" + "a" * 1024}]}}, "http.paths[0]", "longer than 1024"),
        ({"http": {"methods": [f"M{n}" for n in range(21)]}}, "http.methods", "at most 20"),
        ({"http": {"paths": [{"prefix": f"/{n}"} for n in range(21)]}}, "http.paths", "at most 20"),
        ({"metadata": {"annotations": {"bad key": ""}}}, "metadata.annotations.bad key", "label"),
    ],
)
def test_bad_rule_is_refused_at_its_field(rule: dict[str, Any], path: str, hint: str) -> None:
    found = rule_problems(rule)
    assert list(found) == [path]
    assert hint in found[path]


@pytest.mark.shows("PS-7.10", "PS-7.16")
def test_an_icmp_code_needs_a_type_and_a_port_number_needs_a_protocol() -> None:
    assert "needs a type" in rule_problems({"protocol": "ICMP", "icmp": {"code": 1}})["icmp.code"]
    assert "need protocol" in rule_problems({"destination": {"ports": [80]}})["destination.ports"]


@pytest.mark.shows("PS-7.11")
@pytest.mark.parametrize("field", ["icmp", "notICMP"])
def test_icmp_fields_need_a_protocol_that_is_icmp(field: str) -> None:
    for protocol in ("ICMP", "ICMPv6", 1, 58):
        assert rule_problems({"protocol": protocol, field: {"type": 3}}) == {}
    for other in ({}, {"protocol": "TCP"}, {"notProtocol": "ICMP"}):
        assert rule_problems({**other, field: {"type": 3}}) == {field: "needs protocol ICMP or ICMPv6"}


@pytest.mark.shows("PS-7.7", "PS-7.9")
@pytest.mark.parametrize("side", ["source", "destination"])
def test_networks_of_a_rule_are_of_one_family_and_do_not_exclude_all_of_it(side: str) -> None:
    assert rule_problems({side: {"nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16"]}}) == {}
    mixed = rule_problems({side: {"nets": ["10.0.0.0/8", "fd00::/8"]}})
    assert mixed == {f"{side}.nets[1]": f"is IPv6, but {side}.nets of this rule is IPv4"}
    assert list(rule_problems({side: {"nets": ["10.0.0.0/8"], "notNets": ["fd00::/8"]}})) == [f"{side}.notNets[0]"]
    for everything in ("0.0.0.0/0", "::/0"):
        assert list(rule_problems({side: {"notNets": [everything]}})) == [f"{side}.notNets[0]"]


@pytest.mark.shows("PS-7.24")
def test_lists_of_a_rule_have_their_limits() -> None:
    nets = [f"10.{number // 256}.{number % 256}.0/24" for number in range(257)]
    ports = list(range(1, 52))
    for field, longest, rule in (
        ("source.nets", 256, {"source": {"nets": nets}}),
        ("destination.notNets", 256, {"destination": {"notNets": nets}}),
        ("source.ports", 50, {"protocol": "TCP", "source": {"ports": ports}}),
        ("destination.notPorts", 50, {"protocol": "TCP", "destination": {"notPorts": ports}}),
        ("http.methods", 20, {"http": {"methods": [f"M{number}" for number in range(21)]}}),
        ("http.paths", 20, {"http": {"paths": [{"prefix": f"/{number}"} for number in range(21)]}}),
    ):
        assert rule_problems(rule) == {field: f"has {longest + 1} items, at most {longest} are allowed"}


@pytest.mark.shows("PS-7.31")
def test_global_stands_alone_and_only_in_the_namespace_selector_of_a_rule() -> None:
    assert rule_problems({"source": {"namespaceSelector": " global() "}}) == {}
    for text in ("global() && has(a)", "!global()", "global() || all()"):
        assert list(rule_problems({"source": {"namespaceSelector": text}})) == ["source.namespaceSelector"]
    assert list(rule_problems({"source": {"selector": "global()"}})) == ["source.selector"]


@pytest.mark.shows("PS-7.36")
@pytest.mark.parametrize(("direction", "side"), [("ingress", "source"), ("egress", "destination")])
def test_services_exclude_every_other_way_to_say_who(direction: str, side: str) -> None:
    services = {"name": "s", "namespace": "n"}
    others: dict[str, Any] = {
        "selector": "all()",
        "notSelector": "all()",
        "namespaceSelector": "all()",
        "nets": ["10.0.0.0/8"],
        "notNets": ["10.0.0.0/8"],
        "serviceAccounts": {"names": ["a"]},
    }
    if side == "destination":
        others |= {"ports": ["web"], "notPorts": ["web"]}
    for kind in ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy"):
        assert rule_problems({side: {"services": services}}, kind=kind, direction=direction) == {}
        for field, value in others.items():
            found = rule_problems({side: {"services": services, field: value}}, kind=kind, direction=direction)
            assert found == {f"{side}.{field}": "cannot be combined with services"}


@pytest.mark.shows("PS-7.37")
def test_http_is_for_allow_rules_of_tcp_or_of_no_protocol() -> None:
    for protocol in ({}, {"protocol": "TCP"}, {"protocol": 6}, {"protocol": "6"}):
        assert rule_problems({**protocol, "http": {"methods": ["GET"]}}) == {}
    for protocol_text in ("UDP", "SCTP", "ICMP", 17):
        assert list(rule_problems({"protocol": protocol_text, "http": {"methods": ["GET"]}})) == ["protocol"]
    for action in ("Deny", "Log", "Pass"):
        assert list(rule_problems({"action": action, "http": {"methods": ["GET"]}})) == ["action"]


def test_services_belong_to_the_far_side_of_a_rule() -> None:
    far = {"destination": {"services": {"name": "s", "namespace": "n"}}}
    assert rule_problems(far, direction="egress") == {}
    assert list(rule_problems({"source": far["destination"]}, direction="egress")) == ["source.services"]
    with_ports = {"protocol": "TCP", "destination": {"services": {"name": "s"}, "ports": [1]}}
    assert list(rule_problems(with_ports, direction="egress")) == ["destination.ports"]
    without_ports = {"protocol": "TCP", "destination": {"services": {"name": "s"}, "notPorts": ["web"]}}
    assert list(rule_problems(without_ports, direction="egress")) == ["destination.notPorts"]
    source_ports = {"protocol": "TCP", "source": {"services": {"name": "s"}, "ports": [1]}}
    assert rule_problems(source_ports) == {}


def test_http_is_for_ingress_only_except_in_profiles() -> None:
    rule = {"http": {"methods": ["GET"]}}
    assert list(rule_problems(rule, direction="egress")) == ["http"]
    assert rule_problems(rule, direction="egress", kind="Profile") == {}


@pytest.mark.parametrize("kind", ["GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_service_in_a_global_policy_needs_its_namespace(kind: str) -> None:
    rule = {"source": {"services": {"name": "s"}}}
    assert list(rule_problems(rule, kind=kind)) == ["source.services.namespace"]


@pytest.mark.parametrize(
    ("kind", "spec", "path", "hint"),
    [
        ("NetworkPolicy", {"selector": "global()"}, "spec.selector", "global()"),
        ("NetworkPolicy", {"serviceAccountSelector": "a =="}, "spec.serviceAccountSelector", "column"),
        ("NetworkPolicy", {"types": ["Ingress", "Ingress"]}, "spec.types[1]", "twice"),
        ("NetworkPolicy", {"performanceHints": ["Fast"]}, "spec.performanceHints[0]", "AssumeNeeded"),
        ("NetworkPolicy", {"tier": "a.b"}, "spec.tier", "63"),
        ("NetworkPolicy", {"ingress": [{"action": "Deny"}] * 1025}, "spec.ingress", "at most 1024"),
        ("GlobalNetworkPolicy", {"namespaceSelector": "global()"}, "spec.namespaceSelector", "global()"),
        ("GlobalNetworkPolicy", {"doNotTrack": True}, "spec.applyOnForward", "must be true"),
        (
            "GlobalNetworkPolicy",
            {"preDNAT": True, "applyOnForward": True, "types": ["Ingress", "Egress"]},
            "spec.types",
            "preDNAT",
        ),
        ("GlobalNetworkPolicy", {"preDNAT": True, "doNotTrack": True, "applyOnForward": True}, "spec.preDNAT", "exclude"),
        ("Profile", {"labelsToApply": {"-": "x"}}, "spec.labelsToApply.-", "label"),
    ],
)
def test_bad_spec_is_refused_at_its_field(kind: str, spec: dict[str, Any], path: str, hint: str) -> None:
    found = problems(kind, spec)
    assert list(found) == [path]
    assert hint in found[path]


@pytest.mark.parametrize("action", ["Set", "Learn", "Ignore"])
@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("StagedNetworkPolicy", {"selector": "global()"}, "spec.selector"),
        ("StagedNetworkPolicy", {"egress": [{"action": "Allow", "http": {}}]}, "spec.egress[0].http"),
        ("StagedGlobalNetworkPolicy", {"namespaceSelector": "global()"}, "spec.namespaceSelector"),
        ("StagedGlobalNetworkPolicy", {"doNotTrack": True}, "spec.applyOnForward"),
        ("StagedGlobalNetworkPolicy", {"ingress": [{"action": "Allow", "protocol": "tcp"}]}, "spec.ingress[0].protocol"),
        ("StagedKubernetesNetworkPolicy", {"policyTypes": ["Sideways"]}, "spec.policyTypes[0]"),
        ("StagedKubernetesNetworkPolicy", {"ingress": [{"ports": [{"endPort": 5}]}]}, "spec.ingress[0].ports[0].endPort"),
    ],
)
def test_a_staged_policy_is_checked_like_the_one_it_stands_for(kind: str, spec: dict[str, Any], path: str, action: str) -> None:
    assert list(problems(kind, spec | {"stagedAction": action})) == [path]


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("StagedNetworkPolicy", {"selector": "all()"}, "spec.selector"),
        ("StagedNetworkPolicy", {"order": 0}, "spec.order"),
        ("StagedNetworkPolicy", {"types": ["Ingress"]}, "spec.types"),
        ("StagedNetworkPolicy", {"performanceHints": ["AssumeNeededOnEveryNode"]}, "spec.performanceHints"),
        ("StagedGlobalNetworkPolicy", {"ingress": [{"action": "Allow"}]}, "spec.ingress"),
        ("StagedGlobalNetworkPolicy", {"preDNAT": True}, "spec.preDNAT"),
        ("StagedGlobalNetworkPolicy", {"namespaceSelector": "all()"}, "spec.namespaceSelector"),
        ("StagedGlobalNetworkPolicy", {"tier": "a.b"}, "spec.tier"),
        ("StagedKubernetesNetworkPolicy", {"podSelector": {"matchLabels": {"a": "b"}}}, "spec.podSelector"),
        ("StagedKubernetesNetworkPolicy", {"policyTypes": ["Ingress"]}, "spec.policyTypes"),
    ],
)
def test_a_staged_deletion_says_nothing_but_its_tier(kind: str, spec: dict[str, Any], path: str) -> None:
    tier = {} if kind == "StagedKubernetesNetworkPolicy" else {"tier": "security"}
    assert problems(kind, tier | {"stagedAction": "Delete"}) == {}
    assert list(problems(kind, tier | spec | {"stagedAction": "Delete"})) == [path]


@pytest.mark.shows("PS-13.1")
def test_a_staged_action_is_one_of_four() -> None:
    for kind in ("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy"):
        for action in ("Set", "Delete", "Learn", "Ignore"):
            assert problems(kind, {"stagedAction": action}) == {}
        with pytest.raises(
            ValidationError, match=r"spec\.stagedAction = 'Enforce' \(must be one of Delete, Ignore, Learn, Set"
        ):
            problems(kind, {"stagedAction": "Enforce"})


@pytest.mark.shows("PS-6.8", "PS-6.9")
@pytest.mark.parametrize("kind", ["GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_pre_dnat_and_untracked_exclude_each_other_and_need_apply_on_forward(kind: str) -> None:
    assert problems(kind, {"applyOnForward": True}) == {}
    assert problems(kind, {"doNotTrack": True, "applyOnForward": True}) == {}
    assert problems(kind, {"preDNAT": True, "applyOnForward": True}) == {}
    assert list(problems(kind, {"preDNAT": True})) == ["spec.applyOnForward"]
    assert list(problems(kind, {"doNotTrack": True, "applyOnForward": False})) == ["spec.applyOnForward"]
    assert list(problems(kind, {"doNotTrack": True, "preDNAT": True, "applyOnForward": True})) == ["spec.preDNAT"]


@pytest.mark.shows("PS-6.7")
@pytest.mark.parametrize("kind", ["NetworkPolicy", "StagedNetworkPolicy"])
@pytest.mark.parametrize("field", ["applyOnForward", "preDNAT", "doNotTrack", "namespaceSelector"])
def test_a_namespaced_policy_has_none_of_the_fields_for_hosts(kind: str, field: str) -> None:
    with pytest.raises(ValidationError, match=rf"spec\.{field} \(field in document is not recognized"):
        problems(kind, {field: True})


@pytest.mark.shows("PS-6.10")
def test_pre_dnat_policy_has_no_egress() -> None:
    found = problems("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Deny"}]})
    assert set(found) == {"spec.egress", "spec.types"}


def test_predefined_tiers_have_one_order_and_one_action() -> None:
    assert problems("Tier", {}, name="default") == {}
    assert problems("Tier", {"order": 1000, "defaultAction": "Pass"}, name="kube-admin") == {}
    assert problems("Tier", {"order": 1}, name="default") == {"spec.order": "must be 1000000 in tier default"}
    assert set(problems("Tier", {}, name="kube-baseline")) == {"spec.order", "spec.defaultAction"}
    assert problems("Tier", {"order": 1}, name="other") == {}


def test_all_problems_of_a_policy_are_found_at_once() -> None:
    found = problems(
        "NetworkPolicy",
        {
            "selector": "(",
            "ingress": [{"action": "Allow", "protocol": "tcp"}, {"action": "Deny", "source": {"nets": ["x"]}}],
            "egress": [{"action": "Allow", "destination": {"ports": [1]}}],
        },
    )
    assert list(found) == [
        "spec.selector",
        "spec.ingress[0].protocol",
        "spec.ingress[1].source.nets[0]",
        "spec.egress[0].destination.ports",
    ]
