"""tortie policy trace from files; with a kernel it is tested in tests/kernel."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.insight.lint_cases import CLUSTER, gnp, policy, web

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    (tmp_path / "pods.yaml").write_text(CLUSTER)
    return command_line(tmp_path, monkeypatch, capsys)


def test_every_step_is_told_from_the_file_to_the_chains(tortie: Tortie) -> None:
    answer = tortie("policy", "trace", "shop/frontend", "-f", SHOP)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == f"NetworkPolicy shop/frontend  ({SHOP}/policies.yaml:48)"
    assert [line.split()[0] for line in lines if not line.startswith(" ")][1:] == [
        "converted", "here", "endpoints", "set", "set", "rule", "rule", "chain", "chain",
    ]  # fmt: skip
    assert "here       active: it selects endpoints here" in lines
    assert "chain      filter-cali-pi-np/shop/frontend  (ingress of shop/frontend)" in lines
    assert "not asked about files" in answer.err


def test_json_holds_sets_rules_and_chains(tortie: Tortie) -> None:
    document = json.loads(tortie("policy", "trace", "no-bad-neighbours", "-f", SHOP, "-o", "json").out)
    assert (document["apiVersion"], document["kind"]) == ("tortie.io/v1", "PolicyTrace")
    assert document["converted"]["tier"] == "platform"
    (bad,) = document["sets"]
    assert (bad["count"], bad["members"], len(bad["nft"])) == (1, ["198.51.100.0/24"], 1)
    assert [rule["action"] for rule in document["intent"]["ingress"]] == ["Deny", "Pass"]
    assert {chain["chain"] for chain in document["chains"]} == {"filter-cali-pi-gnp/no-bad-neighbours"}
    assert document["kernel"] is None


@pytest.mark.parametrize(
    ("text", "name", "arguments", "why"),
    [
        (policy("selector: app == 'wbe'"), "a/p", [], "it selects nobody: "),
        (web("- {action: Allow}"), "a/p", ["--node", "n2"], "it selects nobody on node n2, only endpoints on other nodes"),
        (policy("selector: all()", kind="StagedNetworkPolicy"), "a/p", [], "it is staged (Set)"),
        (
            gnp("selector: app == 'web'\ndoNotTrack: true\napplyOnForward: true\ningress: [{action: Allow}]"),
            "p", [], "it is for host endpoints only and selects none",
        ),
    ],
)  # fmt: skip
def test_a_policy_that_is_not_active_says_why_and_exits_with_2(
    tortie: Tortie, tmp_path: Path, text: str, name: str, arguments: list[str], why: str
) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    answer = tortie("policy", "trace", name, "-f", "pods.yaml", "-f", "policy.yaml", *arguments)
    assert answer.code == 2
    assert f"not active{' on n2' if arguments else ''}: {why}" in answer.out


def test_policies_for_hosts_have_chains_of_their_own_layer(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        gnp("selector: role == 'host'\ndoNotTrack: true\napplyOnForward: true\ningress: [{action: Allow, protocol: TCP}]")
    )
    document = json.loads(tortie("policy", "trace", "p", "-f", "pods.yaml", "-f", "policy.yaml", "-o", "json").out)
    assert {(chain["layer"], chain["usedBy"][0]) for chain in document["chains"]} == {("raw", "hep/eth0")}


def test_a_kubernetes_and_a_calico_policy_of_one_name_need_their_kind(tortie: Tortie, tmp_path: Path) -> None:
    kubernetes = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\nspec: {podSelector: {}}\n"
    )
    (tmp_path / "both.yaml").write_text(policy("selector: all()") + kubernetes)
    answer = tortie("policy", "trace", "a/p", "-f", "pods.yaml", "-f", "both.yaml")
    assert answer.code == 1
    assert "KubernetesNetworkPolicy, NetworkPolicy" in answer.err
    assert tortie("policy", "trace", "a/p", "--kind", "networkpolicy", "-f", "pods.yaml", "-f", "both.yaml").code == 0


@pytest.mark.parametrize("arguments", [["shop/nobody", "-f", SHOP], ["frontend", "-f", SHOP], ["a/p", "--run-dir", "none"]])
def test_what_cannot_be_followed_is_an_error(tortie: Tortie, arguments: list[str]) -> None:
    answer = tortie("policy", "trace", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err
