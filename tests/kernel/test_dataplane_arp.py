"""What a workload is told by ARP about its own address: nothing, and about every other address what it was told before."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, endpoint, endpoint_id, node
from tests.kernel.dataplane_stage import OUTSIDE, Pod, ping, stage

from tortie.base.net import Family, parse_prefix
from tortie.intent.messages import EndpointUpdate
from tortie.kernel import netns
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.nft.read import read_table

pytestmark = pytest.mark.kernel

_ETH_P_ARP = 0x0806
_REPLY = 2
GATEWAY = "169.254.1.1"
SECOND = "10.77.0.100"


@pytest.fixture
def ground() -> Iterator[tuple[Node, Pod]]:
    """A node whose routes lead the pod's addresses away from it: its machine is on the move."""
    with stage() as built, node(built) as made:
        pod = built.pod(1)
        made.start(endpoint(pod))
        for address in (pod.address(Family.V4), SECOND):
            built.batch(built.node, f"route add {address}/32 via {OUTSIDE[Family.V4]} metric 5")
        yield made, pod


def answers(pod: Pod, asked: str) -> bool:
    """True if somebody answers the pod's question who has this address."""

    def opened() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
        made.bind(("eth0", _ETH_P_ARP))
        return made

    with netns.run_in_named(pod.netns, opened) as raw:
        mine = raw.getsockname()[4]
        sender, target = (socket.inet_aton(text) for text in (pod.address(Family.V4), asked))
        request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mine, sender, bytes(6), target)
        raw.settimeout(0.3)
        raw.send(b"\xff" * 6 + mine + struct.pack("!H", _ETH_P_ARP) + request)
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            try:
                frame = raw.recv(128)
            except TimeoutError:
                return False
            (operation,) = struct.unpack_from("!H", frame, 20)
            if operation == _REPLY and frame[28:32] == target:
                return True
    return False


def dropped(made: Node) -> int:
    lines = made.stage.show(made.stage.node, "nft", "list", "table", "arp", "tortie").splitlines()
    return sum(int(line.split()[line.split().index("packets") + 1]) for line in lines if "packets" in line)


@pytest.mark.shows("PS-10.10")
def test_nobody_tells_a_workload_that_its_address_is_anothers(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    assert not answers(pod, pod.address(Family.V4))
    assert dropped(made) == 1
    assert answers(pod, GATEWAY)
    assert answers(pod, SECOND), "an address that is not the workload's"
    assert ping(pod.netns, Family.V6, OUTSIDE[Family.V6])
    made.tell(endpoint(pod, addresses=(*pod.addresses, parse_prefix(SECOND))))
    assert not answers(pod, SECOND)
    made.tell(endpoint(pod))
    assert answers(pod, SECOND)


@pytest.mark.shows("PS-10.10")
def test_the_table_is_kept_through_restarts_and_damage_and_goes_with_the_workload(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    name = made.stage.node
    assert not answers(pod, pod.address(Family.V4))
    with node(made.stage) as again:
        again.start(endpoint(pod))
        assert dropped(again) == 1, "a restart writes nothing anew"
        made.stage.show(name, "nft", "flush", "chain", "arp", "tortie", "filter-cali-arp-cali1")
        assert answers(pod, pod.address(Family.V4))
        again.dataplane.invalidate("damage")
        again.tell()
        assert not answers(pod, pod.address(Family.V4))
        made.stage.show(name, "nft", "add", "table", "arp", "theirs")
        made.stage.show(name, "nft", "delete", "table", "arp", "tortie")
        again.dataplane.invalidate("damage")
        again.tell()
        assert not answers(pod, pod.address(Family.V4))
        again.tell(EndpointUpdate(endpoint_id(pod), None))
    eye = netns.run_in_named(name, lambda: RequestSocket(NETLINK_NETFILTER))
    try:
        left = read_table(eye, "tortie", family="arp")
    finally:
        eye.close()
    assert set(left.chains) == {"filter-OUTPUT"}
    assert [dict(each.elements) for each in left.sets.values()] == [{}]
    assert "theirs" in made.stage.show(name, "nft", "list", "tables")
