"""Protocol texts to numbers."""

from tortie.api.policy import ProtocolText

TCP, UDP, SCTP, ICMP, ICMPV6, UDPLITE = 6, 17, 132, 1, 58, 136
WITH_PORTS = frozenset({TCP, UDP, SCTP})
NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMP", ICMPV6: "ICMPv6", UDPLITE: "UDPLite"}
_NUMBERS = {name.lower(): number for number, name in NAMES.items()}


def protocol_number(text: ProtocolText) -> int:
    """The number of a protocol as written. Raises ValueError."""
    if isinstance(text, str) and text.lower() in _NUMBERS:
        return _NUMBERS[text.lower()]
    number = text if isinstance(text, int) else int(text) if text.isdecimal() else 0
    if not 1 <= number <= 255:
        raise ValueError(f"protocol {text!r} is unknown")
    return number


def protocol_text(number: int) -> str:
    """The name of a protocol, or its number."""
    return NAMES.get(number, str(number))
