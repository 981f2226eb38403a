"""Two nodes that WireGuard's manager looks after, each a namespace, with a wire between them; messages are the test's."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.kernel.spaces import named_space

from tortie.base.net import Family, parse_address, parse_interface, parse_prefix
from tortie.dataplane.render.config import parse
from tortie.dataplane.wireguard_manager import WireguardManager
from tortie.intent.messages import Message, OverlayUpdate, WireguardPeerUpdate
from tortie.intent.routes import Overlay, WireguardEnd, WireguardPeer
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.route import PROTOCOL, Route, Routes
from tortie.kernel.rule import Rules
from tortie.kernel.wireguard.device import Change
from tortie.kernel.wireguard.devices import WireguardDevices
from tortie.kernel.wireguard.generic import KernelWireguard
from tortie.kernel.wireguard.key_files import KeyFiles
from tortie.kernel.wireguard.keys import generate
from tortie.kernel.wireguard.userspace import UserspaceWireguard

MARK = 0x200000
DEVICES = {Family.V4: "wireguard.cali", Family.V6: "wg-v6.cali"}
TABLES = {Family.V4: 1, Family.V6: 2}
PORTS = {Family.V4: 51820, Family.V6: 51821}
NODES = {Family.V4: "172.30.9.{}", Family.V6: "fd00:30::{}"}
BLOCKS = {Family.V4: "10.65.{}.0/26", Family.V6: "fd00:65:{}::/122"}
PODS = {Family.V4: "10.65.{}.5", Family.V6: "fd00:65:{}::5"}
TUNNELS = {Family.V4: "10.65.{}.1", Family.V6: "fd00:65:{}::1"}
ON = {"WireguardEnabled": "true", "WireguardEnabledV6": "true"}


class Node:
    """Node number 1 or 2. Its pod's address lies on its loopback device; pods of the other are reached over the wire."""

    def __init__(self, number: int, space: str, folder: Path) -> None:
        self.number, self.space, self.folder = number, space, folder
        self.fd = netns.open_named(space)
        self.links, self.routes, self.rules = Links(self.fd), Routes(self.fd), Rules(self.fd)
        self._kernel = KernelWireguard(self.links, self.fd)
        self.wireguard = self._devices()
        self.files = KeyFiles(folder / "keys")
        self.manager = self.agent()

    def _devices(self) -> WireguardDevices:
        userspace = UserspaceWireguard(self.links, self.folder / "wireguard", netns_path=f"/run/netns/{self.space}")
        return WireguardDevices(self.links, self._kernel, userspace, netns_fd=self.fd)

    def agent(self, values: dict[str, str] = ON) -> WireguardManager:
        """A new agent, which knows nothing yet."""
        self.manager = WireguardManager(
            self.links, wireguard=self._devices(), files=self.files, routes=self.routes, rules=self.rules
        )
        self.manager.configure(parse(values))
        return self.manager

    def close(self) -> None:
        served = (each.stem for each in (self.folder / "wireguard").glob("*.sock"))  # a test may have named them otherwise
        for device in {*DEVICES.values(), *served}:
            asyncio.run(self.wireguard.delete(device))
        for each in (self.links, self.routes, self.rules, self._kernel):
            each.close()
        os.close(self.fd)

    # ---- messages ----
    def own(self, *, families: Sequence[Family] = tuple(Family), host: bool = False, strict: bool = False) -> Message:
        """This node in the overlays."""
        ends = tuple(
            WireguardEnd(
                family,
                None if host else parse_address(TUNNELS[family].format(self.number)),
                PORTS[family],
                host_encryption=host,
                strict=strict,
            )
            for family in families
        )
        return OverlayUpdate(
            Overlay(
                f"node-{self.number}",
                parse_interface(NODES[Family.V4].format(self.number) + "/24"),
                parse_interface(NODES[Family.V6].format(self.number) + "/64"),
                wireguard=ends,
            )
        )

    def as_peer(self, family: Family, key: str, *, host: bool = False, problem: str = "") -> Message:
        """This node as the other one is told of it."""
        nets = [parse_prefix(BLOCKS[family].format(self.number))]
        nets += [parse_prefix(NODES[family].format(self.number))] if host else []
        endpoint = parse_address(NODES[family].format(self.number))
        peer = WireguardPeer(
            f"node-{self.number}", family, key, endpoint, PORTS[family], allowed=tuple(sorted(nets)), problem=problem
        )
        return WireguardPeerUpdate(peer.node, family, peer)

    def tell(self, *messages: Message) -> None:
        """Messages, and all that follows from them."""
        for message in messages:
            self.manager.on_update(message)
        self.apply()

    def apply(self) -> None:
        asyncio.run(self.manager.apply())
        asyncio.run(self.manager.retire())

    def publish(self) -> None:
        """The datastore has this node's keys."""
        self.manager.published(self.manager.public_keys)
        self.apply()

    # ---- what there is ----
    def table(self, family: Family) -> dict[str, str]:
        """WireGuard's routes: destination to kind or device. Those that only hold a place are not among them."""
        found = self.routes.list(table=TABLES[family], families=(family,), protocol=PROTOCOL)
        return {str(each.dst): each.device or each.kind for each in found if each.dst.length > 0}

    def has_rule(self, family: Family) -> bool:
        return any(each.table == TABLES[family] and each.priority == 99 for each in self.rules.list(families=(family,)))

    def wireguard_key(self) -> str:
        """The public key of a node that never answers."""
        return generate().public

    def set_foreign_key(self) -> str:
        """Somebody gives the IPv4 device another private key; returns the public one."""
        key = generate()
        self.wireguard.write(DEVICES[Family.V4], Change(private_key=key))
        return key.public

    def wireguard_pid(self, family: Family) -> int:
        """The process of a device; -1 where the kernel has WireGuard."""
        file = self.folder / "wireguard" / f"{DEVICES[family]}.pid"
        return int(file.read_text()) if file.exists() else -1

    def udp(self, address: str, *, timeout: float = 8.0) -> socket.socket:
        """A UDP socket of this node, bound to an address and port 4000."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found = netns.in_netns(self.fd, lambda: socket.socket(family, socket.SOCK_DGRAM))
        found.bind((address, 4000))
        found.settimeout(timeout)
        return found


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[Node, Node]]:
    """Wired, each with the way to the other's pods as it would be without WireGuard."""
    with named_space("h5") as one, named_space("h5") as two:
        nodes = Node(1, one, folder / "one"), Node(2, two, folder / "two")
        try:
            nodes[0].links.create_veth("eth0", "eth0", peer_netns=nodes[1].fd)
            for node, other in (nodes, nodes[::-1]):
                _wire(node, other)
            yield nodes
        finally:
            for node in nodes:
                node.close()


def _wire(node: Node, other: Node) -> None:
    node.links.set_up("lo")
    node.links.set_up("eth0")
    for family, length in ((Family.V4, 24), (Family.V6, 64)):
        node.links.add_address("eth0", parse_interface(f"{NODES[family].format(node.number)}/{length}"))
        node.links.add_address("lo", parse_interface(PODS[family].format(node.number)))
    for family in Family:
        way = Route(
            dst=parse_prefix(BLOCKS[family].format(other.number)),
            via=parse_address(NODES[family].format(other.number)),
            device="eth0",
            onlink=True,
        )
        assert node.routes.add([way]) == ()


def meet(nodes: tuple[Node, Node], *, host: bool = False, strict: bool = False) -> None:
    """Both switch WireGuard on, publish their keys, and learn each other's."""
    for node in nodes:
        node.tell(node.own(host=host, strict=strict))
        node.publish()
    introduce(nodes, host=host)


def introduce(nodes: tuple[Node, Node], *, host: bool = False) -> None:
    """Each learns the other's present key."""
    for node, other in (nodes, nodes[::-1]):
        keys = other.manager.public_keys
        node.tell(*(other.as_peer(family, keys[family], host=host) for family in Family))


def settle(nodes: tuple[Node, Node], family: Family) -> None:
    """Return once both lead the other's pods into their device."""
    for _ in range(800):
        for node in nodes:
            if node.manager.look():
                node.apply()
        tables = [node.table(family).get(BLOCKS[family].format(3 - node.number)) for node in nodes]
        if tables == [DEVICES[family]] * 2:
            return
        _pause()
    raise AssertionError(f"not encrypted: {tables} {[node.manager.problems for node in nodes]}")


def _pause() -> None:
    asyncio.run(asyncio.sleep(0.01))


def exchange(nodes: tuple[Node, Node], family: Family) -> None:
    """A question from pod to pod, and its answer."""
    here, there = (PODS[family].format(number) for number in (1, 2))
    with nodes[0].udp(here) as ours, nodes[1].udp(there) as theirs:
        ours.sendto(b"question", (there, 4000))
        assert theirs.recvfrom(100)[1][0] == here
        theirs.sendto(b"answer", (here, 4000))
        assert ours.recv(100) == b"answer"
