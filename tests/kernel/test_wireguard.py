"""wireguard-go as a driver's back end: two nodes that meet in the fabric, keys, peers, restarts."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.spaces import named_space

from tortie.base import process
from tortie.base.net import parse_address, parse_interface, parse_prefix
from tortie.kernel import netns
from tortie.kernel.errors import NotFound
from tortie.kernel.link import Links
from tortie.kernel.wireguard.device import Change, Peer
from tortie.kernel.wireguard.devices import WireguardDevices
from tortie.kernel.wireguard.generic import KernelWireguard
from tortie.kernel.wireguard.keys import generate
from tortie.kernel.wireguard.userspace import UserspaceWireguard

pytestmark = pytest.mark.kernel
DEVICE = "wireguard.cali"


class Node:
    """A namespace with its own wireguard-go."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._fd = netns.open_named(name)
        self.links = Links(self._fd)
        self._kernel = KernelWireguard(self.links, self._fd)
        self.userspace = UserspaceWireguard(self.links, folder / "wireguard", netns_path=f"/run/netns/{name}")
        self.wireguard = WireguardDevices(self.links, self._kernel, self.userspace)

    def close(self) -> None:
        asyncio.run(self.userspace.delete(DEVICE))
        self._kernel.close()
        self.links.close()
        os.close(self._fd)

    def socket(self, address: str, port: int) -> socket.socket:
        """A UDP socket of this node, bound."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found = netns.in_netns(self._fd, lambda: socket.socket(family, socket.SOCK_DGRAM))
        found.bind((address, port))
        found.settimeout(8)
        return found

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", "--", *words], capture_output=True, text=True, timeout=20, check=False
        )


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """Two nodes with a wire between them: 172.30.9.1 and 172.30.9.2, fd00:30::1 and fd00:30::2."""
    with named_space("h5") as one, named_space("h5") as two, netns.opened(two) as there:
        found = [Node(one, tmp_path / "a"), Node(two, tmp_path / "b")]
        try:
            found[0].links.create_veth("eth0", "eth0", peer_netns=there)
            for number, node in enumerate(found, 1):
                node.links.add_address("eth0", parse_interface(f"172.30.9.{number}/24"))
                node.links.add_address("eth0", parse_interface(f"fd00:30::{number}/64"))
                node.links.set_up("eth0")
                node.links.set_up("lo")
            yield found
        finally:
            for node in found:
                node.close()


def connect(nodes: list[Node], *, outer: str = "172.30.9.{}") -> None:
    """Each is the other's peer; 10.65.N.0/24 and fd00:65:N::/64 are behind node N."""
    keys = [generate(), generate()]
    for index, node in enumerate(nodes):
        other = 1 - index
        asyncio.run(node.wireguard.create(DEVICE))
        nets = frozenset({parse_prefix(f"10.65.{other + 1}.0/24"), parse_prefix(f"fd00:65:{other + 1}::/64")})
        peer = Peer(keys[other].public, (parse_address(outer.format(other + 1)), 51820), allowed=nets)
        node.wireguard.write(DEVICE, Change(private_key=keys[index], port=51820, mark=0x200000, peers=(peer,)))
        node.links.add_address(DEVICE, parse_interface(f"10.65.{index + 1}.1/32"))
        node.links.add_address(DEVICE, parse_interface(f"fd00:65:{index + 1}::1/128"))
        node.links.set_up(DEVICE)
        for net in nets:
            assert node.run("ip", "route", "add", str(net), "dev", DEVICE).returncode == 0


@pytest.mark.parametrize("outer", ["172.30.9.{}", "fd00:30::{}"])
def test_packets_of_both_families_pass_inside_either(nodes: list[Node], outer: str) -> None:
    connect(nodes, outer=outer)
    for net in ("10.65.{}.1", "fd00:65:{}::1"):
        here, there = net.format(1), net.format(2)
        with nodes[0].socket(here, 4000) as ours, nodes[1].socket(there, 4000) as theirs:
            ours.sendto(b"question", (there, 4000))
            data, source = theirs.recvfrom(100)
            assert (data, source[0]) == (b"question", here)
            theirs.sendto(b"answer", source)
            assert ours.recv(100) == b"answer"
    states = [next(iter(node.wireguard.read(DEVICE).peers.values())) for node in nodes]
    assert all(state.last_handshake > 1.6e9 for state in states)
    assert all(state.received_bytes > 0 and state.sent_bytes > 0 for state in states)


def test_a_device_is_read_as_it_was_set(nodes: list[Node]) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    key, other = generate(), generate()
    nets = frozenset(parse_prefix(f"10.66.{number}.0/24") for number in range(200))
    peer = Peer(other.public, (parse_address("fd00:30::2"), 4711), allowed=nets, keepalive_seconds=25)
    node.wireguard.write(DEVICE, Change(private_key=key, port=51829, mark=4, peers=(peer,)))
    device = node.wireguard.read(DEVICE)
    assert (device.private_key, device.public_key, device.port, device.mark) == (key, key.public, 51829, 4)
    assert device.peers[other.public].peer == peer
    fewer = Peer(other.public, (parse_address("172.30.9.2"), 4712), allowed=frozenset({parse_prefix("10.66.0.0/24")}))
    node.wireguard.write(DEVICE, Change(peers=(fewer,)))
    assert node.wireguard.read(DEVICE).peers[other.public].peer == fewer
    node.wireguard.write(DEVICE, Change(removed=(other.public,)))
    assert node.wireguard.read(DEVICE).peers == {}
    assert node.wireguard.read(DEVICE).private_key == key


def test_an_extended_peer_has_more_networks_and_all_that_it_had(nodes: list[Node]) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    key, first, second = generate().public, parse_prefix("10.66.0.0/24"), parse_prefix("fd00:66::/64")
    endpoint = (parse_address("172.30.9.2"), 4711)
    node.wireguard.write(DEVICE, Change(peers=(Peer(key, endpoint, allowed=frozenset({first})),)))
    node.wireguard.write(DEVICE, Change(extended=(Peer(key, allowed=frozenset({second}), keepalive_seconds=7),)))
    whole = Peer(key, endpoint, allowed=frozenset({first, second}), keepalive_seconds=7)
    assert node.wireguard.read(DEVICE).peers[key].peer == whole


def test_a_network_moves_from_one_peer_to_another_in_one_change(nodes: list[Node]) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    old, new = generate().public, generate().public
    net = frozenset({parse_prefix("10.66.0.0/24")})
    node.wireguard.write(DEVICE, Change(peers=(Peer(old, allowed=net),)))
    node.wireguard.write(DEVICE, Change(peers=(Peer(new, allowed=net),), removed=(old,)))
    assert {key: state.peer.allowed for key, state in node.wireguard.read(DEVICE).peers.items()} == {new: net}


def test_a_second_driver_adopts_the_running_process(nodes: list[Node]) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    key = generate()
    node.wireguard.write(DEVICE, Change(private_key=key))
    index = node.links.get(DEVICE).index
    asyncio.run(node.wireguard.create(DEVICE))
    assert node.links.get(DEVICE).index == index
    assert node.wireguard.read(DEVICE).private_key == key


def test_a_process_that_died_is_replaced(nodes: list[Node], tmp_path: Path) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    pid = int((tmp_path / "a" / "wireguard" / f"{DEVICE}.pid").read_text())
    os.kill(pid, 9)
    while process.is_alive(pid):
        pass
    asyncio.run(node.wireguard.create(DEVICE))
    assert node.wireguard.read(DEVICE).peers == {}


def test_nothing_is_left_of_a_deleted_device(nodes: list[Node], tmp_path: Path) -> None:
    node = nodes[0]
    asyncio.run(node.wireguard.create(DEVICE))
    pid = int((tmp_path / "a" / "wireguard" / f"{DEVICE}.pid").read_text())
    assert asyncio.run(node.wireguard.delete(DEVICE))
    assert not process.is_alive(pid)
    assert node.links.find(DEVICE) is None
    assert {path.name for path in (tmp_path / "a" / "wireguard").iterdir()} == {f"{DEVICE}.log"}
    assert not asyncio.run(node.wireguard.delete(DEVICE))
    with pytest.raises(NotFound):
        node.wireguard.read(DEVICE)


def test_a_device_of_another_kind_makes_room(nodes: list[Node]) -> None:
    node = nodes[0]
    node.links.create_bridge(DEVICE)
    asyncio.run(node.wireguard.create(DEVICE))
    assert node.wireguard.read(DEVICE).peers == {}
    assert node.links.get(DEVICE).kind == "tun"


def test_the_private_key_is_in_no_argument_and_no_log(nodes: list[Node], tmp_path: Path) -> None:
    connect(nodes)
    folder = tmp_path / "a" / "wireguard"
    pid = int((folder / f"{DEVICE}.pid").read_text())
    key = nodes[0].wireguard.read(DEVICE).private_key
    assert key is not None
    words = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    text = words + (folder / f"{DEVICE}.log").read_bytes()
    assert key.raw.hex().encode() not in text
    assert key.raw not in text
    assert not any(path.stat().st_mode & 0o077 for path in folder.iterdir() if path.is_socket())
