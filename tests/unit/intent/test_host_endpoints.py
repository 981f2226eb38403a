"""Which host endpoint stands for which interface."""

from tortie.base.net import Address, parse_address
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.host_endpoints import resolve
from tortie.intent.keys import HostEndpointId

ETH0 = parse_address("192.0.2.1")
ETH1 = parse_address("192.0.2.9")
INTERFACES = {"eth0": frozenset({ETH0}), "eth1": frozenset({ETH1})}


def host_endpoint(name: str, interface: str = "", *expected: Address) -> HostEndpoint:
    return HostEndpoint(HostEndpointId("node", name), interface, expected)


def names(*endpoints: HostEndpoint) -> dict[str, str]:
    return {interface: endpoint.id.name for interface, endpoint in resolve(endpoints, INTERFACES).items()}


def test_a_name_and_an_expected_address_each_find_their_interface() -> None:
    assert names(host_endpoint("by-name", "eth0"), host_endpoint("by-address", "", ETH1)) == {
        "eth0": "by-name",
        "eth1": "by-address",
    }


def test_an_endpoint_with_a_name_never_matches_by_address() -> None:
    assert names(host_endpoint("elsewhere", "eth7", ETH0)) == {}


def test_of_several_candidates_the_smallest_id_has_the_interface() -> None:
    assert names(host_endpoint("b", "eth0"), host_endpoint("a", "", ETH0)) == {"eth0": "a"}


def test_all_interfaces_belong_to_the_smallest_endpoint_that_wants_all() -> None:
    assert names(host_endpoint("b", "*"), host_endpoint("a", "*"), host_endpoint("c", "eth0")) == {"*": "a", "eth0": "c"}
