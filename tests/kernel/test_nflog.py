"""nflog: a packet that a rule logs reaches the reader, with its addresses and ports, and becomes a line."""

import os
import secrets
import select
import socket
from collections.abc import Iterator

import pytest

from tortie.agent.packet_log import line
from tortie.base import process
from tortie.base.net import parse_address
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.nflog import LoggedPacket, NflogReader

pytestmark = pytest.mark.kernel

RULES = b"""
table inet logs {
    chain output {
        type filter hook output priority 0;
        udp dport 7777 log prefix "calico-packet: " group 31
    }
}
"""


@pytest.fixture
def space() -> Iterator[str]:
    name = f"tl-{os.getpid()}-{secrets.token_hex(3)}"
    netns.create(name)
    try:
        with netns.opened(name) as descriptor, Links(netns_fd=descriptor) as links:
            links.set_up("lo")
        process.run_blocking(["nft", "-f", "-"], stdin=RULES, netns_path=netns.path_of(name)).check()
        yield name
    finally:
        netns.delete(name)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_logged_packet_is_read_with_its_addresses_and_ports(space: str, family: int, address: str) -> None:
    reader = netns.run_in_named(space, lambda: NflogReader([31]))
    try:
        sender = netns.run_in_named(space, lambda: socket.socket(family, socket.SOCK_DGRAM))
        with sender:
            sender.bind((address, 6666))
            sender.sendto(b"hello", (address, 7777))
        packets: list[LoggedPacket] = []
        while not packets:
            assert select.select([reader.fileno()], [], [], 5)[0], "nothing was logged"
            packets = list(reader.read())
    finally:
        reader.close()
    packet = packets[0]
    assert (packet.source, packet.destination) == (parse_address(address), parse_address(address))
    assert (packet.protocol, packet.source_port, packet.destination_port) == (17, 6666, 7777)
    assert line(packet, lambda index: f"if{index}") == (
        f"calico-packet: OUT=if{packet.out_interface} SRC={address} DST={address} PROTO=UDP SPT=6666 DPT=7777"
    )


def test_a_packet_that_nobody_logs_is_not_read(space: str) -> None:
    reader = netns.run_in_named(space, lambda: NflogReader([31]))
    try:
        with netns.run_in_named(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"hello", ("127.0.0.1", 7778))
        assert not select.select([reader.fileno()], [], [], 0.2)[0]
    finally:
        reader.close()
