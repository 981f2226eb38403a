"""Lint: each finding where it belongs and not beside it; and what it calls dead, no packet ever wakes."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.clusters import random_cluster
from tests.fuzz.probes import random_probes
from tests.fuzz.product import packet_of
from tests.oracle.cluster import Cluster
from tests.unit.insight.lint_cases import ALLOW_ALL, CASES, CLUSTER, gnp, policy, tier, web

from tortie.api.documents import decode
from tortie.api.validation import check
from tortie.insight.files import Text
from tortie.insight.lint.catalogue import CHECKS
from tortie.insight.lint.findings import Finding, Severity, findings_document
from tortie.insight.lint.reading import read
from tortie.insight.lint.run import in_order, lint
from tortie.insight.world import World
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Direction
from tortie.verdict.evaluate import judge

DEAD = ("TL010", "TL011", "TL012")
DEAD_NOW = ("TL014", "TL040", "TL042")
"""Of a rule that became several these speak of one of its peers, and say so."""


def found(*texts: str) -> list[Finding]:
    got = read([Text(f"{number}.yaml", text) for number, text in enumerate(texts)])
    return [*got.findings, *lint(got.loaded.world())]


@pytest.mark.parametrize(("check_id", "trigger", "near_miss"), CASES)
def test_each_check_finds_its_mistake_and_not_what_only_looks_like_it(check_id: str, trigger: str, near_miss: str) -> None:
    got = [finding for finding in found(CLUSTER, trigger) if finding.check.id == check_id]
    assert got, [finding.check.id for finding in found(CLUSTER, trigger)]
    assert got[0].message
    assert got[0].fix
    assert got[0].location.startswith("1.yaml:")
    assert check_id not in {finding.check.id for finding in found(CLUSTER, near_miss)}


def test_every_check_of_the_catalogue_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)


def test_a_finding_names_the_field_and_the_line_of_the_rule() -> None:
    shadowed = next(
        each for each in found(CLUSTER, web("- {action: Deny}\n- action: Allow\n  protocol: TCP")) if each.check.id == "TL011"
    )
    assert (shadowed.field, shadowed.location, shadowed.resource) == ("spec.ingress[1]", "1.yaml:9", "NetworkPolicy a/p")
    assert "rule 0" in shadowed.message


def test_a_policy_without_mistakes_is_left_alone() -> None:
    assert found(CLUSTER, web("- {action: Allow, protocol: TCP, destination: {ports: [8080]}}")) == []


def test_policies_alone_are_not_blamed_for_the_pods_that_are_not_given() -> None:
    ids = {
        each.check.id
        for each in found(policy("selector: app == 'web'\ningress: [{action: Allow, source: {selector: x == 'y'}}]"))
    }
    assert ids == set()


def test_one_bad_document_does_not_hide_the_others() -> None:
    got = found(CLUSTER, web("- {action: Permit}"), gnp("selector: app == 'nobody'"))
    assert [finding.check.id for finding in got] == ["TL001", "TL020"]
    assert got[0].location == "1.yaml:8"


def test_a_deny_of_everything_is_no_missing_pass() -> None:
    deny = policy("tier: early\nselector: app == 'web'\ningress: [{action: Deny}]", name="quarantine")
    assert not {"TL031", "TL032"} & {each.check.id for each in found(CLUSTER, deny, tier("early"))}


def test_findings_come_worst_first_and_can_be_left_out() -> None:
    everything = found(CLUSTER, *(case[1] for case in CASES if case[0] in ("TL001", "TL017", "TL020")))
    ordered = in_order(everything)
    assert [each.check.severity for each in ordered] == sorted((each.check.severity for each in ordered), reverse=True)
    assert ordered[0].check.severity is Severity.ERROR
    assert all(each.check.id != "TL020" for each in in_order(everything, ignore={"TL020"}))


def test_the_document_holds_file_and_line() -> None:
    document = findings_document(found(CLUSTER, policy("selector: app == 'wbe'")))
    assert document["kind"] == "PolicyLint"
    assert document["findings"][0] == {
        "id": "TL020",
        "severity": "warning",
        "title": "the policy selects nothing",
        "resource": {"kind": "NetworkPolicy", "namespace": "a", "name": "p"},
        "field": "spec.selector",
        "message": "no endpoint is selected, so the policy has no effect",
        "fix": CHECKS["TL020"].fix,
        "file": "1.yaml",
        "line": 1,
    }


def test_an_allowed_rule_of_everything_takes_the_rest() -> None:
    assert "TL011" in {each.check.id for each in found(CLUSTER, web(ALLOW_ALL + "\n- {action: Deny, protocol: UDP}"))}


def places(findings: list[Finding], checks: tuple[str, ...]) -> set[tuple[object, Direction, int]]:
    """The rules that findings of these checks speak of; not those of which they speak of one peer only."""
    spoken: set[tuple[object, Direction, int]] = set()
    for finding in findings:
        if finding.check.id in checks and finding.key is not None and "the peer" not in finding.message:
            _, word, rest = finding.field.replace("[", ".", 1).split(".", 2)
            spoken.add((PolicyId(*finding.key), Direction(word.capitalize()), int(rest.partition("]")[0])))
    return spoken


def policies(findings: list[Finding], check_id: str) -> set[object]:
    return {PolicyId(*each.key) for each in findings if each.check.id == check_id and each.key is not None}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_no_packet_wakes_a_rule_that_lint_calls_dead(seed: int, packets: int) -> None:
    documents = random_cluster(Random(seed))
    world = World.from_resources([check(decode(document)) for document in documents])
    findings = lint(world)
    dead, elsewhere = places(findings, (*DEAD, *DEAD_NOW)), places(findings, ("TL015",))
    dead_policies, empty = policies(findings, "TL013"), policies(findings, "TL020")
    for probe in random_probes(Random(packets), Cluster(documents), 60):
        packet = packet_of(probe)
        for endpoint_id, endpoint in world.state.endpoints.items():
            for direction in Direction:
                # Any packet at any endpoint, whether or not it would get there; but some claims are about those that do.
                own = packet.destination if direction is Direction.INGRESS else packet.source
                arrives = any(prefix.contains(own) for prefix in endpoint.addresses)
                judgement = judge(world.state, endpoint_id, direction=direction, packet=packet)
                for owner in (owner for step in judgement.trace for owner in step.owners if not owner.staged):
                    assert owner.owner not in empty
                    for asked in (asked for asked in owner.rules if asked.matched):
                        place = owner.owner, direction, asked.rule.origin.index
                        assert owner.owner not in dead_policies, str(probe)
                        assert place not in dead, str(probe)
                        assert not arrives or place not in elsewhere, str(probe)


def test_what_a_pass_lets_on_is_not_taken_by_the_rules_behind_it() -> None:
    early = gnp(
        "tier: early\nselector: all()\ningress: [{action: Pass, source: {selector: has(app)}}, {action: Allow}]", name="early"
    )
    late = web("- {action: Allow, protocol: TCP, source: {selector: app == 'client'}}")
    assert not {"TL012", "TL013"} & {each.check.id for each in found(CLUSTER, early, tier("early"), late)}


def test_a_network_set_may_hold_the_endpoints_own_address() -> None:
    held = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: s, labels: {app: s}}
spec: {nets: [0.0.0.0/1, 128.0.0.0/1]}
"""
    rule = web("- {action: Allow, destination: {namespaceSelector: global(), selector: app == 's'}}")
    assert "TL015" not in {each.check.id for each in found(CLUSTER, held, rule)}


def test_directives_comments_and_empty_documents_are_no_mistakes() -> None:
    assert found(CLUSTER, "%YAML 1.1\n---\n# nothing\n---\n--- # web\n" + web(ALLOW_ALL) + "...\n") == []
