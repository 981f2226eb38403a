"""tortie policy test as a person and as a workflow run it."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.insight.test_explain import KUBERNETES, PODS

SHOP = Path(__file__).parents[3] / "examples" / "shop"


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    (tmp_path / "wrong.yaml").write_text("- {from: shop/catalog, to: payments/checkout, port: tcp/9443, expect: allow}\n")
    return command_line(tmp_path, monkeypatch, capsys)


def test_the_shop_keeps_its_promises(tortie: Tortie) -> None:
    answer = tortie("policy", "test", str(SHOP / "shop.test.yaml"), "-f", str(SHOP))
    assert (answer.code, answer.out) == (0, "37 checked, all passed.\n")


def test_a_failure_exits_with_2_and_says_why(tortie: Tortie) -> None:
    answer = tortie("policy", "test", "wrong.yaml", "-f", str(SHOP))
    assert answer.code == 2
    assert answer.out.splitlines() == [
        "FAIL  shop/catalog -> payments/checkout tcp/9443: expected allow, got deny",
        "  wrong.yaml: tests[0]",
        f"  ingress of payments/checkout: NetworkPolicy payments/checkout ingress rule 2 says Deny ({SHOP}/policies.yaml:96)",
        "1 checked, 1 failed.",
    ]
    verbose = tortie("policy", "test", "wrong.yaml", "-f", str(SHOP), "-v").out
    assert "rule 0, Allow TCP from" in verbose


def test_junit_is_written_besides(tortie: Tortie, tmp_path: Path) -> None:
    answer = tortie("policy", "test", "wrong.yaml", "-f", str(SHOP), "--junit", "out.xml", "-o", "json")
    assert answer.code == 2
    assert json.loads(answer.out)["failed"] == 1
    assert 'failures="1"' in (tmp_path / "out.xml").read_text()


@pytest.mark.parametrize(
    "arguments", [["nowhere.yaml"], ["wrong.yaml", "--junit", "no/such/dir.xml"], [str(SHOP / "hosts.yaml")]]
)
def test_errors_exit_with_1(tortie: Tortie, arguments: list[str]) -> None:
    answer = tortie("policy", "test", *arguments, "-f", str(SHOP))
    assert answer.code == 1
    assert answer.err


def test_a_file_may_hold_both_the_cluster_and_the_assertions(tortie: Tortie, tmp_path: Path) -> None:
    tests = (
        "apiVersion: tortie.io/v1\nkind: PolicyTest\ntests: [{from: dev/client, to: prod/web, port: tcp/81, expect: deny}]\n"
    )
    (tmp_path / "all.yaml").write_text(f"{PODS}{KUBERNETES}---\n{tests}")
    assert tortie("policy", "test", "all.yaml").code == 0
    junit = tortie("policy", "test", "all.yaml", "-o", "junit").out
    assert junit.startswith("<?xml")
    assert 'tests="1" failures="0"' in junit


def test_assertions_can_be_about_staged_policies_in_force(tortie: Tortie) -> None:
    answer = tortie("policy", "test", str(SHOP / "shop.test.yaml"), "-f", str(SHOP), "--staged")
    assert answer.code == 2
    assert answer.out.splitlines()[0] == "FAIL  shop/catalog -> shop/db tcp/5432: expected allow, got deny"
