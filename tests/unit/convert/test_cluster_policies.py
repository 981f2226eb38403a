"""Cluster policies of Kubernetes become global policies: golden files, and the law that they fail closed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.documents import decode
from tortie.api.policy import GlobalNetworkPolicy, Rule
from tortie.api.resource import Key
from tortie.api.validation import validate
from tortie.convert.cluster_policies import cluster_policy, cluster_policy_problems
from tortie.convert.errors import conversion_problems

GOLDEN = Path(__file__).parents[2] / "golden" / "convert"
CASES = sorted(GOLDEN.glob("cluster-*.yaml"))
ANY: dict[str, Any] = {"namespaces": {}}
RULES: dict[str, Any] = {"ingress": [{"action": "Deny", "from": [ANY]}]}


def policy(change: dict[str, Any]) -> ClusterNetworkPolicy:
    spec = {"tier": "Admin", "priority": 10, "subject": ANY} | change
    return msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterNetworkPolicy)


def converted(change: dict[str, Any]) -> GlobalNetworkPolicy:
    found = cluster_policy(policy(change))
    assert found is not None
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_golden_policy_converts_to_what_its_file_says(path: Path) -> None:
    document, expected = yaml.safe_load_all(path.read_text())
    given_policy = decode(document)
    assert isinstance(given_policy, ClusterNetworkPolicy)
    assert validate(given_policy) == []
    found = cluster_policy(given_policy)
    assert found is not None
    plain = msgspec.structs.replace(found, metadata=msgspec.structs.replace(found.metadata, annotations={}))
    assert plain == msgspec.convert(expected["policy"], GlobalNetworkPolicy)
    assert list(cluster_policy_problems(given_policy)) == expected["problems"]
    assert list(conversion_problems(found)) == expected["problems"]


def test_there_are_golden_policies() -> None:
    assert len(CASES) >= 3


def test_the_key_keeps_its_kubernetes_kind_and_plain_name() -> None:
    assert converted({}).key == Key("KubernetesClusterNetworkPolicy", "", "p")


def test_each_tier_has_its_place_and_an_unknown_one_none() -> None:
    assert converted({"tier": "Admin"}).spec.tier == "kube-admin"
    assert converted({"tier": "Baseline"}).spec.tier == "kube-baseline"
    assert cluster_policy(policy({"tier": "Middle"})) is None
    assert cluster_policy_problems(policy({"tier": "Middle"})) == (
        "spec.tier: 'Middle' is not Admin or Baseline; the policy is not in force",
    )


def test_a_policy_without_subject_is_not_in_force_and_says_so() -> None:
    assert cluster_policy(policy({"subject": {}} | RULES)) is None
    assert "spec.subject" in cluster_policy_problems(policy({"subject": {}} | RULES))[0]


def test_a_policy_has_the_directions_that_it_has_rules_for() -> None:
    rule = {"action": "Deny", "from": [ANY], "to": [ANY]}
    assert converted({}).spec.types == ()
    assert converted({"ingress": [rule]}).spec.types == ("Ingress",)
    assert converted({"egress": [rule]}).spec.types == ("Egress",)
    assert converted({"ingress": [rule], "egress": [rule]}).spec.types == ("Ingress", "Egress")
    left_out = {"action": "Accept", "to": [{"nodes": {}}]}
    assert converted({"egress": [left_out]}).spec.types == ()


BROKEN: list[dict[str, Any]] = [
    {"to": []},
    {"to": [{}]},
    {"to": [ANY, {"nodes": {}}]},
    {"to": [{"domainNames": ["example.org"]}]},
    {"to": [{"networks": ["10.0.0.0"]}]},
    {"to": [{"networks": ["ten"]}]},
    {"to": [{"networks": ["10.0.0.0/8"], "namespaces": {}}]},
    {"to": [{"pods": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}}]},
    {"to": [ANY], "protocols": [{}]},
    {"to": [ANY], "protocols": [{"tcp": {}}, {}]},
    {"to": [ANY], "protocols": [{"tcp": {}, "udp": {}}]},
    {"to": [ANY], "protocols": [{"tcp": {"destinationPort": {}}}]},
    {"to": [ANY], "protocols": [{"tcp": {"destinationPort": {"number": 70000}}}]},
    {"to": [ANY], "protocols": [{"tcp": {"destinationPort": {"range": {"start": 2, "end": 1}}}}]},
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("action", ["Deny", "Pass", "Accept", "Reject"])
def test_a_rule_that_cannot_be_understood_denies_everything_or_allows_nothing(broken: dict[str, Any], action: str) -> None:
    given_policy = policy({"egress": [broken | {"action": action, "name": "r"}]})
    found = cluster_policy(given_policy)
    assert found is not None
    (problem,) = cluster_policy_problems(given_policy)
    assert problem.startswith("spec.egress[0].")
    if action == "Accept":
        assert found.spec.egress == ()
        assert problem.endswith("the rule is left out")
        return
    (rule,) = found.spec.egress
    assert rule == Rule(action="Deny", metadata=rule.metadata)
    assert rule.metadata is not None
    assert rule.metadata.annotations["name"] == "r"
    assert problem.startswith(rule.metadata.annotations["tortie.io/not-understood"])


def test_a_subject_that_cannot_be_understood_only_denies_and_for_every_pod() -> None:
    rules = [
        {"action": "Accept", "from": [ANY], "protocols": [{"tcp": {"destinationPort": {"number": 80}}}]},
        {"action": "Pass", "from": [ANY], "protocols": [{"udp": {}}]},
        {"action": "Deny", "from": [ANY]},
    ]
    subjects: list[dict[str, Any]] = [
        {"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
        {"namespaces": {}, "pods": {}},
    ]
    for subject in subjects:
        found = converted({"subject": subject, "ingress": rules})
        assert (found.spec.namespace_selector, found.spec.selector) == ("all()", "projectcalico.org/orchestrator == 'k8s'")
        assert [(rule.action, rule.protocol) for rule in found.spec.ingress] == [("Deny", "UDP"), ("Deny", None)]
        assert cluster_policy_problems(policy({"subject": subject, "ingress": rules}))[0].startswith("spec.subject: ")


def test_ports_are_merged_by_protocol_and_named_ones_come_first() -> None:
    protocols = [
        {"udp": {"destinationPort": {"number": 53}}},
        {"tcp": {"destinationPort": {"range": {"start": 81, "end": 90}}}},
        {"destinationNamedPort": "web"},
        {"tcp": {"destinationPort": {"number": 80}}},
        {"sctp": {"destinationPort": {"number": 5}}},
        {"sctp": {}},
        {"destinationNamedPort": "dns"},
        {"destinationNamedPort": "web"},
    ]
    found = converted({"ingress": [{"action": "Accept", "from": [ANY], "protocols": protocols}]})
    assert [(rule.protocol, rule.destination.ports) for rule in found.spec.ingress] == [
        (None, ("web", "dns")),
        ("SCTP", ()),
        ("TCP", ("80:90",)),
        ("UDP", (53,)),
    ]


# The law. A packet is a destination (an index into peers that the grammar below can name), a protocol and a port.
_NETS = ("10.0.0.0/8", "192.0.2.0/24")
_PEERS = st.one_of(
    st.sampled_from([{"networks": [net]} for net in _NETS]),
    st.sampled_from([{}, {"nodes": {}}, {"networks": ["bad"]}, {"networks": [_NETS[0]], "domainNames": ["a.example"]}]),
)
_PORT = st.one_of(
    st.builds(lambda number: {"number": number}, st.integers(0, 4)),
    st.builds(lambda start, end: {"range": {"start": start, "end": end}}, st.integers(0, 4), st.integers(0, 4)),
    st.just({}),
)
_MATCH = st.one_of(st.just({}), _PORT.map(lambda port: {"destinationPort": port}))
_PROTOCOL = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["tcp", "udp", "sctp"]), _MATCH, min_size=1, max_size=2),
)
_RULE = st.fixed_dictionaries(
    {"action": st.sampled_from(["Accept", "Deny", "Pass", "Reject"]), "to": st.lists(_PEERS, max_size=2)},
    optional={"protocols": st.lists(_PROTOCOL, max_size=3), "name": st.just("r")},
)
_Packet = tuple[str, str, int]
_PACKETS: list[_Packet] = [(net, protocol, port) for net in _NETS for protocol in ("tcp", "udp", "sctp") for port in range(6)]


def _is_sound(rule: dict[str, Any]) -> bool:
    """Whether the rule says exactly one thing in each place."""
    ports = [match.get("destinationPort") for each in rule.get("protocols", []) for match in each.values()]
    return (
        rule["action"] in ("Accept", "Deny", "Pass")
        and bool(rule["to"])
        and all(list(peer) == ["networks"] and peer["networks"][0] in _NETS for peer in rule["to"])
        and all(len(each) == 1 for each in rule.get("protocols", []))
        and all(port is None or _span(port) is not None for port in ports)
    )


def _span(port: dict[str, Any]) -> tuple[int, int] | None:
    if len(port) != 1:
        return None
    first, last = (port["number"],) * 2 if "number" in port else (port["range"]["start"], port["range"]["end"])
    return (first, last) if 1 <= first <= last else None


def _matches(rule: dict[str, Any], packet: _Packet) -> bool:
    net, protocol, number = packet
    if all(peer["networks"] != [net] for peer in rule["to"]):
        return False
    if not rule.get("protocols"):
        return True
    for each in rule["protocols"]:
        if protocol in each:
            port = each[protocol].get("destinationPort")
            span = (0, 65535) if port is None else _span(port)
            if span is not None and span[0] <= number <= span[1]:
                return True
    return False


def _wanted(rules: Iterable[dict[str, Any]], packet: _Packet) -> str:
    """What Kubernetes says of a packet: a rule that is not sound denies everything, or accepts nothing."""
    for rule in rules:
        if not _is_sound(rule):
            if rule["action"] != "Accept":
                return "Deny"
        elif _matches(rule, packet):
            return {"Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}[rule["action"]]
    return "none"


def _found(rules: Iterable[Rule], packet: _Packet) -> str:
    net, protocol, number = packet
    for rule in rules:
        ports = [str(port).partition(":") for port in rule.destination.ports]
        if (
            (not rule.destination.nets or net in rule.destination.nets)
            and rule.protocol in (None, protocol.upper())
            and (not ports or any(int(first) <= number <= int(last or first) for first, _, last in ports))
        ):
            return rule.action
    return "none"


@given(st.lists(_RULE, max_size=4))
def test_conversion_decides_every_packet_as_written_and_fails_closed_where_it_cannot(rules: list[dict[str, Any]]) -> None:
    found = converted({"egress": rules})
    for packet in _PACKETS:
        assert _found(found.spec.egress, packet) == _wanted(rules, packet), packet
    assert len(cluster_policy_problems(policy({"egress": rules}))) == sum(not _is_sound(rule) for rule in rules)
