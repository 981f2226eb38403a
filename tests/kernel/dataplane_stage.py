"""A node with workloads and a neighbour on the outside, as network namespaces; packets that are really sent.

The CNI plugin's work (veth, addresses, sysctls) is done here by hand, so that the dataplane is tested alone.

    pod (eth0) ── caliX │ node │ uplink ── eth0 (outside)
"""

import contextlib
import os
import secrets
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.spaces import until_ipv6

from tortie.base.net import Family, Prefix, parse_prefix
from tortie.kernel import netns

OUTSIDE = {Family.V4: "192.0.2.2", Family.V6: "2001:db8::2"}
NODE = {Family.V4: "192.0.2.1", Family.V6: "2001:db8::1"}
OUTSIDE_2 = {Family.V4: "198.51.100.2", Family.V6: "2001:db8:2::2"}
NODE_2 = {Family.V4: "198.51.100.1", Family.V6: "2001:db8:2::1"}
_DOMAIN = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_HOST_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"
_PATIENCE = 0.4
"""How long a packet may take that should arrive; all are on one machine."""


@dataclass(frozen=True)
class Pod:
    """A workload: its namespace, its interface on the node, its two addresses."""

    netns: str
    interface: str
    number: int

    def address(self, family: Family) -> str:
        """Its address of one family."""
        return f"10.77.0.{self.number}" if family is Family.V4 else f"fd77::{self.number}"

    @property
    def addresses(self) -> tuple[Prefix, ...]:
        """Both, as an endpoint lists them."""
        return tuple(parse_prefix(self.address(family)) for family in Family)


class Stage:
    """Everything of one test. Names carry prefix, process and chance, so that nothing collides."""

    def __init__(self, prefix: str = "td") -> None:
        self._stem = f"{prefix}{os.getpid()}{secrets.token_hex(2)}"
        self.node = f"{self._stem}n"
        self.outside = f"{self._stem}o"
        self._made: list[str] = []

    def build(self) -> None:
        """Node and outside, connected."""
        for name in (self.node, self.outside):
            self._create(name)
        # Link-local addresses must be usable at once: without one a node cannot ask for its neighbours.
        for name in (self.node, self.outside):
            self.sysctl(name, {"net.ipv6.conf.default.accept_dad": 0})
        self.batch(
            self.node,
            f"link add uplink type veth peer name eth0 netns {self.outside}",
            f"addr add {NODE[Family.V4]}/24 dev uplink",
            f"addr add {NODE[Family.V6]}/64 dev uplink nodad",
            "link set uplink up",
            # Without a route to 169.254.1.1 the node would not answer for it (proxy ARP).
            f"route add default via {OUTSIDE[Family.V4]}",
            f"-6 route add default via {OUTSIDE[Family.V6]}",
        )
        self.batch(
            self.outside,
            f"addr add {OUTSIDE[Family.V4]}/24 dev eth0",
            f"addr add {OUTSIDE[Family.V6]}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add 10.77.0.0/16 via {NODE[Family.V4]}",
            f"-6 route add fd77::/64 via {NODE[Family.V6]}",
        )
        self.sysctl(self.node, {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        until_ipv6(self.node, "uplink")
        until_ipv6(self.outside, "eth0")
        # They know each other before anything is forbidden.
        assert any(ping(self.outside, Family.V6, NODE[Family.V6]) for _ in range(10))

    def second_outside(self) -> str:
        """Another neighbour, behind `uplink2`: what the node forwards between the two has nothing to do with workloads."""
        name = f"{self._stem}q"
        self._create(name)
        self.sysctl(name, {"net.ipv6.conf.default.accept_dad": 0})
        self.batch(
            self.node,
            f"link add uplink2 type veth peer name eth0 netns {name}",
            f"addr add {NODE_2[Family.V4]}/24 dev uplink2",
            f"addr add {NODE_2[Family.V6]}/64 dev uplink2 nodad",
            "link set uplink2 up",
        )
        self.batch(
            name,
            f"addr add {OUTSIDE_2[Family.V4]}/24 dev eth0",
            f"addr add {OUTSIDE_2[Family.V6]}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {NODE_2[Family.V4]}",
            f"-6 route add default via {NODE_2[Family.V6]}",
        )
        self.batch(
            self.outside,
            f"route add default via {NODE[Family.V4]}",
            f"-6 route add default via {NODE[Family.V6]}",
        )
        until_ipv6(self.node, "uplink2")
        until_ipv6(name, "eth0")
        assert any(ping(name, Family.V6, NODE_2[Family.V6]) for _ in range(10))
        return name

    def pod(self, number: int) -> Pod:
        """A new workload, without any route to it on the node."""
        pod = Pod(f"{self._stem}p{number}", f"cali{number}", number)
        self._create(pod.netns)
        self.batch(
            self.node,
            f"link add {pod.interface} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {pod.netns}",
        )
        self.sysctl(
            self.node,
            {
                f"net.ipv6.conf.{pod.interface}.accept_dad": 0,
                f"net.ipv4.conf.{pod.interface}.proxy_arp": 1,
                f"net.ipv4.conf.{pod.interface}.rp_filter": 0,
                f"net.ipv4.neigh.{pod.interface}.proxy_delay": 0,
            },
        )
        self.batch(self.node, f"link set {pod.interface} up")
        self.sysctl(pod.netns, {"net.ipv6.conf.eth0.accept_dad": 0})
        self.batch(
            pod.netns,
            "link set eth0 up",
            f"addr add {pod.address(Family.V4)}/32 dev eth0",
            f"addr add {pod.address(Family.V6)}/128 dev eth0 nodad",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1",
            f"-6 route add default via {_HOST_LINK_LOCAL} dev eth0",
        )
        until_ipv6(self.node, pod.interface)
        until_ipv6(pod.netns, "eth0")
        return pod

    def close(self) -> None:
        """Remove everything."""
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def batch(self, name: str, *lines: str) -> None:
        """Run `ip` commands in a namespace."""
        for line in lines:
            subprocess.run(["ip", "-n", name, *line.split()], check=True)

    def show(self, name: str, *command: str) -> str:
        """The output of a command in a namespace."""
        return subprocess.run(["ip", "netns", "exec", name, *command], check=True, capture_output=True, text=True).stdout

    def sysctl(self, name: str, values: dict[str, int]) -> None:
        """Write sysctls in a namespace."""

        def work() -> None:
            for key, value in values.items():
                # The last dot separates the leaf; interface names of this stage have no dots.
                Path("/proc/sys", *key.split(".")).write_text(str(value))

        netns.run_in_named(name, work)

    def dropped(self, comment: str) -> int:
        """Packets counted by rules of ours whose comment contains the text."""
        lines = self.show(self.node, "nft", "list", "table", "inet", "tortie").splitlines()
        words = [line.split() for line in lines if comment in line and "counter packets" in line]
        return sum(int(line[line.index("counter") + 2]) for line in words)

    def _create(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._made.append(name)
        self.batch(name, "link set lo up")


@contextlib.contextmanager
def stage(prefix: str = "td") -> Iterator[Stage]:
    """A built stage, removed at the end whatever happens."""
    made = Stage(prefix)
    try:
        made.build()
        yield made
    finally:
        made.close()


# ---- packets ----
def open_socket(name: str, family: Family, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A socket that lives in a namespace, usable from anywhere."""
    made = netns.run_in_named(name, lambda: socket.socket(_DOMAIN[family], kind, protocol))
    made.settimeout(_PATIENCE)
    return made


@contextlib.contextmanager
def tcp_server(name: str, family: Family, port: int) -> Iterator[socket.socket]:
    """A listening socket on all addresses of a namespace."""
    with open_socket(name, family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen(8)
        yield server


def connect(name: str, family: Family, address: str, port: int) -> socket.socket | None:
    """A connection from a namespace; None if nothing answers in time. A refusal raises: the packet did arrive."""
    client = open_socket(name, family, socket.SOCK_STREAM)
    try:
        client.connect((address, port))
    except (TimeoutError, OSError) as error:
        client.close()
        if isinstance(error, TimeoutError) or error.errno in (101, 113):
            return None
        raise
    return client


def tcp_passes(name: str, family: Family, address: str, port: int) -> bool:
    """True if a TCP connection from a namespace to a server that is there comes about."""
    client = connect(name, family, address, port)
    if client is None:
        return False
    client.close()
    return True


def udp_arrives(name: str, family: Family, target: str, address: str, port: int, *, source: str | None = None) -> bool:
    """True if a datagram sent in one namespace reaches a socket in another. `source` is an address of the sender's."""
    receiver = open_socket(target, family, socket.SOCK_DGRAM)
    sender = open_socket(name, family, socket.SOCK_DGRAM)
    with receiver, sender:
        # A process that is just being started holds the last receiver open until it executes its program.
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind(("", port))
        if source is not None:
            sender.bind((source, 0))
        token = secrets.token_bytes(8)
        try:
            sender.sendto(token, (address, port))
            return receiver.recv(64) == token
        except (TimeoutError, PermissionError):  # the latter where the sender's own namespace drops
            return False


def echo(client: socket.socket, server: socket.socket) -> bool:
    """True if an established connection still carries data both ways."""
    try:
        for left, right in ((client, server), (server, client)):
            token = secrets.token_bytes(8)
            left.sendall(token)
            if right.recv(64) != token:
                return False
    except (TimeoutError, ConnectionError):
        return False
    return True


def ping(name: str, family: Family, address: str) -> bool:
    """True if an echo request is answered."""
    kind, reply, protocol = (8, 0, socket.IPPROTO_ICMP) if family is Family.V4 else (128, 129, socket.IPPROTO_ICMPV6)
    with open_socket(name, family, socket.SOCK_RAW, protocol) as raw:
        # A new identifier each time: to connection tracking two pings with one identifier are one connection.
        body, identifier = secrets.token_bytes(8), secrets.randbits(16)
        header = struct.pack("!BBHHH", kind, 0, 0, identifier, 1)
        if family is Family.V4:
            header = struct.pack("!BBHHH", kind, 0, _checksum(header + body), identifier, 1)
        raw.sendto(header + body, (address, 0))
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                packet = raw.recv(256)
            except TimeoutError:
                return False
            message = packet[20:] if family is Family.V4 else packet
            if message[0] == reply and message.endswith(body):
                return True
    return False


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = total + (total >> 16)
    return ~folded & 0xFFFF
