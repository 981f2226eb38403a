"""Ports of a Kubernetes rule, grouped by protocol and merged (conversions.md, section 5)."""

from collections.abc import Iterable

from tortie.api.kubernetes import NetworkPolicyPort
from tortie.api.policy import PortText
from tortie.convert.errors import ConversionError

PROTOCOLS = ("SCTP", "TCP", "UDP")


def ports_by_protocol(ports: Iterable[NetworkPolicyPort]) -> list[tuple[str | None, tuple[PortText, ...]]]:
    """Per protocol, sorted by name, the ports that match; no ports of a protocol means all of them, protocol None means any.

    An entry without a port opens its whole protocol, whatever other entries of that protocol say. Raises ConversionError.
    """
    named: dict[str, list[str]] = {}
    numeric: dict[str, list[tuple[int, int]]] = {}
    whole: set[str] = set()
    for entry in ports:
        protocol = entry.protocol or "TCP"
        if protocol not in PROTOCOLS:
            raise ConversionError(f"ports: protocol {entry.protocol!r} is not TCP, UDP or SCTP")
        names, ranges = named.setdefault(protocol, []), numeric.setdefault(protocol, [])
        port = _port(entry)
        if port is None:
            whole.add(protocol)
        elif isinstance(port, str):
            names.append(port)
        else:
            ranges.append(port)
    if not named:
        return [(None, ())]
    return [(each, () if each in whole else (*named[each], *_merged(numeric[each]))) for each in sorted(named)]


def _port(entry: NetworkPolicyPort) -> tuple[int, int] | str | None:
    if entry.port is None or entry.port == "":
        if entry.end_port is not None:
            raise ConversionError("ports: endPort needs port")
        return None
    if isinstance(entry.port, str) and not entry.port.isdecimal():
        if entry.end_port is not None:
            raise ConversionError(f"ports: endPort cannot follow the named port {entry.port!r}")
        return entry.port
    first = int(entry.port)
    last = first if entry.end_port is None else entry.end_port
    if not 1 <= first <= last <= 65535:
        raise ConversionError(f"ports: {first} to {last} is not a range within 1 to 65535")
    return first, last


def _merged(ranges: list[tuple[int, int]]) -> list[PortText]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [first if first == last else f"{first}:{last}" for first, last in merged]
