"""What a lab's network is asked to be, and which ways its nodes have."""

from tortie.api.felix import FelixConfigurationSpec
from tortie.api.ippool import IPPoolSpec
from tortie.base.net import Family, parse_address, parse_prefix
from tortie.kernel.route import Route
from tortie.lab.network import PROTOCOL_BIRD, Network, count_ways

POOLS = {
    parse_prefix("10.0.0.0/16"): IPPoolSpec(cidr="10.0.0.0/16", vxlan_mode="CrossSubnet"),
    parse_prefix("10.1.0.0/16"): IPPoolSpec(cidr="10.1.0.0/16", ipip_mode="Always"),
    parse_prefix("fd00::/56"): IPPoolSpec(cidr="fd00::/56", vxlan_mode="Never"),
}


def test_every_pool_and_wireguard_have_a_line() -> None:
    network = Network({}, POOLS, FelixConfigurationSpec(wireguard_enabled_v6=True))
    assert network.describe() == [
        "10.0.0.0/16: VXLAN CrossSubnet", "10.1.0.0/16: IPIP Always", "fd00::/56: no encapsulation", "WireGuard: IPv6",
    ]  # fmt: skip
    assert (network.is_encrypted(Family.V4), network.is_encrypted(Family.V6)) == (False, True)


def test_a_block_is_as_its_pool_is() -> None:
    network = Network({}, POOLS, FelixConfigurationSpec())
    blocks = ("10.0.0.64/26", "10.1.0.0/26", "fd00::40/122", "192.0.2.0/26")
    assert [network.is_encapsulated(parse_prefix(block)) for block in blocks] == [True, True, False, False]


def test_ways_are_counted_by_who_programs_them_and_where_they_lead() -> None:
    def route(device: str, protocol: int = 80) -> Route:
        return Route(dst=parse_prefix("10.0.0.0/26"), via=parse_address("172.18.0.2"), device=device, protocol=protocol)

    routes = [route("vxlan.calico"), route("tunl0"), route("eth0"), route("eth0", PROTOCOL_BIRD), route("wg-v6.cali")]
    assert count_ways(routes) == {"vxlan": 1, "ipip": 1, "direct": 1, "bgp": 1, "wireguard": 1}
