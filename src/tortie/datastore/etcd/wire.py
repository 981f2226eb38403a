"""Protocol buffers' wire format for frozen structs: as much of it as etcd's messages need.

A message is a struct whose fields carry their numbers: `key: Annotated[bytes, 1] = b""`. Fields are int (every integer and
enum type, read as signed 64 bit), bool, bytes, str, another message, a tuple of messages, or one of these `| None` where being
there matters. Unknown fields are skipped, so newer servers do no harm. Checked against real etcd by tests/conformance.
"""

from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from tortie.base.errors import TortieError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
_SIGN = 1 << 63


class WireError(TortieError):
    """Bytes that are no message of the expected type."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """Base of all messages. Every field has a default, as in protocol buffers."""


_M = TypeVar("_M", bound=Message)


class _Field(NamedTuple):
    """How one field is read and written. `message` is the type of a nested one."""

    place: int
    name: str
    number: int
    wire: int
    message: type[Message] | None
    repeated: bool
    convert: Callable[[Any], Any] | None
    default: Any


def encode(message: Message) -> bytes:
    """The message's bytes. Fields at their default are left out; None is the default of those where being there matters."""
    out = bytearray()
    for field in _fields(type(message)):
        value = getattr(message, field.name)
        if value == field.default:
            continue
        for item in value if field.repeated else (value,):
            _put_varint(out, field.number << 3 | field.wire)
            if field.wire == _VARINT:
                _put_varint(out, int(item) & _MASK)
                continue
            data = encode(item) if field.message else item.encode() if isinstance(item, str) else item
            _put_varint(out, len(data))
            out += data
    return bytes(out)


def decode(kind: type[_M], data: bytes) -> _M:
    """The message in `data`. Raises WireError."""
    try:
        return _read(kind, data, 0, len(data))
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"{kind.__name__}: the message is damaged or cut off") from error


def _read(kind: type[_M], data: bytes, at: int, end: int) -> _M:
    by_number, defaults = _layout(kind)
    values = list(defaults)
    while at < end:
        tag, at = _varint(data, at)
        wire, field = tag & 7, by_number.get(tag >> 3)
        if wire == _VARINT:
            number, at = _varint(data, at)
            value: Any = number - (1 << 64) if number & _SIGN else number
        elif wire == _BYTES:
            length, at = _varint(data, at)
            start, at = at, at + length
            if at > end:
                raise WireError(f"{kind.__name__}: the message is cut off")
            if field is not None and field.message is not None:
                value = _read(field.message, data, start, at)
            else:
                value = data[start:at]
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            continue
        else:
            raise WireError(f"{kind.__name__}: wire type {wire} is unknown")
        if field is None:
            continue
        if field.wire != wire:
            raise WireError(f"{kind.__name__}.{field.name} has wire type {wire}, not {field.wire}")
        if field.convert is not None:
            value = field.convert(value)
        if field.repeated:
            items = values[field.place]
            if not items:
                items = values[field.place] = []
            items.append(value)
        else:
            values[field.place] = value
    if at > end:
        raise WireError(f"{kind.__name__}: the message is cut off")
    return kind(*[tuple(value) if type(value) is list else value for value in values])


@cache
def _layout(kind: type[Message]) -> tuple[dict[int, _Field], tuple[Any, ...]]:
    """Fields by number, and the defaults in the order of the fields."""
    fields = _fields(kind)
    return {field.number: field for field in fields}, tuple(field.default for field in fields)


@cache
def _fields(kind: type[Message]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_field(place, field, hints[field.name]) for place, field in enumerate(msgspec.structs.fields(kind)))


def _field(place: int, field: msgspec.structs.FieldInfo, hint: Any) -> _Field:
    annotated, number = get_args(hint)
    repeated = get_origin(annotated) is tuple
    plain = next(part for part in get_args(annotated) or (annotated,) if part is not NoneType)
    message = plain if issubclass(plain, Message) else None
    convert = bool if plain is bool else bytes.decode if plain is str else None
    wire = _VARINT if plain in (int, bool) else _BYTES
    return _Field(place, field.name, number, wire, message, repeated, convert, field.default)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
        if shift > 63:
            raise WireError("a number has more than ten bytes")
