"""VXLAN's datagrams between nodes as the firewall meets them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kernel.dataplane_node import config, pool
from tests.kernel.host_ground import YES, Ground, host_ground

from tortie.base.net import parse_interface
from tortie.intent.messages import HostUpdate, PoolUpdate
from tortie.intent.routing import Host

pytestmark = pytest.mark.kernel

JUDGE = """table inet judge {
  chain entering { type filter hook input priority 10; meta l4proto udp ct state new counter; }
  chain leaving { type filter hook output priority 10; meta l4proto udp ct state new counter; }
}
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with host_ground() as made:
        made.foreign(JUDGE)
        yield made


def tracked(ground: Ground) -> int:
    """Datagrams into and out of the node that began a connection, so far."""
    text = ground.node.stage.show(ground.host, "nft", "list", "table", "inet", "judge")
    return sum(int(line.split("packets ")[1].split()[0]) for line in text.splitlines() if "packets" in line)


def vxlan(cidr: str, mode: str) -> PoolUpdate:
    made = pool(cidr, nat=False)
    assert made.pool is not None
    return replace(made, pool=replace(made.pool, vxlan_mode=mode))


@pytest.mark.shows("PS-1.3")
def test_vxlan_is_not_tracked_and_everything_else_is(ground: Ground) -> None:
    neighbour = Host("node2", parse_interface("192.0.2.2/24"), parse_interface("2001:db8::2/64"))
    ground.tell(HostUpdate("node2", neighbour), vxlan("10.77.0.0/16", "Always"), vxlan("fd77::/64", "CrossSubnet"))
    for port, tracks in ((4789, False), (4790, True)):
        before = tracked(ground)
        assert ground.udp_into_host(port) == YES
        assert ground.udp_out_of_host(port) == YES
        assert (tracked(ground) > before) is tracks
    ground.tell(config(VXLANPort="8472"))
    before = tracked(ground)
    assert ground.udp_into_host(8472) == YES
    assert tracked(ground) == before
    ground.tell(config(), vxlan("10.77.0.0/16", "Never"), vxlan("fd77::/64", "Never"))
    before = tracked(ground)
    assert ground.udp_into_host(4789) == YES
    assert tracked(ground) > before, "the port is like any other"
