"""Assertions about who reaches whom: what may be written, and what is refused."""

from xml.etree import ElementTree

import pytest
from tests.unit.insight.test_explain import KUBERNETES, PODS

from tortie.insight.files import Text, load
from tortie.insight.policy_test import Outcome, TestFileError, junit_xml, outcomes_document, read_assertions, run_assertions
from tortie.insight.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return load([Text("a.yaml", PODS + KUBERNETES)]).world()


def run(world: World, text: str) -> list[Outcome]:
    return run_assertions(world, read_assertions(Text("t.yaml", text)))


def told(outcomes: list[Outcome]) -> list[tuple[str, bool]]:
    return [(outcome.text, outcome.passed) for outcome in outcomes]


HEAD = "apiVersion: tortie.io/v1\nkind: PolicyTest\n"


def test_lists_stand_for_all_of_their_entries(world: World) -> None:
    text = "tests:\n- {from: [dev/client, 192.0.2.7], to: prod/web, port: [tcp/80, tcp/81], expect: deny}\n"
    assert told(run(world, HEAD + text)) == [
        ("dev/client -> prod/web tcp/80", True),
        ("dev/client -> prod/web tcp/81", True),
        ("192.0.2.7 -> prod/web tcp/80", False),
        ("192.0.2.7 -> prod/web tcp/81", True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "- {from: dev/client, to: prod/web, port: tcp/http, expect: allow}\n",
        "{from: dev/client, to: prod/web, port: tcp/8080, expect: allow}\n",
        "- {from: dev/client, to: prod/web, protocol: tcp, port: 8080, expect: allowed}\n",
        "- {from: dev/client, to: prod/web, port: 8080, expect: allow}\n",
        "- {from: dev/client, to: prod/web, port: '8080', expect: allow}\n",
        "- {from: dev/client, to: prod/web, protocol: TCP, port: http, expect: allow}\n",
        "- {from: dev/client, to: prod/web, protocol: tcp, port: tcp/8080, expect: allow}\n",
        "- {from: {selector: app == 'client'}, to: {namespace: prod}, port: TCP/8080, expect: Allow, family: 4}\n",
    ],
)
def test_one_thing_can_be_written_in_several_ways(world: World, text: str) -> None:
    (outcome,) = run(world, text)
    assert (outcome.source, outcome.destination, outcome.passed) == ("dev/client", "prod/web", True)


@pytest.mark.parametrize("protocol", ["47", "icmp", "udplite"])
def test_a_protocol_without_ports_is_asked_by_its_name_or_number_alone(world: World, protocol: str) -> None:
    (outcome,) = run(world, f"- {{from: prod/web, to: dev/client, protocol: {protocol}, expect: allow}}\n")
    assert (outcome.text, outcome.passed) == (f"prod/web -> dev/client {protocol}", True)


def test_a_group_leaves_out_an_end_and_itself(world: World) -> None:
    outcomes = run(world, "- {from: {selector: all()}, to: {selector: all()}, port: icmp, expect: allow}\n")
    assert [outcome.text for outcome in outcomes] == ["dev/client -> prod/web icmp", "prod/web -> dev/client icmp"]


def test_a_failure_says_who_decided_and_where(world: World) -> None:
    (outcome,) = run(world, "- {name: no, from: dev/client, to: prod/web, port: tcp/8080, expect: deny}\n")
    assert not outcome.passed
    assert outcome.verdict == "allow"
    assert outcome.reason.startswith("ingress of prod/web: KubernetesNetworkPolicy prod/web ingress rule 1 says Allow (a.yaml:")
    assert outcome.assertion.where == "t.yaml: tests[0] (no)"


def test_what_cannot_be_asked_fails_rather_than_passes(world: World) -> None:
    (outcome,) = run(world, "- {from: prod/web, to: dev/client, port: tcp/http, expect: deny}\n")
    assert (outcome.passed, outcome.verdict) == (False, "none")
    assert "declares no TCP port 'http'" in outcome.reason


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- {from: dev/client, to: prod/web, port: tcp/80}", "tests[0].expect"),
        ("- {from: dev/client, to: prod/web, port: tcp/80, expect: maybe}", "'maybe' must be allow or deny"),
        ("- {from: dev/client, to: prod/web, expect: deny}", "tests[0].port"),
        ("- {from: dev/client, to: prod/web, port: tcp, expect: deny}", "which port"),
        ("- {from: dev/clint, to: prod/web, port: tcp/80, expect: deny}", "did you mean dev/client"),
        ("- {from: {selector: app == 'x'}, to: prod/web, port: tcp/80, expect: deny}", "would hold for nobody"),
        ("- {from: {labels: x}, to: prod/web, port: tcp/80, expect: deny}", "not labels"),
        ("- {from: dev/client, to: dev/client, port: tcp/80, expect: deny}", "the same end"),
        ("- {from: dev/client, to: prod/web, port: tcp/80, expect: deny, protcol: udp}", "unknown field protcol"),
        ("- dev/client", "a map of from"),
        (HEAD + "assertions: []", "unknown field assertions"),
        (HEAD + "tests: 5", "tests: a list"),
        (HEAD.replace("v1", "v9") + "tests: []", "apiVersion"),
        ("", "holds no assertion"),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_it(world: World, text: str, word: str) -> None:
    with pytest.raises(TestFileError) as error:
        run(world, text)
    assert word in str(error.value)


def test_resources_may_stand_beside_the_assertions(world: World) -> None:
    both = KUBERNETES + "---\n" + HEAD + "tests: [{from: dev/client, to: prod/web, port: tcp/81, expect: deny}]\n"
    assert told(run(world, both)) == [("dev/client -> prod/web tcp/81", True)]


@pytest.mark.parametrize("name", ["\\x01", "\\uFFFF", "\\e[31m", '<b>&\\"'])
def test_junit_can_be_read_whatever_an_assertion_is_called(world: World, name: str) -> None:
    outcomes = run(world, f'- {{name: "{name}", from: dev/client, to: prod/web, port: tcp/8080, expect: deny}}\n')
    (suite,) = ElementTree.fromstring(junit_xml(outcomes, suite="t.yaml").encode())
    assert suite[0][0].attrib["message"] == "expected deny, got allow"


def test_junit_has_a_case_for_each_packet_and_the_reason_of_each_failure(world: World) -> None:
    outcomes = run(world, "- {name: a < b, from: [dev/client, 192.0.2.7], to: prod/web, port: tcp/80, expect: deny}\n")
    suite = ElementTree.fromstring(junit_xml(outcomes, suite="t.yaml").encode())[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("t.yaml", "2", "1")
    assert [case.get("name") for case in suite] == [
        "a < b: dev/client -> prod/web tcp/80",
        "a < b: 192.0.2.7 -> prod/web tcp/80",
    ]
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "expected deny, got allow"
    assert failure.text is not None
    assert "rule 0 says Allow" in failure.text


def test_the_document_counts_and_lists(world: World) -> None:
    document = outcomes_document(run(world, "- {from: dev/client, to: prod/web, port: tcp/81, expect: deny}\n"))
    assert (document["kind"], document["passed"], document["failed"]) == ("PolicyTestResult", 1, 0)
    assert document["items"][0]["ok"] is True
