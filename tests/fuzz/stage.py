"""A node as one network namespace with a fixed set of workload interfaces, and their far ends in another.

Workload number i has 10.65.0.i and fd00:65::i behind `calitz<i>`; strangers live behind `ext0`. Far ends carry no address:
frames are written to them and read from them raw. Neighbours are permanent, so nobody ever asks who has an address; routes to
workloads are the dataplane's to make.
"""

import contextlib
import os
import secrets
import select
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator

from tests.fuzz.frames import number_of
from tests.fuzz.probes import STRANGERS

from tortie.kernel import netns

WORKLOADS = 10
OUTSIDE = "ext0"
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
_QUIET_SECONDS = 0.03
"""Frames cross the node in the sender's own system call; this is for the rare one that a softirq thread takes over."""
_PACKET_OUTGOING = 4
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
_NETLINK_NETFILTER = 12
_FLUSH_CONNTRACK = struct.pack("=IHHIIBBH", 20, 0x0102, 0x5, 1, 0, 0, 0, 0)


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
        self._receiver = netns.run_in_named(far, lambda: _packet_socket(""))
        self._netlink = netns.run_in_named(node, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))

    def close(self) -> None:
        for opened in (*self._senders.values(), self._receiver, self._netlink):
            opened.close()

    def exchange(self, frames: Iterable[tuple[str, bytes]]) -> dict[int, str]:
        """Write frames to far ends; by number: the interface at whose far end each arrived."""
        for name, content in frames:
            self._senders[name].send(content)
        arrived: dict[int, str] = {}
        while select.select([self._receiver], [], [], _QUIET_SECONDS)[0]:
            content, (device, _, kind, *_) = self._receiver.recvfrom(2048)
            number = number_of(content)
            if number is not None and kind != _PACKET_OUTGOING:
                arrived[number] = device.removeprefix("p-")
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
        names = [OUTSIDE, *(interface(number) for number in range(1, WORKLOADS + 1))]
        lines = ["link set lo up"]
        for index, name in enumerate(names):
            far_mac, near_mac = f"02:00:00:00:01:{index:02x}", f"02:00:00:00:02:{index:02x}"
            self.macs[name] = (bytes.fromhex(far_mac.replace(":", "")), bytes.fromhex(near_mac.replace(":", "")))
            lines.append(f"link add {name} address {near_mac} type veth peer name p-{name} address {far_mac} netns {far}")
            lines.append(f"link set {name} up")
            lines += [f"neigh replace {each} lladdr {far_mac} dev {name} nud permanent" for each in _behind(name, index)]
        lines += [f"address add 192.0.2.254/32 dev {OUTSIDE}", f"route add 0.0.0.0/0 dev {OUTSIDE}"]
        lines += [f"address add 2001:db8:ff::1/128 dev {OUTSIDE}", f"route add ::/0 dev {OUTSIDE}"]
        _ip(node, lines)
        netns.run_in_named(far, _set_quiet)
        _ip(far, [f"link set p-{name} up" for name in names])


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


def _behind(name: str, index: int) -> list[str]:
    return [*STRANGERS[4], *STRANGERS[6]] if name == OUTSIDE else [f"10.65.0.{index}", f"fd00:65::{index:x}"]


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


def _packet_socket(device: str) -> socket.socket:
    """Bound to a device it sends, and takes in nothing; bound to none it receives from all."""
    if device:
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((device, 0))
        return sender
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    return receiver
