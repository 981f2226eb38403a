"""Two nodes behind a router, each with a pod, joined by IPIP: by its manager, and a carrier of the test's choice."""

import asyncio
import contextlib
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.kernel.spaces import named_space

from tortie.base.net import Address, parse_address, parse_interface, parse_prefix
from tortie.dataplane.ipip_manager import Carrier, IpipManager
from tortie.dataplane.render.config import Config
from tortie.dataplane.route_manager import RouteManager
from tortie.intent.messages import ClusterRouteUpdate, Message, OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, TunnelEnd, Way
from tortie.kernel import netns, sysctl
from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.hooks import ORDER, Hooks, Kind
from tortie.kernel.bpf.tunnel import NAME, BpfIpip
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.ipip import KernelIpip
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes
from tortie.kernel.route_table import RouteTable

ETH_P_ALL = 3
IPIP, UDP = 4, 17
POOL = parse_prefix("10.65.0.0/16")
_MTU_DISCOVER, _PROBE, _DONT = 10, 3, 0
_SIOCETHTOOL = 0x8946
_RTM_NEWLINK, _REQUEST_ACK = 16, 5
_SIZES_OF_SUPER_PACKETS = (41, 58, 63, 64)  # what is cut (GSO) and what is put together (GRO); the same of IPv4 alone
_RECEIVE_BUFFER = 33  # SO_RCVBUFFORCE
_OFFLOADS = (0x1F, 0x24, 0x2C, 0x17)  # TSO, GSO, GRO, checksums of what is sent


class Machine:
    """A node, its uplink (eth0), its pod's namespace and its manager."""

    def __init__(
        self, number: int, space: str, pod: str, *, carrier: str, order: Sequence[Kind], stack: contextlib.ExitStack
    ) -> None:
        self.number, self.space, self.pod, self.name, self.carrier = number, space, pod, f"n{number}", carrier
        self.fd, self.pod_fd = (stack.enter_context(netns.opened(each)) for each in (space, pod))
        self.links, self.routes, self.conntrack = Links(self.fd), Routes(self.fd), Conntrack(self.fd)
        self.uplink = parse_interface(f"192.0.{number}.2/24")
        self.tunnel = parse_address(f"10.65.{number}.0")
        self.workload = parse_address(f"10.65.{number}.5")
        self.block = parse_prefix(f"10.65.{number}.0/26")
        self.others: tuple[Machine, ...] = ()
        self.order = order
        self._stack = stack
        for each in (self.links, self.routes, self.conntrack):
            stack.callback(each.close)
        self.manager = self.new_life()

    def new_life(self) -> IpipManager:
        """A manager that knows nothing, as of a new agent."""
        carrier: Carrier = KernelIpip(self.links)
        if self.carrier == "ebpf":
            carrier = BpfIpip(object_file(), self.fd, order=self.order)
            self._stack.callback(carrier.close)
        return self.carried_by(carrier)

    def carried_by(self, *carriers: Carrier, excluded: Sequence[Carrier] = ()) -> IpipManager:
        """The same with carriers of the test's choice."""
        self.carriers = carriers
        self.manager = IpipManager(carriers, excluded=excluded)
        table = RouteTable(self.routes, workload_prefixes=("none",))
        self.main_table = RouteManager(table, self.conntrack, overlays=(self.manager,), links=self.links)
        for manager in (self.manager, self.main_table):
            manager.configure(Config())
        return self.manager

    def tell(self, *others: "Machine") -> None:
        """What calc says of a cluster of these machines; then all of it is put into force."""
        self.others = others
        end = TunnelEnd(Way.IPIP, self.uplink.address.family, self.tunnel, (POOL,))
        self.update(OverlayUpdate(Overlay(self.name, self.uplink, None, (end,))))
        local = ClusterRoute(self.block, Way.LOCAL, Owner.AGENT, self.name)
        for each in (local, *(self.way_to(other) for other in others)):
            self.update(ClusterRouteUpdate(each.dst, each))
        self.apply()

    def way_to(self, other: "Machine") -> ClusterRoute:
        return ClusterRoute(other.block, Way.IPIP, Owner.AGENT, other.name, other.uplink.address)

    def stop(self) -> None:
        """IPIP is not in use any more."""
        for other in self.others:
            self.update(ClusterRouteUpdate(other.block, None))
        self.update(OverlayUpdate(Overlay(self.name, self.uplink, None)))
        self.apply()

    def update(self, message: Message) -> None:
        self.manager.on_update(message)
        self.main_table.on_update(message)

    def apply(self) -> None:
        """The managers in their order, as LinuxDataplane calls them."""

        async def turn() -> None:
            await self.manager.apply()
            await self.main_table.apply({})
            await self.manager.retire()

        asyncio.run(turn())

    def repair(self) -> None:
        """What the agent does when it was told that something changed."""
        self.manager.invalidate()
        self.main_table.invalidate()
        self.apply()

    def run(self, *words: str) -> str:
        command = ["ip", "netns", "exec", self.space, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def socket(self, kind: socket.SocketKind, *, bound: Address | None = None, in_pod: bool = True) -> socket.socket:
        opened = netns.in_netns(self.pod_fd if in_pod else self.fd, lambda: socket.socket(socket.AF_INET, kind))
        opened.settimeout(2)
        opened.bind((str(bound or self.workload) if in_pod or bound else "0.0.0.0", 0))
        return opened


@contextlib.contextmanager
def cluster(prefix: str, first: str, second: str, *, order: Sequence[Kind] = ORDER) -> Iterator[tuple[Machine, Machine, int]]:
    """Two machines that carry IPIP as is said and know each other, and the namespace of the router between them (n1 at eth1,
    n2 at eth2)."""
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(named_space(prefix)) for _ in range(5)]
        router = stack.enter_context(netns.opened(names[0]))
        machines = [
            Machine(number, names[2 * number - 1], names[2 * number], carrier=carrier, order=order, stack=stack)
            for number, carrier in ((1, first), (2, second))
        ]
        with Links(router) as links:
            for machine in machines:
                _wire(machine, links, router)
        sysctl.write_many({"net/ipv4/ip_forward": 1}, netns_fd=router)
        one, two = machines
        one.tell(two)
        two.tell(one)
        yield one, two, router


def _wire(machine: Machine, router: Links, router_fd: int) -> None:
    number, links = machine.number, machine.links
    links.set_up("lo")
    links.create_veth("eth0", f"eth{number}", peer_netns=router_fd)
    router.set_up(f"eth{number}")
    router.add_address(f"eth{number}", parse_interface(f"192.0.{number}.1/24"))
    links.set_up("eth0")
    links.add_address("eth0", machine.uplink)
    links.create_veth("cali1", "eth0", peer_netns=machine.pod_fd)
    links.set_up("cali1")
    values: dict[str, str | int] = {
        "net/ipv4/ip_forward": 1, "net/ipv4/conf/cali1/proxy_arp": 1, "net/ipv4/neigh/cali1/proxy_delay": 0,
        "net/ipv4/conf/all/rp_filter": 1, "net/ipv4/conf/default/rp_filter": 1,
    }  # fmt: skip
    sysctl.write_many(values, netns_fd=machine.fd)
    gateway = parse_address(f"192.0.{number}.1")
    routes = [
        Route(dst=parse_prefix("0.0.0.0/0"), via=gateway, device="eth0", protocol=4),
        Route(dst=parse_prefix(f"{machine.workload}/32"), device="cali1", protocol=4),
    ]
    assert machine.routes.replace(routes) == ()
    with Links(machine.pod_fd) as pod, Routes(machine.pod_fd) as inside:
        pod.set_mtu("eth0", 1480)
        pod.set_up("lo")
        pod.set_up("eth0")
        pod.add_address("eth0", parse_interface(f"{machine.workload}/32"))
        hop = parse_address("169.254.1.1")
        assert inside.replace([Route(dst=parse_prefix("169.254.1.1/32"), device="eth0")]) == ()
        assert inside.replace([Route(dst=parse_prefix("0.0.0.0/0"), via=hop, device="eth0")]) == ()


def reaches(one: Machine, other: Machine, *, size: int = 100, may_fragment: bool = False) -> bool:
    """A datagram from pod to pod, and one back."""
    with one.socket(socket.SOCK_DGRAM) as here, other.socket(socket.SOCK_DGRAM) as there:
        for each in (here, there):
            each.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DONT if may_fragment else _PROBE)
        sent = os.urandom(size)
        try:
            here.sendto(sent, there.getsockname())
            received, sender = there.recvfrom(1 << 16)
            there.sendto(received, sender)
            return here.recv(1 << 16) == sent
        except OSError:
            return False


def is_repaired(one: Machine, other: Machine, damage: str) -> None:
    """After a command that harms it the tunnel is as it was once the agent has looked."""
    one.run(*damage.split())
    one.repair()
    assert reaches(one, other, size=1452)
    assert reaches(other, one, size=1452)
    shown = one.run("ip", "-o", "-4", "addr", "show", "dev", "tunl0").splitlines()
    assert [line.split()[3] for line in shown] == ["10.65.1.0/32"]
    assert one.links.get("tunl0").mtu == 1480


@contextlib.contextmanager
def asking(one: Machine, other: Machine) -> Iterator[list[int]]:
    """One question after the other from pod to pod for the length of a block; afterwards, which of them had no answer."""
    lost: list[int] = []
    ended = threading.Event()

    def keep_asking() -> None:
        with one.socket(socket.SOCK_DGRAM) as here, other.socket(socket.SOCK_DGRAM) as there:
            for number in itertools.count():
                if ended.is_set():
                    return
                here.sendto(str(number).encode(), there.getsockname())
                try:
                    there.sendto(*there.recvfrom(100))
                    assert int(here.recv(100)) == number
                except OSError:
                    lost.append(number)

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join()


def hears(machine: Machine) -> bool:
    """What the agent does when the network may have said something of the way; true if it makes a difference."""
    carrier = machine.carriers[0]
    changed = machine.manager.hear(carrier.path_errors.read()) if isinstance(carrier, BpfIpip) else frozenset()
    if changed:
        machine.main_table.ways_changed(changed)
        machine.apply()
    return bool(changed)


@contextlib.contextmanager
def hearing(*machines: Machine) -> Iterator[None]:
    """For the length of a block the machines' agents listen to what the network says."""
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(0.01):
            for machine in machines:
                hears(machine)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def narrowed(router: int, mtu: int) -> Iterator[None]:
    """For the length of a block the router sends nothing longer than this to either node."""

    def limit(mtu: int) -> None:
        with Routes(router) as routes:
            for number in (1, 2):
                subnet = Route(dst=parse_prefix(f"192.0.{number}.0/24"), device=f"eth{number}", protocol=4, mtu=mtu)
                assert routes.replace([subnet]) == ()

    limit(mtu)
    try:
        yield
    finally:
        limit(1500)


def hanging(machine: Machine) -> dict[str, dict[Kind, int]]:
    """The numbers of our programs at a machine's uplink and tunnel, by kind of place."""
    with contextlib.closing(Hooks(machine.fd)) as hooks:
        return {
            "eth0": hooks.get("eth0", "ingress", name=NAME),
            "tunl0": hooks.get("tunl0", "egress", name=NAME),
        }


def transfers(one: Machine, other: Machine, *, size: int) -> bool:
    """So many bytes by TCP from pod to pod arrive as they were."""
    sent = os.urandom(1 << 16) * (size >> 16)
    received = bytearray()
    with other.socket(socket.SOCK_STREAM) as listening, one.socket(socket.SOCK_STREAM) as here:
        listening.listen()

        def receive() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(20)
                while data := connection.recv(1 << 18):
                    received.extend(data)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        here.settimeout(20)
        here.connect(listening.getsockname())
        here.sendall(sent)
        here.shutdown(socket.SHUT_WR)
        thread.join(20)
    return bytes(received) == sent


# ---- bytes ----
def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def header(
    source: Address, target: Address, *, size: int, protocol: int, tos: int = 0, ttl: int = 64, fragment: int = 0x4000
) -> bytes:  # fmt: skip
    """An IPv4 header over so many bytes."""
    total = 20 + size
    fields = (0x45, tos, total, 0, fragment, ttl, protocol)
    ends = source.packed + target.packed
    draft = struct.pack("!BBHHHBBH", *fields, 0) + ends
    return struct.pack("!BBHHHBBH", *fields, checksum(draft)) + ends


def datagram(source: Address, target: Address, port: int, *, tos: int = 0, ttl: int = 64, fragment: int = 0x4000) -> bytes:
    """A UDP packet without a checksum."""
    body = struct.pack("!HHHH", 5000, port, 8 + 5, 0) + b"hello"
    return header(source, target, size=len(body), protocol=UDP, tos=tos, ttl=ttl, fragment=fragment) + body


def rfc2003(inner: bytes, source: Address, target: Address, *, tos: int | None = None, may_fragment: bool = False) -> bytes:
    """What RFC 2003 makes of a packet, with the inner packet's time to live and ECN. Our programs never let it be taken apart,
    the kernel's device does if what is inside may be; both are allowed."""
    fragment = struct.unpack_from("!H", inner, 6)[0] & 0x4000 if may_fragment else 0x4000
    outer_tos = inner[1] & 3 if tos is None else tos
    return header(
        source, target, size=len(inner), protocol=IPIP, tos=outer_tos, ttl=inner[8], fragment=fragment
    ) + inner  # fmt: skip


def without_id(packet: bytes) -> bytes:
    """The outer identification, which is the sender's to choose, and the checksum over it, left out."""
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]


class Wire:
    """What a device of a namespace sees, both ways, from now on."""

    def __init__(self, fd: int, device: str) -> None:
        self._socket = netns.in_netns(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        self._socket.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER, 1 << 26)
        self._socket.bind((device, ETH_P_ALL))
        self.patience = 2.0

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def packets(self, wanted: Callable[[bytes], bool], *, count: int = 1) -> list[bytes]:
        """The next IPv4 packets of this kind, without their link layer's header. Raises TimeoutError."""
        found: list[bytes] = []
        end = time.monotonic() + self.patience
        while len(found) < count:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            frame = self._socket.recv(1 << 17)
            if frame[12:14] == b"\x08\x00" and wanted(frame[14:]):
                found.append(frame[14:])
        return found


def sends(fd: int, packet: bytes) -> None:
    """A whole IPv4 packet, as it is, by whatever route the namespace has to its destination."""
    with netns.in_netns(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
        raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def sends_frame(fd: int, device: str, target: str, packet: bytes) -> None:
    """An IPv4 packet to this MAC with just these bytes: through `sends` the kernel puts length and checksum right."""
    with netns.in_netns(fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as raw:
        raw.bind((device, 0))
        raw.send(bytes.fromhex(target.replace(":", "")) + bytes(6) + b"\x08\x00" + packet)


def is_ipip(packet: bytes) -> bool:
    return packet[9] == IPIP


def with_super_packets(fd: int, device: str, *, size: int) -> None:
    """Let a device of a namespace have packets of this size, of IPv4 too (Linux 6.3)."""

    def work() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
            sizes = b"".join(struct.pack("=HHI", 8, kind, size) for kind in _SIZES_OF_SUPER_PACKETS)
            body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(device), 0, 0) + sizes
            asking.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST_ACK, 1, 0) + body)
            assert struct.unpack_from("=i", asking.recv(4096), 16)[0] == 0

    netns.in_netns(fd, work)


def without_offload(fd: int, device: str) -> None:
    """Let a device of a namespace segment and check nothing itself, as a plain network card."""
    with netns.in_netns(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(asking, _SIOCETHTOOL, request)
