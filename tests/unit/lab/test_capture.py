"""Frames: addresses, ports, and whether another packet was inside."""

import struct

from tortie.lab.capture import parse_frame

ETHERNET = bytes(12)


def ipv4(protocol: int, payload: bytes) -> bytes:
    ends = b"\x0a\xf4\x00\x01" + b"\x0a\xf4\x01\x02"
    header = struct.pack("!BBHHHBBH8s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, ends)
    return ETHERNET + b"\x08\x00" + header + payload


def test_a_plain_tcp_packet_shows_both_ends() -> None:
    crossing = parse_frame(ipv4(6, struct.pack("!HH", 40000, 5432) + bytes(16)))
    assert crossing is not None
    assert str(crossing) == "10.244.0.1 > 10.244.1.2 TCP 40000 > 5432, no encapsulation"


def test_ipip_and_vxlan_count_as_encapsulated() -> None:
    for frame in (ipv4(4, bytes(20)), ipv4(17, struct.pack("!HHHH", 1, 4789, 8, 0))):
        crossing = parse_frame(frame)
        assert crossing is not None
        assert crossing.encapsulated


def test_ipv6_is_understood() -> None:
    header = struct.pack("!IHBB", 6 << 28, 4, 17, 64) + bytes(15) + b"\x01" + bytes(15) + b"\x02"
    crossing = parse_frame(ETHERNET + b"\x86\xdd" + header + struct.pack("!HH", 53, 54))
    assert crossing is not None
    assert (str(crossing.source), str(crossing.destination), crossing.source_port) == ("::1", "::2", 53)


def test_anything_else_is_nothing() -> None:
    assert parse_frame(ETHERNET + b"\x08\x06" + bytes(28)) is None
    assert parse_frame(b"short") is None


def test_what_is_inside_a_tunnel_is_read_too() -> None:
    inner = ipv4(6, struct.pack("!HH", 40000, 5432) + bytes(16))
    vxlan = parse_frame(ipv4(17, struct.pack("!HHHH", 1, 4789, 8, 0) + b"\x08\0\0\0" + (4096 << 8).to_bytes(4, "big") + inner))
    assert vxlan is not None
    assert (vxlan.cover, vxlan.vni, vxlan.innermost.destination_port) == ("vxlan", 4096, 5432)
    ipip = parse_frame(ipv4(4, inner[14:]))
    assert ipip is not None
    assert (ipip.cover, ipip.vni, ipip.innermost.destination_port) == ("ipip", None, 5432)
    assert str(ipip).endswith("IPIP [10.244.0.1 > 10.244.1.2 TCP 40000 > 5432]")


def test_wireguard_is_known_by_its_port_and_keeps_its_inside() -> None:
    crossing = parse_frame(ipv4(17, struct.pack("!HHHH", 51820, 51820, 40, 0) + bytes(32)))
    assert crossing is not None
    assert (crossing.cover, crossing.inner, crossing.encapsulated) == ("wireguard", None, False)


def test_a_frame_that_was_cut_is_no_error() -> None:
    whole = ipv4(17, struct.pack("!HHHH", 1, 4789, 8, 0) + b"\x08\0\0\0" + bytes(4) + ipv4(4, ipv4(6, bytes(20))[14:]))
    for length in range(len(whole)):
        parse_frame(whole[:length])
