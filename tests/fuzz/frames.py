"""Packets for probes: each is a connection's first packet and carries a number by which its arrival is recognised."""

import ipaddress
import struct

from tests.oracle.cluster import Sent

MAGIC = b"tZ\xf5\x01"
"""Stands before the number, somewhere in every packet."""
_CUT = 32
"""Where a packet in two pieces is cut: behind the number."""
_IPV4, _IPV6, _FRAGMENT = b"\x08\x00", b"\x86\xdd", 44
_QUOTING = {1: (3, 5, 11, 12), 58: (1, 2, 3, 4, 137)}
"""By protocol: ICMP types that quote the packet they are about."""


def frames(sent: Sent, number: int, *, macs: tuple[bytes, bytes], fragmented: bool = False) -> list[bytes]:
    """As Ethernet frames; `macs` are source and destination."""
    head = macs[1] + macs[0] + (_IPV6 if sent.family == 6 else _IPV4)
    return [head + content for content in packets(sent, number, fragmented=fragmented)]


def packets(sent: Sent, number: int, *, fragmented: bool = False) -> list[bytes]:
    """From the IP header on. Checksums above IP are zero: the stage switches conntrack's checking of them off."""
    payload = _transport(sent, MAGIC + struct.pack("!I", number) + bytes(40 if fragmented else 0), number)
    if not fragmented:
        return [_header(sent, number, payload) + payload]
    first, rest = payload[:_CUT], payload[_CUT:]
    if sent.family == 4:
        pieces = ((first, 0x2000), (rest, _CUT // 8))
        return [_header(sent, number, piece, fragment=flags) + piece for piece, flags in pieces]
    result = []
    for piece, flags in ((first, 1), (rest, _CUT)):
        content = struct.pack("!BBHI", sent.protocol, 0, flags, number + 1) + piece
        result.append(_header(sent, number, content, protocol=_FRAGMENT) + content)
    return result


def _header(sent: Sent, number: int, payload: bytes, *, fragment: int = 0, protocol: int | None = None) -> bytes:
    ends = b"".join(ipaddress.ip_address(text).packed for text in (sent.source, sent.destination))
    if sent.family == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol or sent.protocol, 64) + ends
    identity = number % 0xFFFF + 1
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identity, fragment, 64, sent.protocol, 0) + ends
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:]


def number_of(frame: bytes) -> int | None:
    """The number of a frame of ours; None for any other frame, one that quotes one of ours included."""
    at = frame.find(MAGIC)
    if at < 0 or len(frame) < at + 8:
        return None
    kind = frame[12:14]
    if kind == _IPV4:
        protocol, above = frame[23], 14 + 4 * (frame[14] & 0xF)
    else:
        protocol, above = (frame[54], 62) if frame[20] == _FRAGMENT else (frame[20], 54)
    if frame[above] in _QUOTING.get(protocol, ()):
        return None
    return int(struct.unpack_from("!I", frame, at + 4)[0])


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
