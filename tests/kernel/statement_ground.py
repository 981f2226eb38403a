"""The ground of the statements' tests: documents become a node's rules in the way they do in an agent, then packets are sent.

    a b c d  pods of the node         host  the node itself (its address on ext0)
    e        an interface without a pod, for a workload of a test's own (`workload`)
    out      a stranger behind ext0   far   a stranger behind ext1

Pods a and b are in namespace `one`, c and d in `two`. Far ends carry no address: packets are written there and read there raw,
so whether one passes is seen where it should arrive and nowhere else.
"""

import asyncio
import contextlib
import os
import secrets
import select
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from tests.kernel import barrier
from tests.kernel.barrier import Barrier
from tests.kernel.spaces import on_one_processor, until_ipv6
from tests.kernel.statement_packets import Seen, families_of, packet, read, what

from tortie.api.documents import decode
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.api.tier import PREDEFINED, Tier
from tortie.api.validation import check
from tortie.calc.graph import Graph
from tortie.dataplane.linux import LinuxDataplane
from tortie.insight.world import World
from tortie.intent.messages import EndpointUpdate, Message
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.link import Links
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Routes
from tortie.kernel.route_table import RouteTable

NODE = "node1"
PODS = ("a", "b", "c", "d", "e")
DEVICES = {"out": "ext0", "far": "ext1"} | {pod: f"cali{pod}" for pod in PODS}
ADDRESSES = {
    "host": ("192.0.2.254", "2001:db8:9::fe"),
    "out": ("192.0.2.7", "2001:db8:9::7"),
    "far": ("198.51.100.7", "2001:db8:a::7"),
    "cluster ip": ("10.96.0.10", "fd00:96::10"),
} | {pod: (f"10.65.0.{number}", f"fd00:65::{number}") for number, pod in enumerate(PODS, 1)}
CLUSTER = """
{kind: Namespace, apiVersion: v1, metadata: {name: one, labels: {team: red}}}
---
{kind: Namespace, apiVersion: v1, metadata: {name: two, labels: {team: blue}}}
---
{kind: ServiceAccount, apiVersion: v1, metadata: {name: cook, namespace: one, labels: {job: kitchen}}}
---
{kind: ServiceAccount, apiVersion: v1, metadata: {name: waiter, namespace: two, labels: {job: floor}}}
---
{kind: ServiceAccount, apiVersion: v1, metadata: {name: cook, namespace: two, labels: {job: floor}}}
---
{kind: Pod, apiVersion: v1, metadata: {name: a, namespace: one, labels: {app: a, tone: low}},
 spec: {nodeName: node1, serviceAccountName: cook, containers: [{name: x, image: x}]},
 status: {podIPs: [{ip: 10.65.0.1}, {ip: "fd00:65::1"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: b, namespace: one, labels: {app: b, tone: high}},
 spec: {nodeName: node1, containers: [{name: x, image: x, ports: [
   {name: web, containerPort: 8080, protocol: TCP}, {name: dns, containerPort: 5353, protocol: UDP}]}]},
 status: {podIPs: [{ip: 10.65.0.2}, {ip: "fd00:65::2"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: c, namespace: two, labels: {app: c, tone: low}},
 spec: {nodeName: node1, serviceAccountName: waiter, containers: [{name: x, image: x, ports: [
   {name: web, containerPort: 9090, protocol: TCP}]}]},
 status: {podIPs: [{ip: 10.65.0.3}, {ip: "fd00:65::3"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: d, namespace: two, labels: {app: d, tone: high}},
 spec: {nodeName: node1, serviceAccountName: cook, containers: [{name: x, image: x}]},
 status: {podIPs: [{ip: 10.65.0.4}, {ip: "fd00:65::4"}]}}
---
{kind: Node, apiVersion: projectcalico.org/v3, metadata: {name: node1},
 spec: {bgp: {ipv4Address: 192.0.2.254/24, ipv6Address: "2001:db8:9::fe/64"}}}
"""
_ETHER_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_ETH_P_ALL = 3
_IPV6_HDRINCL = 36
_FLUSH_CONNTRACK = struct.pack("=IHHIIBBH", 20, 0x0102, 0x5, 1, 0, 0, 0, 0)
_HOST_PROTOCOLS = {4: (1, 4, 6, 17, 89, 132, 136), 6: (4, 6, 17, 58, 89, 132, 136)}
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
    "net/netfilter/nf_conntrack_checksum": "0",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet and where it came."""

    where: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Sending:
    """What is sent, beside who sends it to whom."""

    sent: str
    source: str | None = None
    source_port: int | None = None
    source_mac: bytes | None = None
    flags: str = "S"
    quoting: bytes = b""


class Ground:
    """One node in a namespace, its far ends in another.

    `has` begins anew; `gets` and `loses` are changes in one agent's life.
    """

    def __init__(self, node: str, far: str) -> None:
        self.node = node
        self._stack = contextlib.ExitStack()
        self._macs: dict[str, tuple[bytes, bytes]] = {}
        self._build(node, far)
        self._senders = netns.run_in_named(far, lambda: {name: _bound(f"p-{device}") for name, device in DEVICES.items()})
        self._receiver = netns.run_in_named(
            far, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        )
        self._local, self._from_host, self._netlink = netns.run_in_named(node, _host_sockets)
        turn = netns.run_in_named(node, lambda: _bound("ext0", barrier.PROTOCOL))
        self._barrier = Barrier(self._senders["out"], turn, self._receiver)
        own = (self._receiver, turn, self._netlink)
        for opened in (*self._senders.values(), *self._local, *self._from_host.values(), *own):
            self._stack.enter_context(opened)
        self._number = secrets.randbits(16) << 12
        self._port = 20000
        self._life = contextlib.ExitStack()
        self._foreign: list[str] = []

    def close(self) -> None:
        """End, without removing the namespaces."""
        self._life.close()
        self._stack.close()

    # ---- what the node is told ----
    def has(self, *documents: str) -> None:
        """An agent starts on this node and finds the cluster and these documents; nothing is left of what was before."""
        self._life.close()
        self._loop = asyncio.new_event_loop()
        self._life.callback(self._loop.close)
        fd = netns.open_named(self.node)
        self._life.callback(os.close, fd)
        self._table, routes, conntrack = NftTable(netns_fd=fd), Routes(fd), Conntrack(fd)
        self._life.callback(lambda: self._loop.run_until_complete(self._table.close()))
        self._life.callback(routes.close)
        self._life.callback(conntrack.close)
        links = Links(fd)
        self._life.callback(links.close)
        self._dataplane = LinuxDataplane(self._table, RouteTable(routes, grace_seconds=0), conntrack=conntrack, links=links)
        self._graph = Graph(NODE)
        self._documents: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._stored: dict[Key, Resource] = {}
        self._fed: dict[Key, Update] = {}
        self._graph.on_in_sync()
        self.gets(CLUSTER, *documents)
        self.forget_connections()

    def gets(self, *documents: str) -> None:
        """The agent that is running sees these documents come, or change."""
        for document in _read(documents):
            self._documents[_identity(document)] = document
        self._follow()

    def loses(self, kind: str, name: str, namespace: str = "") -> None:
        """The agent that is running sees this go."""
        del self._documents[kind, namespace, name]
        self._follow()

    def stores(self, resource: Resource) -> None:
        """The agent sees a stored value that did not get the defaults of writing."""
        self._stored[resource.key] = resource
        self._follow()

    def foreign(self, rules: str) -> None:
        """Somebody else's nft commands; the table that they make must be called `inet foreign`."""
        self._foreign.append(rules)
        self._nft(rules)

    def reset(self) -> None:
        """The agent is gone without a word, and so is everything foreign."""
        self._life.close()
        if self._foreign:
            self._nft("delete table inet foreign")
            self._foreign.clear()

    def forget_connections(self) -> None:
        """Empty the node's table of connections."""
        self._netlink.send(_FLUSH_CONNTRACK)
        error = -struct.unpack_from("=i", self._netlink.recv(4096), 16)[0]
        if error:
            raise OSError(error, f"conntrack flush: {os.strerror(error)}")

    def counted(self, comment: str) -> int:
        """Packets counted by rules of ours whose comment contains the text."""
        command = ["ip", "netns", "exec", self.node, "nft", "list", "table", "inet", "tortie"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        words = [line.split() for line in lines if comment in line and "counter packets" in line]
        return sum(int(line[line.index("packets") + 1]) for line in words)

    # ---- packets ----
    def lets(
        self,
        sender: str,
        receiver: str,
        sent: str,
        *,
        family: int | None = None,
        source: str | None = None,
        source_port: int | None = None,
        source_mac: bytes | None = None,
        flags: str = "S",
    ) -> bool:
        """Whether a packet arrives at its receiver, in both families if it exists in both; they must agree.

        A receiver may be `10.0.0.1 via out`: an address, and where it should arrive.
        `source`: whose address it carries (a name or an address), the sender's by default. A new connection each time unless
        `source_port` says which.
        """
        place = receiver.partition(" via ")[2] or receiver
        sending = Sending(sent, source=source, source_port=source_port, source_mac=source_mac, flags=flags)
        wanted = (family,) if family else families_of(sent)
        with on_one_processor():
            numbers = {self._emit(sender, receiver, sending, family=each): each for each in wanted}
            arrivals = list(self._arrivals())
        answers = dict.fromkeys(numbers.values(), False)
        for arrival in arrivals:
            each = numbers.get(arrival.seen.number or 0)
            if each is not None and arrival.seen.source == address(source or sender, each):
                assert arrival.where == place, f"{sender} → {receiver} {sent} arrived at {arrival.where}"
                answers[each] = True
        assert len(set(answers.values())) == 1, f"{sender} → {receiver} {sent}: the families differ: {answers}"
        return next(iter(answers.values()))

    def send(self, sender: str, receiver: str, sent: str, *, family: int, quoting: bytes = b"") -> list[Arrival]:
        """Send one packet; everything that arrives anywhere in consequence. `quoting`: what an ICMP error is about."""
        with on_one_processor():
            self._emit(sender, receiver, Sending(sent, quoting=quoting), family=family)
            return list(self._arrivals())

    def _emit(self, sender: str, receiver: str, sending: "Sending", *, family: int) -> int:
        """Send one packet; its number."""
        if sending.source_port is None:
            self._port += 1
        self._number += 1
        destination = address(receiver.partition(" via ")[0], family)
        content = packet(
            what(sending.sent, family),
            address(sending.source or sender, family),
            destination,
            number=self._number,
            source_port=sending.source_port or self._port,
            flags=sending.flags,
            quoting=sending.quoting,
        )
        if sender == "host":
            with contextlib.suppress(PermissionError):  # what is dropped on its way out the sender hears of
                self._from_host[family].sendto(content, (destination, 0))
        else:
            far_mac, near_mac = self._macs[sender]
            self._put(sender, near_mac + (sending.source_mac or far_mac) + _ETHER_TYPES[family] + content)
        return self._number

    def _put(self, sender: str, frame: bytes) -> None:
        """Put a frame on the wire at a far end."""
        self._senders[sender].send(frame)

    def burst(self, sender: str, receiver: str, sent: str, *, family: int, source_port: int, count: int) -> int:
        """How many of so many packets of one connection arrive, sent as fast as possible."""
        far_mac, near_mac = self._macs[sender]
        ends = address(sender, family), address(receiver, family)
        numbers = range(self._number + 1, self._number + 1 + count)
        self._number += count
        with on_one_processor():
            for number in numbers:
                content = packet(what(sent, family), *ends, number=number, source_port=source_port, flags="A")
                self._put(sender, near_mac + far_mac + _ETHER_TYPES[family] + content)
            return sum(arrival.where == receiver and arrival.seen.number in numbers for arrival in self._arrivals())

    def flow(self, sender: str, receiver: str, sent: str, *, family: int = 4) -> "Flow":
        """A connection that was just opened and answered: its first packet and the answer passed."""
        self._port += 1
        flow = Flow(self, sender, receiver, sent, self._port, family)
        assert flow.goes()
        assert flow.comes_back()
        return flow

    def _arrivals(self) -> Iterator[Arrival]:
        """What has come by the time that a frame sent last has gone to the node and back."""
        by_device = {f"p-{device}": name for name, device in DEVICES.items()}
        for content, device in self._barrier.arrivals():
            seen = read(content[14:]) if device in by_device else None
            if seen is not None and not seen.is_multicast:  # the node's own, of neighbour discovery
                yield Arrival(by_device[device], seen)
        while ready := select.select(self._local, [], [], 0)[0]:
            for opened in ready:
                content, sender = opened.recvfrom(4096)
                seen = read(content) if opened.family == socket.AF_INET else Seen(opened.proto, sender[0], "", content, 0)
                if seen is not None and seen.number is not None:
                    yield Arrival("host", seen)

    # ---- inside ----
    def _follow(self) -> None:
        resources: list[Resource] = [check(decode(document)) for document in self._documents.values()]
        always: list[Resource] = [Tier(metadata=Metadata(name=name), spec=spec) for name, spec in PREDEFINED.items()]
        always.append(DEFAULT_ALLOW)
        wanted = {each.key: Update(each.key, each) for each in always}
        wanted |= {update.key: update for update in World.from_resources(resources).updates}
        wanted |= {key: Update(key, resource) for key, resource in self._stored.items()}
        self._graph.on_updates(Update(key, None) for key in self._fed.keys() - wanted.keys())
        self._graph.on_updates(update for key, update in wanted.items() if self._fed.get(key) != update)
        self._fed = wanted
        self._dataplane.on_messages(_on_ground(message) for message in self._graph.flush())
        self._loop.run_until_complete(self._dataplane.apply())

    def _nft(self, rules: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.node, "nft", "-f", "-"], input=rules, text=True, check=True)

    def _build(self, node: str, far: str) -> None:
        netns.run_in_named(node, lambda: _write(_SYSCTLS))
        lines = ["link set lo up"]
        for index, (name, device) in enumerate(DEVICES.items()):
            far_mac, near_mac = f"02:00:00:00:01:{index:02x}", f"02:00:00:00:02:{index:02x}"
            self._macs[name] = (bytes.fromhex(far_mac.replace(":", "")), bytes.fromhex(near_mac.replace(":", "")))
            lines.append(f"link add {device} address {near_mac} type veth peer name p-{device} address {far_mac} netns {far}")
            lines.append(f"link set {device} up")
            lines += [f"neigh replace {each} lladdr {far_mac} dev {device} nud permanent" for each in ADDRESSES[name]]
        lines += ["address add 192.0.2.254/32 dev ext0", "route add default via 192.0.2.7 dev ext0 onlink"]
        lines += ["address add 2001:db8:9::fe/128 dev ext0", "route add default via 2001:db8:9::7 dev ext0 onlink"]
        lines += ["address add 198.51.100.254/32 dev ext1", "route add 198.51.100.0/24 via 198.51.100.7 dev ext1 onlink"]
        lines += ["address add 2001:db8:a::fe/128 dev ext1", "route add 2001:db8:a::/64 via 2001:db8:a::7 dev ext1 onlink"]
        _ip(node, lines)
        quiet = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}
        netns.run_in_named(far, lambda: _write(quiet))
        _ip(far, [f"link set p-{device} up" for device in DEVICES.values()])
        until_ipv6(node, *DEVICES.values())


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection between two ends of the ground."""

    ground: Ground
    sender: str
    receiver: str
    sent: str
    port: int
    family: int

    def goes(self) -> bool:
        """Another packet of its opener arrives."""
        return self.ground.lets(self.sender, self.receiver, self.sent, family=self.family, source_port=self.port)

    def comes_back(self) -> bool:
        """A packet of its other end arrives."""
        protocol, _, port = self.sent.partition("/")
        return self.ground.lets(
            self.receiver, self.sender, f"{protocol}/{self.port}", family=self.family, source_port=int(port), flags="SA"
        )


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """A ground that leaves nothing behind."""
    tag = f"{os.getpid()}{secrets.token_hex(2)}"
    node, far = f"psa{tag}n", f"psa{tag}f"
    with contextlib.ExitStack() as stack:
        for name in (node, far):
            netns.create(name)
            stack.callback(netns.delete, name)
        made = Ground(node, far)
        stack.callback(made.close)
        yield made


def gnp(name: str, spec: str) -> str:
    """A GlobalNetworkPolicy; the inside of its `spec` as YAML."""
    return f"{{kind: GlobalNetworkPolicy, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def np(name: str, spec: str, *, namespace: str = "one") -> str:
    """A NetworkPolicy."""
    return f"{{kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}"


def tier(name: str, spec: str) -> str:
    """A Tier."""
    return f"{{kind: Tier, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def felix(spec: str) -> str:
    """The FelixConfiguration of all nodes."""
    return f"{{kind: FelixConfiguration, metadata: {{name: default}}, spec: {{{spec}}}}}"


def profile(name: str, spec: str) -> str:
    """A Profile."""
    return f"{{kind: Profile, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def workload(profiles: str, *, container: str = "e") -> str:
    """A WorkloadEndpoint of namespace `one` which no pod made, at interface `e`, with these profiles."""
    name = f"node1-cni-{container}-eth0"
    return (
        f"{{kind: WorkloadEndpoint, metadata: {{name: {name}, namespace: one, labels: {{app: e}}}}, spec: {{"
        f"orchestrator: cni, node: node1, containerID: {container}, endpoint: eth0, interfaceName: calie, "
        f'profiles: [{profiles}], ipNetworks: [10.65.0.5/32, "fd00:65::5/128"]}}}}'
    )


def address(name: str, family: int) -> str:
    """The address of one of the ends; an address is its own."""
    return ADDRESSES[name][family == 6] if name in ADDRESSES else name


def _on_ground(message: Message) -> Message:
    """Pods' interfaces have the ground's names, told from their addresses."""
    if not isinstance(message, EndpointUpdate) or message.endpoint is None or not message.endpoint.addresses:
        return message
    number = message.endpoint.addresses[0].network.value & 0xFF
    return EndpointUpdate(message.id, replace(message.endpoint, interface=f"cali{PODS[number - 1]}"))


def _read(documents: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in documents:
        for document in yaml.safe_load_all(text):
            document.setdefault("apiVersion", "projectcalico.org/v3")
            yield document


def _identity(document: dict[str, Any]) -> tuple[str, str, str]:
    meta = document["metadata"]
    return document["kind"], meta.get("namespace", ""), meta["name"]


def _host_sockets() -> tuple[list[socket.socket], dict[int, socket.socket], socket.socket]:
    """Of the node: those that see what its sockets would get, those that send whole packets, and one to netlink."""
    local = [
        socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
        for family, protocols in _HOST_PROTOCOLS.items()
        for protocol in protocols
    ]
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    six.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    return local, {4: four, 6: six}, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)


def _bound(device: str, protocol: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((device, protocol))
    return made


def _ip(namespace: str, lines: list[str]) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def _write(values: dict[str, str]) -> None:
    for name, value in values.items():
        Path("/proc/sys", name).write_text(value)
