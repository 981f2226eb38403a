"""Does the way to every other node carry what pods send? Asked with real packets, of which there are few.

A node answers an echo request with one of the same size, so one question tests both directions; it may not be fragmented. A
datagram to a port that nobody listens at is refused, if its checksum is right: the same datagram is sent with a checksum that
the kernel leaves to the interface, and with one made by hand. Nothing has to run on the other side for any of this. Asked are
nodes of the cluster alone, at addresses that their own resources name.
"""

import asyncio
import errno
import os
import random
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial

from tortie.agent.checkup import Check
from tortie.agent.node import stored_addresses
from tortie.api.node import Node
from tortie.base.net import FAMILIES, Address, Family, parse_address

MOST_NODES = 32
_AT_ONCE = 8
_SMALL = 100
_STEP = 4
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
"""What this node's own interface says of it, or what IPv6 says when a device at hand drops it."""
_PATIENCE_SECONDS, _LEAST_PATIENCE_SECONDS = 0.8, 0.15
"""For an answer: at first, and at least once it is known how long one takes."""
_TRIES = 2
_CLOSED_PORTS = range(33434, 33535)
_MTU_DISCOVER = {Family.V4: (socket.IPPROTO_IP, 10), Family.V6: (socket.IPPROTO_IPV6, 23)}
_PROBE = 3  # IP_PMTUDISC_PROBE: never fragmented, and what was learned about the path before is not believed
_DOMAIN = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_ICMP = {Family.V4: socket.IPPROTO_ICMP, Family.V6: socket.IPPROTO_ICMPV6}
_ECHO = {Family.V4: (8, 0), Family.V6: (128, 129)}
_HEADERS = {Family.V4: 28, Family.V6: 48}
_SETTING = {
    "vxlan": {Family.V4: "vxlanMTU", Family.V6: "vxlanMTUV6"},
    "ipip": {Family.V4: "ipipMTU"},
    "wireguard": {Family.V4: "wireguardMTU", Family.V6: "wireguardMTUV6"},
}
_DEVICES = {
    "vxlan.calico": ("vxlan", Family.V4),
    "vxlan-v6.calico": ("vxlan", Family.V6),
    "tunl0": ("ipip", Family.V4),
    "wireguard.cali": ("wireguard", Family.V4),
    "wg-v6.cali": ("wireguard", Family.V6),
}
_PLAIN = "the network"


@dataclass(frozen=True, slots=True)
class Target:
    """One way to one node."""

    node: str
    way: str
    address: Address

    @property
    def family(self) -> Family:
        """Of what is carried."""
        return self.address.family


async def check_pairs(nodes: Sequence[Node], own: str, *, size: int, devices: Set[str]) -> list[Check]:
    """One answer for each way that does not carry `size` bytes or ruins checksums, and one for all others.

    `devices` are this node's interfaces that are up: a tunnel that it lacks leads nowhere.
    """
    others = [node for node in nodes if node.metadata.name != own]
    if not others:
        return []
    if os.geteuid() != 0:
        return [Check("pairs", "note", "the ways to other nodes are not tried out: that needs root")]
    chosen = others if len(others) <= MOST_NODES else random.sample(others, MOST_NODES)
    targets = [target for node in sorted(chosen, key=lambda node: node.metadata.name) for target in targets_of(node, devices)]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(target: Target) -> Check | None:
        async with turns:
            return await _check(own, target, size)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(target)) for target in targets]
    found = [check for check in (task.result() for task in tasks) if check is not None]
    fine = len(targets) - len(found)
    if fine:
        among = f" ({len(chosen)} nodes of {len(others)}, drawn by lot)" if len(chosen) < len(others) else ""
        ways = "way carries" if fine == 1 else "ways carry"
        found.append(Check("pairs", "ok", f"{fine} {ways} {size} bytes to other nodes, with their checksums{among}"))
    return found


def targets_of(node: Node, devices: Set[str]) -> Iterator[Target]:
    """Every way to a node from one that has these interfaces."""
    for interface in stored_addresses(node).values():
        yield Target(node.metadata.name, _PLAIN, interface.address)
    for device, (way, family) in _DEVICES.items():
        text = _tunnel_address(node, way, family)
        if device not in devices or not text:
            continue
        try:
            yield Target(node.metadata.name, way, parse_address(text))
        except ValueError:
            continue


def _tunnel_address(node: Node, way: str, family: Family) -> str:
    spec, wireguard = node.spec, node.spec.wireguard
    texts = {
        "vxlan": (spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr),
        "ipip": (spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp is not None else "", ""),
        "wireguard": (wireguard.interface_ipv4_address, wireguard.interface_ipv6_address)
        if wireguard is not None
        else ("", ""),
    }
    return texts[way][FAMILIES.index(family)]


async def _check(own: str, target: Target, size: int) -> Check | None:
    """What is wrong with one way; None if nothing is."""
    name = f"pair {own} - {target.node}"
    way = f"{target.way} of IPv{target.family.value}"
    try:
        seconds = await _echo(target, _SMALL, patience=_PATIENCE_SECONDS)
        if seconds is None:
            told = f"{target.address} does not answer echo requests by {way}: down, or closed to ICMP; nothing was measured"
            return Check(name, "note", told)
        patience = min(_PATIENCE_SECONDS, max(_LEAST_PATIENCE_SECONDS, 5 * seconds))
        # Where small ones were quick, large ones are at first expected to be; a problem is told only after patience.
        late = await _echo(target, size, patience=patience) is None
        if late and await _echo(target, size, patience=_PATIENCE_SECONDS) is None:
            return _too_small(name, way, target, size, await _largest(target, size, patience))
        by_device, by_hand = [partial(_refuses, target, by_hand=each, patience=patience) for each in (False, True)]
        if await by_device() or not await by_hand():
            return None  # where not even a right checksum is answered, nothing can be said
    except OSError as error:
        return Check(name, "note", f"{target.address} cannot be asked by {way}: {os.strerror(error.errno or 0)}")
    device = next((each for each, what in _DEVICES.items() if what == (target.way, target.family)), "the uplink")
    return Check(
        name,
        "problem",
        f"by {way}, datagrams arrive with wrong checksums unless they are made by hand",
        why="the interface ruins what it should complete: ping works, TCP and UDP between pods do not",
        fix=f"ethtool -K {device} tx-checksum-ip-generic off (and of the uplink: tx-udp_tnl-csum-segmentation off), on both",
    )


def _too_small(name: str, way: str, target: Target, size: int, largest: int) -> Check:
    setting = _SETTING.get(target.way, {}).get(target.family)
    # Some devices let pass a little more than their MTU, for the sake of VLANs.
    safe = largest - _STEP
    smaller = f"set {setting}: {safe} in FelixConfiguration" if setting else f"set mtu: {safe} in the CNI configuration"
    return Check(
        name,
        "problem",
        f"by {way}, {size} bytes do not arrive, and {largest} do",
        why="large packets of pods are lost while small ones pass: connections open and then hang",
        fix=f"raise the MTU of what lies between to what both nodes have (the uplink of {target.node}, a switch, a tunnel of"
        f" the provider), or {smaller} and start the pods again",
    )


async def _largest(target: Target, size: int, patience: float) -> int:
    """The largest packet that arrives, to within a few bytes: known to arrive."""
    low, high = _SMALL, size
    while high - low > _STEP:
        middle = (low + high) // 2
        if await _echo(target, middle, patience=patience) is None:
            high = middle
        else:
            low = middle
    return low


async def _echo(target: Target, size: int, *, patience: float) -> float | None:
    """After how many seconds an echo request of this many bytes, headers included, is answered in full; None if it is not."""
    loop = asyncio.get_running_loop()
    family = target.family
    request, reply = _ECHO[family]
    with socket.socket(_DOMAIN[family], socket.SOCK_RAW, _ICMP[family]) as raw:
        raw.setblocking(False)
        raw.setsockopt(*_MTU_DISCOVER[family], _PROBE)
        token = secrets.token_bytes(16)
        body = token + b"\0" * (size - _HEADERS[family] - len(token))
        for attempt in range(_TRIES):
            packet = _echo_request(family, request, attempt, body)
            started = loop.time()
            try:
                await loop.sock_sendto(raw, packet, (str(target.address), 0))
                async with asyncio.timeout(patience):
                    while not _is_reply(await loop.sock_recv(raw, size + 64), family, reply, body):
                        pass
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                return None
            return loop.time() - started
    return None


def _echo_request(family: Family, kind: int, sequence: int, body: bytes) -> bytes:
    identifier = secrets.randbits(16)
    header = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence)
    if family is Family.V4:  # of IPv6 the kernel makes it
        header = struct.pack("!BBHHH", kind, 0, checksum(header + body), identifier, sequence)
    return header + body


def _is_reply(packet: bytes, family: Family, kind: int, body: bytes) -> bool:
    message = packet[(packet[0] & 0xF) * 4 :] if family is Family.V4 else packet
    return message[:1] == bytes((kind,)) and message[8:] == body


async def _refuses(target: Target, *, by_hand: bool, patience: float) -> bool:
    """True if a datagram to a closed port is refused: it arrived, and its checksum was right."""
    loop = asyncio.get_running_loop()
    domain = _DOMAIN[target.family]
    for port in random.sample(_CLOSED_PORTS, _TRIES):
        with (
            socket.socket(domain, socket.SOCK_DGRAM) as asked,
            socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw,
        ):
            asked.setblocking(False)
            raw.setblocking(False)
            asked.connect((str(target.address), port))
            payload = secrets.token_bytes(40)
            try:
                if by_hand:
                    here, source = parse_address(asked.getsockname()[0]), asked.getsockname()[1]
                    raw.bind((str(here), 0))
                    await loop.sock_sendto(
                        raw, datagram((here, source), (target.address, port), payload), (str(target.address), 0)
                    )
                else:
                    await loop.sock_sendall(asked, payload)
                async with asyncio.timeout(patience):
                    await loop.sock_recv(asked, 1)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                continue
    return False


def datagram(source: tuple[Address, int], target: tuple[Address, int], payload: bytes) -> bytes:
    """A datagram of UDP with its checksum."""
    length = 8 + len(payload)
    pseudo = source[0].packed + target[0].packed + struct.pack("!IHBB", length, 0, 0, socket.IPPROTO_UDP)
    total = checksum(pseudo + struct.pack("!HHHH", source[1], target[1], length, 0) + payload) or 0xFFFF
    return struct.pack("!HHHH", source[1], target[1], length, total) + payload


def checksum(data: bytes) -> int:
    """The Internet's checksum."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
