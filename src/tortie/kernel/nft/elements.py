"""Sets and their elements to netlink and back. Pure.

Inside this package an element is named by bytes: the kernel's key; in interval sets first and last address together.
The kernel keeps an interval as two elements, its start and an end mark one behind its last; a range that reaches the highest
address has no end mark.
"""

from collections.abc import Iterable, Iterator, Mapping

from tortie.base.net import Address, Family, Prefix
from tortie.kernel.errors import NftError
from tortie.kernel.netlink import attribute, be32, iterate_attributes, nested, parse_attributes, string, text
from tortie.kernel.nft.encode import AnonymousSet, check_name, interface_key
from tortie.kernel.nft.expressions import verdict_data
from tortie.kernel.nft.objects import ElementType, Goto, Jump, SetSpec, Terminal, Verdict
from tortie.kernel.nft.uapi import (
    LIST_ELEMENT,
    Data,
    Elements,
    Key,
    SetAttr,
    clipped,
    parse_userdata,
    userdata,
)

ElementKey = Prefix | tuple[Address, int, int] | str
ElementValue = Verdict | Jump | Goto | None
EncodedElements = Mapping[bytes, ElementValue]

LIST_BYTES = 60_000  # an attribute's length has 16 bits; the rest of the message needs a little

_CONCAT = Key.PROTOCOL << Key.BITS | Key.PORT
_TYPES: dict[ElementType, tuple[int, int, int]] = {  # key type, key length, byte order (for the nft program)
    ElementType.IPV4: (Key.IPV4, 4, SetAttr.NETWORK_ORDER),
    ElementType.IPV6: (Key.IPV6, 16, SetAttr.NETWORK_ORDER),
    ElementType.IPV4_PORT: (Key.IPV4 << 2 * Key.BITS | _CONCAT, 12, 0),
    ElementType.IPV6_PORT: (Key.IPV6 << 2 * Key.BITS | _CONCAT, 24, 0),
    ElementType.IFNAME: (Key.IFNAME, 16, SetAttr.HOST_ORDER),
}
_BY_KEY_TYPE = {(kind, length): element for element, (kind, length, _) in _TYPES.items()}
_FAMILIES = {
    ElementType.IPV4: Family.V4,
    ElementType.IPV4_PORT: Family.V4,
    ElementType.IPV6: Family.V6,
    ElementType.IPV6_PORT: Family.V6,
}
_TERMINALS = {Data.ACCEPT: Terminal.ACCEPT, Data.DROP: Terminal.DROP, Data.RETURN: Terminal.RETURN}
_COMMENT_BYTES = 127


# ---- sets ----
def check_spec(spec: SetSpec) -> None:
    """NftError unless the kernel and this package can hold such a set."""
    check_name("set", spec.name)
    if spec.interval and spec.type not in (ElementType.IPV4, ElementType.IPV6):
        raise NftError(f"set {spec.name!r}: interval is only for addresses, not for {spec.type.value}")
    if spec.is_verdict_map and spec.type is not ElementType.IFNAME:
        raise NftError(f"map {spec.name!r}: only interface names map to verdicts, not {spec.type.value}")


def set_attributes(spec: SetSpec, set_id: int) -> bytes:
    """The attributes of NEWSET behind the table's and the set's name."""
    kind, length, byteorder = _TYPES[spec.type]
    flags = (SetAttr.INTERVAL if spec.interval else 0) | (SetAttr.MAP if spec.is_verdict_map else 0)
    parts = [
        be32(SetAttr.FLAGS, flags),
        be32(SetAttr.KEY_TYPE, kind),
        be32(SetAttr.KEY_LENGTH, length),
        be32(SetAttr.ID, set_id),
    ]
    notes = userdata(SetAttr.DATA_KEY_BYTEORDER, byteorder.to_bytes(4, "little"))
    if spec.is_verdict_map:
        parts.append(be32(SetAttr.DATA_TYPE, Data.VERDICT_TYPE))
        notes += userdata(SetAttr.DATA_VALUE_BYTEORDER, bytes(4))
    if spec.comment:
        notes += userdata(SetAttr.DATA_COMMENT, clipped(spec.comment, _COMMENT_BYTES))
    parts.append(attribute(SetAttr.USERDATA, notes))
    return b"".join(parts)


def anonymous_set_attributes(anonymous: AnonymousSet, set_id: int) -> bytes:
    """The attributes of NEWSET for an anonymous set."""
    flags = SetAttr.ANONYMOUS | SetAttr.CONSTANT | (SetAttr.INTERVAL if anonymous.interval else 0)
    byteorder = 0 if anonymous.key_type >> Key.BITS else SetAttr.NETWORK_ORDER  # a concatenation has none
    notes = userdata(SetAttr.DATA_KEY_BYTEORDER, byteorder.to_bytes(4, "little"))
    return (
        be32(SetAttr.FLAGS, flags)
        + be32(SetAttr.KEY_TYPE, anonymous.key_type)
        + be32(SetAttr.KEY_LENGTH, anonymous.key_length)
        + be32(SetAttr.ID, set_id)
        + attribute(SetAttr.USERDATA, notes)
    )


def decode_spec(attributes: Mapping[int, bytes]) -> SetSpec | None:
    """The spec that a set of the kernel was made from (its comment clipped as the kernel's); None if it is no set of ours."""
    flags = int.from_bytes(attributes.get(SetAttr.FLAGS, b""), "big")
    kind = int.from_bytes(attributes[SetAttr.KEY_TYPE], "big")
    length = int.from_bytes(attributes[SetAttr.KEY_LENGTH], "big")
    element = _BY_KEY_TYPE.get((kind, length))
    data_type = int.from_bytes(attributes.get(SetAttr.DATA_TYPE, b""), "big")
    is_map = bool(flags & SetAttr.MAP)
    if element is None or flags & ~(SetAttr.INTERVAL | SetAttr.MAP) or (is_map and data_type != Data.VERDICT_TYPE):
        return None
    notes = parse_userdata(attributes.get(SetAttr.USERDATA, b""))
    return SetSpec(
        name=string(attributes[SetAttr.NAME]),
        type=element,
        interval=bool(flags & SetAttr.INTERVAL),
        is_verdict_map=is_map,
        comment=string(notes.get(SetAttr.DATA_COMMENT, b"")),
    )


def stored_spec(spec: SetSpec) -> SetSpec:
    """The spec as it reads back from the kernel."""
    comment = string(clipped(spec.comment, _COMMENT_BYTES)) if spec.comment else ""
    return SetSpec(spec.name, spec.type, spec.interval, spec.is_verdict_map, comment)


# ---- elements ----
def check_member(spec: SetSpec, key: object, value: object, *, with_value: bool = True) -> None:
    """NftError unless `key`, and `value` unless only the key is given, fit the set."""
    if not _fits(spec, key):
        raise NftError(f"set {spec.name!r}: {key!s} is not a member of type {spec.type.value}")
    if with_value and spec.is_verdict_map != isinstance(value, Verdict | Jump | Goto):
        wanted = "a verdict, jump or goto" if spec.is_verdict_map else "no value"
        raise NftError(f"set {spec.name!r}: the element {key!s} needs {wanted}, not {value!r}")


def _fits(spec: SetSpec, key: object) -> bool:
    if spec.type is ElementType.IFNAME:
        return isinstance(key, str) and 1 <= len(key.encode()) <= 15
    family = _FAMILIES[spec.type]
    if spec.type in (ElementType.IPV4, ElementType.IPV6):
        return isinstance(key, Prefix) and key.family is family and (spec.interval or key.is_single)
    if not isinstance(key, tuple) or isinstance(key, Prefix | Address) or len(key) != 3:
        return False
    address, protocol, port = key
    return isinstance(address, Address) and address.family is family and 0 <= protocol <= 255 and 0 <= port <= 65535


def encode_key(key: ElementKey) -> bytes:
    """The key of an element of a set without intervals."""
    if isinstance(key, str):
        return interface_key(key)
    if isinstance(key, Prefix):
        return key.network.packed
    address, protocol, port = key
    return address.packed + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0"


def element_lists(elements: Iterable[tuple[bytes, ElementValue]], *, interval: bool) -> Iterator[tuple[bytes, int]]:
    """Attribute lists (NFTA_SET_ELEM_LIST_ELEMENTS), none longer than an attribute may be, with their number of elements."""
    parts: list[bytes] = []
    size = count = 0
    for key, value in elements:
        encoded = _interval(key) if interval else _element(key, value)
        if size + len(encoded) > LIST_BYTES:
            yield nested(Elements.LIST, *parts), count
            parts, size, count = [], 0, 0
        parts.append(encoded)
        size += len(encoded)
        count += 1
    if parts:
        yield nested(Elements.LIST, *parts), count


def _element(key: bytes, value: ElementValue) -> bytes:
    encoded = nested(Elements.KEY, attribute(Data.VALUE, key))
    if value is not None:
        encoded += nested(Elements.DATA, verdict_data(value))
    return nested(LIST_ELEMENT, encoded)


# The two halves of an interval's elements that do not depend on the key, by key length: a full build of many sets spends
# most of its time here.
_START = {size: nested(LIST_ELEMENT, nested(Elements.KEY, attribute(Data.VALUE, bytes(size))))[:-size] for size in (4, 16)}
_END_FLAG = be32(Elements.FLAGS, Elements.INTERVAL_END)
_END = {
    size: nested(LIST_ELEMENT, _END_FLAG, nested(Elements.KEY, attribute(Data.VALUE, bytes(size))))[:-size] for size in (4, 16)
}


def _interval(key: bytes) -> bytes:
    size = len(key) // 2
    if size not in _START:
        return _short_interval(key, size)
    end = int.from_bytes(key[size:], "big") + 1
    start = _START[size] + key[:size]
    return start if end >> (8 * size) else start + _END[size] + end.to_bytes(size, "big")


def _short_interval(key: bytes, size: int) -> bytes:
    """Ports: two bytes, padded in their attribute."""
    end = int.from_bytes(key[size:], "big") + 1
    start = nested(LIST_ELEMENT, nested(Elements.KEY, attribute(Data.VALUE, key[:size])))
    if end >> (8 * size):
        return start
    last = attribute(Data.VALUE, end.to_bytes(size, "big"))
    return start + nested(LIST_ELEMENT, _END_FLAG, nested(Elements.KEY, last))


def list_header(table: str, set_name: str, set_id: int = 0) -> bytes:
    """The attributes of an element message before its list."""
    names = text(Elements.TABLE, table) + text(Elements.SET, set_name)
    return names + be32(Elements.SET_ID, set_id) if set_id else names


class UnknownElement(Exception):
    """An element that no set of ours can hold, such as a catch-all."""


def decode_elements(payloads: Iterable[bytes], *, interval: bool, size: int) -> dict[bytes, ElementValue]:
    """The elements in the lists of a dump. UnknownElement if a hand other than ours made one."""
    found: dict[bytes, ElementValue] = {}
    marks: list[tuple[bytes, bool]] = []
    for payload in payloads:
        for _, entry in iterate_attributes(payload):
            parts = parse_attributes(entry)
            flags = int.from_bytes(parts.get(Elements.FLAGS, b""), "big")
            if Elements.KEY not in parts or flags & ~Elements.INTERVAL_END:
                raise UnknownElement
            key = parse_attributes(parts[Elements.KEY])[Data.VALUE]
            if interval:
                marks.append((key, not flags & Elements.INTERVAL_END))
            else:
                found[key] = decode_verdict(parts[Elements.DATA]) if Elements.DATA in parts else None
    return dict.fromkeys(_ranges(sorted(marks), size)) if interval else found


def _ranges(marks: Iterable[tuple[bytes, bool]], size: int) -> Iterator[bytes]:
    """First and last of each interval, from start and end marks in order (an end sorts before a start of the same key)."""
    start: bytes | None = None
    for key, is_start in marks:
        if start is not None:
            yield start + (int.from_bytes(key, "big") - 1).to_bytes(size, "big")
        start = key if is_start else None
    if start is not None:
        yield start + b"\xff" * size


def decode_verdict(data: bytes) -> ElementValue:
    """The value of a map's element."""
    verdict = parse_attributes(parse_attributes(data)[Data.VERDICT])
    code = int.from_bytes(verdict[Data.VERDICT_CODE], "big", signed=True)
    if code in _TERMINALS:
        return Verdict(_TERMINALS[code])
    if code not in (Data.JUMP, Data.GOTO):
        raise UnknownElement
    target = string(verdict[Data.VERDICT_CHAIN])
    return Jump(target) if code == Data.JUMP else Goto(target)


def key_size(spec: SetSpec) -> int:
    """Bytes of one key."""
    return _TYPES[spec.type][1]


def family_of(spec: SetSpec) -> Family:
    """The family of a set of addresses."""
    return _FAMILIES[spec.type]


def prefix_range(prefix: Prefix) -> bytes:
    """The name of an interval set's element: first and last address."""
    family, value, length = prefix
    size = 4 if family is Family.V4 else 16
    return value.to_bytes(size, "big") + (value | ((1 << (8 * size - length)) - 1)).to_bytes(size, "big")
