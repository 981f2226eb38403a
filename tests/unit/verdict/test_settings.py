"""A node's configuration, as far as it decides about packets."""

import pytest

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.verdict.packet import TCP, UDP
from tortie.verdict.settings import Failsafe, settings_of


@pytest.mark.shows("PS-3.8", "PS-9.1", "PS-9.2", "PS-11.1")
def test_what_is_not_set_has_calicos_default() -> None:
    settings = settings_of({})
    assert settings.endpoint_to_host == "drop"
    assert settings.service_loop == "drop"
    assert settings.drop_invalid
    assert not settings.allow_vxlan
    inbound = {(failsafe.protocol, failsafe.port) for failsafe in settings.failsafe_inbound}
    assert inbound == {(UDP, 68)} | {(TCP, port) for port in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)}
    outbound = {(failsafe.protocol, failsafe.port) for failsafe in settings.failsafe_outbound}
    assert outbound == {(UDP, 53), (UDP, 67)} | {(TCP, port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)}


@pytest.mark.shows("PS-9.3", "PS-9.4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("22", (Failsafe(TCP, 22),)),
        ("udp:53", (Failsafe(UDP, 53),)),
        (
            "tcp:10.0.0.0/8:22, udp:[fd00::]/8:53",
            (Failsafe(TCP, 22, parse_prefix("10.0.0.0/8")), Failsafe(UDP, 53, parse_prefix("fd00::/8"))),
        ),
    ],
)
def test_failsafe_ports_as_configuration_writes_them(text: str, expected: tuple[Failsafe, ...]) -> None:
    assert settings_of({"FailsafeInboundHostPorts": text}).failsafe_inbound == expected


@pytest.mark.parametrize("text", ["tcp:many", "carrier-pigeon:22", "tcp:10.0.0.0/40:22"])
def test_ports_that_cannot_be_read_leave_the_default_ones_open(text: str) -> None:
    assert settings_of({"FailsafeInboundHostPorts": text}) == settings_of({})


@pytest.mark.shows("PS-9.3")
def test_a_net_limits_the_far_end() -> None:
    failsafe = Failsafe(TCP, 22, parse_prefix("10.0.0.0/8"))
    assert failsafe.covers(protocol=TCP, port=22, far_end=parse_address("10.1.2.3"))
    assert not failsafe.covers(protocol=TCP, port=22, far_end=parse_address("11.1.2.3"))
    assert not failsafe.covers(protocol=UDP, port=22, far_end=parse_address("10.1.2.3"))
    assert not failsafe.covers(protocol=TCP, port=None, far_end=parse_address("10.1.2.3"))


def test_names_of_parameters_are_compared_without_regard_to_case() -> None:
    settings = settings_of({"defaultendpointtohostaction": "ACCEPT", "wireguardenabled": "true", "vxlanport": "4790"})
    assert settings.endpoint_to_host == "accept"
    assert settings.wireguard_ports == ((Family.V4, 51820),)
    assert settings.vxlan_port == 4790
