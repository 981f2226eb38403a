"""Formats of single fields (api.md, section 1.3): each `parse_*` gives the value or raises ValueError with the reason.

The reasons are fragments that follow a field's name and value, such as "must be a port from 1 to 65535".
"""

import re
from typing import NamedTuple

from tortie.base.net import Family, Prefix, parse_prefix

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
"""Protocol names that rules accept, in exactly this case."""

PROTOCOLS_WITH_PORTS = frozenset((6, 17, 132))

DSCP_NAMES = (
    {"DF": 0, "EF": 46}
    | {f"CS{n}": 8 * n for n in range(7)}
    | {f"AF{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)}
)

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_KUBERNETES_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_MAC = re.compile(r"(?i)([0-9a-f]{2}([:-])[0-9a-f]{2}(\2[0-9a-f]{2}){4}|[0-9a-f]{4}(\.[0-9a-f]{4}){2})")
_COMMUNITY = re.compile(r"(\d+):(\d+)(?::(\d+))?")


class PortRange(NamedTuple):
    """Ports `first` to `last`, both inclusive."""

    first: int
    last: int


def parse_port(port: int | str) -> PortRange | str:
    """A number, `a:b`, or a name, which is returned as it is."""
    if isinstance(port, int) or re.fullmatch(r"[0-9]+", port):
        number = _port_number(int(port))
        return PortRange(number, number)
    if found := re.fullmatch(r"([0-9]+):([0-9]+)", port):
        first, last = _port_number(int(found[1])), _port_number(int(found[2]))
        if first > last:
            raise ValueError("the first port of a range must not be above the last")
        return PortRange(first, last)
    if _PORT_NAME.fullmatch(port) is None:
        raise ValueError("must be a port from 1 to 65535, a range first:last or the name of a port")
    return parse_port_name(port)


def parse_port_name(name: str) -> str:
    """The name of a port as Kubernetes allows it."""
    if len(name) > 15 or _KUBERNETES_PORT_NAME.fullmatch(name) is None:
        raise ValueError(
            "a port name has at most 15 characters, only a-z, 0-9 and single dashes inside, and at least one letter"
        )
    return name


def parse_protocol(protocol: int | str) -> int:
    """The protocol's number, 1 to 255."""
    if isinstance(protocol, str) and not re.fullmatch(r"[0-9]+", protocol):
        if protocol not in PROTOCOLS:
            raise ValueError(f"must be a number from 1 to 255 or one of {', '.join(PROTOCOLS)}")
        return PROTOCOLS[protocol]
    number = int(protocol)
    if not 1 <= number <= 255:
        raise ValueError("must be a protocol number from 1 to 255")
    return number


def parse_as_number(text: int | str) -> int:
    """`64512`, or `0.64512` in asdot form."""
    if isinstance(text, int):
        number = text
    elif found := re.fullmatch(r"([0-9]+)\.([0-9]+)", text):
        high, low = int(found[1]), int(found[2])
        if max(high, low) > 0xFFFF:
            raise ValueError("each half of an AS number in the form high.low is at most 65535")
        number = high << 16 | low
    elif re.fullmatch(r"[0-9]+", text):
        number = int(text)
    else:
        raise ValueError("must be an AS number such as 64512 or 1.10")
    if not 0 <= number <= 0xFFFFFFFF:
        raise ValueError("must be an AS number from 0 to 4294967295")
    return number


def parse_net(text: str) -> Prefix:
    """A CIDR without host bits, or a bare address."""
    try:
        return parse_prefix(text)
    except ValueError as error:
        try:
            network = parse_prefix(text, strict=False)
        except ValueError:
            raise ValueError("must be an IP address or a CIDR such as 10.0.0.0/16") from error
        raise ValueError(f"must not have host bits set; did you mean {network}?") from error


def parse_cidr(text: str) -> Prefix:
    """A CIDR, host bits allowed and cleared, or a bare address."""
    try:
        return parse_prefix(text, strict=False)
    except ValueError as error:
        raise ValueError("must be an IP address or a CIDR such as 10.0.0.0/16") from error


def parse_cidr_with_mask(text: str) -> Prefix:
    """A CIDR, host bits allowed and cleared; a bare address is refused."""
    net = parse_cidr(text)
    if "/" not in text:
        raise ValueError(f"must be a CIDR with a mask, such as {net}")
    return net


def parse_duration(text: str) -> float:
    """A Go duration such as `1m30s`, in seconds."""
    body = text.removeprefix("-").removeprefix("+")
    if body == "0":
        return 0.0
    position, seconds = 0, 0.0
    while position < len(body):
        found = _DURATION.match(body, position)
        if found is None:
            break
        seconds += float(found[1]) * _UNITS[found[2]]
        position = found.end()
    if not body or position < len(body):
        raise ValueError("must be a duration such as 90s or 1m30s")
    return -seconds if text.startswith("-") else seconds


def parse_mac(text: str) -> bytes:
    """`02:00:00:00:00:01`, also with dashes or as `0200.0000.0001`."""
    if _MAC.fullmatch(text) is None:
        raise ValueError("must be a MAC address such as 02:00:00:00:00:01")
    return bytes.fromhex(re.sub(r"[:.-]", "", text))


def parse_community(text: str) -> tuple[int, ...]:
    """A BGP community `a:b`, or a large one `a:b:c`."""
    found = _COMMUNITY.fullmatch(text)
    parts = tuple(int(part) for part in found.groups() if part is not None) if found else ()
    if not parts or max(parts) > (0xFFFF if len(parts) == 2 else 0xFFFFFFFF):
        raise ValueError("must be a:b with both at most 65535, or a:b:c with each at most 4294967295")
    return parts


def parse_dscp(value: int | str) -> int:
    """0 to 63, or a name such as EF or AF11."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
        number = DSCP_NAMES.get(value.upper(), -1)
    else:
        number = int(value)
    if not 0 <= number <= 63:
        raise ValueError(f"must be a number from 0 to 63 or one of {', '.join(sorted(DSCP_NAMES))}")
    return number


def require_family(prefix: Prefix, family: Family) -> None:
    """Raise ValueError unless `prefix` belongs to `family`."""
    if prefix.family is not family:
        raise ValueError(f"must be an IPv{family.value} address")


def _port_number(number: int) -> int:
    if not 1 <= number <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return number
