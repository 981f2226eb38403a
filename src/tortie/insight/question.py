"""What is asked: a protocol and a port, as a person writes them."""

from dataclasses import dataclass

from tortie.base.decimals import number_up_to
from tortie.base.net import Family
from tortie.insight.errors import InsightError
from tortie.verdict.packet import ICMP, ICMPV6, PROTOCOL_NAMES, PROTOCOLS_WITH_PORTS, protocol_name

EPHEMERAL_PORT = 49152
"""The source port of a question that names none."""

_NUMBERS = {name.lower(): number for number, name in PROTOCOL_NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is sent. `port`: the destination port, its name at the destination, or the type for ICMP.

    `family` None takes what both ends have, IPv4 first.
    """

    protocol: int
    port: int | str | None = None
    source_port: int = EPHEMERAL_PORT
    icmp_code: int = 0
    family: Family | None = None


def parse_question(text: str, *, source_port: int = EPHEMERAL_PORT, family: Family | None = None) -> Question:
    """Read `tcp/80`, `udp/dns`, `icmp`, `icmp/8`, `icmp/3/1` (type and code) or a protocol number. Raises InsightError.

    `icmp` is of either family, as its ends are; `icmpv6` is IPv6's alone.
    """
    name, *rest = text.lower().split("/")
    protocol = _NUMBERS.get(name) or number_up_to(name, 255) or None
    if protocol is None:
        raise InsightError(f"protocol {name!r} is unknown: use {', '.join(_NUMBERS)} or a number from 1 to 255")
    if protocol in (ICMP, ICMPV6):
        if len(rest) > 2:
            raise InsightError(f"{text!r}: write {name}, {name}/TYPE or {name}/TYPE/CODE")
        if protocol == ICMPV6 and family is Family.V4:
            raise InsightError(f"{text!r} is not sent over IPv4; write icmp")
        numbers = [_number(part, 255, "ICMP type and code") for part in rest]
        code = numbers[1] if len(numbers) > 1 else 0
        port = numbers[0] if numbers else None
        family = Family.V6 if protocol == ICMPV6 else family
        return Question(protocol=protocol, port=port, icmp_code=code, source_port=source_port, family=family)
    if protocol not in PROTOCOLS_WITH_PORTS:
        if rest:
            raise InsightError(f"{text!r}: {protocol_name(protocol)} has no ports; write {name}")
        return Question(protocol=protocol, family=family)
    if len(rest) != 1 or not rest[0]:
        raise InsightError(f"{text!r}: which port? Write {name}/80, or {name}/ and the name of a port")
    named = rest[0] if not rest[0].isdecimal() else _number(rest[0], 65535, "a port")
    return Question(protocol=protocol, port=named, source_port=source_port, family=family)


def is_number(text: str) -> bool:
    """True for a few of the digits 0 to 9: neither for other characters that count as digits nor for what int() refuses."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def _number(text: str, highest: int, what: str) -> int:
    number = number_up_to(text, highest)
    if number is None:
        raise InsightError(f"{text!r}: {what} must be a number from 0 to {highest}")
    return number
