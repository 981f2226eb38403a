"""Rules to nf_tables expressions: each statement becomes loads into registers, comparisons and actions. Pure.

An anonymous set can only be named in the transaction that creates it, so a rule is encoded with a gap for each of its
anonymous sets (`AnonymousLookup`); batch.py fills the gaps. The digest covers all that the kernel is told, and nothing else:
two processes with the same encoder agree on it, which is how an unchanged rule is recognised after a restart.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tortie.base.net import Address, Family
from tortie.kernel.errors import NftError
from tortie.kernel.netlink import attribute, be16, be32, be64, nested, text, u8
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.expressions import (
    EQ,
    GTE,
    LTE,
    NEQ,
    NETWORK_HEADER,
    TRANSPORT_HEADER,
    bitwise,
    byte,
    compare,
    equal,
    expression,
    host32,
    immediate,
    load_meta,
    load_payload,
    lookup,
    store_payload,
    value,
    verdict_data,
)
from tortie.kernel.nft.uapi import COUNTER, LIST_ELEMENT, Data, Expr, Key, Reg, RuleAttr, clipped, userdata

_META_MARK, _META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 3, 6, 7, 15, 16
_CT_STATE, _CT_STATUS = 0, 2
_FIB_SADDR, _FIB_DADDR, _FIB_MARK, _FIB_IIF, _FIB_OUTPUT, _FIB_PRESENT = 1, 2, 4, 8, 16, 32
_FIB_OIF, _FIB_ADDRTYPE = 1, 3
_REJECT_TCP_RESET, _REJECT_ICMPX, _ADMIN_PROHIBITED = 1, 2, 3
_PORTS_GIVEN, _FULLY_RANDOM = 1 << 1, 1 << 4
_SNAT, _DNAT = 0, 1
_INVERTED = 1  # NFT_CONNLIMIT_F_INV
_IPV4_CHECKSUM = 10
_NFPROTO = {Family.V4: b"\x02", Family.V6: b"\x0a"}
_ADDRESS_OFFSET = {(4, "source"): 12, (4, "destination"): 16, (6, "source"): 8, (6, "destination"): 24}
_PORT_OFFSET = {"source": 0, "destination": 2}
_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_ICMP_TYPE_AND_CODE = {
    Family.V4: Key.ICMP_TYPE << Key.BITS | Key.ICMP_CODE,
    Family.V6: Key.ICMPV6_TYPE << Key.BITS | Key.ICMPV6_CODE,
}
_COMMENT_BYTES = 127


@dataclass(frozen=True, slots=True)
class AnonymousSet:
    """A constant set that lives and dies with its rule. With `interval`, each range is (first, last), both inside."""

    key_type: int
    key_length: int
    interval: bool
    ranges: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class AnonymousLookup:
    """A lookup in an anonymous set that has no name yet."""

    anonymous: AnonymousSet
    inverted: bool


@dataclass(frozen=True, slots=True)
class EncodedRule:
    """A rule ready to be sent."""

    parts: tuple[bytes | AnonymousLookup, ...]
    userdata: bytes
    digest: bytes
    comment: str


@dataclass(frozen=True, slots=True)
class EncodedChain:
    """A chain ready to be sent, with the names of what its rules refer to."""

    name: str
    hook: nft.Hook | None
    rules: tuple[EncodedRule, ...]
    chains: frozenset[str]
    sets: frozenset[str]

    @property
    def digests(self) -> tuple[bytes, ...]:
        """What identifies the rules, in order."""
        return tuple(rule.digest for rule in self.rules)


def encode_chain(chain: nft.Chain) -> EncodedChain:
    """Encode a chain. NftError names the chain, the rule and the field that cannot be programmed."""
    check_name("chain", chain.name)
    rules = []
    for index, rule in enumerate(chain.rules):
        try:
            rules.append(encode_rule(rule))
        except NftError as error:
            raise NftError(f"chain {chain.name!r}, rule {index} ({rule.comment or 'no comment'}): {error}") from error
    statements = [statement for rule in chain.rules for statement in rule.statements]
    return EncodedChain(
        name=chain.name,
        hook=chain.hook,
        rules=tuple(rules),
        chains=frozenset(s.chain for s in statements if isinstance(s, nft.Jump | nft.Goto)),
        sets=frozenset(_set_names(statements)),
    )


def encode_rule(rule: nft.Rule) -> EncodedRule:
    """Encode one rule; NftError if a statement holds a value that nf_tables cannot express."""
    parts: list[bytes | AnonymousLookup] = []
    for statement in rule.statements:
        parts.extend(_known(statement) if type(statement) in _REPEATED else _ENCODERS[type(statement)](statement))
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    digest.update(b"\0" + rule.comment.encode())
    fingerprint = digest.digest()
    comment = userdata(RuleAttr.DATA_COMMENT, clipped(rule.comment, _COMMENT_BYTES)) if rule.comment else b""
    return EncodedRule(
        parts=tuple(parts),
        userdata=comment + userdata(RuleAttr.DATA_DIGEST, fingerprint),
        digest=fingerprint,
        comment=rule.comment,
    )


def check_name(kind: str, name: str) -> None:
    """NftError unless nf_tables takes the name."""
    if not 1 <= len(name.encode()) <= 255 or "\0" in name:
        raise NftError(f"{kind} name {name!r}: must have 1 to 255 bytes and no zero byte")


def interface_key(name: str) -> bytes:
    """An interface name as a register holds it: 16 bytes, zeros behind the name."""
    raw = name.encode()
    if not 1 <= len(raw) <= 15:
        raise NftError(f"interface name {name!r}: must have 1 to 15 bytes")
    return raw.ljust(16, b"\0")


# ---- statements ----
_Encoded = Iterable[bytes | AnonymousLookup]


def _nf_proto(s: nft.NfProto) -> _Encoded:
    return load_meta(_META_NFPROTO), compare(EQ, _NFPROTO[s.family])


def _l4_proto(s: nft.L4Proto) -> _Encoded:
    return load_meta(_META_L4PROTO), equal(s.op, byte(s.protocol, "protocol"))


def _if_name(s: nft.IfName) -> _Encoded:
    load = load_meta(_META_IIFNAME if s.hook == "iif" else _META_OIFNAME)
    if not s.name.endswith("*"):
        return load, equal(s.op, interface_key(s.name))
    prefix = s.name[:-1].encode()
    if not 1 <= len(prefix) <= 15:
        raise NftError(f"interface pattern {s.name!r}: must have 1 to 15 bytes before the asterisk")
    return load, equal(s.op, prefix)


def _load_address(side: nft.Side, family: Family, *, length: int | None = None) -> bytes:
    size = family.bits // 8 if length is None else length
    return load_payload(NETWORK_HEADER, _ADDRESS_OFFSET[family.value, side], size)


def _net(s: nft.Net) -> _Encoded:
    packed, length = s.prefix.network.packed, s.prefix.length
    if length == 0 and s.op == "==":
        return ()  # every address of the family, which the rule has matched already
    if length and length % 8 == 0:
        return _load_address(s.side, s.prefix.family, length=length // 8), equal(s.op, packed[: length // 8])
    bits = s.prefix.family.bits
    mask = (((1 << length) - 1) << (bits - length)).to_bytes(bits // 8, "big")
    return _load_address(s.side, s.prefix.family), bitwise(mask, bytes(bits // 8)), equal(s.op, packed)


def _nets(s: nft.Nets) -> _Encoded:
    if len({prefix.family for prefix in s.prefixes}) != 1:
        raise NftError("anonymous set of prefixes: must hold at least one prefix, and all of one family")
    family = s.prefixes[0].family
    ranges = _disjoint((prefix.value, prefix.last.value) for prefix in s.prefixes)
    return _load_address(s.side, family), AnonymousLookup(
        AnonymousSet(
            key_type=Key.IPV4 if family is Family.V4 else Key.IPV6,
            key_length=family.bits // 8,
            interval=True,
            ranges=_packed(ranges, family.bits // 8),
        ),
        inverted=s.op == "!=",
    )


def _net_in(s: nft.NetIn) -> _Encoded:
    return _load_address(s.side, s.family), lookup(s.set_name, inverted=s.op == "!=")


def _ports(s: nft.Ports) -> _Encoded:
    for low, high in s.ranges:
        if not 0 <= low <= high <= 65535:
            raise NftError(f"port range {low}-{high}: must rise and lie between 0 and 65535")
    if not s.ranges:
        raise NftError("ports: at least one range is needed (a rule that matches no port should not be rendered)")
    load = load_payload(TRANSPORT_HEADER, _PORT_OFFSET[s.side], 2)
    ranges = _disjoint(s.ranges)
    packed = _packed(ranges, 2)
    if len(ranges) > 1:
        interval = any(low != high for low, high in ranges)
        return load, AnonymousLookup(AnonymousSet(Key.PORT, 2, interval, packed), inverted=s.op == "!=")
    first, last = packed[0]
    if first == last:
        return load, equal(s.op, first)
    if s.op == "==":
        return load, compare(GTE, first), compare(LTE, last)
    return load, expression("range", be32(1, Reg.FIRST), be32(2, 1), value(3, first), value(4, last))


def _address_port_in(s: nft.AddressPortIn) -> _Encoded:
    words = s.family.bits // 32
    protocol = load_meta(_META_L4PROTO, Reg.WORDS + words)
    port = load_payload(TRANSPORT_HEADER, _PORT_OFFSET[s.side], 2, register=Reg.WORDS + words + 1)
    return _load_address(s.side, s.family), protocol, port, lookup(s.set_name, inverted=s.op == "!=")


def _icmp_is(s: nft.IcmpIs) -> _Encoded:
    kind = byte(s.type, "icmp type")
    if s.code is None:
        return load_payload(TRANSPORT_HEADER, 0, 1), equal(s.op, kind)
    code = byte(s.code, "icmp code")
    if s.op == "!=":  # "not (type and code)" is no conjunction of two inequalities: look both up together
        both = kind.ljust(4, b"\0") + code.ljust(4, b"\0")
        absent = AnonymousSet(_ICMP_TYPE_AND_CODE[s.family], 8, interval=False, ranges=((both, both),))
        load = load_payload(TRANSPORT_HEADER, 0, 1), load_payload(TRANSPORT_HEADER, 1, 1, register=Reg.WORDS + 1)
        return *load, AnonymousLookup(absent, inverted=True)
    return (
        load_payload(TRANSPORT_HEADER, 0, 1),
        equal(s.op, kind),
        load_payload(TRANSPORT_HEADER, 1, 1),
        equal(s.op, code),
    )


def _mark(s: nft.Mark) -> _Encoded:
    value = host32(s.value, "mark value")
    return load_meta(_META_MARK), bitwise(host32(s.mask, "mark mask"), bytes(4)), equal(s.op, value)


def _any_bit(op: nft.Op, key: int, bits: int) -> _Encoded:
    load = expression("ct", be32(2, key), be32(1, Reg.FIRST))
    return load, bitwise(host32(bits, "conntrack bits"), bytes(4)), compare(NEQ if op == "==" else EQ, bytes(4))


def _ct_state(s: nft.CtState) -> _Encoded:
    return _any_bit(s.op, _CT_STATE, s.bits)


def _ct_status(s: nft.CtStatus) -> _Encoded:
    return _any_bit(s.op, _CT_STATUS, s.bits)


def _fib(result: int, flags: int) -> bytes:
    return expression("fib", be32(3, flags), be32(2, result), be32(1, Reg.FIRST))


def _fib_type(s: nft.FibType) -> _Encoded:
    flags = (_FIB_SADDR if s.side == "source" else _FIB_DADDR) | (_FIB_OUTPUT if s.of_output else 0)
    return _fib(_FIB_ADDRTYPE, flags), equal(s.op, host32(s.type, "route type"))


def _no_reverse_path(_: nft.NoReversePath) -> _Encoded:
    return _fib(_FIB_OIF, _FIB_SADDR | _FIB_MARK | _FIB_IIF | _FIB_PRESENT), compare(EQ, bytes(4))


def _set_mark(s: nft.SetMark) -> _Encoded:
    mask, value = host32(s.mask, "mark mask"), host32(s.value, "mark value")
    store = expression("meta", be32(2, _META_MARK), be32(3, Reg.FIRST))
    if s.mask == 0xFFFFFFFF:
        return immediate(Reg.FIRST, attribute(Data.VALUE, value)), store
    if s.value & ~s.mask:
        raise NftError(f"mark: value {s.value:#x} has bits outside its mask {s.mask:#x}")
    keep = bytes(byte ^ 0xFF for byte in mask)
    return load_meta(_META_MARK), bitwise(keep, value), store


def _counter(_: nft.Counter) -> _Encoded:
    return (expression(COUNTER, be64(1, 0), be64(2, 0)),)


def _log_group(s: nft.LogGroup) -> _Encoded:
    prefix = s.prefix.encode()
    if len(prefix) > 127:
        raise NftError(f"log prefix {s.prefix!r}: must have at most 127 bytes")
    if not 0 <= s.group <= 65535:
        raise NftError(f"log group {s.group}: must be between 0 and 65535")
    parts = [be16(1, s.group)]
    if prefix:
        parts.append(text(2, s.prefix))
    return (expression("log", *parts, be32(3, s.snaplen), be16(4, 0)),)


def _limit(s: nft.Limit) -> _Encoded:
    if s.rate < 1 or not 0 <= s.burst < 1 << 32:
        raise NftError(f"limit {s.rate}/{s.unit} burst {s.burst}: the rate must be at least 1, the burst fit 32 bits")
    unit = be64(2, _UNIT_SECONDS[s.unit])
    return (expression("limit", be64(1, s.rate), unit, be32(3, s.burst), be32(4, 0), be32(5, int(s.over))),)


def _connections(s: nft.Connections) -> _Encoded:
    host32(s.over, "connections")
    return (expression("connlimit", be32(1, s.over), be32(2, _INVERTED)),)


def _set_dscp(s: nft.SetDscp) -> _Encoded:
    if not 0 <= s.value <= 63:
        raise NftError(f"dscp {s.value}: must be between 0 and 63")
    # Six bits that lie across bytes in IPv6: bits 4 to 9 of the header, in IPv4 bits 8 to 13.
    shift = 2 if s.family is Family.V4 else 6
    keep, flip = (number.to_bytes(2, "big") for number in (0xFFFF ^ 63 << shift, s.value << shift))
    store = store_payload(NETWORK_HEADER, 0, 2, checksum_offset=_IPV4_CHECKSUM if s.family is Family.V4 else None)
    return load_payload(NETWORK_HEADER, 0, 2), bitwise(keep, flip), store


def _arp_reply(_: nft.ArpReply) -> _Encoded:
    return load_payload(NETWORK_HEADER, 6, 2), compare(EQ, b"\0\2")


def _arp_sender(s: nft.ArpSender) -> _Encoded:
    return load_payload(NETWORK_HEADER, 14, 4), compare(EQ, s.address.packed)


def _masquerade(s: nft.Masquerade) -> _Encoded:
    ports = _port_range(s.ports, register=1)
    references = [be32(2, 1), be32(3, 2)] if ports else []
    return *ports, expression("masq", *_nat_flags(1, s), *references)


def _source_nat(s: nft.SourceNat) -> _Encoded:
    ports = _port_range(s.ports, register=2)
    references = [be32(5, 2), be32(6, 3)] if ports else []
    load = immediate(1, attribute(Data.VALUE, s.address.packed))
    return load, *ports, expression("nat", *_nat(_SNAT, s.address), *references, *_nat_flags(7, s))


def _nat_flags(kind: int, s: nft.Masquerade | nft.SourceNat) -> list[bytes]:
    """Without the flag for ports the kernel takes no notice of the registers that hold them."""
    flags = (_FULLY_RANDOM if s.fully_random else 0) | (_PORTS_GIVEN if s.ports is not None else 0)
    return [be32(kind, flags)] if flags else []


def _destination_nat(s: nft.DestinationNat) -> _Encoded:
    return immediate(1, attribute(Data.VALUE, s.address.packed)), expression("nat", *_nat(_DNAT, s.address))


def _nat(kind: int, address: Address) -> tuple[bytes, ...]:
    """The address lies in the first register."""
    return be32(1, kind), be32(2, _NFPROTO[address.family][0]), be32(3, 1), be32(4, 1)


def _port_range(ports: tuple[int, int] | None, *, register: int) -> tuple[bytes, ...]:
    """Both ends, in two registers."""
    if ports is None:
        return ()
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise NftError(f"ports {ports[0]}-{ports[1]}: must lie between 1 and 65535 and rise")
    return tuple(
        immediate(register + index, attribute(Data.VALUE, port.to_bytes(2, "big"))) for index, port in enumerate(ports)
    )


def _no_track(_: nft.NoTrack) -> _Encoded:
    return (nested(LIST_ELEMENT, text(Expr.NAME, "notrack")),)


def _reject(s: nft.Reject) -> _Encoded:
    if s.tcp_reset:
        return (expression("reject", be32(1, _REJECT_TCP_RESET), u8(2, 0)),)
    return (expression("reject", be32(1, _REJECT_ICMPX), u8(2, _ADMIN_PROHIBITED)),)


def _verdict(s: nft.Verdict | nft.Jump | nft.Goto) -> _Encoded:
    return (immediate(Reg.VERDICT, verdict_data(s)),)


def _if_name_vmap(s: nft.IfNameVmap) -> _Encoded:
    load = load_meta(_META_IIFNAME if s.hook == "iif" else _META_OIFNAME)
    parts = text(1, s.map_name), be32(2, Reg.FIRST), be32(3, Reg.VERDICT)
    return load, expression("lookup", *parts)


_ENCODERS: dict[type, Callable[[Any], _Encoded]] = {
    nft.NfProto: _nf_proto,
    nft.L4Proto: _l4_proto,
    nft.IfName: _if_name,
    nft.Net: _net,
    nft.Nets: _nets,
    nft.NetIn: _net_in,
    nft.Ports: _ports,
    nft.AddressPortIn: _address_port_in,
    nft.IcmpIs: _icmp_is,
    nft.Mark: _mark,
    nft.CtState: _ct_state,
    nft.CtStatus: _ct_status,
    nft.FibType: _fib_type,
    nft.NoReversePath: _no_reverse_path,
    nft.SetMark: _set_mark,
    nft.Counter: _counter,
    nft.LogGroup: _log_group,
    nft.Limit: _limit,
    nft.Connections: _connections,
    nft.SetDscp: _set_dscp,
    nft.ArpReply: _arp_reply,
    nft.ArpSender: _arp_sender,
    nft.Masquerade: _masquerade,
    nft.SourceNat: _source_nat,
    nft.DestinationNat: _destination_nat,
    nft.NoTrack: _no_track,
    nft.Reject: _reject,
    nft.Verdict: _verdict,
    nft.Jump: _verdict,
    nft.Goto: _verdict,
    nft.IfNameVmap: _if_name_vmap,
}


_REPEATED = frozenset(
    (
        nft.NfProto,
        nft.L4Proto,
        nft.Mark,
        nft.CtState,
        nft.CtStatus,
        nft.SetMark,
        nft.Counter,
        nft.Limit,
        nft.Reject,
        nft.Verdict,
    )
)
"""Statements that say the same in thousands of rules of a node."""


@functools.lru_cache(maxsize=1024)
def _known(statement: nft.Statement) -> tuple[bytes | AnonymousLookup, ...]:
    return tuple(_ENCODERS[type(statement)](statement))


def _set_names(statements: Iterable[nft.Statement]) -> Iterable[str]:
    for statement in statements:
        if isinstance(statement, nft.NetIn | nft.AddressPortIn):
            yield statement.set_name
        elif isinstance(statement, nft.IfNameVmap):
            yield statement.map_name


def _disjoint(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same values as rising ranges that neither overlap nor touch."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _packed(ranges: Iterable[tuple[int, int]], size: int) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((low.to_bytes(size, "big"), high.to_bytes(size, "big")) for low, high in ranges)
