"""Keys of WireGuard: X25519 (RFC 7748), and a private key that shows itself to nobody by accident. Pure, but for randomness.

The arithmetic is plain integers: some milliseconds, once for each node and family. Public keys are texts everywhere (base64, as
in the datastore and in `wg`), because they are names of peers more than numbers.
"""

import base64
import binascii
import functools
import secrets
from dataclasses import dataclass, field

from tortie.kernel.errors import Invalid

SIZE = 32
_PRIME = 2**255 - 19
_A24 = 121665
_BASE = (9).to_bytes(SIZE, "little")


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """32 bytes that must not be seen: neither repr nor str tells them."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.raw) != SIZE:
            raise Invalid(f"private key: {SIZE} bytes are needed, not {len(self.raw)}")

    @property
    def public(self) -> str:
        """The public key that belongs to it."""
        return _public(self.raw)


@functools.lru_cache(maxsize=8)
def _public(raw: bytes) -> str:
    return encode(x25519(raw, _BASE))


def generate() -> PrivateKey:
    """A new key, with the bits set that WireGuard sets itself."""
    return PrivateKey(_clamped(secrets.token_bytes(SIZE)))


def encode(raw: bytes) -> str:
    """Base64, as people and datastores write keys."""
    return base64.b64encode(raw).decode()


def decode(text: str) -> bytes:
    """The bytes of a key's text. Raises Invalid, without repeating the text."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SIZE:
        raise Invalid(f"WireGuard key: base64 of {SIZE} bytes is needed")
    return raw


def x25519(scalar: bytes, point: bytes) -> bytes:
    """Montgomery's ladder over curve 25519 (RFC 7748, section 5)."""
    k = int.from_bytes(_clamped(scalar), "little")
    u = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _PRIME, b * b % _PRIME, d * a % _PRIME, c * b % _PRIME
        e = aa - bb
        x3, z3 = pow(da + cb, 2, _PRIME), x1 * pow(da - cb, 2, _PRIME) % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(SIZE, "little")


def _clamped(raw: bytes) -> bytes:
    value = int.from_bytes(raw, "little")
    value &= ~7 & ((1 << 255) - 1)
    return (value | 1 << 254).to_bytes(SIZE, "little")
