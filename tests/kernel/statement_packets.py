"""IP packets of the statements' tests, written and read by hand. Each carries a number by which it is recognised.

What is sent is written as people say it: `tcp/80`, `udp/53`, `sctp/9`, `udplite/7`, `ping`, `icmp/13/0`, `icmpv6/135/0`,
`proto/47`.
"""

import ipaddress
import struct
from dataclasses import dataclass

MAGIC = b"pS\xa5\x02"
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}


@dataclass(frozen=True, slots=True)
class What:
    """A packet's protocol and what follows it."""

    protocol: int
    port: int = 0
    icmp: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """An IP packet that came somewhere, taken apart."""

    protocol: int
    source: str
    destination: str
    transport: bytes
    traffic_class: int

    @property
    def number(self) -> int | None:
        """The number of a packet of ours; None for any other and for an error that quotes one of ours."""
        at = self.transport.find(MAGIC)
        if at < 0 or self.is_error or len(self.transport) < at + 8:
            return None
        return int(struct.unpack_from("!I", self.transport, at + 4)[0])

    @property
    def is_multicast(self) -> bool:
        """Sent to many at once."""
        return ipaddress.ip_address(self.destination).is_multicast

    @property
    def is_error(self) -> bool:
        """An ICMP message that quotes another packet."""
        return (self.protocol == 1 and self.transport[0] in (3, 11)) or (self.protocol == 58 and self.transport[0] < 128)

    @property
    def is_reset(self) -> bool:
        return self.protocol == 6 and bool(self.transport[13] & _FLAGS["R"])


def families_of(text: str) -> tuple[int, ...]:
    """The IP versions in which such a packet exists."""
    return {"icmp": (4,), "icmpv6": (6,)}.get(text.partition("/")[0], (4, 6))


def what(text: str, family: int) -> What:
    """Read such a text for one IP version."""
    if text == "ping":
        return What(1, icmp=(8, 0)) if family == 4 else What(58, icmp=(128, 0))
    name, *numbers = text.split("/")
    if name == "proto":
        return What(int(numbers[0]))
    if name in ("icmp", "icmpv6"):
        return What(PROTOCOLS[name], icmp=(int(numbers[0]), int(numbers[1])))
    return What(PROTOCOLS[name], port=int(numbers[0]))


def packet(
    sent: What, source: str, destination: str, *, number: int, source_port: int, flags: str, quoting: bytes = b""
) -> bytes:
    """The whole IP packet, its checksums right. `quoting`: what stands behind an ICMP error's header, instead of a number."""
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    payload = _transport(sent, MAGIC + struct.pack("!I", number), number=number, source_port=source_port, flags=flags)
    if quoting:
        payload = struct.pack("!BBHI", *sent.icmp, 0, 0) + quoting
    if one.version == 6:
        payload = _with_checksum(
            sent.protocol, payload, one.packed + other.packed + struct.pack("!II", len(payload), sent.protocol)
        )
        return struct.pack("!IHBB", 6 << 28, len(payload), sent.protocol, 64) + one.packed + other.packed + payload
    pseudo = b"" if sent.protocol == 1 else one.packed + other.packed + struct.pack("!HH", sent.protocol, len(payload))
    payload = _with_checksum(sent.protocol, payload, pseudo)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number & 0xFFFF, 0, 64, sent.protocol, 0)
    header += one.packed + other.packed
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + payload


def read(content: bytes) -> Seen | None:
    """Take apart what begins with an IP header; None for anything else."""
    if len(content) < 20:
        return None
    if content[0] >> 4 == 4:
        start = (content[0] & 15) * 4
        source, destination = (str(ipaddress.ip_address(content[at : at + 4])) for at in (12, 16))
        return Seen(content[9], source, destination, content[start:], content[1])
    if content[0] >> 4 == 6 and len(content) >= 40:
        source, destination = (str(ipaddress.ip_address(content[at : at + 16])) for at in (8, 24))
        return Seen(content[6], source, destination, content[40:], (struct.unpack_from("!H", content)[0] >> 4) & 0xFF)
    return None


def _transport(sent: What, mark: bytes, *, number: int, source_port: int, flags: str) -> bytes:
    ports = struct.pack("!HH", source_port, sent.port)
    match sent.protocol:
        case 6:
            bits = sum(_FLAGS[letter] for letter in flags)
            return ports + struct.pack("!IIBBHHH", number, 1, 5 << 4, bits, 8192, 0, 0) + mark
        case 17 | 136:
            return ports + struct.pack("!HH", 8 + len(mark), 0) + mark
        case 132:
            # INIT must be the packet's only chunk, so the mark sits in its initiate tag and window.
            return ports + struct.pack("!II", 0, 0) + struct.pack("!BBH", 1, 0, 20) + mark + struct.pack("!HHI", 1, 1, number)
        case 1 | 58:
            return struct.pack("!BBHHH", *sent.icmp, 0, source_port, 1) + mark
        case _:
            return bytes(8) + mark


def _with_checksum(protocol: int, payload: bytes, pseudo: bytes) -> bytes:
    at = {1: 2, 6: 16, 17: 6, 58: 2, 136: 6}.get(protocol)
    if at is None:
        return payload
    return payload[:at] + struct.pack("!H", _checksum(pseudo + payload) or 0xFFFF) + payload[at + 2 :]


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
