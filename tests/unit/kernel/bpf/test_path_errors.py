"""Errors of routers about packets of ours are understood; whatever else is not one of them."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import address_from_bytes
from tortie.kernel.bpf.path_errors import PathError, understand

OWN, OTHER, ROUTER = (bytes((192, 0, 2, last)) for last in (1, 2, 254))


def header(source: bytes, target: bytes, *, protocol: int, size: int, options: bytes = b"") -> bytes:
    length = 20 + len(options)
    return (
        struct.pack("!BBHHHBBH", 0x40 | length // 4, 0, length + size, 7, 0x4000, 64, protocol, 0) + source + target + options
    )


def error(quoted: bytes, *, mtu: int, to: bytes = OWN, options: bytes = b"") -> bytes:
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    even = message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
    return header(ROUTER, to, protocol=1, size=len(message), options=options) + message


TUNNELLED = header(OWN, OTHER, protocol=4, size=1480)
lengths = st.integers(0, 10).map(lambda words: bytes(4 * words))


@given(mtu=st.integers(0, 0xFFFF), options=lengths, inner=st.binary(max_size=600), filling=st.binary(max_size=20))
def test_who_sent_it_to_whom_and_what_the_way_takes_is_told(mtu: int, options: bytes, inner: bytes, filling: bytes) -> None:
    """However much is quoted, and whatever Ethernet appends."""
    expected = PathError(address_from_bytes(OWN), address_from_bytes(OTHER), mtu)
    assert understand(error(TUNNELLED + inner, mtu=mtu, options=options) + filling) == expected


@given(place=st.integers(20, 55), bit=st.integers(0, 7))
def test_a_message_with_a_wrong_bit_is_not_believed(place: int, bit: int) -> None:
    packet = bytearray(error(TUNNELLED + bytes(8), mtu=1400))
    packet[place] ^= 1 << bit
    assert understand(bytes(packet)) is None


@given(st.integers(0, 55))
def test_a_packet_that_is_cut_short_is_not_understood(length: int) -> None:
    assert understand(error(TUNNELLED + bytes(8), mtu=1400)[:length]) is None


@given(st.binary(max_size=80))
def test_anything_may_come(packet: bytes) -> None:
    found = understand(packet)
    assert found is None or packet[9] == 1


def test_it_is_about_a_tunnelled_packet_of_whoever_is_told() -> None:
    assert understand(error(header(OWN, OTHER, protocol=6, size=1480) + bytes(8), mtu=1400)) is None
    assert understand(error(header(ROUTER, OTHER, protocol=4, size=1480) + bytes(8), mtu=1400)) is None
    assert understand(error(TUNNELLED[:16], mtu=1400)) is None
