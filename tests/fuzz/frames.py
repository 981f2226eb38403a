"""Ethernet frames for probes: each is a connection's first packet and carries a number by which its arrival is recognised."""

import ipaddress
import struct

from tests.oracle.cluster import Sent

MAGIC = b"tZ\xf5\x01"
"""Stands before the number, somewhere in every frame."""

_NEXT_OFFSET = len(MAGIC)


def frame(sent: Sent, number: int, *, source_mac: bytes, destination_mac: bytes) -> bytes:
    """The whole frame. Checksums above IP are zero: the stage switches conntrack's checking of them off."""
    payload = _transport(sent, MAGIC + struct.pack("!I", number), number)
    source, destination = (ipaddress.ip_address(text).packed for text in (sent.source, sent.destination))
    if sent.family == 6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), sent.protocol, 64) + source + destination
        return destination_mac + source_mac + b"\x86\xdd" + header + payload
    length = 20 + len(payload)
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, number & 0xFFFF, 0, 64, sent.protocol, 0) + source + destination
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return destination_mac + source_mac + b"\x08\x00" + header + payload


def number_of(received: bytes) -> int | None:
    """The number of a frame of ours, None for any other frame."""
    at = received.find(MAGIC)
    if at < 0 or len(received) < at + _NEXT_OFFSET + 4:
        return None
    number = struct.unpack_from("!I", received, at + _NEXT_OFFSET)[0]
    return int(number)


def flow(sent: Sent) -> tuple[object, ...]:
    """What conntrack tells connections apart by, without direction: two probes of one flow must not meet in one round."""
    ends = sorted([(sent.source, sent.source_port), (sent.destination, sent.destination_port)], key=str)
    return (sent.protocol, *ends, sent.icmp_type)


def can_begin_a_connection(sent: Sent) -> bool:
    """False for ICMP messages that only answer others: conntrack calls them invalid, and no policy is asked."""
    if sent.protocol == 1:
        return sent.icmp_type in (8, 13, 17)
    return sent.protocol != 58 or sent.icmp_type in (128, 139)


def _transport(sent: Sent, mark: bytes, number: int) -> bytes:
    ports = struct.pack("!HH", sent.source_port or 0, sent.destination_port or 0)
    match sent.protocol:
        case 6:
            return ports + struct.pack("!IIBBHHH", number, 0, 5 << 4, 0x02, 8192, 0, 0) + mark
        case 17:
            return ports + struct.pack("!HH", 8 + len(mark), 0) + mark
        case 132:
            # INIT must be the packet's only chunk, so the mark sits in its initiate tag and window.
            chunk = struct.pack("!BBH", 1, 0, 20) + mark + struct.pack("!HHI", 1, 1, number)
            return ports + struct.pack("!II", 0, 0) + chunk
        case 1 | 58:
            return struct.pack("!BBHHH", sent.icmp_type or 0, sent.icmp_code or 0, 0, number & 0xFFFF, 1) + mark
        case 136:
            return struct.pack("!HHHH", 1, 2, 0, 1) + mark
        case _:
            return bytes(8) + mark


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
