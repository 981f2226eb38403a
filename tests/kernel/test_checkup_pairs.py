"""Ways between two nodes that lose large packets, or ruin checksums: found, named, and with a remedy that is right."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_stage import NODE, OUTSIDE, Stage, stage

from tortie.agent.checkup import Check
from tortie.agent.checkup_pairs import check_pairs
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Metadata
from tortie.base.net import Family
from tortie.kernel import netns

pytestmark = pytest.mark.kernel


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage("h7") as made:
        yield made


def _node(name: str, v4: str, v6: str = "", *, vxlan: str = "") -> Node:
    addresses = NodeBGP(ipv4_address=f"{v4}/24", ipv6_address=f"{v6}/64" if v6 else "")
    return Node(metadata=Metadata(name=name), spec=NodeSpec(bgp=addresses, ipv4_vxlan_tunnel_addr=vxlan))


NODES = [_node("n1", NODE[Family.V4], NODE[Family.V6]), _node("n2", OUTSIDE[Family.V4], OUTSIDE[Family.V6])]


def checks(built: Stage, *, size: int = 1500, nodes: list[Node] | None = None, devices: tuple[str, ...] = ()) -> list[Check]:
    def work() -> list[Check]:
        return asyncio.run(check_pairs(nodes or NODES, "n1", size=size, devices=set(devices)))

    return netns.run_in_named(built.node, work)


def remedy(check: Check) -> int:
    """The MTU that a check advises."""
    found = re.search(r"(?:mtu|vxlanMTU): (\d+)", check.fix)
    assert found is not None, check
    return int(found[1])


def test_a_whole_way_is_said_to_be_whole_and_a_lone_node_has_none(built: Stage) -> None:
    (check,) = checks(built)
    assert (check.name, check.state, check.detail) == (
        "pairs",
        "ok",
        "2 ways carry 1500 bytes to other nodes, with their checksums",
    )
    assert checks(built, nodes=NODES[:1]) == []


def test_a_link_that_loses_large_packets_is_found_with_the_size_that_passes(built: Stage) -> None:
    built.show(built.outside, "nft", "add table inet mud")
    built.show(built.outside, "nft", "add chain inet mud in { type filter hook input priority 0; }")
    built.show(built.outside, "nft", "add rule inet mud in meta length > 1372 drop")
    small, large = checks(built)
    assert {small.name, large.name} == {"pair n1 - n2"}
    assert {small.state, large.state} == {"problem"}
    for check in (small, large):
        assert "1500 bytes do not arrive" in check.detail
        assert 1360 <= remedy(check) <= 1372
        assert "n2" in check.fix
    (fine,) = checks(built, size=remedy(small))
    assert fine.state == "ok", "what was advised works"


def test_an_uplink_that_is_narrower_than_pods_are_told_is_found_on_either_side(built: Stage) -> None:
    built.batch(built.outside, "link set eth0 mtu 1400")
    for check in checks(built):
        assert (check.name, check.state) == ("pair n1 - n2", "problem")
        assert 1390 <= remedy(check) <= 1400
    built.batch(built.outside, "link set eth0 mtu 1500")
    built.batch(built.node, "link set uplink mtu 1400")
    for check in checks(built):
        assert (check.name, check.state) == ("pair n1 - n2", "problem")
        assert 1390 <= remedy(check) <= 1400


def test_a_tunnel_is_named_with_its_own_parameter(built: Stage) -> None:
    for here, there, name, own in ((built.node, OUTSIDE, "uplink", 1), (built.outside, NODE, "eth0", 2)):
        remote = there[Family.V4]
        built.batch(here, f"link add vxlan.calico mtu 1480 type vxlan id 4096 dstport 4789 remote {remote} dev {name}")
        built.batch(here, f"addr add 10.88.0.{own}/24 dev vxlan.calico", "link set vxlan.calico up")
    nodes = [NODES[0], _node("n2", OUTSIDE[Family.V4], vxlan="10.88.0.2")]
    built.show(built.outside, "nft", "add table inet mud")
    built.show(built.outside, "nft", "add chain inet mud in { type filter hook prerouting priority -500; }")
    built.show(built.outside, "nft", "add rule inet mud in udp dport 4789 meta length > 1450 drop")
    built.show(built.outside, "nft", "add rule inet mud in ip frag-off & 0x3fff != 0 drop")
    problem, fine = checks(built, size=1450, nodes=nodes, devices=("vxlan.calico",))
    assert (problem.state, fine.state) == ("problem", "ok")
    assert "by vxlan of IPv4" in problem.detail
    assert 1390 <= remedy(problem) <= 1400


def test_an_interface_that_ruins_checksums_is_told_from_one_that_is_only_shut(built: Stage) -> None:
    built.show(built.outside, "nft", "add table inet mud")
    built.show(built.outside, "nft", "add chain inet mud in { type filter hook prerouting priority -500; }")
    # What the kernel leaves to the interface carries only the sum of addresses, length and protocol: such do not arrive.
    words = (0xC000, 0x0201, 0xC000, 0x0202, 48, 17)
    partial = sum(words) % 0xFFFF
    built.show(built.outside, "nft", f"add rule inet mud in ip protocol udp udp checksum {partial} drop")
    nodes = [NODES[0], _node("n2", OUTSIDE[Family.V4])]
    (check,) = checks(built, nodes=nodes)
    assert (check.name, check.state) == ("pair n1 - n2", "problem")
    assert "wrong checksums" in check.detail
    assert "ethtool -K" in check.fix
    built.show(built.outside, "nft", "add rule inet mud in ip protocol udp drop")
    (check,) = checks(built, nodes=nodes)
    assert check.state == "ok", "a node that answers no datagram at all is no proof"


def test_a_node_that_answers_nothing_is_a_note(built: Stage) -> None:
    built.show(built.outside, "nft", "add table inet mud")
    built.show(built.outside, "nft", "add chain inet mud in { type filter hook input priority 0; }")
    built.show(built.outside, "nft", "add rule inet mud in icmp type echo-request drop")
    note, fine = checks(built)
    assert (note.state, "nothing was measured" in note.detail) == ("note", True)
    assert fine.detail.startswith("1 way carries")
