"""tortie policy diff as a person runs it."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.insight.test_diff import POLICY
from tests.unit.insight.test_explain import PODS

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")
ENDPOINT = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: n1-cni-%(name)s-eth0
  namespace: default
  labels: {projectcalico.org/namespace: default, projectcalico.org/orchestrator: cni, app: %(name)s}
spec:
  node: n1
  orchestrator: cni
  containerID: %(name)s
  endpoint: eth0
  interfaceName: cali%(name)s
  ipNetworks: [10.9.0.%(number)s/32]
  profiles: [projectcalico-default-allow]
---
"""
LIVE_POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: default}
spec: {selector: app == 'b', types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    (tmp_path / "pods.yaml").write_text(PODS)
    (tmp_path / "before.yaml").write_text(POLICY % 80)
    (tmp_path / "after.yaml").write_text(POLICY % 443)
    return command_line(tmp_path, monkeypatch, capsys)


def test_no_difference_exits_with_0(tortie: Tortie) -> None:
    answer = tortie("policy", "diff", "-f", "pods.yaml", "before.yaml", "before.yaml")
    assert (answer.code, answer.out) == (0, "No packet between endpoints of both sides is treated differently.\n")


def test_differences_exit_with_2_and_name_the_rule_of_each_side(tortie: Tortie) -> None:
    answer = tortie("policy", "diff", "-f", "pods.yaml", "before.yaml", "after.yaml")
    assert answer.code == 2
    assert answer.out.splitlines() == [
        "now DENIED  dev/client -> prod/web  tcp/80",
        "  was allowed, ingress: NetworkPolicy prod/web ingress rule 0 says Allow (before.yaml:8)",
        "  now denied, ingress: no rule matched and tier default denies by default",
        "now ALLOWED  dev/client -> prod/web  tcp/443",
        "  was denied, ingress: no rule matched and tier default denies by default",
        "  now allowed, ingress: NetworkPolicy prod/web ingress rule 0 says Allow (after.yaml:8)",
        "2 changes: 1 deny, 1 allow.",
    ]


def test_json_holds_the_same(tortie: Tortie) -> None:
    answer = tortie("policy", "diff", "-f", "pods.yaml", "before.yaml", "after.yaml", "-o", "json", "--port", "tcp/80")
    document = json.loads(answer.out)
    assert answer.code == 2
    assert [(each["change"], each["ports"]) for each in document["changes"]] == [("denied", ["tcp/80"])]


def test_staged_policies_are_previewed(tortie: Tortie) -> None:
    answer = tortie("policy", "diff", "--staged", "-f", SHOP)
    assert answer.code == 2
    assert answer.out.splitlines()[0] == "now DENIED  shop/catalog -> shop/db  tcp/5432"
    assert "now denied, ingress: StagedNetworkPolicy shop/db-only-for-cart ingress rule 0 says Deny" in answer.out


def test_files_are_previewed_over_the_datastore(tortie: Tortie, tmp_path: Path) -> None:
    endpoints = "".join(ENDPOINT % {"name": name, "number": number} for number, name in enumerate("ab", 1))
    (tmp_path / "live.yaml").write_text(endpoints)
    (tmp_path / "policy.yaml").write_text(LIVE_POLICY)
    assert tortie("apply", "-f", "live.yaml").code == 0
    answer = tortie("policy", "diff", "--live", "policy.yaml", "--pods-only")
    assert answer.code == 2
    assert "now DENIED  default/" in answer.out
    assert "tcp/80" not in answer.out.splitlines()[0]
    assert tortie("apply", "-f", "policy.yaml").code == 0
    assert tortie("policy", "diff", "--live", "policy.yaml").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["one.yaml"],
        ["--live"],
        ["before.yaml", "nowhere.yaml"],
        ["a", "b", "c"],
        ["before.yaml", "after.yaml", "--port", "tcp/htpp"],
    ],
)
def test_what_cannot_be_compared_is_an_error(tortie: Tortie, arguments: list[str]) -> None:
    answer = tortie("policy", "diff", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err
