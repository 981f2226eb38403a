"""IPIP by our own eBPF programs: what crosses, what does not, what is repaired, what is left when it is over."""

import ctypes
import itertools
import os
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel.ipip_stage import (
    IPIP,
    Machine,
    Wire,
    asking,
    checksum,
    cluster,
    datagram,
    hanging,
    header,
    is_ipip,
    is_repaired,
    reaches,
    rfc2003,
    sends,
    sends_frame,
    transfers,
    with_super_packets,
    without_id,
    without_offload,
)

from tortie.base.net import parse_address, parse_prefix
from tortie.intent.messages import ClusterRouteUpdate
from tortie.kernel import sysctl
from tortie.kernel.bpf.hooks import ORDER
from tortie.kernel.bpf.tunnel import BpfIpip

pytestmark = pytest.mark.kernel
STRANGER = parse_address("192.0.1.1")
OUTSIDE = parse_address("203.0.113.9")
Cluster = tuple[Machine, Machine, int]
ARRIVAL, OVERTAKING = 10.0, 0.1
"""Seconds for a packet that is let through, on a busy machine; and for one that another has overtaken."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with cluster("txk-", "ebpf", "ebpf") as made:
        yield made


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster("txf-", "ebpf", "ebpf", order=getattr(request, "param", ORDER)) as made:
        yield made


everywhere = pytest.mark.parametrize("fresh", [ORDER, ("clsact",)], indirect=True, ids="-".join)
"""Where programs hang if they can, and where they always can."""


def arrives(two: Machine, router: int, inner: bytes, outer: bytes, *, framed: bool = False) -> bytes | None:
    """A forged packet from the router: what the pod of n2 gets of it, from its IPv4 header on. One behind it that is surely
    let in says when the first would have been there."""
    second = datagram(parse_address("10.65.1.5"), two.workload, 9)

    def is_same(packet: bytes, other: bytes) -> bool:
        return packet[12:16] == other[12:16] and packet[20:] == other[20:]

    with Wire(two.pod_fd, "eth0") as wire:
        wire.patience = ARRIVAL
        for each in (outer, rfc2003(second, parse_address("192.0.1.2"), two.uplink.address)):
            if framed:
                sends_frame(router, "eth2", two.links.get("eth0").mac, each)
            else:
                sends(router, each)
        found = wire.packets(lambda packet: is_same(packet, inner) or is_same(packet, second))[0]
        if is_same(found, inner):
            return found
        wire.patience = OVERTAKING
        try:
            return wire.packets(lambda packet: is_same(packet, inner))[0]
        except TimeoutError:
            return None


def to_pod(two: Machine, source: str = "10.65.1.5", *, tos: int = 0) -> bytes:
    return datagram(parse_address(source), two.workload, 7, tos=tos)


def is_alive(program: int) -> bool:
    """True if the kernel has a BPF program of this number."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(program.to_bytes(4, "little"), 12)
    found: int = libc.syscall({"x86_64": 321, "aarch64": 280}[platform.machine()], 13, attributes, 12)
    if found >= 0:
        os.close(found)
    return found >= 0


# ---- what crosses ----
@pytest.mark.parametrize("size", [0, 1, 100, 1452])
def test_datagrams_cross_up_to_the_mtu_in_one_piece(shared: Cluster, size: int) -> None:
    one, two, _ = shared
    assert reaches(one, two, size=size)
    assert reaches(two, one, size=size)


def test_larger_datagrams_cross_in_pieces(shared: Cluster) -> None:
    one, two, _ = shared
    assert reaches(one, two, size=9000, may_fragment=True)
    assert not reaches(one, two, size=1453)


def test_streams_cross_whole_both_ways(shared: Cluster) -> None:
    one, two, _ = shared
    assert transfers(one, two, size=16 << 20)
    assert transfers(two, one, size=16 << 20)


@pytest.mark.parametrize("place", ["uplinks", "pods", "everywhere"])
def test_streams_cross_whole_where_devices_leave_segments_and_checksums_to_the_kernel(fresh: Cluster, place: str) -> None:
    """A veth takes packets of 64 kB as they are; a network card has them cut, within the tunnel or after it."""
    one, two, router = fresh
    if place != "pods":
        without_offload(router, "eth1")
        without_offload(router, "eth2")
    for machine in (one, two):
        if place != "pods":
            without_offload(machine.fd, "eth0")
        if place != "uplinks":
            without_offload(machine.fd, "cali1")
            without_offload(machine.pod_fd, "eth0")
    with Wire(router, "eth2") as wire:
        assert transfers(one, two, size=4 << 20)
        assert transfers(two, one, size=4 << 20)
        if place != "pods":
            assert max(len(packet) for packet in wire.packets(is_ipip, count=50)) == 1500


@everywhere
def test_streams_cross_whole_in_packets_longer_than_a_header_can_say(fresh: Cluster) -> None:
    """What people call BIG TCP: the kernel has 0 for their length."""
    one, two, router = fresh
    devices = [(router, "eth1"), (router, "eth2")]
    for machine in (one, two):
        devices += [(machine.fd, "eth0"), (machine.fd, "cali1"), (machine.fd, "tunl0"), (machine.pod_fd, "eth0")]
    for fd, device in devices:
        with_super_packets(fd, device, size=150_000)
    with Wire(router, "eth2") as wire:
        assert transfers(one, two, size=32 << 20)
        longest = wire.packets(lambda packet: is_ipip(packet) and len(packet) > 0xFFFF)[0]
    assert longest[2:4] == b"\0\0"


def test_what_is_on_the_wire_is_what_rfc_2003_says(shared: Cluster) -> None:
    """Byte for byte but for the identification; tests/vm/test_ipip.py shows the same of the kernel's own device."""
    one, two, router = shared
    sent = [
        datagram(one.workload, two.workload, 7, tos=tos, fragment=fragment)
        for tos in (0, 1, 2, 0xB8)
        for fragment in (0, 0x4000)
    ]
    with Wire(router, "eth1") as wire:
        for packet in sent:
            sends(one.pod_fd, packet)
        seen = wire.packets(lambda packet: is_ipip(packet) and packet[12:16] == one.uplink.address.packed, count=len(sent))
    for packet, outer in zip(sent, seen, strict=True):
        inner, fragment = outer[20:], int.from_bytes(packet[6:8], "big")
        forwarded = datagram(one.workload, two.workload, 7, tos=packet[1], ttl=63, fragment=fragment)
        assert without_id(inner) == without_id(forwarded)  # the raw socket chose an identification
        assert without_id(outer) == without_id(rfc2003(inner, one.uplink.address, two.uplink.address))


def test_the_outer_checksum_is_right(shared: Cluster) -> None:
    """A receiver with a checksum of its own would drop all others: the router has forwarded it."""
    one, two, router = shared
    with Wire(router, "eth1") as wire:
        assert reaches(one, two)
        outer = wire.packets(is_ipip)[0]
    assert checksum(outer[:20]) == 0


def test_what_the_node_itself_sends_comes_from_the_tunnels_address(shared: Cluster) -> None:
    one, two, _ = shared
    with two.socket(socket.SOCK_DGRAM) as there, one.socket(socket.SOCK_DGRAM, in_pod=False) as here:
        here.sendto(b"x", there.getsockname())
        _, sender = there.recvfrom(10)
        assert sender[0] == str(one.tunnel)
        there.sendto(b"y", sender)
        assert here.recv(10) == b"y"


# ---- what does not ----
def test_a_known_node_with_its_own_pod_is_let_in(shared: Cluster) -> None:
    one, two, router = shared
    inner = to_pod(two)
    assert arrives(two, router, inner, rfc2003(inner, one.uplink.address, two.uplink.address)) is not None


def test_nobody_but_the_clusters_nodes_may_tunnel(shared: Cluster) -> None:
    _, two, router = shared
    inner = to_pod(two)
    assert arrives(two, router, inner, rfc2003(inner, STRANGER, two.uplink.address)) is None


@pytest.mark.parametrize("source", ["10.65.2.9", "10.65.2.5", "192.0.2.2"])
def test_no_node_may_speak_for_this_nodes_addresses(shared: Cluster, source: str) -> None:
    one, two, router = shared
    inner = to_pod(two, source)
    assert arrives(two, router, inner, rfc2003(inner, one.uplink.address, two.uplink.address)) is None


def test_a_fragment_of_a_tunnelled_packet_is_dropped(shared: Cluster) -> None:
    one, two, router = shared
    inner = to_pod(two)
    whole = rfc2003(inner, one.uplink.address, two.uplink.address)
    piece = header(one.uplink.address, two.uplink.address, size=len(inner), protocol=IPIP, fragment=0x2000) + whole[20:]
    assert arrives(two, router, inner, piece) is None


def test_no_tunnel_in_a_tunnel_is_opened(shared: Cluster) -> None:
    one, two, router = shared
    inner = to_pod(two)
    twice = rfc2003(rfc2003(inner, one.uplink.address, two.uplink.address), one.uplink.address, two.uplink.address)
    assert arrives(two, router, inner, twice) is None


@everywhere
def test_a_header_with_a_wrong_checksum_is_dropped(fresh: Cluster) -> None:
    """RFC 1122, 3.2.1.2. Each word of the header in turn, by one bit that nothing else looks at."""
    one, two, router = fresh
    inner = to_pod(two)
    outer = rfc2003(inner, one.uplink.address, two.uplink.address)
    assert arrives(two, router, inner, outer, framed=True) is not None
    for place in (1, 4, 8, 10, 11):  # DSCP, identification, time to live, the sum itself
        wrong = outer[:place] + bytes([outer[place] ^ 0x40]) + outer[place + 1 :]
        assert arrives(two, router, inner, wrong, framed=True) is None, place


@everywhere
@pytest.mark.parametrize(
    ("says", "filling"), [(10, 0), (1, 0), (-5, 0), (-5, 40), (-30, 40), (-53, 40)], ids=lambda number: f"{number:+}"
)
def test_a_packet_that_is_not_whole_is_dropped(fresh: Cluster, says: int, filling: int) -> None:
    """The outer header says more than there is, or less than the inner one."""
    one, two, router = fresh
    inner = to_pod(two)
    outer = header(one.uplink.address, two.uplink.address, size=len(inner) + says, protocol=IPIP)
    assert arrives(two, router, inner, outer + inner + bytes(filling), framed=True) is None


@everywhere
@pytest.mark.parametrize("body", [0, 1, 2, 5])
def test_what_fills_a_short_frame_does_not_reach_a_pod(fresh: Cluster, body: int) -> None:
    """Ethernet sends nothing under 60 bytes."""
    one, two, router = fresh
    inner = header(parse_address("10.65.1.5"), two.workload, size=body, protocol=253) + b"x" * body
    outer = rfc2003(inner, one.uplink.address, two.uplink.address)
    got = arrives(two, router, inner, outer + b"\xee" * (46 - len(outer)), framed=True)
    assert got is not None
    assert got[20:] == b"x" * body


_ECN = {0: "not-ECT", 1: "ECT(1)", 2: "ECT(0)", 3: "CE"}


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(range(4), range(4))))
def test_congestion_on_the_way_is_told_inside(shared: Cluster, outer: int, inner: int) -> None:
    """RFC 6040, figure 4."""
    one, two, router = shared
    packet = to_pod(two, tos=0xB8 | inner)
    got = arrives(two, router, packet, rfc2003(packet, one.uplink.address, two.uplink.address, tos=outer))
    if outer == 3 and inner == 0:
        assert got is None
        return
    wanted = 3 if outer == 3 else 1 if (outer, inner) == (1, 2) else inner
    assert got is not None
    assert (_ECN[got[1] & 3], got[1] >> 2) == (_ECN[wanted], 0xB8 >> 2)
    assert checksum(got[:20]) == 0


# ---- the life of it ----
@everywhere
def test_a_new_agent_takes_over_and_loses_no_packet(fresh: Cluster) -> None:
    one, two, _ = fresh
    before = programs(two)
    with asking(one, two) as lost:
        for _ in range(5):
            for machine, other in ((one, two), (two, one)):
                machine.new_life()
                machine.tell(other)
            time.sleep(0.05)
    assert lost == []
    assert programs(two).isdisjoint(before)


@everywhere
def test_nothing_is_written_when_nothing_changed(fresh: Cluster) -> None:
    one, _, _ = fresh
    before = programs(one)
    one.repair()
    assert programs(one) == before


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete tunl0",
        "ip link set tunl0 down",
        "ip link set tunl0 mtu 1000",
        "ip addr flush dev tunl0",
        "ip addr add 10.65.1.9/24 dev tunl0",
        "ip route delete 10.65.2.0/26",
    ],
)
def test_what_others_break_is_repaired(shared: Cluster, damage: str) -> None:
    one, two, _ = shared
    is_repaired(one, two, damage)


@everywhere
def test_out_of_use_nothing_is_left(fresh: Cluster) -> None:
    one, two, _ = fresh
    used = programs(one)
    assert all(is_alive(each) for each in used)
    one.stop()
    assert one.links.find("tunl0") is None
    assert hanging(one) == {"eth0": {}, "tunl0": {}}
    assert "clsact" not in one.run("tc", "qdisc", "show")
    assert eventually_dead(used)
    assert one.manager.route(one.way_to(two)) is None
    one.tell(two)
    assert reaches(one, two)


@everywhere
def test_a_filter_of_somebody_else_stays(fresh: Cluster) -> None:
    one, two, _ = fresh
    foreign = "protocol ip prio 5 u32 match ip protocol 99 0xff flowid 1:1"
    if "clsact" not in one.run("tc", "qdisc", "show", "dev", "eth0"):
        one.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    one.run("tc", "filter", "add", "dev", "eth0", "ingress", *foreign.split())
    assert reaches(two, one)
    one.stop()
    assert "u32" in one.run("tc", "filter", "show", "dev", "eth0", "ingress")


@pytest.mark.parametrize("fresh", [("clsact",)], indirect=True, ids="-".join)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "an operator's"])
def test_a_queue_goes_when_it_is_out_of_use_if_and_only_if_it_is_ours(fresh: Cluster, ours: bool) -> None:
    """Also in the eyes of the next agent, which has made none."""
    one, two, _ = fresh
    if not ours:
        one.stop()
        one.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
        one.tell(two)
    assert reaches(one, two)
    for _ in range(2):
        one.new_life()
        one.tell(two)
    assert reaches(one, two)
    one.stop()
    assert hanging(one) == {"eth0": {}, "tunl0": {}}
    assert ("clsact" in one.run("tc", "qdisc", "show", "dev", "eth0")) is not ours


def test_a_block_that_moves_is_taken_from_its_new_node_alone(fresh: Cluster) -> None:
    """n1's pod comes to n2 for n1's block; for a block that is told to be somebody else's it does not."""
    one, two, router = fresh
    inner = to_pod(two, "10.65.3.5")
    outer = rfc2003(inner, one.uplink.address, two.uplink.address)
    sysctl.write_many({"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/tunl0/rp_filter": 0}, netns_fd=two.fd)
    assert arrives(two, router, inner, outer) is not None  # nobody's in the cluster: n1 may be its gateway
    third = replace(two.way_to(one), dst=parse_prefix("10.65.3.0/26"), node="n3", next_hop=parse_address("192.0.3.2"))
    two.manager.on_update(ClusterRouteUpdate(third.dst, third))
    two.apply()
    assert arrives(two, router, inner, outer) is None
    two.manager.on_update(ClusterRouteUpdate(third.dst, replace(third, node="n1", next_hop=one.uplink.address)))
    two.apply()
    assert arrives(two, router, inner, outer) is not None


# ---- where it cannot be ----
def test_programs_that_are_not_built_are_told_of(fresh: Cluster, tmp_path: Path) -> None:
    one, two, _ = fresh
    one.stop()
    carrier = BpfIpip(tmp_path / "ipip.o", one.fd)
    one.carried_by(carrier)
    with pytest.raises(ExceptionGroup, match="not complete"):
        one.tell(two)
    assert "python -m tortie.kernel.bpf.build" in one.manager.problems["tunl0"]
    assert one.manager.route(one.way_to(two)) is None
    carrier.close()


def test_a_node_whose_address_is_nowhere_is_told_of(fresh: Cluster) -> None:
    one, _, _ = fresh
    one.run("ip", "addr", "delete", str(one.uplink), "dev", "eth0")
    with pytest.raises(ExceptionGroup):
        one.repair()
    assert "no interface has the node's address 192.0.1.2" in one.manager.problems["tunl0"]


def test_a_node_whose_uplink_is_no_ethernet_is_told_of(fresh: Cluster) -> None:
    one, _, _ = fresh
    one.run("ip", "addr", "delete", str(one.uplink), "dev", "eth0")
    one.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    one.run("ip", "addr", "add", str(one.uplink), "dev", "tun7")
    with pytest.raises(ExceptionGroup):
        one.repair()
    assert one.manager.problems["tunl0"].startswith("tun7, which has the node's address, is no Ethernet")


def programs(machine: Machine) -> set[int]:
    found = {number for places in hanging(machine).values() for number in places.values()}
    assert len(found) == 2
    return found


def eventually_dead(numbers: set[int]) -> bool:
    """The kernel lets go of a program a moment after its last user."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not any(is_alive(each) for each in numbers):
            return True
        time.sleep(0.02)
    return False
