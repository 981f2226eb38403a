"""IPIP by our own eBPF programs, where the network takes less than the uplinks: what routers say is heard, and only that."""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.kernel.ipip_stage import (
    Machine,
    checksum,
    cluster,
    datagram,
    header,
    hearing,
    hears,
    narrowed,
    reaches,
    rfc2003,
    sends,
    transfers,
)

from tortie.base.net import Address, parse_address

pytestmark = pytest.mark.kernel
NARROW = 1400
Cluster = tuple[Machine, Machine, int]
STRANGER = parse_address("192.0.2.77")
ICMP, _MTU, _MTU_DISCOVER, _DO, _DONT = 1, 14, 10, 2, 0


@pytest.fixture
def wide() -> Iterator[Cluster]:
    with cluster("txp-", "ebpf", "ebpf") as made:
        yield made


@pytest.fixture
def narrow(wide: Cluster) -> Iterator[Cluster]:
    with narrowed(wide[2], NARROW):
        yield wide


def comes_to_hear(machine: Machine) -> bool:
    """What is true is believed, however busy the machine is."""
    end = time.monotonic() + 10
    while not hears(machine):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def learns(machine: Machine, other: Machine, *, may_fragment: bool = False) -> None:
    """A packet of its pod that is too large for the way is not too large in vain."""
    with machine.socket(socket.SOCK_DGRAM) as here:
        here.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DONT if may_fragment else _DO)
        here.sendto(bytes(1452), (str(other.workload), 7))
    assert comes_to_hear(machine)


def route_mtu(machine: Machine, other: Machine) -> int:
    """Of the kernel's route into the tunnel."""
    words = machine.run("ip", "route", "show", str(other.block)).split()
    return int(words[words.index("mtu") + 1])


def error(one: Machine, target: Address, mtu: int, *, quoted: bytes | None = None, to: Address | None = None) -> bytes:
    """What a router says of a packet of a node."""
    about = rfc2003(datagram(one.workload, parse_address("10.65.2.5"), 7), one.uplink.address, target)
    quote = (about if quoted is None else quoted)[:28]  # as little as RFC 792 demands
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quote
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return header(parse_address("192.0.1.1"), to or one.uplink.address, size=len(message), protocol=ICMP) + message


def test_streams_cross_whole_both_ways(narrow: Cluster) -> None:
    one, two, _ = narrow
    with hearing(one, two):
        assert transfers(one, two, size=4 << 20)
        assert transfers(two, one, size=4 << 20)
    assert route_mtu(one, two) == NARROW - 20


def test_a_pod_is_told_how_much_the_way_takes(narrow: Cluster) -> None:
    one, two, _ = narrow
    learns(one, two)
    with one.socket(socket.SOCK_DGRAM) as here, two.socket(socket.SOCK_DGRAM) as there:
        here.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DO)
        here.connect(there.getsockname())
        assert here.getsockopt(socket.IPPROTO_IP, _MTU) == 1480
        here.send(bytes(1452))
        select.select([here], [], [], 10)
        assert here.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE, "the node has answered"
        with pytest.raises(OSError, match="Message too long"):
            here.send(bytes(1452))
        assert here.getsockopt(socket.IPPROTO_IP, _MTU) == NARROW - 20
        largest = os.urandom(NARROW - 20 - 28)
        here.send(largest)
        assert there.recv(2000) == largest


def test_what_may_be_taken_apart_crosses_in_pieces_that_fit(narrow: Cluster) -> None:
    """Outside it may not be, whatever it says inside: nobody would learn of it, and our programs put nothing together."""
    one, two, _ = narrow
    learns(one, two, may_fragment=True)
    learns(two, one, may_fragment=True)
    assert reaches(one, two, size=5000, may_fragment=True)


def test_what_the_node_itself_sends_fits_too(narrow: Cluster) -> None:
    one, two, _ = narrow
    learns(one, two)
    with two.socket(socket.SOCK_DGRAM) as there, one.socket(socket.SOCK_DGRAM, in_pod=False) as here:
        sent = os.urandom(3000)
        here.sendto(sent, there.getsockname())
        assert there.recv(4000) == sent


def test_after_a_while_the_way_is_tried_anew(narrow: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _ = narrow
    monkeypatch.setattr("tortie.dataplane.path_mtus.KEPT_SECONDS", 0.0)
    learns(one, two)
    assert route_mtu(one, two) == NARROW - 20
    changed = one.manager.forget_paths()
    assert changed == {two.uplink.address}
    one.main_table.ways_changed(changed)
    one.apply()
    assert route_mtu(one, two) == 1480


@pytest.mark.parametrize("mtu", [NARROW, 576])
def test_eight_bytes_of_the_packet_are_enough(wide: Cluster, mtu: int) -> None:
    """Many routers quote no more: of the packet inside there is next to nothing to be seen."""
    one, two, router = wide
    sends(router, error(one, two.uplink.address, mtu))
    assert comes_to_hear(one)
    assert route_mtu(one, two) == mtu - 20


def test_what_is_forged_or_damaged_changes_nothing(wide: Cluster) -> None:
    one, two, router = wide
    inner = datagram(one.workload, two.workload, 7)
    true = error(one, two.uplink.address, NARROW)
    forged = {
        "about a node that is none": error(one, STRANGER, NARROW),
        "about this node itself": error(one, one.uplink.address, NARROW),
        "less than any network takes": error(one, two.uplink.address, 575),
        "nothing at all": error(one, two.uplink.address, 0),
        "as much as fits anyway": error(one, two.uplink.address, 1500),
        "about a packet of somebody else": error(
            one, two.uplink.address, NARROW, quoted=rfc2003(inner, STRANGER, two.uplink.address)
        ),
        "about a packet that is not tunnelled": error(
            one, two.uplink.address, NARROW, quoted=datagram(one.uplink.address, two.uplink.address, 7)
        ),
        "with a wrong sum": true[:22] + bytes([true[22] ^ 1]) + true[23:],
        "cut short": true[:20] + true[20:40],
        "another error": true[:21] + b"\1" + true[22:],
    }
    for packet in forged.values():
        sends(router, packet)
    assert not hears(one)
    sends(router, true)
    assert comes_to_hear(one)
    assert route_mtu(one, two) == NARROW - 20
    sends(router, error(one, two.uplink.address, NARROW + 50))
    sends(router, error(one, two.uplink.address, NARROW - 50))
    assert comes_to_hear(one)
    assert route_mtu(one, two) == NARROW - 70, "an error only ever makes packets smaller"


def test_a_storm_of_errors_is_no_more_than_one_change(wide: Cluster) -> None:
    one, two, router = wide
    for _ in range(200):
        sends(router, error(one, two.uplink.address, NARROW))
    assert comes_to_hear(one)
    assert not any(hears(one) for _ in range(5))


def test_out_of_use_nothing_is_heard(wide: Cluster) -> None:
    one, two, router = wide
    one.stop()
    assert one.run("cat", "/proc/net/packet").splitlines()[1:] == []
    sends(router, error(one, two.uplink.address, NARROW))
    assert not hears(one)
    one.tell(two)
    assert route_mtu(one, two) == 1480
    sends(router, error(one, two.uplink.address, NARROW))
    assert comes_to_hear(one)
