"""tortie policy trace beside a real agent: the kernel's rules, their counters, and what is not as it should be."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.dataplane_stage import Pod, tcp_passes, tcp_server

from tortie.api.kubernetes import (
    IPBlock,
    KubernetesNetworkPolicy,
    KubernetesNetworkPolicySpec,
    LabelSelector,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Metadata
from tortie.base.net import Family
from tortie.kernel import netns

pytestmark = pytest.mark.kernel

POLICY = NetworkPolicy(
    metadata=Metadata(name="web", namespace="shop"),
    spec=NetworkPolicySpec(
        selector="app == 'pod2'",
        types=("Ingress",),
        ingress=(
            Rule(
                action="Allow", protocol="TCP",
                source=EntityRule(selector="app == 'pod1'"), destination=EntityRule(ports=(80,)),
            ),
        ),
    ),
)  # fmt: skip

KUBERNETES = KubernetesNetworkPolicy(
    metadata=Metadata(name="many", namespace="shop"),
    spec=KubernetesNetworkPolicySpec(
        pod_selector=LabelSelector(match_labels={"app": "pod1"}),
        policy_types=("Ingress",),
        ingress=(
            NetworkPolicyIngressRule(
                from_=(
                    NetworkPolicyPeer(pod_selector=LabelSelector()),
                    NetworkPolicyPeer(ip_block=IPBlock(cidr="192.0.2.0/24", except_=("192.0.2.0/25",))),
                ),
                ports=(NetworkPolicyPort(port=80), NetworkPolicyPort(port=53, protocol="UDP")),
            ),
            NetworkPolicyIngressRule(ports=(NetworkPolicyPort(port=443),)),
        ),
    ),
)


@pytest.fixture
def node() -> Iterator[tuple[AgentNode, Pod, Pod]]:
    with agent_node() as made:
        pods = made.pod(1), made.pod(2)
        made.apply(POLICY)
        made.apply(KUBERNETES)
        made.start()
        yield made, *pods


def inside(node: AgentNode, *command: str) -> subprocess.CompletedProcess[str]:
    """A command on the node."""
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DATASTORE_TYPE": "sqlite",
        "TORTIE_SQLITE_PATH": str(node.database),
    }
    space = netns.path_of(node.stage.node)
    return subprocess.run(
        ["nsenter", f"--net={space}", "--", *command], env=variables, capture_output=True, text=True, timeout=30, check=False
    )


def trace(node: AgentNode, name: str = "shop/web") -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tortie.cli.main", "policy", "trace", name, "--run-dir", str(node.run_dir), "-o", "json"]
    done = inside(node, *command)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_kernel_equals_what_is_rendered_and_its_counters_tell_of_packets(node: tuple[AgentNode, Pod, Pod]) -> None:
    made, client, server = node
    code, before = trace(made)
    assert (code, before["active"], before["node"], before["endpoints"]) == (0, True, "node1", ["shop/pod2"])
    assert before["kernel"]["equal"] is True
    with tcp_server(server.netns, Family.V4, 80):
        assert tcp_passes(client.netns, Family.V4, server.address(Family.V4), 80)
    _, after = trace(made)
    rules = [rule for chain in after["kernel"]["chains"] for rule in chain["rules"]]
    assert any("np/shop/web ingress 0" in rule["comment"] and rule.get("packets", 0) >= 1 for rule in rules)


def test_rules_of_which_conversion_makes_several_are_as_rendered(node: tuple[AgentNode, Pod, Pod]) -> None:
    code, found = trace(node[0], "shop/many")
    assert [rule["index"] for rule in found["intent"]["ingress"]] == [0, 0, 0, 0, 1]
    (chain,) = found["kernel"]["chains"]
    assert (code, chain["equal"], {rule["asRendered"] for rule in chain["rules"]}) == (0, True, {True})


def test_a_rule_that_somebody_adds_by_hand_is_told(node: tuple[AgentNode, Pod, Pod]) -> None:
    made, _, _ = node
    made.stop()  # it would put this right at once
    chain = trace(made)[1]["kernel"]["chains"][0]["chain"]
    assert inside(made, "nft", "add", "rule", "inet", "tortie", chain, "counter", "accept").returncode == 0
    code, found = trace(made)
    assert code == 2
    (changed,) = [each for each in found["kernel"]["chains"] if not each["equal"]]
    assert (changed["chain"], changed["rules"][-1]["asRendered"]) == (chain, False)
    assert "rules, and" in changed["difference"]


def test_without_a_table_that_is_what_it_says(node: tuple[AgentNode, Pod, Pod]) -> None:
    made, _, _ = node
    made.stop()
    assert inside(made, "nft", "delete", "table", "inet", "tortie").returncode == 0
    code, found = trace(made)
    assert (code, found["kernel"]["table"], found["kernel"]["equal"]) == (2, None, False)
