"""Which ways to another node are tried, and with what."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from tortie.agent.checkup_pairs import Target, checksum, datagram, targets_of
from tortie.api.node import Node, NodeBGP, NodeSpec, NodeWireguard
from tortie.api.resource import Metadata
from tortie.base.net import parse_address

_NODE = Node(
    metadata=Metadata(name="n2"),
    spec=NodeSpec(
        bgp=NodeBGP(ipv4_address="192.0.2.2/24", ipv6_address="2001:db8::2/64", ipv4_ipip_tunnel_addr="10.0.0.2"),
        ipv4_vxlan_tunnel_addr="10.0.0.3",
        ipv6_vxlan_tunnel_addr="nonsense",
        wireguard=NodeWireguard(interface_ipv4_address="10.0.0.4", interface_ipv6_address="fd00::4"),
    ),
)


def test_a_node_is_asked_on_every_way_that_this_node_has_a_device_for() -> None:
    plain = [("the network", "192.0.2.2"), ("the network", "2001:db8::2")]
    assert [(each.way, str(each.address)) for each in targets_of(_NODE, set())] == plain
    devices = {"eth0", "tunl0", "vxlan.calico", "vxlan-v6.calico", "wg-v6.cali"}
    found = [(each.way, str(each.address)) for each in targets_of(_NODE, devices)]
    assert found == [*plain, ("vxlan", "10.0.0.3"), ("ipip", "10.0.0.2"), ("wireguard", "fd00::4")]
    assert list(targets_of(Node(metadata=Metadata(name="n3")), devices)) == []


def test_the_family_is_that_of_what_is_carried() -> None:
    assert Target("n2", "vxlan", parse_address("fd00::3")).family == 6


@given(st.binary(max_size=64), st.sampled_from([("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]))
def test_a_datagram_made_by_hand_sums_up_to_nothing(payload: bytes, ends: tuple[str, str]) -> None:
    source, target = map(parse_address, ends)
    packet = datagram((source, 1000), (target, 2000), payload)
    assert struct.unpack("!HHH", packet[:6]) == (1000, 2000, 8 + len(payload))
    pseudo = source.packed + target.packed + struct.pack("!II", len(packet), 17)
    assert checksum(pseudo + packet + b"\0" * (len(packet) % 2)) == 0
    assert packet[6:8] != b"\0\0", "that would say that there is none"
