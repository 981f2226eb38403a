"""Frames off the fabric, read and understood just far enough to say how a packet crossed."""

import socket
import struct
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from tortie.base.net import Address, address_from_bytes
from tortie.kernel import netns

_ETH_P_ALL = 3
_IPV4, _IPV6 = 0x0800, 0x86DD
_IPIP, _IPV6_IN, _UDP, _TCP, _ICMP, _ICMPV6 = 4, 41, 17, 6, 1, 58
_VXLAN_PORTS = (4789, 8472)
_VXLAN_HEADER = struct.Struct("!BxxxI")
_WIREGUARD_PORTS = (51820, 51821)
_OUTGOING = 4  # PACKET_OUTGOING: the same frame once more, on its way out


Cover = Literal["plain", "vxlan", "ipip", "wireguard", "other"]
"""What is around a packet on the wire."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One IP packet on the wire: its outermost addresses, and whether another was inside (`inner`, if it can be read)."""

    source: Address
    destination: Address
    protocol: int
    source_port: int
    destination_port: int
    encapsulated: bool
    inner: "Crossing | None" = None
    vni: int | None = None
    """The number of the VXLAN."""
    frame: bytes = field(default=b"", compare=False, repr=False)
    """The whole frame as it was on the wire; empty for what was inside another packet."""

    @property
    def cover(self) -> Cover:
        """How it crosses. Of WireGuard only the ports speak: that is its point."""
        if self.vni is not None:
            return "vxlan"
        if self.protocol == _UDP and self.destination_port in _WIREGUARD_PORTS:
            return "wireguard"
        return "ipip" if self.protocol == _IPIP else "other" if self.encapsulated else "plain"

    @property
    def innermost(self) -> "Crossing":
        """The packet that somebody sent, as far as it can be read."""
        return self if self.inner is None else self.inner.innermost

    def __str__(self) -> str:
        names = {_TCP: "TCP", _UDP: "UDP", _ICMP: "ICMP", _ICMPV6: "ICMPv6", _IPIP: "IPIP", _IPV6_IN: "IPv6-in-IP"}
        ports = f" {self.source_port} > {self.destination_port}" if self.source_port else ""
        text = f"{self.source} > {self.destination} {names.get(self.protocol, self.protocol)}{ports}"
        if self.inner is not None:
            around = f" (VXLAN {self.vni})" if self.vni is not None else ""
            return f"{text}{around} [{str(self.inner).removesuffix(', no encapsulation')}]"
        if self.cover == "wireguard":
            return f"{text}, WireGuard"
        return f"{text}{', encapsulated' if self.encapsulated else ', no encapsulation'}"


class Capture:
    """Collects what passes one device of one network namespace, from `start` to `stop`."""

    def __init__(self, netns_name: str, device: str) -> None:
        self._netns = netns_name
        self._device = device
        self._running = threading.Event()
        self._found: list[Crossing] = []
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Open the socket and begin."""
        self._socket = netns.run_in_named(self._netns, self._open)
        self._running.set()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    def stop(self, *, drain_seconds: float = 0.1) -> list[Crossing]:
        """Stop and give what was seen, in order."""
        time.sleep(drain_seconds)
        self._running.clear()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        return self._found

    def _open(self) -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        opened.bind((self._device, _ETH_P_ALL))
        opened.settimeout(0.05)
        return opened

    def _read(self) -> None:
        assert self._socket is not None
        while self._running.is_set():
            try:
                frame, sender = self._socket.recvfrom(65536)
            except TimeoutError:
                continue
            if sender[2] == _OUTGOING:
                continue
            crossing = parse_frame(frame)
            if crossing is not None:
                self._found.append(crossing)


def parse_frame(frame: bytes) -> Crossing | None:
    """An Ethernet frame's IP packet; None for anything else (ARP, say)."""
    found = _parse_ethernet(frame)
    return None if found is None else replace(found, frame=frame)


def _parse_ethernet(frame: bytes) -> Crossing | None:
    if len(frame) < 14:
        return None
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    return _parse_ip(frame[14:]) if ethertype in (_IPV4, _IPV6) else None


def _parse_ip(data: bytes) -> Crossing | None:
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        protocol, offset = data[9], (data[0] & 15) * 4
        source, destination = data[12:16], data[16:20]
    elif version == 6 and len(data) >= 40:
        protocol, offset = data[6], 40
        source, destination = data[8:24], data[24:40]
    else:
        return None
    ports = struct.unpack_from("!HH", data, offset) if protocol in (_TCP, _UDP) and len(data) >= offset + 4 else (0, 0)
    vni, inner = None, None
    is_vxlan = protocol == _UDP and ports[1] in _VXLAN_PORTS
    if protocol in (_IPIP, _IPV6_IN):
        inner = _parse_ip(data[offset:])
    elif is_vxlan and len(data) >= offset + 16:
        vni = _VXLAN_HEADER.unpack_from(data, offset + 8)[1] >> 8
        inner = _parse_ethernet(data[offset + 16 :])
    encapsulated = protocol in (_IPIP, _IPV6_IN) or is_vxlan
    ends = address_from_bytes(source), address_from_bytes(destination)
    return Crossing(*ends, protocol, ports[0], ports[1], encapsulated, inner, vni)
