"""tortie policy beside real agents: the table that it works out is the one that packets see, and previews come true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.bgp_stage import eventually
from tests.lab.stage import RunningLab, case_lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

CASE = """
apiVersion: tortie.io/v1
kind: Lab
nodes: [{name: a}, {name: b}]
namespaces: [{name: shop, labels: {team: shop}}, {name: ops}]
pods:
- {name: shop/web, node: a, labels: {app: web}, serve: [tcp:80, tcp:81], ports: {http: "tcp:80"}}
- {name: shop/cart, node: b, labels: {app: cart}, serve: [tcp:80, tcp:81]}
- {name: ops/bot, node: b, labels: {app: bot}, serve: [tcp:80, tcp:81]}
apply: [policy.yaml]
"""
POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: app == 'web'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'cart'}, destination: {ports: [http]}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: bots-ask-only}
spec:
  order: 10
  selector: app == 'bot'
  types: [Egress]
  egress: [{action: Deny, protocol: TCP, destination: {ports: ['81:90']}}, {action: Allow}]
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  stagedAction: Set
  selector: app == 'web'
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, source: {namespaceSelector: all()}, destination: {ports: [80]}}]
"""
ENFORCED = POLICY.split("---")[2].replace("Staged", "").replace("  stagedAction: Set\n", "")
PORTS = ("--port", "tcp/80", "--port", "tcp/81")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with case_lab(tmp_path_factory.mktemp("policy"), case=CASE, policy=POLICY) as lab:
        yield lab


def worked_out(running: RunningLab, *more: str) -> dict[tuple[Any, ...], str]:
    items = running.tortie("policy", "matrix", *PORTS, "-o", "json", *more).ok().json()["items"]
    words = {"allow": "allowed", "deny": "denied"}
    return {(item["from"], item["to"], item["protocol"], item["port"]): words[item["verdict"]] for item in items}


def seen(running: RunningLab, family: str) -> dict[tuple[Any, ...], str]:
    items = running.lab("matrix", *PORTS, "--family", family, "-o", "json").ok().json()["items"]
    return {(item["from"], item["to"], item["protocol"], item["port"]): item["outcome"] for item in items}


def test_the_table_is_the_one_that_packets_see_and_a_preview_comes_true(running: RunningLab, tmp_path: Path) -> None:
    for family in ("4", "6"):
        table = worked_out(running, "--family", family)
        assert table == seen(running, family)
        assert set(table.values()) == {"allowed", "denied"}
    preview = running.tortie("policy", "diff", "--staged", "--pods-only", "-o", "json", *PORTS)
    assert preview.code == 2
    (change,) = preview.json()["changes"]
    assert (change["change"], change["from"], change["to"], change["ports"]) == (
        "allowed",
        ["ops/bot"],
        ["shop/web"],
        ["tcp/80"],
    )
    before, wanted = seen(running, "46"), worked_out(running, "--staged")
    path = tmp_path / "enforced.yaml"
    path.write_text(ENFORCED)
    running.tortie("apply", "-f", str(path)).ok()
    running.until_in_force(ENFORCED)
    eventually(lambda: seen(running, "46") != before, "the policy is in force")
    after = seen(running, "46")
    assert {key for key in after if after[key] != before[key]} == {("ops/bot", "shop/web", "tcp", 80)}
    assert after == wanted


def test_a_policy_is_followed_into_the_kernel_of_its_node(running: RunningLab) -> None:
    found = {}
    for node in ("a", "b"):
        done = running.on(f"node/{node}", "tortie", "policy", "trace", "shop/web", "--kind", "NetworkPolicy", "--node", node,
                          "-o", "json")  # fmt: skip
        found[node] = done.code, json.loads(done.out)
    assert found["a"][0] == 0, found["a"]
    assert found["a"][1]["kernel"]["equal"] is True
    assert found["a"][1]["endpoints"] == ["shop/web"]
    assert found["b"][0] == 2
    assert found["b"][1]["why"] == "it selects nobody on node b, only endpoints on other nodes"


def test_the_live_cluster_is_linted_and_tested(running: RunningLab, tmp_path: Path) -> None:
    assert running.tortie("policy", "lint", "--fail-on", "error").code == 0
    path = tmp_path / "t.yaml"
    path.write_text("- {from: shop/cart, to: shop/web, port: tcp/81, expect: deny}")
    assert running.tortie("policy", "test", str(path)).code == 0
