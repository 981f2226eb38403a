"""tortie policy lint as a person and as a workflow run it."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.insight.lint_cases import CLUSTER, policy, web

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    (tmp_path / "pods.yaml").write_text(CLUSTER)
    (tmp_path / "good.yaml").write_text(web("- {action: Allow, protocol: TCP}"))
    (tmp_path / "lost.yaml").write_text(policy("selector: app == 'wbe'"))
    (tmp_path / "info.yaml").write_text(web("- {action: Allow, destination: {ports: [http]}}"))
    (tmp_path / "bad.yaml").write_text(web("- {action: Allow, destination: {ports: [80]}}"))
    return command_line(tmp_path, monkeypatch, capsys)


def test_nothing_found_exits_with_0(tortie: Tortie) -> None:
    answer = tortie("policy", "lint", "-f", "pods.yaml", "good.yaml")
    assert (answer.code, answer.out) == (0, "Nothing found.\n")


def test_a_finding_is_told_with_place_field_and_fix_and_exits_with_2(tortie: Tortie) -> None:
    answer = tortie("policy", "lint", "-f", "pods.yaml", "-f", "lost.yaml")
    assert answer.code == 2
    assert answer.out.splitlines() == [
        "lost.yaml:1: warning TL020 the policy selects nothing",
        "  NetworkPolicy a/p, spec.selector: no endpoint is selected, so the policy has no effect",
        "  fix: Correct the selectors; namespaceSelector and serviceAccountSelector count too.",
        "1 warning found.",
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["lost.yaml", "--ignore", "tl020"], 0),
        (["lost.yaml", "--fail-on", "error"], 0),
        (["lost.yaml", "--fail-on", "info"], 2),
        (["info.yaml"], 0),
        (["info.yaml", "--fail-on", "info"], 2),
        (["bad.yaml", "--fail-on", "error"], 2),
        (["bad.yaml", "--ignore", "TL999"], 1),
        (["nowhere.yaml"], 1),
    ],
)
def test_exit_codes_follow_severities(tortie: Tortie, arguments: list[str], code: int) -> None:
    assert tortie("policy", "lint", "-f", "pods.yaml", *arguments).code == code


def test_ports_without_a_protocol_are_a_finding_and_no_error(tortie: Tortie) -> None:
    document = json.loads(tortie("policy", "lint", "-f", "pods.yaml", "bad.yaml", "-o", "json").out)
    assert (document["apiVersion"], document["kind"]) == ("tortie.io/v1", "PolicyLint")
    assert [(each["id"], each["field"], each["file"], each["line"]) for each in document["findings"]] == [
        ("TL003", "spec.ingress[0].destination.ports", "bad.yaml", 8)
    ]
    assert "protocol: TCP" in document["findings"][0]["fix"]


def test_a_field_is_told_once_and_findings_are_counted(tortie: Tortie) -> None:
    answer = tortie("policy", "lint", "-f", "pods.yaml", "bad.yaml", "lost.yaml", "lost.yaml")
    assert "  spec.ingress[0].destination.ports: port numbers need protocol" in answer.out
    assert answer.out.endswith("\n2 errors, 1 warning found.\n")


def test_github_gets_one_annotation_a_finding(tortie: Tortie) -> None:
    answer = tortie("policy", "lint", "-f", "pods.yaml", "lost.yaml", "-o", "github")
    assert answer.out == (
        "::warning file=lost.yaml,line=1,title=TL020 the policy selects nothing::NetworkPolicy a/p spec.selector: no endpoint"
        " is selected, so the policy has no effect. Correct the selectors; namespaceSelector and serviceAccountSelector count"
        " too.\n"
    )


def test_an_input_without_endpoints_says_what_was_not_checked(tortie: Tortie) -> None:
    answer = tortie("policy", "lint", "good.yaml")
    assert (answer.code, answer.out.splitlines()[0]) == (
        0,
        "The input has no endpoints: what selectors select was not checked.",
    )


def test_the_datastore_is_linted_without_files(tortie: Tortie) -> None:
    assert tortie("apply", "-f", "lost.yaml").code == 0
    assert tortie("policy", "lint").code == 0


def test_the_shop_has_one_thing_worth_asking_about(tortie: Tortie) -> None:
    document = json.loads(tortie("policy", "lint", "-f", SHOP, "-o", "json").out)
    assert [(each["id"], each["resource"]["name"]) for each in document["findings"]] == [("TL022", "db")]
