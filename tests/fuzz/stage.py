"""A node as one network namespace with a fixed set of interfaces, and their far ends in another.

Workload number i has 10.65.0.i and fd00:65::i behind `calitz<i>`; strangers are behind `ext0` and `ext1` (see layout). Far ends
carry no address: frames are written to them and read from them raw. Neighbours are permanent, so nobody ever asks who has an
address; routes to workloads are the dataplane's to make.

What the node takes in for itself is seen by a table of this stage alone, behind every other at the input hook: it hands each
packet to a socket and drops it, so that the node answers nobody.
"""

import contextlib
import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.fuzz.frames import MAGIC, number_of
from tests.fuzz.layout import LAYOUT, NOBODY, STRANGERS, WORKLOADS
from tests.kernel import barrier
from tests.kernel.barrier import Barrier
from tests.kernel.spaces import on_one_processor, until_ipv6

from tortie.kernel import netns

HERE = "the node itself"
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
    "net/netfilter/nf_conntrack_checksum": "0",
}
_GROUP = 77
_OBSERVER = f"""
table inet observer {{
    chain input {{
        type filter hook input priority 200
        iifname "lo" drop
        log group {_GROUP} snaplen 160 drop
    }}
}}
"""
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
_NETLINK_NETFILTER = 12
_IPV6_HDRINCL = 36
_FLUSH_CONNTRACK = struct.pack("=IHHIIBBH", 20, 0x0102, 0x5, 1, 0, 0, 0, 0)
_LOG_CONFIG = 0x0401


@dataclass(frozen=True)
class Outgoing:
    """One packet to send: a whole frame at the far end of a device, or from the node itself, where `device` is ""."""

    device: str
    content: bytes
    destination: str = ""
    """Only of the node's own packets."""


def interface(number: int) -> str:
    """The node's end of workload `number`."""
    return f"calitz{number}"


class Stage:
    """Both namespaces and the sockets in them."""

    def __init__(self, node: str, far: str) -> None:
        self.node = node
        self.macs: dict[str, tuple[bytes, bytes]] = {}
        """By interface: the far end's address and the node's."""
        self._build(node, far)
        self._senders = netns.run_in_named(far, lambda: {name: _packet_socket(f"p-{name}") for name in self.macs})
        self._receiver = netns.run_in_named(far, _receiver)
        self._turn = netns.run_in_named(node, lambda: _packet_socket("ext0", barrier.PROTOCOL))
        self._barrier = Barrier(self._senders["ext0"], self._turn, self._receiver)
        self._own = netns.run_in_named(node, _own_senders)
        self._taken_in = netns.run_in_named(node, _log_socket)
        self._netlink = netns.run_in_named(node, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))

    def close(self) -> None:
        own = (self._receiver, self._turn, self._taken_in, self._netlink)
        for opened in (*self._senders.values(), *self._own.values(), *own):
            opened.close()

    def exchange(self, packets: Iterable[Outgoing]) -> dict[int, str]:
        """Send them all; by number: the interface at whose far end each arrived, or HERE."""
        with on_one_processor():
            for packet in packets:
                self._send(packet)
            return self._arrivals()

    def _send(self, packet: Outgoing) -> None:
        if packet.device:
            self._senders[packet.device].send(packet.content)
            return
        family = socket.AF_INET6 if ":" in packet.destination else socket.AF_INET
        with contextlib.suppress(PermissionError):  # how the kernel tells the sender that its packet was dropped
            self._own[family].sendto(packet.content, (packet.destination, 0))

    def _arrivals(self) -> dict[int, str]:
        arrived: dict[int, str] = {}
        for content, device in self._barrier.arrivals():
            number = number_of(content)
            if number is not None:
                arrived[number] = device.removeprefix("p-")
        with contextlib.suppress(BlockingIOError):
            while True:
                for number in _numbers(self._taken_in.recv(1 << 16, socket.MSG_DONTWAIT)):
                    arrived[number] = HERE
        return arrived

    def forget_connections(self) -> None:
        """Empty the node's conntrack table."""
        self._netlink.send(_FLUSH_CONNTRACK)
        answer = self._netlink.recv(4096)
        error = -struct.unpack_from("=i", answer, 16)[0]
        if error:
            raise OSError(error, f"conntrack flush: {os.strerror(error)}")

    def _build(self, node: str, far: str) -> None:
        netns.run_in_named(node, _set_sysctls)
        names = [*LAYOUT.interfaces, *(interface(number) for number in range(1, WORKLOADS + 1))]
        lines = ["link set lo up"]
        for index, name in enumerate(names):
            far_mac, near_mac = f"02:00:00:00:01:{index:02x}", f"02:00:00:00:02:{index:02x}"
            self.macs[name] = (bytes.fromhex(far_mac.replace(":", "")), bytes.fromhex(near_mac.replace(":", "")))
            lines.append(f"link add {name} address {near_mac} type veth peer name p-{name} address {far_mac} netns {far}")
            lines.append(f"link set {name} up")
            lines += [f"neigh replace {each} lladdr {far_mac} dev {name} nud permanent" for each in _behind(name)]
        for name, addresses in LAYOUT.interfaces.items():
            lines += [f"address add {each}/{128 if ':' in each else 32} dev {name}" for each in addresses]
        lines += [f"route add {net} dev {name}" for net, name in LAYOUT.routes]
        _ip(node, lines)
        netns.run_in_named(far, _set_quiet)
        _ip(far, [f"link set p-{name} up" for name in names])
        until_ipv6(node, *names)
        subprocess.run(["ip", "netns", "exec", node, "nft", "-f", "-"], input=_OBSERVER, text=True, check=True)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A stage that leaves nothing behind."""
    tag = f"{os.getpid()}{secrets.token_hex(2)}"
    node, far = f"tz{tag}n", f"tz{tag}f"
    netns.create(node)
    try:
        netns.create(far)
        built = Stage(node, far)
        try:
            yield built
        finally:
            built.close()
    finally:
        netns.delete(node)
        netns.delete(far)


def _behind(name: str) -> list[str]:
    if name not in LAYOUT.interfaces:
        number = int(name.removeprefix(interface(0)[:-1]))
        return [f"10.65.0.{number}", f"fd00:65::{number:x}"]
    services = [*NOBODY[4], *NOBODY[6]] if name == "ext0" else []
    everybody = [each for there in STRANGERS.values() for family in (4, 6) for each in there[family]]
    return [*everybody, *services]


def _ip(namespace: str, lines: list[str]) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def _set_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        with open(f"/proc/sys/{name}", "w") as file:
            file.write(value)


def _set_quiet() -> None:
    # The far ends must not answer, not even with neighbour discovery.
    for name in ("net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6"):
        with open(f"/proc/sys/{name}", "w") as file:
            file.write("1")


def _packet_socket(device: str, protocol: int = 0) -> socket.socket:
    """Sends on a device; receives there only what has the protocol."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.bind((device, protocol))
    return opened


def _receiver() -> socket.socket:
    """Receives from all devices."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    return opened


def _own_senders() -> dict[int, socket.socket]:
    """By family: takes whole packets, IP header included."""
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    return {socket.AF_INET: four, socket.AF_INET6: six}


def _log_socket() -> socket.socket:
    """Bound to the observer's group; each packet comes at once and whole (include/uapi/linux/netfilter/nfnetlink_log.h)."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    bind, mode = struct.pack("=HHBxxx", 5, 1, 1), struct.pack("=HH", 10, 2) + struct.pack("!IBB", 160, 2, 0) + bytes(2)
    at_once = struct.pack("=HH", 8, 5) + struct.pack("!I", 1)
    for attributes in (bind, mode + at_once):
        body = struct.pack("!BBH", 0, 0, _GROUP) + attributes
        opened.send(struct.pack("=IHHII", 16 + len(body), _LOG_CONFIG, 0x5, 1, 0) + body)
        error = -struct.unpack_from("=i", opened.recv(4096), 16)[0]
        if error:
            raise OSError(error, f"nflog group {_GROUP}: {os.strerror(error)}")
    return opened


def _numbers(logged: bytes) -> Iterator[int]:
    """The numbers in what an nflog socket gives at once."""
    at = logged.find(MAGIC)
    while at >= 0:
        yield int(struct.unpack_from("!I", logged, at + len(MAGIC))[0])
        at = logged.find(MAGIC, at + len(MAGIC))
