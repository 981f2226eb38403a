"""Configuration is read by Calico's names."""

import pytest

from tortie.base.net import Family
from tortie.dataplane.render.config import Config, ConfigError, parse
from tortie.kernel.nft.objects import Limit


def test_nothing_configured_gives_the_defaults() -> None:
    assert parse({}) == Config()


def test_none_and_empty_mean_the_default() -> None:
    assert parse({"VXLANPort": "none", "NftablesMarkMask": ""}) == Config()


def test_parameters_are_read_whatever_their_case() -> None:
    config = parse(
        {
            "interfaceprefix": "cali,tap",
            "NFTABLESMARKMASK": "0xff00",
            "DefaultEndpointToHostAction": "Accept",
            "NftablesFilterDenyAction": "Reject",
            "DisableConntrackInvalidCheck": "Yes",
            "WorkloadSourceSpoofing": "Any",
            "LogActionRateLimit": "30/minute",
            "NATOutgoingExclusions": "IPPoolsAndHostIPs",
            "IptablesNATOutgoingInterfaceFilter": "eth+",
            "IPv6NormalRoutePriority": "2000",
        }
    )
    assert config.interface_prefixes == ("cali", "tap")
    assert config.marks.accept == 0x100
    assert config.endpoint_to_host == "ACCEPT"
    assert config.reject
    assert not config.drop_invalid
    assert config.source_spoofing
    assert config.log_limit == Limit(rate=30, unit="minute", burst=5)
    assert config.nat_excludes_hosts
    assert config.nat_interface == "eth*"
    assert (config.route_metric(Family.V4), config.route_metric(Family.V6)) == (1024, 2000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VXLANPort", "many"),
        ("DefaultEndpointToHostAction", "Maybe"),
        ("AllowIPIPPacketsFromWorkloads", "perhaps"),
        ("LogActionRateLimit", "10/week"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        parse({name: value})


@pytest.mark.parametrize("text", ["cali,", ",cali", " cali , "])
def test_no_prefix_is_empty_for_it_would_begin_every_interface_of_the_node(text: str) -> None:
    assert parse({"InterfacePrefix": text}).interface_prefixes == ("cali",)


@pytest.mark.parametrize(("name", "text"), [("InterfacePrefix", ","), ("LogActionRateLimit", "0/second")])
def test_what_the_kernel_would_refuse_or_take_for_everything_is_not_understood(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        parse({name: text})
