"""Checks of FelixConfiguration beyond its types: the formats of `felix_params`, and fields that depend on each other."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tortie.api.errors import Path
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec, RouteTableRange
from tortie.api.felix_params import BY_FIELD
from tortie.api.findings import Findings
from tortie.api.formats import parse_cidr, parse_dscp, parse_duration, parse_port
from tortie.api.names import parse_dns_label
from tortie.api.validation_network import address_of
from tortie.base.net import Family, Prefix

_MAX_TABLE = 0xFFFFFFFF
_MAX_TABLES = 65535
_MAX_NODE_PORT_RANGES = 7


def check_felix_configuration(findings: Findings, configuration: FelixConfiguration) -> None:
    """Formats of all fields, then the rules between fields."""
    spec = configuration.spec
    name = configuration.metadata.name
    findings.selector(("spec", "nodeSelector"), spec.node_selector or "")
    if spec.node_selector and (name == "default" or name.startswith("node.")):
        reason = "cannot be set in default and node.NAME; use another name for nodes by selector"
        findings.refuse(("spec", "nodeSelector"), spec.node_selector, reason)
    for field in msgspec.structs.fields(spec):
        value = getattr(spec, field.name)
        parameter = BY_FIELD.get(field.encode_name)
        if value is None or value == "" or parameter is None:
            continue
        bounds = re.fullmatch(r"int\((-?[0-9]+)(?:[:,]([0-9]+))?\)", parameter.type)
        if bounds is not None:
            findings.within(("spec", field.encode_name), value, lowest=int(bounds[1]), highest=int(bounds[2] or 2**63 - 1))
        elif (check := _FORMATS.get(parameter.type)) is not None:
            check(findings, ("spec", field.encode_name), value)
    _check_route_tables(findings, spec)
    for index, text in enumerate(spec.external_nodes_list or ()):
        if ":" in text:
            findings.refuse(("spec", "externalNodesList", index), text, "must be an IPv4 CIDR")
    for index, override in enumerate(spec.health_timeout_overrides or ()):
        path = ("spec", "healthTimeoutOverrides", index)
        findings.parsed((*path, "name"), override.name, _matching(r"[a-zA-Z0-9_ -]+", "the name of a component"))
        findings.parsed((*path, "timeout"), override.timeout, _not_negative)


def _one(parse: Callable[[Any], object]) -> Callable[[Findings, Path, Any], None]:
    return lambda findings, path, value: _discard(findings.parsed(path, value, parse))


def _many(parse: Callable[[Any], object]) -> Callable[[Findings, Path, Any], None]:
    return lambda findings, path, values: _discard(findings.each(path, values, parse))


def _discard(_result: object) -> None:
    return None


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"must be {what}")
        return text

    return parse


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    return text


def _interface_exclusions(text: str) -> str:
    for item in text.split(","):
        if item.startswith("/") and item.endswith("/") and len(item) > 1:
            _expression(item[1:-1])
        elif re.fullmatch(r"[a-zA-Z0-9_.+:-]{1,15}", item) is None:
            raise ValueError("must be a comma-separated list of interfaces or /regular expressions/")
    return text


def _not_negative(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _mask(value: int) -> int:
    if value.bit_count() < 2:
        raise ValueError("must have at least two bits set")
    return value


def _port_range(value: int | str) -> object:
    ports = value if value == 0 else parse_port(value)
    if isinstance(ports, str):
        raise ValueError("must be a port or a range first:last")
    return ports


def _cidr(text: str) -> Prefix:
    return parse_cidr(text)


def _check_failsafe_ports(findings: Findings, path: Path, ports: Any) -> None:
    for index, port in enumerate(ports):
        findings.within((*path, index, "port"), port.port, lowest=0, highest=65535)
        if port.protocol and port.protocol.upper() not in ("TCP", "UDP", "SCTP"):
            findings.refuse((*path, index, "protocol"), port.protocol, "must be TCP, UDP or SCTP")
        if port.net:
            findings.parsed((*path, index, "net"), port.net, _cidr)


def _check_node_ports(findings: Findings, path: Path, ports: Any) -> None:
    findings.at_most(path, ports, limit=_MAX_NODE_PORT_RANGES)
    findings.each(path, ports, _port_range)


def _check_route_tables(findings: Findings, spec: FelixConfigurationSpec) -> None:
    old, new = spec.route_table_range, spec.route_table_ranges
    if old is not None and new is not None:
        findings.refuse(("spec", "routeTableRange"), None, "cannot be combined with routeTableRanges; leave it out")
    if old is not None:
        _check_route_table_range(findings, ("spec", "routeTableRange"), old, highest=250)
    total = 0
    for index, tables in enumerate(new or ()):
        _check_route_table_range(findings, ("spec", "routeTableRanges", index), tables, highest=_MAX_TABLE)
        total += max(0, tables.max - tables.min + 1)
    if total > _MAX_TABLES:
        findings.refuse(("spec", "routeTableRanges"), None, f"has {total} tables, at most {_MAX_TABLES} are allowed")


def _check_route_table_range(findings: Findings, path: Path, tables: RouteTableRange, *, highest: int) -> None:
    findings.within((*path, "min"), tables.min, lowest=1, highest=highest)
    findings.within((*path, "max"), tables.max, lowest=1, highest=highest)
    findings.require(tables.min <= tables.max, (*path, "max"), value=tables.max, reason="must not be below min")


_INTERFACE = _matching(r"[a-zA-Z0-9:._+-]{1,15}", "the name of an interface, at most 15 characters")

_FORMATS: Mapping[str, Callable[[Findings, Path, Any], None]] = {
    "host-address": _one(_matching(r"[a-zA-Z0-9:._+-]{1,64}", "a host name or an IP address")),
    "hostname": _one(_matching(r"[a-zA-Z0-9_.-]+", "a host name")),
    "regexp": _one(_expression),
    "regexp(nil-on-empty)": _one(_expression),
    "seconds": _one(_not_negative),
    "millis": _one(_not_negative),
    "ipv4": _one(address_of(Family.V4)),
    "ipv6": _one(address_of(Family.V6)),
    "cidr-list": _many(_cidr),
    "port-list": _check_failsafe_ports,
    "iface-list": _one(
        _matching(r"[a-zA-Z0-9_-]{1,15}(,[a-zA-Z0-9_-]{1,15})*", "a comma-separated list of interface prefixes")
    ),
    "iface-list-regexp": _one(_interface_exclusions),
    "iface-param": _one(_INTERFACE),
    "iface-filter-slice": _many(_INTERFACE),
    "dscp": _one(parse_dscp),
    "portrange": _one(_port_range),
    "portrange-list": _check_node_ports,
    "mark-bitmask": _one(_mask),
    "region": _one(parse_dns_label),
}
"""How the text of a parameter type is checked in its field; types that are missing here need no more than their type."""
