"""Ports of a Kubernetes rule, grouped by protocol and merged (conversions.md, sections 5 and 7)."""

from collections.abc import Iterable

from tortie.api.cluster_policy import DestinationPort, ProtocolMatch
from tortie.api.kubernetes import NetworkPolicyPort
from tortie.api.policy import PortText
from tortie.base.decimals import number_up_to
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


def ports_of_matches(matches: Iterable[ProtocolMatch]) -> list[tuple[str | None, tuple[PortText, ...]]]:
    """The same for a ClusterNetworkPolicy. Named ports stand under protocol None, first: they say theirs themselves.

    Raises ConversionError.
    """
    named: list[str] = []
    numeric: dict[str, list[tuple[int, int]]] = {}
    whole: set[str] = set()
    entries = tuple(matches)
    for entry in entries:
        given = {name: match for name, match in zip(PROTOCOLS, (entry.sctp, entry.tcp, entry.udp), strict=True) if match}
        if len(given) + bool(entry.destination_named_port) != 1:
            raise ConversionError("protocols: exactly one of tcp, udp, sctp and destinationNamedPort is needed")
        if entry.destination_named_port:
            named.append(entry.destination_named_port)
        for protocol, match in given.items():
            ranges = numeric.setdefault(protocol, [])
            if match.destination_port is None:
                whole.add(protocol)
            else:
                ranges.append(_span(match.destination_port))
    if not entries:
        return [(None, ())]
    by_protocol = [(each, () if each in whole else tuple(_merged(numeric[each]))) for each in sorted(numeric)]
    return [*([(None, tuple(dict.fromkeys(named)))] if named else []), *by_protocol]


def _span(port: DestinationPort) -> tuple[int, int]:
    if (port.number is None) == (port.range is None):
        raise ConversionError("protocols: destinationPort needs exactly one of number and range")
    first, last = (port.range.start, port.range.end) if port.range else (port.number or 0, port.number or 0)
    if not 1 <= first <= last <= 65535:
        raise ConversionError(f"protocols: {first} to {last} is not a range within 1 to 65535")
    return first, last


def _port(entry: NetworkPolicyPort) -> tuple[int, int] | str | None:
    if entry.port is None or entry.port == "":
        if entry.end_port is not None:
            raise ConversionError("ports: endPort needs port")
        return None
    if isinstance(entry.port, str) and not entry.port.isdecimal():
        if entry.end_port is not None:
            raise ConversionError(f"ports: endPort cannot follow the named port {entry.port!r}")
        return entry.port
    first = number_up_to(str(entry.port), 65535)
    last = first if entry.end_port is None else entry.end_port
    if first is None or last is None or not 1 <= first <= last <= 65535:
        raise ConversionError(f"ports: {entry.port} to {last or entry.port} is not a range within 1 to 65535")
    return first, last


def _merged(ranges: list[tuple[int, int]]) -> list[PortText]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [first if first == last else f"{first}:{last}" for first, last in merged]
