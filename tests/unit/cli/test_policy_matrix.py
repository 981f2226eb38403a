"""tortie policy matrix as a person runs it."""

import json
import re
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.insight.test_explain import KUBERNETES, PODS

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    (tmp_path / "web.yaml").write_text(PODS + KUBERNETES)
    return command_line(tmp_path, monkeypatch, capsys)


def test_the_table_has_a_mark_for_each_pair(tortie: Tortie) -> None:
    answer = tortie("policy", "matrix", "--port", "tcp/80", "-f", "web.yaml", "--external", "192.0.2.7")
    assert answer.code == 0
    assert [line.split() for line in answer.out.splitlines()[:5]] == [
        ["tcp/80"],
        ["from", "\\", "to", "1", "2", "3"],
        ["1", "dev/client", ".", "-", "+"],
        ["2", "prod/web", "+", ".", "+"],
        ["3", "192.0.2.7", "+", "+", "."],
    ]


def test_a_floating_address_is_a_receiver_like_the_pod_behind_it(tortie: Tortie, tmp_path: Path) -> None:
    annotations = "annotations: {cni.projectcalico.org/floatingIPs: '[\"192.0.2.7\"]'}, labels: {app: web}}"
    cluster = PODS.replace("labels: {app: web}}", annotations) + KUBERNETES
    enabled = "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\n"
    (tmp_path / "floating.yaml").write_text(cluster + enabled + "spec: {floatingIPs: Enabled}\n")
    asked = ("--port", "tcp/8080", "-f", "floating.yaml", "--external", "192.0.2.7")
    assert [line.split() for line in tortie("policy", "matrix", *asked).out.splitlines()[2:5]] == [
        ["1", "dev/client", ".", "+", "+"],
        ["2", "prod/web", "+", ".", "-"],
        ["3", "192.0.2.7", ".", ".", "."],
    ], "to itself the pod is led by its node, and asked"


def test_json_is_the_document_of_the_issue(tortie: Tortie) -> None:
    answer = tortie("policy", "matrix", "--port", "TCP/81", "-f", "web.yaml", "-o", "json")
    document = json.loads(answer.out)
    assert (document["apiVersion"], document["kind"]) == ("tortie.io/v1", "PolicyMatrix")
    denied = next(item for item in document["items"] if item["verdict"] == "deny")
    assert (denied["from"], denied["to"], denied["protocol"], denied["port"]) == ("dev/client", "prod/web", "tcp", 81)
    assert denied["egress"]["verdict"] == "allow"
    assert denied["ingress"]["verdict"] == "deny"
    assert denied["ingress"]["tier"] == "default"
    assert {"policy", "rule", "reason"} <= denied["ingress"].keys()


def test_selectors_narrow_senders_and_receivers(tortie: Tortie) -> None:
    answer = tortie(
        "policy", "matrix", "--port", "tcp/5432", "--to", "app == 'db'", "--from",
        "pcns.team == 'shop' && app in {'cart', 'catalog'}", "-f", SHOP, "-o", "json",
    )  # fmt: skip
    items = json.loads(answer.out)["items"]
    assert [(item["from"], item["to"], item["verdict"]) for item in items] == [
        ("shop/cart", "shop/db", "allow"),
        ("shop/catalog", "shop/db", "allow"),
    ]


def test_many_equal_pods_share_a_line_unless_all_are_wanted(tortie: Tortie, tmp_path: Path) -> None:
    pods = "---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, namespace: big, labels: {{app: a}}}}\nspec: {{containers: []}}\n"
        for i in range(20)
    )
    (tmp_path / "big.yaml").write_text(pods)
    grouped = tortie("policy", "matrix", "--port", "tcp/80", "-f", "big.yaml").out
    assert "every pod (20)" in grouped
    assert "big/p7" not in grouped
    assert "--all shows each" in grouped
    assert "big/p7" in tortie("policy", "matrix", "--port", "tcp/80", "-f", "big.yaml", "--all").out


def test_the_page_needs_nothing_from_elsewhere_and_says_who_decides(tortie: Tortie) -> None:
    page = tortie("policy", "matrix", "--port", "tcp/81", "-f", "web.yaml", "-o", "html").out
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"(src|href|url)\s*[=(]", page)
    assert '<td class="deny" title="ingress: no rule matched and tier default denies by default">deny</td>' in page
    assert '<td class="allow"' in page


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--port", "tcp"], "which port"),
        (["--port", "tcp/80", "--from", "a =="], "selector"),
        (["--port", "tcp/80", "--external", "somewhere"], "--external"),
        (["--port", "tcp/80", "--port", "tcp/htpp"], "tcp/htpp: nobody declares a port of that name"),
        (["--port", "tcp/80", "-f", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_names_it(tortie: Tortie, arguments: list[str], word: str) -> None:
    answer = tortie("policy", "matrix", "-f", "web.yaml", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert word in answer.err


def test_what_is_asked_twice_is_answered_once(tortie: Tortie) -> None:
    once = ("--port", "tcp/80", "--external", "192.0.2.7")
    twice = (*once, "--port", "TCP/80", "--external", "192.0.2.7")
    answers = [tortie("policy", "matrix", "-f", "web.yaml", "-o", "json", *arguments).out for arguments in (once, twice)]
    assert answers[0] == answers[1]


def test_without_files_the_datastore_is_asked(tortie: Tortie) -> None:
    answer = tortie("policy", "matrix", "--port", "tcp/80")
    assert answer.code == 0
    assert "no pair" in answer.err
    assert "is it the one that is meant?" in answer.err


def test_staged_policies_can_be_asked_about_as_if_enforced(tortie: Tortie) -> None:
    asked = (
        "policy",
        "matrix",
        "--port",
        "tcp/5432",
        "--from",
        "app == 'catalog'",
        "--to",
        "app == 'db'",
        "-f",
        SHOP,
        "-o",
        "json",
    )
    verdicts = [json.loads(tortie(*asked, *more).out)["items"][0]["verdict"] for more in ((), ("--staged",))]
    assert verdicts == ["allow", "deny"]
