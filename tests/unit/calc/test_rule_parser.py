"""Rules of the api become rules of intent."""

from typing import Any

import pytest
from tests.graph.states import rules

from tortie.api.selector import parse_selector, unique_id
from tortie.base.net import parse_prefix
from tortie.calc.ip_sets import SetSpec
from tortie.calc.rule_parser import ParsedRule, parse_rule
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Action, Direction, Icmp, Match, Origin, PortRange
from tortie.intent.sets import SetKind

DIGITS = "9" * 5000  # more than int() takes
ORIGIN = Origin(PolicyId("GlobalNetworkPolicy", "", "g"), Direction.INGRESS, 3)


def parse(namespace: str = "", **document: Any) -> ParsedRule | None:
    (rule,) = rules({"action": "Allow"} | document)
    return parse_rule(rule, namespace, origin=ORIGIN)


def parsed(namespace: str = "", **document: Any) -> ParsedRule:
    found = parse(namespace, **document)
    assert found is not None
    assert found.rule.unenforceable is None
    return found


def set_id(text: str, *, protocol: int | None = None, port: str = "") -> str:
    return SetSpec(parse_selector(text), protocol, port).ipset.id


def test_a_bare_rule_matches_everything_and_knows_its_origin() -> None:
    rule = parsed().rule
    assert (rule.action, rule.origin, rule.protocol, rule.source, rule.destination) == (
        Action.ALLOW,
        ORIGIN,
        None,
        Match(),
        Match(),
    )


@pytest.mark.shows("PS-7.42", "PS-7.43")
@pytest.mark.parametrize(
    ("text", "number"),
    [("TCP", 6), ("UDP", 17), ("SCTP", 132), ("UDPLite", 136), ("ICMP", 1), ("ICMPv6", 58), ("47", 47), (47, 47)],
)
def test_protocols_become_numbers(text: str | int, number: int) -> None:
    assert parsed(protocol=text).rule.protocol == number
    assert parsed(notProtocol=text).rule.not_protocol == number


@pytest.mark.shows("PS-7.12")
@pytest.mark.parametrize(("protocol", "version"), [("ICMP", 4), (58, 6), ("TCP", None)])
def test_icmp_binds_the_ip_version(protocol: str | int, version: int | None) -> None:
    assert parsed(protocol=protocol).rule.ip_version == version


@pytest.mark.shows("PS-7.13", "PS-7.14")
def test_icmp_type_and_code() -> None:
    assert parsed(protocol="ICMP", icmp={"type": 8}).rule.icmp == Icmp(8, None)
    assert parsed(protocol="ICMP", notICMP={"type": 8, "code": 0}).rule.not_icmp == Icmp(8, 0)


def test_ports_and_ranges_and_nets() -> None:
    rule = parsed(
        protocol="TCP",
        destination={"ports": [80, "443", "8000:8080"], "notPorts": [81], "nets": ["10.0.0.0/8"], "notNets": ["10.1.2.3/16"]},
    ).rule
    assert rule.destination == Match(
        nets=(parse_prefix("10.0.0.0/8"),),
        not_nets=(parse_prefix("10.1.0.0/16"),),
        ports=(PortRange(80, 80), PortRange(443, 443), PortRange(8000, 8080)),
        not_ports=(PortRange(81, 81),),
    )


@pytest.mark.shows("PS-7.19")
def test_only_named_ports_take_the_selector_in() -> None:
    found = parsed(protocol="TCP", destination={"selector": "a == 'b'", "ports": ["web", "dns"]})
    names = (set_id("a == 'b'", protocol=6, port="web"), set_id("a == 'b'", protocol=6, port="dns"))
    assert found.rule.destination == Match(named_ports=names)
    assert {spec.ipset.id for spec in found.sets} == set(names)


@pytest.mark.shows("PS-7.20", "PS-7.21")
def test_mixed_ports_keep_the_selector() -> None:
    found = parsed(protocol="UDP", source={"selector": "a == 'b'", "ports": ["web", 53]})
    assert found.rule.source == Match(
        sets=(set_id("a == 'b'"),), ports=(PortRange(53, 53),), named_ports=(set_id("a == 'b'", protocol=17, port="web"),)
    )


@pytest.mark.shows("PS-7.22")
def test_excluded_named_ports_use_the_positive_selector_and_keep_it() -> None:
    found = parsed(destination={"selector": "a == 'b'", "notPorts": ["web"]})
    assert found.rule.destination == Match(sets=(set_id("a == 'b'"),), not_named_ports=(set_id("a == 'b'", port="web"),))


def test_a_named_port_without_selector_stands_for_every_endpoint() -> None:
    found = parsed("ns", destination={"ports": ["web"]})
    assert found.rule.destination == Match(named_ports=(set_id("all()", port="web"),))


def test_a_lone_negative_selector_becomes_an_excluded_set() -> None:
    found = parsed(source={"notSelector": "a == 'b'"})
    assert found.rule.source == Match(not_sets=(set_id("a == 'b'"),))


@pytest.mark.shows("PS-7.40")
def test_the_id_of_a_selector_set_is_that_of_the_selector() -> None:
    assert set_id("a=='b'") == parse_selector("a == 'b'").id
    assert set_id("a == 'b'", port="x").startswith("n:")
    assert len({set_id("a == 'b'", protocol=protocol, port="x") for protocol in (None, 6, 17, 132)}) == 4


@pytest.mark.shows("PS-7.8")
@pytest.mark.parametrize(
    "side",
    [
        {"notNets": ["0.0.0.0/0"]},
        {"notNets": ["::/0"]},
        {"notNets": ["0.0.0.0/0", "::/0"]},
        {"notNets": ["0.0.0.0/0", "fd00::/8"], "nets": ["10.0.0.0/8"]},
    ],
)
@pytest.mark.parametrize("where", ["source", "destination"])
def test_a_rule_that_excludes_everything_is_left_out(where: str, side: dict[str, Any]) -> None:
    document: dict[str, Any] = {where: side}
    assert parse(**document) is None


@pytest.mark.shows("PS-7.8")
@pytest.mark.parametrize(("nets", "version"), [(["10.0.0.0/8", "::/0"], 4), (["0.0.0.0/0", "fd00::/8"], 6)])
def test_a_rule_that_excludes_all_of_one_family_is_one_for_the_other(nets: list[str], version: int) -> None:
    assert parsed(source={"notNets": nets}).rule.ip_version == version
    assert parse(ipVersion=10 - version, source={"notNets": nets}) is None


@pytest.mark.shows("PS-7.34", "PS-7.35", "PS-7.41")
def test_a_service_is_addresses_with_ports_as_destination_and_addresses_as_source() -> None:
    service = {"services": {"name": "web"}}
    to, by = parsed("ns", destination=service), parsed("ns", source=service)
    assert to.rule.destination == Match(named_ports=(unique_id("svc", "ns/web"),))
    assert by.rule.source == Match(sets=(unique_id("svcnoport", "ns/web"),))
    assert [spec.ipset.kind for each in (to, by) for spec in each.sets] == [SetKind.IP_PORT, SetKind.NET]
    elsewhere = parsed("ns", destination={"services": {"name": "web", "namespace": "far"}})
    assert elsewhere.rule.destination.named_ports == (unique_id("svc", "far/web"),)


def test_annotations_become_comments_and_text_is_readable() -> None:
    rule = parsed(
        protocol="TCP",
        source={"selector": "a == 'b'"},
        destination={"ports": [80, "web"]},
        metadata={"annotations": {"why": "x", "by": "y"}},
    ).rule
    assert rule.comments == (("by", "y"), ("why", "x"))
    assert rule.text == "Allow TCP from (a == 'b') to port 80, web"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"protocol": "IPX"}, "protocol"),
        ({"protocol": 0}, "protocol"),
        ({"notProtocol": 256}, "notProtocol"),
        ({"protocol": "ICMP", "ipVersion": 6}, "ipVersion"),
        ({"icmp": {"type": 8}}, "icmp"),
        ({"protocol": "TCP", "notICMP": {"type": 8}}, "notICMP"),
        ({"protocol": "ICMP", "icmp": {"code": 1}}, "icmp: code needs type"),
        ({"protocol": "ICMP", "icmp": {"type": 255}}, "icmp"),
        ({"source": {"selector": "a =="}}, "source: selector"),
        ({"source": {"notSelector": "("}}, "source: selector"),
        ({"destination": {"nets": ["10.0.0.0/33"]}}, "destination.nets"),
        ({"destination": {"notNets": ["x"]}}, "destination.notNets"),
        ({"destination": {"ports": [80]}}, "destination.ports"),
        ({"protocol": "UDPLite", "destination": {"ports": [80]}}, "destination.ports"),
        ({"protocol": "ICMP", "destination": {"ports": ["web"]}}, "destination.ports"),
        ({"protocol": "TCP", "destination": {"ports": [0]}}, "destination.ports"),
        ({"protocol": "TCP", "destination": {"ports": ["90:80"]}}, "destination.ports"),
        ({"protocol": "TCP", "destination": {"ports": ["80:web"]}}, "destination.ports"),
        ({"protocol": "TCP", "destination": {"notPorts": [-1]}}, "destination.notPorts"),
        ({"protocol": "TCP", "destination": {"ports": [DIGITS]}}, "destination.ports"),
        ({"protocol": "TCP", "destination": {"notPorts": [f"1:{DIGITS}"]}}, "destination.notPorts"),
        ({"protocol": "TCP", "destination": {"ports": ["٨٠:٩٠"]}}, "destination.ports"),
        ({"protocol": DIGITS}, "protocol"),
        ({"source": {"nets": [f"10.0.0.0/{DIGITS}"]}}, "source.nets"),
        ({"destination": {"services": {"name": "x"}}}, "destination.services.namespace"),
        ({"destination": {"services": {"namespace": "x"}}}, "destination.services.name"),
        ({"source": {"services": {"name": "x", "namespace": "y"}, "nets": ["10.0.0.0/8"]}}, "source.services"),
        ({"destination": {"services": {"name": "x", "namespace": "y"}, "ports": ["web"]}}, "destination.services"),
        ({"http": {"methods": ["GET"]}}, "http"),
    ],
)
def test_what_cannot_be_enforced_says_why_and_matches_on_nothing_else(document: dict[str, Any], why: str) -> None:
    found = parse(**document, metadata={"annotations": {"k": "v"}})
    assert found is not None
    assert found.sets == ()
    rule = found.rule
    assert rule.unenforceable is not None
    assert rule.unenforceable.startswith(why)
    assert (rule.action, rule.origin, rule.comments) == (Action.ALLOW, ORIGIN, (("k", "v"),))
    assert (rule.protocol, rule.source, rule.destination) == (None, Match(), Match())


def test_a_pass_that_cannot_be_enforced_denies_because_the_rules_behind_it_may_allow() -> None:
    found = parse(action="Pass", source={"selector": "a =="})
    assert found is not None
    assert (found.rule.action, found.rule.unenforceable is not None) == (Action.DENY, True)
