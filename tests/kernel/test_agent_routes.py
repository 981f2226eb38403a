"""From the datastore to the kernel's routes, by a living agent: whose they are, where they lead, and what people are told."""

import json
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
from tests.kernel.agent_node import AgentNode, agent_node

from tortie.api.ipam import BlockAffinity, BlockAffinitySpec, affinity_name
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Metadata
from tortie.base.process import run_blocking

pytestmark = pytest.mark.kernel


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        yield made


def _other(name: str, address: str, vxlan: str) -> Node:
    spec = {"bgp": {"ipv4Address": address}, "ipv4VXLANTunnelAddr": vxlan}
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, Node)


def _block(name: str, cidr: str) -> BlockAffinity:
    spec = BlockAffinitySpec(state="confirmed", node=name, cidr=cidr)
    return BlockAffinity(metadata=Metadata(name=affinity_name(name, cidr)), spec=spec)


def _pool(**spec: str) -> IPPool:
    return msgspec.convert({"metadata": {"name": "pool"}, "spec": {"cidr": "10.77.0.0/16"} | spec}, IPPool)


def _routes(node: AgentNode) -> dict[str, str]:
    """Routes of ours in 10.77.0.0/16: destination to the way."""
    command = ["ip", "-n", node.stage.node, "-json", "route", "show", "proto", "80", "root", "10.77.0.0/16"]
    found = json.loads(run_blocking(command).check().stdout or b"[]")
    return {each["dst"]: each.get("type") or f"{each['gateway']} {each['dev']}" for each in found}


def _told(node: AgentNode, *arguments: str) -> list[list[str]]:
    """What `tortie node routes` says: destination, way, who programs it."""
    command = [sys.executable, "-m", "tortie.cli.main", "node", "routes", "--run-dir", str(node.run_dir), "-o", "json"]
    answer = subprocess.run([*command, *arguments], check=True, capture_output=True)
    return [[each["destination"], each["way"], each["owner"]] for each in json.loads(answer.stdout)]


def test_a_pool_changes_its_mode_and_the_kernel_follows(node: AgentNode) -> None:
    near, far = _other("near", "192.0.2.2/24", "10.77.1.1"), _other("far", "198.51.100.3/24", "10.77.2.1")
    blocks = [_block("node1", "10.77.0.0/26"), _block("near", "10.77.1.0/26"), _block("far", "10.77.2.0/26")]
    node.apply(_pool(vxlanMode="CrossSubnet"), near, far, *blocks)
    node.start()
    expected = {"10.77.0.0/26": "blackhole", "10.77.1.0/26": "192.0.2.2 uplink", "10.77.2.0/26": "10.77.2.1 vxlan.calico"}
    node.until(lambda: _routes(node) == expected)
    ways = [["10.77.0.0/26", "local", "agent"], ["10.77.1.0/26", "direct", "agent"], ["10.77.2.0/26", "vxlan", "agent"]]
    node.until(lambda: _told(node) == ways)
    assert _told(node, "10.77.2.9") == ways[2:]

    # Without encapsulation and without BIRD nobody routes to others, and that is said.
    node.apply(_pool())
    node.until(lambda: _routes(node) == {"10.77.0.0/26": "blackhole"})
    node.until(lambda: [each["node"] for each in node.status()["routes"]["withheld"]] == ["near", "far"])
    assert "does not give it to the agent" in node.status()["routes"]["withheld"][0]["reason"]

    # The agent does it if it is asked to, where it can.
    node.configure(program_cluster_routes="Enabled")
    node.until(lambda: _routes(node) == {"10.77.0.0/26": "blackhole", "10.77.1.0/26": "192.0.2.2 uplink"})
    node.until(lambda: [each["node"] for each in node.status()["routes"]["withheld"]] == ["far"])
