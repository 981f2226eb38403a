"""A whole case in one file: nodes, namespaces, pods, policy, probes; then the lab's other commands on it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bgp_stage import eventually
from tests.lab.stage import RunningLab, case_lab, tortie, unique_name

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

CASE = """
apiVersion: tortie.io/v1
kind: Lab
nodes: [{name: a}, {name: b, labels: {rack: r2}}]
namespaces:
- {name: shop, labels: {tier: web}}
- {name: ops}
pods:
- {name: shop/web, node: a, labels: {app: web}, serve: [tcp:80, udp:53], ports: {http: "tcp:80"}}
- {name: shop/cart, node: b, labels: {app: cart}, serve: [tcp:80]}
- {name: ops/bot, node: b, labels: {app: bot}, serve: [tcp:80, udp:53]}
apply: [policy.yaml]
"""

POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web-only-from-shop, namespace: shop}
spec:
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: app == 'cart'}
    destination: {ports: [http]}
  - action: Allow
    protocol: UDP
    source: {namespaceSelector: projectcalico.org/name == 'ops'}
    destination: {ports: [53]}
  - action: Allow
    protocol: ICMP
    source: {selector: all()}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with case_lab(tmp_path_factory.mktemp("case"), case=CASE, policy=POLICY) as lab:
        yield lab


def outcomes(items: list[dict[str, object]]) -> dict[tuple[object, ...], object]:
    return {(item["from"], item["to"], item["protocol"], item["port"], item["family"]): item["outcome"] for item in items}


def test_probes_see_what_the_policy_says_in_both_families(running: RunningLab, tmp_path: Path) -> None:
    questions = [
        {"from": "shop/cart", "to": "shop/web", "protocol": "tcp", "port": 80},
        {"from": "ops/bot", "to": "shop/web", "protocol": "tcp", "port": 80},
        {"from": "ops/bot", "to": "shop/web", "protocol": "udp", "port": 53},
        {"from": "shop/cart", "to": "shop/web", "protocol": "udp", "port": 53},
        {"from": "shop/cart", "to": "shop/web", "protocol": "icmp", "family": 4},
        {"from": "shop/cart", "to": "shop/web", "protocol": "icmp", "family": 6},
        {"from": "shop/web", "to": "ops/bot", "protocol": "tcp", "port": 81},
        {"from": "shop/web", "to": "ops/bot", "protocol": "udp", "port": 53},
    ]
    seen = outcomes(running.probe(tmp_path, questions))
    for family in (4, 6):
        assert seen["shop/cart", "shop/web", "tcp", 80, family] == "allowed"
        assert seen["ops/bot", "shop/web", "tcp", 80, family] == "denied"
        assert seen["ops/bot", "shop/web", "udp", 53, family] == "allowed"
        assert seen["shop/cart", "shop/web", "udp", 53, family] == "denied"
        assert seen["shop/web", "ops/bot", "tcp", 81, family] == "refused"
        assert seen["shop/web", "ops/bot", "udp", 53, family] == "allowed"
    assert seen["shop/cart", "shop/web", "icmp", 0, 4] == "allowed"
    assert seen["shop/cart", "shop/web", "icmp", 0, 6] == "denied"


def test_an_address_that_nobody_has_is_unreachable_and_never_denied(running: RunningLab, tmp_path: Path) -> None:
    items = running.probe(tmp_path, [{"from": "ops/bot", "to": "172.18.0.99", "protocol": "tcp", "port": 80}])
    assert [item["outcome"] for item in items] == ["unreachable"]


def test_an_expectation_that_is_not_met_is_exit_code_2(running: RunningLab, tmp_path: Path) -> None:
    path = tmp_path / "probes.yaml"
    path.write_text("[{from: ops/bot, to: shop/web, protocol: tcp, port: 80, family: 4, expect: allowed}]")
    done = running.lab("probe", "-f", str(path))
    assert done.code == 2
    assert "NOT MET" in done.out


def test_explain_says_what_the_probe_sees(running: RunningLab) -> None:
    denied = running.tortie("explain", "ops/bot", "shop/web", "tcp/80", "-o", "json")
    assert denied.code == 2
    assert denied.json()["verdict"] == "deny"
    allowed = running.tortie("explain", "shop/cart", "shop/web", "tcp/80")
    assert allowed.code == 0
    assert "web-only-from-shop" in allowed.out


def test_matrix_and_status_speak_json(running: RunningLab) -> None:
    matrix = running.lab("matrix", "--port", "tcp/80", "-o", "json").ok().json()
    assert len(matrix["items"]) == 3 * 2 * 2
    status = running.lab("status", "-o", "json").ok().json()
    assert [(node["name"], node["agentAlive"], node["agent"]["ready"]) for node in status["nodes"]] == [
        ("a", True, True),
        ("b", True, True),
    ]
    assert {pod["name"]: pod["node"] for pod in status["pods"]} == {"shop/web": "a", "shop/cart": "b", "ops/bot": "b"}
    running.lab("status").ok()
    running.lab("matrix", "--port", "tcp/80").ok()


def test_a_pod_comes_and_goes(running: RunningLab, tmp_path: Path) -> None:
    running.lab("pod add", "shop/late", "--labels", "app=cart", "--serve", "tcp:80").ok()
    items = running.probe(tmp_path, [{"from": "shop/late", "to": "shop/web", "protocol": "tcp", "port": 80}])
    assert [item["outcome"] for item in items] == ["allowed", "allowed"]
    assert "shop/late" in running.tortie("get", "pods", "-n", "shop", "-o", "name").ok().out.replace("late", "shop/late")
    before = running.tortie("ipam", "show").ok().out
    running.lab("pod rm", "shop/late").ok()
    assert running.tortie("ipam", "show").ok().out != before
    assert "late" not in running.tortie("get", "workloadendpoints", "-A", "-o", "name").ok().out
    assert running.lab("pod rm", "shop/late").code == 1


def test_a_changed_policy_reaches_the_kernel(running: RunningLab, tmp_path: Path) -> None:
    question = [{"from": "ops/bot", "to": "shop/cart", "protocol": "tcp", "port": 80, "family": 4}]
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "no-carts"},
        "spec": {"selector": "app == 'cart'", "types": ["Ingress"], "ingress": [{"action": "Deny"}]},
    }

    def outcome() -> object:
        return running.probe(tmp_path, question)[0]["outcome"]

    assert outcome() == "allowed"
    running.tortie("apply", "-f", "-", stdin=json.dumps(policy)).ok()
    eventually(lambda: outcome() == "denied", "the policy is in force")
    running.tortie("delete", "-f", "-", stdin=json.dumps(policy)).ok()
    eventually(lambda: outcome() == "allowed", "the policy is gone")


def test_routes_come_from_bird_as_blocks_and_nothing_of_ours_is_outside(running: RunningLab) -> None:
    routes = running.on("node/a", "ip", "route", "show", "proto", "bird").ok().out
    assert "/26 via 172.18.0.3" in routes
    assert "/32" not in routes
    workload = running.on("node/a", "ip", "-6", "route", "show", "proto", "80").ok().out
    assert "dev cali" in workload
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "tortie" not in tables


def test_what_runs_on_a_node_speaks_of_its_own_agent(running: RunningLab) -> None:
    said = running.on("node/a", "tortie", "node", "status").ok().out
    assert "The agent is running" in said
    assert "172.18.0.3" in said
    assert "no agent runs" not in running.on("node/a", "tortie", "doctor").out


def test_a_second_lab_of_the_same_name_is_refused(running: RunningLab) -> None:
    done = tortie("lab", "up", "--name", running.name, "--nodes", "1")
    assert done.code == 1
    assert "tortie lab down" in done.err
    assert "Traceback" not in done.err


def test_questions_about_what_is_not_there_are_clear_errors(running: RunningLab, tmp_path: Path) -> None:
    path = tmp_path / "probes.yaml"
    path.write_text("[{from: shop/nobody, to: shop/web, protocol: tcp, port: 80}]")
    for done in (
        running.lab("probe", "-f", str(path)),
        running.lab("exec", "shop/nobody", "--", "true"),
        running.lab("matrix", "--port", "tcp/none"),
        tortie("lab", "status", "--name", "no-such-lab"),
    ):
        assert done.code == 1
        assert "Traceback" not in done.err
        assert done.err.strip()


def test_down_of_a_lab_that_is_not_there_is_fine() -> None:
    tortie("lab", "down", "--name", unique_name()).ok()
