"""The first packet of a connection, as far as policy looks at it."""

from dataclasses import dataclass, replace

from tortie.base.net import Address, Family

ICMP = 1
IPIP = 4
TCP = 6
UDP = 17
ICMPV6 = 58
SCTP = 132
UDPLITE = 136

PROTOCOL_NAMES = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6", SCTP: "SCTP", UDPLITE: "UDPLite"}
_ECHO_REPLIES = {(ICMP, 8): 0, (ICMPV6, 128): 129}
PROTOCOLS_WITH_PORTS = frozenset({TCP, UDP, SCTP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A new connection's first packet. Ports are None unless the protocol is TCP, UDP or SCTP; ICMP fields likewise."""

    family: Family
    source: Address
    destination: Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None

    def reply(self) -> "Packet":
        """What the receiver sends back: ends swapped, an echo reply for an echo request, else the same ICMP type."""
        icmp_type = self.icmp_type
        if self.protocol in (ICMP, ICMPV6) and icmp_type is not None:
            icmp_type = _ECHO_REPLIES.get((self.protocol, icmp_type), icmp_type)
        return replace(
            self,
            source=self.destination,
            destination=self.source,
            source_port=self.destination_port,
            destination_port=self.source_port,
            icmp_type=icmp_type,
        )

    def __str__(self) -> str:
        def end(address: Address, port: int | None) -> str:
            if port is None:
                return str(address)
            return f"{address}:{port}" if address.family is Family.V4 else f"[{address}]:{port}"

        icmp = "" if self.icmp_type is None else f" type {self.icmp_type} code {self.icmp_code or 0}"
        ends = f"{end(self.source, self.source_port)} -> {end(self.destination, self.destination_port)}"
        return f"{protocol_name(self.protocol)}{icmp} {ends}"


def protocol_name(number: int) -> str:
    """The name that policy YAML uses, else `protocol 89`."""
    return PROTOCOL_NAMES.get(number) or f"protocol {number}"


def protocol_number(text: int | str) -> int | None:
    """The number of a protocol as YAML writes it, None for a name that is not known."""
    if isinstance(text, int) or (text.isascii() and text.isdecimal() and len(text) <= 3):
        return int(text)
    return next((number for number, name in PROTOCOL_NAMES.items() if name.lower() == text.lower()), None)
