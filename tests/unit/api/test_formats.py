"""Formats of single fields: what is read, and as what."""

from collections.abc import Callable
from typing import Any

import pytest

from tortie.api.formats import (
    PortRange,
    parse_as_number,
    parse_cidr,
    parse_community,
    parse_dscp,
    parse_duration,
    parse_mac,
    parse_net,
    parse_port,
    parse_protocol,
)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_port, 80, PortRange(80, 80)),
        (parse_port, "80", PortRange(80, 80)),
        (parse_port, "80:90", PortRange(80, 90)),
        (parse_port, "http-alt", "http-alt"),
        (parse_protocol, "TCP", 6),
        (parse_protocol, "ICMPv6", 58),
        (parse_protocol, "132", 132),
        (parse_protocol, 255, 255),
        (parse_as_number, 0, 0),
        (parse_as_number, "4294967295", 4294967295),
        (parse_as_number, "65535.65535", 4294967295),
        (parse_duration, "1m30s", 90.0),
        (parse_duration, "1.5s", 1.5),
        (parse_duration, "100ms", 0.1),
        (parse_duration, "-2h", -7200.0),
        (parse_duration, "0", 0.0),
        (parse_mac, "02:00:00:00:00:0A", bytes.fromhex("02000000000a")),
        (parse_mac, "02-00-00-00-00-0a", bytes.fromhex("02000000000a")),
        (parse_mac, "0200.0000.000a", bytes.fromhex("02000000000a")),
        (parse_community, "65535:1", (65535, 1)),
        (parse_community, "4294967295:0:1", (4294967295, 0, 1)),
        (parse_dscp, "ef", 46),
        (parse_dscp, "AF43", 38),
        (parse_dscp, "CS6", 48),
        (parse_dscp, "63", 63),
    ],
)
def test_values_that_are_read(parse: Callable[[Any], Any], text: Any, expected: Any) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_port, 0),
        (parse_port, ""),
        (parse_port, "1:"),
        (parse_port, "a" * 16),
        (parse_port, "a--b"),
        (parse_port, "-a"),
        (parse_port, "a.b"),
        (parse_protocol, "udp"),
        (parse_protocol, "IPIP"),
        (parse_as_number, "1.65536"),
        (parse_as_number, 4294967296),
        (parse_as_number, "-1"),
        (parse_duration, ""),
        (parse_duration, "5"),
        (parse_duration, "5d"),
        (parse_duration, "s"),
        (parse_mac, "02:00:00-00:00:0a"),
        (parse_mac, "02:00:00:00:00"),
        (parse_community, "1"),
        (parse_community, "65536:1"),
        (parse_dscp, "CS7"),
        (parse_dscp, 64),
        (parse_net, "10.0.0.1/8"),
        (parse_net, ""),
        (parse_cidr, "10.0.0.0/33"),
    ],
)
def test_values_that_are_refused(parse: Callable[[Any], Any], text: Any) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_networks() -> None:
    assert str(parse_net("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(parse_net("fd00::1")) == "fd00::1/128"
    assert str(parse_cidr("10.0.0.1/8")) == "10.0.0.0/8"
