"""Addresses and prefixes as small values: one integer, one length, one family.

Thousands of these are compared, hashed and sorted in every calculation, which is why they are tuples and not
`ipaddress` objects. Text is parsed and printed by `ipaddress` (RFC 4291, RFC 5952 for the canonical IPv6 text).
"""

import ipaddress
from enum import IntEnum
from typing import NamedTuple


class Family(IntEnum):
    """IP version. The value is the version number."""

    V4 = 4
    V6 = 6

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.V4 else 128


FAMILIES = (Family.V4, Family.V6)


class Address(NamedTuple):
    """One IP address."""

    family: Family
    value: int

    @property
    def packed(self) -> bytes:
        """The address in network byte order: 4 or 16 bytes."""
        return self.value.to_bytes(self.family.bits // 8, "big")

    def __str__(self) -> str:
        return _text(self.family, self.value)


class Prefix(NamedTuple):
    """A network. `value` is the address with its host bits zero (see `parse_prefix`)."""

    family: Family
    value: int
    length: int

    @property
    def network(self) -> Address:
        """The first address."""
        return Address(self.family, self.value)

    @property
    def size(self) -> int:
        """How many addresses it holds."""
        return 1 << (self.family.bits - self.length)

    @property
    def is_single(self) -> bool:
        """True for a /32 or a /128."""
        return self.length == self.family.bits

    @property
    def last(self) -> Address:
        """The last address."""
        return Address(self.family, self.value + self.size - 1)

    def contains(self, other: "Address | Prefix") -> bool:
        """True if `other` lies wholly inside; False for the other family."""
        if other.family is not self.family:
            return False
        if isinstance(other, Prefix) and other.length < self.length:
            return False
        shift = self.family.bits - self.length
        return other.value >> shift == self.value >> shift

    def overlaps(self, other: "Prefix") -> bool:
        """True if one contains the other."""
        return self.contains(other) or other.contains(self)

    def __str__(self) -> str:
        return f"{_text(self.family, self.value)}/{self.length}"


class Interface(NamedTuple):
    """An address as it stands on a device: the address and the length of its subnet (host bits kept)."""

    address: Address
    length: int

    @property
    def subnet(self) -> Prefix:
        """The subnet that the address lies in."""
        return masked(self.address, self.length)

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def parse_address(text: str) -> Address:
    """Parse `10.0.0.1` or `fd00::1`. Raises ValueError."""
    parsed = ipaddress.ip_address(text)
    if getattr(parsed, "scope_id", None) is not None:
        raise ValueError(f"{text!r}: a zone is not allowed")
    return Address(Family(parsed.version), int(parsed))


def parse_prefix(text: str, *, strict: bool = True) -> Prefix:
    """Parse a CIDR; a bare address is a /32 or /128. Host bits raise ValueError unless `strict=False`, which clears them."""
    parsed = ipaddress.ip_network(text, strict=strict)
    return Prefix(Family(parsed.version), int(parsed.network_address), parsed.prefixlen)


def parse_interface(text: str) -> Interface:
    """Parse `10.0.0.7/24`, host bits kept; a bare address has full length. Raises ValueError."""
    parsed = ipaddress.ip_interface(text)
    return Interface(Address(Family(parsed.version), int(parsed.ip)), parsed.network.prefixlen)


def masked(address: Address, length: int) -> Prefix:
    """The prefix of `length` bits that `address` lies in."""
    shift = address.family.bits - length
    return Prefix(address.family, (address.value >> shift) << shift, length)


def is_peer_address(address: Address) -> bool:
    """True if a machine that is more than one hop away can have it: not unspecified, multicast or broadcast, and in IPv6 not
    link-local, which means nothing without an interface."""
    if address.family is Family.V4:
        return address.value >> 24 != 0 and address.value >> 28 != 0xE and address.value != 0xFFFFFFFF
    return address.value != 0 and address.value >> 120 != 0xFF and address.value >> 118 != 0x3FA


def single(address: Address) -> Prefix:
    """The /32 or /128 of one address."""
    return Prefix(address.family, address.value, address.family.bits)


def address_from_bytes(packed: bytes) -> Address:
    """The inverse of `Address.packed`: 4 or 16 bytes in network byte order."""
    return Address(Family.V4 if len(packed) == 4 else Family.V6, int.from_bytes(packed, "big"))


def _text(family: Family, value: int) -> str:
    return str(ipaddress.IPv4Address(value) if family is Family.V4 else ipaddress.IPv6Address(value))
