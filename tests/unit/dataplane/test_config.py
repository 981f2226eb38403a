"""Configuration is read by Calico's names."""

import pytest

from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Family, parse_prefix
from tortie.dataplane.render.config import Config, ConfigError, Failsafe, RouteConfig, WireguardConfig, parse
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


def test_failsafe_ports_may_name_protocol_and_network() -> None:
    config = parse(
        {"FailsafeInboundHostPorts": "22, UDP:68,tcp:10.0.0.1/8:80,sctp:[fd00::/8]:90,10.1.0.0/16:91,tcp:fd00::1:92"}
    )
    assert config.failsafe_in == (
        Failsafe(6, 22),
        Failsafe(17, 68),
        Failsafe(6, 80, parse_prefix("10.0.0.0/8")),
        Failsafe(132, 90, parse_prefix("fd00::/8")),
        Failsafe(6, 91, parse_prefix("10.1.0.0/16")),
        Failsafe(6, 92, parse_prefix("fd00::1")),
    )


def test_none_turns_failsafe_ports_off() -> None:
    config = parse({"FailsafeInboundHostPorts": "none", "FailsafeOutboundHostPorts": "None"})
    assert (config.failsafe_in, config.failsafe_out) == ((), ())
    assert (Failsafe(6, 22) in Config().failsafe_in, Failsafe(17, 53) in Config().failsafe_out) == (True, True)


@pytest.mark.parametrize("text", ["tcp:http", "icmp:22", "tcp:70000", "tcp:10.0.0.0/33:22", ":22:", "tcp:"])
def test_a_failsafe_port_that_is_not_understood_names_the_parameter(text: str) -> None:
    with pytest.raises(ConfigError, match=r"FailsafeOutboundHostPorts: .* use a port, protocol:port"):
        parse({"FailsafeOutboundHostPorts": text})


@pytest.mark.parametrize("name", ["NftablesFilterAllowAction", "NftablesMangleAllowAction", "ServiceLoopPrevention"])
def test_actions_are_words_of_a_list(name: str) -> None:
    assert parse({name: "Accept" if "Allow" in name else "Drop"}) == Config()
    with pytest.raises(ConfigError, match=f"{name}: 'maybe' is not understood .use "):
        parse({name: "maybe"})


def test_encapsulation_is_left_to_the_pools_unless_it_is_configured() -> None:
    assert (parse({}).vxlan_enabled, parse({}).ipip_enabled) == (None, None)
    config = parse({"VXLANEnabled": "true", "IpInIpEnabled": "false", "ExternalNodesCIDRList": "192.0.2.1,2001:db8::/32"})
    assert (config.vxlan_enabled, config.ipip_enabled) == (True, False)
    assert config.external_nodes == (parse_prefix("192.0.2.1"), parse_prefix("2001:db8::/32"))
    assert parse({"WireguardEnabledV6": "true"}).wireguard_ports == ((Family.V6, 51821),)


def test_what_vxlan_is_made_of_and_whether_the_kernel_can_be_relied_on() -> None:
    assert (parse({}).vxlan_vni, parse({}).checksum_offload_broken) == (4096, None)
    config = parse({"VXLANVNI": "7", "FeatureDetectOverride": "SNATFullyRandom=false,ChecksumOffloadBroken=true,"})
    assert (config.vxlan_vni, config.checksum_offload_broken) == (7, True)
    assert parse({"FeatureDetectOverride": "ChecksumOffloadBroken=false"}).checksum_offload_broken is False
    assert parse({"FeatureDetectOverride": "ChecksumOffloadBroken=,Other=true"}).checksum_offload_broken is None


@pytest.mark.parametrize(("name", "text"), [("VXLANVNI", "0"), ("VXLANVNI", "16777216"), ("VXLANPort", "65536")])
def test_no_device_is_made_of_what_cannot_be(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: '{text}' is not understood .use 1 to"):
        parse({name: text})


def test_wireguard_is_calicos_unless_told_otherwise() -> None:
    config = parse({})
    assert config.wireguard == WireguardConfig(("wireguard.cali", "wg-v6.cali"), (1, 2), 99, 0, host_encryption=False)
    assert config.marks.wireguard == 0


def test_wireguard_takes_names_tables_priority_and_keepalive() -> None:
    config = parse(
        {
            "WireguardEnabledV6": "true",
            "WireguardInterfaceName": "wg0",
            "RouteTableRanges": "10-10,30-40",
            "WireguardRoutingRulePriority": "55",
            "WireguardPersistentKeepAlive": "12.5",
            "WireguardHostEncryptionEnabled": "true",
        }
    )
    assert config.wireguard == WireguardConfig(("wg0", "wg-v6.cali"), (10, 30), 55, 13, host_encryption=True)
    assert config.marks.wireguard == 0x200000


def test_the_older_range_of_tables_counts_where_the_newer_is_silent() -> None:
    assert parse({"RouteTableRange": "77-90"}).wireguard.tables == (77, 78)
    assert parse({"RouteTableRange": "77-90", "RouteTableRanges": "5-6"}).wireguard.tables == (5, 6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RouteTableRanges", "7-7"),
        ("RouteTableRanges", "254-260"),
        ("RouteTableRanges", "0-9"),
        ("WireguardRoutingRulePriority", "32766"),
        ("WireguardRoutingRulePriority", "0"),
        ("WireguardPersistentKeepAlive", "65536"),
        ("WireguardInterfaceNameV6", "wireguard.cali"),
        ("WireguardMTU", "-1"),
    ],
)
def test_what_wireguard_cannot_be_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        parse({name: text})


def test_wireguard_needs_a_bit_of_the_mask() -> None:
    five = {"NftablesMarkMask": "0x1f"}
    assert parse(five).marks.wireguard == 0
    with pytest.raises(TortieError, match="at least 6 for WireGuard"):
        parse({**five, "WireguardEnabled": "true"})


def test_routes_are_configured_as_calico_names_it() -> None:
    assert parse({}).routes == RouteConfig()
    routes = parse(
        {
            "RouteSyncDisabled": "true",
            "DeviceRouteProtocol": "81",
            "DeviceRouteSourceAddress": "192.0.2.1",
            "DeviceRouteSourceAddressIPv6": "2001:db8::1",
            "RemoveExternalRoutes": "false",
        }
    ).routes
    assert not routes.sync
    assert (routes.protocol, routes.cluster_protocol) == (81, 81)
    assert [str(routes.source(family)) for family in FAMILIES] == ["192.0.2.1", "2001:db8::1"]
    assert not routes.remove_external


def test_with_the_protocol_of_hand_made_routes_those_of_the_cluster_keep_their_own() -> None:
    routes = parse({"DeviceRouteProtocol": "3"}).routes
    assert (routes.protocol, routes.cluster_protocol) == (3, 80)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DeviceRouteProtocol", "12"),
        ("DeviceRouteProtocol", "4"),
        ("DeviceRouteProtocol", "256"),
        ("DeviceRouteProtocol", "bird"),
        ("DeviceRouteSourceAddress", "2001:db8::1"),
        ("DeviceRouteSourceAddressIPv6", "192.0.2.1"),
    ],
)
def test_what_would_take_the_routes_of_others_for_ours_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: "):
        parse({name: text})
