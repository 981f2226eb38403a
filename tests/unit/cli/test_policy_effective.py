"""tortie policy effective as a person runs it."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

SHOP = str(Path(__file__).parents[3] / "examples" / "shop")


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def test_rules_stand_in_the_order_in_which_they_are_asked(tortie: Tortie) -> None:
    answer = tortie("policy", "effective", "shop/db", "-f", SHOP, "--direction", "ingress")
    assert answer.code == 0
    lines = answer.out.splitlines()
    order = [
        "  tier platform",
        "      0 Allow TCP from (app == 'prometheus') and namespaces (team == 'platform') to port metrics",
        "      1 Pass",
        "    no rule matched: on to the next tier (default action Pass)",
        "  tier default",
        "      0 Deny from (app == 'catalog')",
        "    no rule matched: denied (default action Deny)",
        "  profiles",
        "  end: denied",
    ]
    places = [lines.index(text) for text in order]
    assert places == sorted(places)
    assert any("[staged: recorded, not enforced]" in line for line in lines)
    assert any('reputation == "bad": 1 (198.51.100.0/24)' in line for line in lines)
    assert "Egress" not in lines


def test_json_lists_all_members_of_sets(tortie: Tortie) -> None:
    document = json.loads(tortie("policy", "effective", "shop/db", "-f", SHOP, "-o", "json").out)
    assert (document["apiVersion"], document["kind"]) == ("tortie.io/v1", "EffectivePolicy")
    ingress = document["items"][0]["ingress"][0]
    assert [tier["tier"] for tier in ingress["tiers"]] == ["platform", "default"]
    assert [tier["defaultAction"] for tier in ingress["tiers"]] == ["Pass", "Deny"]
    bad = ingress["tiers"][0]["policies"][1]["rules"][0]["source"]["sets"][0]
    assert (bad["count"], bad["members"]) == (1, ["198.51.100.0/24"])
    egress = document["items"][0]["egress"][0]
    assert egress["tiers"][1]["policies"] == [
        {"policy": "KubernetesNetworkPolicy shop/db", "location": f"{SHOP}/policies.yaml:73", "rules": []}
    ]


@pytest.mark.parametrize("name", ["node/node1", "hep/node1-eth0"])
def test_host_endpoints_show_each_kind_of_policy(tortie: Tortie, name: str) -> None:
    answer = tortie("policy", "effective", name, "-f", SHOP)
    assert answer.code == 0
    assert "hep/node1-eth0  (node node1, interface eth0, 192.0.2.11)" in answer.out
    assert "GlobalNetworkPolicy workers" in answer.out
    assert " normal" in answer.out.splitlines()


LIMITED = """\
apiVersion: v1
kind: Pod
metadata:
  name: slow
  namespace: default
  annotations:
    qos.projectcalico.org/ingressBandwidth: 10M
    qos.projectcalico.org/egressPacketRate: "500"
    qos.projectcalico.org/ingressMaxConnections: "20"
spec: {containers: []}
"""


@pytest.mark.parametrize(
    ("node", "code", "told"), [("node1", 0, "hep/node1-eth0"), ("node9", 1, "node/node9 has no host endpoint")]
)
def test_a_pod_on_its_nodes_network_has_the_policies_of_its_node(
    tortie: Tortie, tmp_path: Path, node: str, code: int, told: str
) -> None:
    pod = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: shop}}\nspec: {{hostNetwork: true, nodeName: {node}}}\n"
    )
    (tmp_path / "pod.yaml").write_text(pod)
    answer = tortie("policy", "effective", "shop/web", "-f", SHOP, "-f", "pod.yaml")
    assert answer.code == code
    assert told in answer.out + answer.err


def test_limits_are_shown(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(LIMITED)
    out = tortie("policy", "effective", "default/slow", "-f", "slow.yaml").out
    assert "limit ingressBandwidth: 10000000 bit/s" in out
    assert "limit egressPacketRate: 500 packets/s, burst 5" in out
    assert "limit ingressMaxConnections: 20" in out


@pytest.mark.parametrize("name", ["shop/nobody", "node/nowhere", "hep/none", "203.0.113.1"])
def test_what_is_no_endpoint_is_an_error(tortie: Tortie, name: str) -> None:
    answer = tortie("policy", "effective", name, "-f", SHOP)
    assert (answer.code, answer.out) == (1, "")
    assert name.partition("/")[2] in answer.err
