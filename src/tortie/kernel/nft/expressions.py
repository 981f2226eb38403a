"""The nf_tables expressions that statements are made of: loads into registers, comparisons, changes, verdicts. Pure.

All work on the first register unless told otherwise, as one statement is done with it before the next begins.
"""

import struct

from tortie.kernel.errors import NftError
from tortie.kernel.netlink import attribute, be32, nested, text
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.uapi import LIST_ELEMENT, Data, Expr, Reg

EQ, NEQ, LTE, GTE = 0, 1, 3, 5
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2


def expression(name: str, *attributes: bytes) -> bytes:
    """Any expression, as an element of a rule's list."""
    return nested(LIST_ELEMENT, text(Expr.NAME, name), nested(Expr.DATA, *attributes))


def value(kind: int, data: bytes) -> bytes:
    """A constant as an attribute of an expression."""
    return nested(kind, attribute(Data.VALUE, data))


def load_meta(key: int, register: int = Reg.FIRST) -> bytes:
    """What is known about the packet beside its bytes."""
    return expression("meta", be32(2, key), be32(1, register))


def load_payload(base: int, offset: int, length: int, *, register: int = Reg.FIRST) -> bytes:
    """Bytes of the packet, counted from one of its headers."""
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


def store_payload(base: int, offset: int, length: int, *, checksum_offset: int | None = None) -> bytes:
    """Write the first register into the packet; a header with an Internet checksum says where that is."""
    parts = be32(5, Reg.FIRST), be32(2, base), be32(3, offset), be32(4, length)
    checksum = () if checksum_offset is None else (be32(6, 1), be32(7, checksum_offset))
    return expression("payload", *parts, *checksum)


def compare(operation: int, data: bytes) -> bytes:
    """Go on if the register compares with `data` like this (EQ, NEQ, LTE, GTE)."""
    return expression("cmp", be32(1, Reg.FIRST), be32(2, operation), value(3, data))


def equal(op: nft.Op, data: bytes) -> bytes:
    """Go on if the register equals `data`, or does not."""
    return compare(EQ if op == "==" else NEQ, data)


def bitwise(mask: bytes, flip: bytes) -> bytes:
    """The register becomes (register & mask) ^ flip."""
    same = be32(1, Reg.FIRST), be32(2, Reg.FIRST), be32(3, len(mask))
    return expression("bitwise", *same, value(4, mask), value(5, flip))


def immediate(register: int, data: bytes) -> bytes:
    """A constant, or a verdict, into a register."""
    return expression("immediate", be32(1, register), nested(2, data))


def lookup(set_name: str, *, register: int = Reg.FIRST, inverted: bool = False, set_id: int = 0) -> bytes:
    """A `lookup` expression in a named set, or, with `set_id`, in one that the same transaction creates."""
    parts = [text(1, set_name), be32(2, register)]
    if set_id:
        parts.append(be32(4, set_id))
    if inverted:
        parts.append(be32(5, 1))
    return expression("lookup", *parts)


_TERMINAL = {
    nft.Terminal.ACCEPT: Data.ACCEPT,
    nft.Terminal.DROP: Data.DROP,
    nft.Terminal.RETURN: Data.RETURN,
}


def verdict_data(verdict: nft.Verdict | nft.Jump | nft.Goto) -> bytes:
    """NFTA_DATA_VERDICT of a verdict, for rules and for map elements."""
    match verdict:
        case nft.Jump(chain):
            return nested(Data.VERDICT, be32(Data.VERDICT_CODE, Data.JUMP), text(Data.VERDICT_CHAIN, chain))
        case nft.Goto(chain):
            return nested(Data.VERDICT, be32(Data.VERDICT_CODE, Data.GOTO), text(Data.VERDICT_CHAIN, chain))
        case nft.Verdict(kind):
            return nested(Data.VERDICT, be32(Data.VERDICT_CODE, _TERMINAL[kind]))


def host32(number: int, what: str) -> bytes:
    """32 bits in the order of a register that holds a number."""
    if not 0 <= number < 1 << 32:
        raise NftError(f"{what}: {number} does not fit 32 bits")
    return struct.pack("=I", number)


def byte(number: int, what: str) -> bytes:
    """One byte."""
    if not 0 <= number <= 255:
        raise NftError(f"{what}: {number} is not between 0 and 255")
    return bytes((number,))
