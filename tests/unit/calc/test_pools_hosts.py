"""Pools and hosts."""

import pytest
from tests.graph.states import node, pool

from tortie.api.node import Node, NodeAddress, NodeBGP, NodeSpec
from tortie.api.resource import Key, Metadata
from tortie.base.net import Prefix
from tortie.calc.pools_hosts import Pools, host
from tortie.calc.problems import Problems
from tortie.intent.routing import Pool


class Recorder:
    def __init__(self) -> None:
        self.problems = Problems()
        self.seen: dict[str, Pool | None] = {}
        self.pools = Pools(self.hear, self.problems)

    def hear(self, cidr: Prefix, value: Pool | None) -> None:
        self.seen[str(cidr)] = value


def test_of_two_pools_with_one_cidr_the_lowest_name_counts() -> None:
    recorder = Recorder()
    recorder.pools.on_pool(Key("IPPool", "", "b"), pool("b", "10.0.0.0/16"))
    recorder.pools.on_pool(Key("IPPool", "", "a"), pool("a", "10.0.0.0/16", ipip_mode="Always"))
    found = recorder.seen["10.0.0.0/16"]
    assert found is not None
    assert (found.ipip_mode, found.vxlan_mode) == ("Always", "Never")
    recorder.pools.on_pool(Key("IPPool", "", "a"), None)
    found = recorder.seen["10.0.0.0/16"]
    assert found is not None
    assert found.ipip_mode == "Never"
    recorder.pools.on_pool(Key("IPPool", "", "b"), pool("b", "10.1.0.0/16"))
    assert recorder.seen["10.0.0.0/16"] is None
    assert recorder.seen["10.1.0.0/16"] is not None


def test_a_pool_without_a_cidr_is_left_out_and_reported_until_repaired() -> None:
    recorder = Recorder()
    key = Key("IPPool", "", "a")
    recorder.pools.on_pool(key, pool("a", "10.0.0.0/16"))
    recorder.pools.on_pool(key, pool("a", "here"))
    assert recorder.seen["10.0.0.0/16"] is None
    assert "spec.cidr" in recorder.problems.by_key()[key]
    recorder.pools.on_pool(key, None)
    assert recorder.problems.is_empty()
    assert recorder.pools.is_empty()


def addresses(*pairs: tuple[str, str], bgp: NodeBGP | None = None) -> Node:
    listed = tuple(NodeAddress(type=kind, address=text) for kind, text in pairs)
    return Node(metadata=Metadata(name="n"), spec=NodeSpec(bgp=bgp, addresses=listed))


@pytest.mark.parametrize(
    ("value", "ipv4", "ipv6"),
    [
        (node("n", "172.18.0.2/24"), "172.18.0.2/24", "None"),
        (node("n"), "None", "None"),
        (addresses(("ExternalIP", "1.1.1.1"), ("InternalIP", "bad"), ("InternalIP", "10.0.0.1")), "10.0.0.1/32", "None"),
        (addresses(("Hostname", "10.0.0.9"), ("ExternalIP", "1.1.1.1")), "1.1.1.1/32", "None"),
        (
            addresses(("InternalIP", "fd00::1"), ("InternalIP", "10.0.0.1"), bgp=NodeBGP(ipv4_address="10.0.0.7/8")),
            "10.0.0.7/8",
            "fd00::1/128",
        ),
    ],
)
def test_a_host_has_the_address_of_its_bgp_section_else_of_its_list(value: Node, ipv4: str, ipv6: str) -> None:
    found = host(value)
    assert (str(found.ipv4), str(found.ipv6)) == (ipv4, ipv6)
