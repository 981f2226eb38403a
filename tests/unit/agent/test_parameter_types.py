"""Text of every type: what is taken, and what the message says of what is not."""

from typing import Any

import pytest

from tortie.agent.parameter_types import parse
from tortie.api.felix_params import BY_NAME


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("HealthEnabled", "Yes", True),
        ("HealthEnabled", "f", False),
        ("LogSeverityScreen", "warning", "WARNING"),
        ("RouteRefreshInterval", "1.5", 1.5),
        ("GoGCThreshold", "-1", -1),
        ("InterfacePrefix", "cali, tap", ("cali", "tap")),
        ("NftablesMarkMask", "0xff00", 0xFF00),
        ("NftablesMarkMask", "65280", 0xFF00),
        ("HealthTimeoutOverrides", "CNI=10s,BIRD=1m", {"CNI": 10.0, "BIRD": 60.0}),
        ("LogActionRateLimit", "7/minute", "7/minute"),
        ("FailsafeInboundHostPorts", "22,udp:10.0.0.0/8:53,tcp:[2001:db8::/32]:80", None),
        ("FailsafeInboundHostPorts", "none", "none"),
        ("BPFConnectTimeLoadBalancingEnabled", "", ""),
    ],
)
def test_text_that_can_be_read(name: str, text: str, value: Any) -> None:
    found = parse(BY_NAME[name], text)
    if value is None:
        value = (("tcp", "", 22), ("udp", "10.0.0.0/8", 53), ("tcp", "2001:db8::/32", 80))
    assert found == value


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("HealthEnabled", "maybe", "true or false"),
        ("HealthPort", "70000", "0 to 65535"),
        ("HealthPort", "1e3", "whole number"),
        ("LogActionRateLimitBurst", "10000", "0 to 9999"),
        ("RouteRefreshInterval", "90s", "number"),
        ("RouteRefreshInterval", "-1", "not negative"),
        ("RouteRefreshInterval", "nan", "not negative"),
        ("LogSeverityScreen", "loud", "TRACE"),
        ("InterfacePrefix", "", "interface names"),
        ("InterfacePrefix", "a b", "interface names"),
        ("NftablesMarkMask", "0x10", "two bits"),
        ("NftablesMarkMask", "0x1ffffffff", "32 bits"),
        ("NftablesMarkMask", "mask", "0xffff0000"),
        ("HealthTimeoutOverrides", "CNI", "name=value"),
        ("LogActionRateLimit", "7/year", "second, minute"),
        ("FailsafeInboundHostPorts", "icmp:1", "protocol"),
        ("HealthHost", "a b", "host name"),
        ("BPFDataIfacePattern", "(", "regular expression"),
        ("RouteTableRange", "9-5", "first-last"),
        ("DeviceRouteSourceAddress", "2001:db8::1", "IPv4"),
        ("NftablesFilterDenyAction", "none", "none is not possible"),
    ],
)
def test_text_that_cannot_be_read_says_what_would_be_right(name: str, text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse(BY_NAME[name], text)
