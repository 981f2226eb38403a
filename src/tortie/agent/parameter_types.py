"""Raw text of a parameter to its value, by the type that Calico's table gives the parameter. Pure.

Environment, file and datastore all hold raw text, so this is the one place where a parameter's text is understood.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from tortie.api.felix_params import Parameter
from tortie.api.formats import parse_cidr, parse_dscp, parse_duration, parse_port
from tortie.base.net import Family, parse_address

_TRUE = ("true", "1", "yes", "y", "t")
_FALSE = ("false", "0", "no", "n", "f")
_MAX_INT = 2**63 - 1
_ZEROES: Mapping[str, str] = {"bool": "false", "*bool": "false", "int": "0", "seconds": "0", "millis": "0", "dscp": "0"}
NONE = "none"
"""In any case: the zero value of the parameter's type."""


def is_none(text: str) -> bool:
    """True for the text that stands for a type's zero value."""
    return text.strip().lower() == NONE


def zero(parameter: Parameter) -> str:
    """The raw text of the zero value of a parameter's type. Raises ValueError where none is not allowed."""
    if parameter.non_zero:
        raise ValueError("none is not possible here")
    base = parameter.type.partition("(")[0]
    return _ZEROES.get(base, NONE if base in ("port-list",) else "")


def parse(parameter: Parameter, text: str) -> Any:
    """The value behind raw text. Raises ValueError that says what would be right."""
    text = text.strip()
    if is_none(text):
        text = zero(parameter)
        if text in ("", NONE):
            return text
    base, _, detail = parameter.type.rstrip(")").partition("(")
    if text == "" and parameter.default == "" and base in ("oneof", "int", "bool"):
        return ""
    if base == "oneof":
        return _one_of(text, detail.split(","))
    if base == "int":
        return _integer(text, detail)
    return _PARSERS[base](text)


def _one_of(text: str, choices: list[str]) -> str:
    for choice in choices:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"use one of {', '.join(choices)}")


def _integer(text: str, bounds: str) -> int:
    lowest, _, highest = bounds.replace(",", ":").partition(":")
    try:
        number = int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
    except ValueError:
        raise ValueError("use a whole number") from None
    low, high = int(lowest or -_MAX_INT), int(highest or _MAX_INT)
    if not low <= number <= high:
        raise ValueError(f"use a number from {low} to {high}")
    return number


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("use true or false")


def _optional_boolean(text: str) -> bool | None:
    return None if text == "" else _boolean(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("use a number") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError("use a number that is not negative")
    return number


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse_text(text: str) -> str:
        if text and re.fullmatch(pattern, text) is None:
            raise ValueError(f"use {what}")
        return text

    return parse_text


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"use a regular expression ({error})") from error
    return text


def _list(parse_item: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(parse_item(item.strip()) for item in text.split(",") if item.strip())


def _pairs(parse_value: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    def parse_text(text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = item.partition("=")
            if not equals or not name.strip():
                raise ValueError("use name=value, separated by commas")
            found[name.strip()] = parse_value(value.strip())
        return found

    return parse_text


def _port_range(text: str) -> Any:
    if text in ("", "0"):
        return ()
    ports = parse_port(text)
    if isinstance(ports, str):
        raise ValueError("use a port or a range first:last")
    return ports


def _host_port(text: str) -> tuple[str, str, int]:
    """`[protocol:][net:]port`, a net of IPv6 in brackets."""
    found = re.fullmatch(r"(?:(tcp|udp|sctp):)?(?:\[([^\]]+)\]:|([0-9./]+):)?(\d+)", text, re.IGNORECASE)
    if found is None or int(found[4]) > 65535:
        raise ValueError("use [protocol:][net:]port, an IPv6 net in brackets")
    net = found[2] or found[3] or ""
    return (found[1] or "tcp").lower(), str(parse_cidr(net)) if net else "", int(found[4])


def _ports(text: str) -> tuple[tuple[str, str, int], ...]:
    return () if is_none(text) else _list(_host_port)(text)


def _mask(text: str) -> int:
    try:
        mask = int(text, 16) if text.lower().startswith("0x") else int(text)
    except ValueError:
        raise ValueError("use a number such as 0xffff0000") from None
    if not 0 < mask <= 0xFFFFFFFF or mask.bit_count() < 2:
        raise ValueError("use a mask of 32 bits with at least two bits set")
    return mask


def _rate(text: str) -> str:
    if text and re.fullmatch(r"[1-9]\d{0,3}/(second|minute|hour|day)", text) is None:
        raise ValueError("use a number, a slash, and second, minute, hour or day")
    return text


def _table_range(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= 0xFFFFFFFF:
        raise ValueError("use first-last, both at least 1")
    return int(found[1]), int(found[2])


def _address(family: Family) -> Callable[[str], str]:
    def parse_text(text: str) -> str:
        if text and parse_address(text).family is not family:
            raise ValueError(f"use an IPv{family.value} address")
        return text

    return parse_text


def _prefixes(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found or any(re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", prefix) is None for prefix in found):
        raise ValueError("use the beginnings of interface names, at most 15 characters each, separated by commas")
    return found


_INTERFACE = _matching(r"[a-zA-Z0-9:._+-]{1,15}", "the name of an interface, at most 15 characters")

_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "*bool": _optional_boolean,
    "authority": _matching(r"[^:/]+:\d+", "host:port"),
    "bool": _boolean,
    "cidr-list": _list(lambda item: str(parse_cidr(item))),
    "dscp": lambda text: parse_dscp(int(text) if text.isdecimal() else text),
    "endpoint-list": _list(_matching(r"https?://[^/]+:\d+/?", "URLs http(s)://host:port, separated by commas")),
    "file": str,
    "host-address": _matching(r"[a-zA-Z0-9:._+-]{1,64}", "a host name or an address"),
    "hostname": _matching(r"[a-zA-Z0-9_.-]+", "a host name"),
    "iface-filter-slice": _list(_INTERFACE),
    "iface-list": _prefixes,
    "iface-list-regexp": _list(str),
    "iface-param": _INTERFACE,
    "ipv4": _address(Family.V4),
    "ipv6": _address(Family.V6),
    "keydurationlist": _pairs(parse_duration),
    "keyvaluelist": _pairs(str),
    "log-rate": _rate,
    "mark-bitmask": _mask,
    "millis": _number,
    "port-list": _ports,
    "portrange": _port_range,
    "portrange-list": _list(_port_range),
    "regexp": _expression,
    "region": _matching(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a DNS label"),
    "route-table-range": _table_range,
    "route-table-ranges": _list(_table_range),
    "seconds": _number,
    "string": str,
}
