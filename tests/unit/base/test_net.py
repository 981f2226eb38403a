"""Addresses and prefixes: what they contain, how they are written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Address, Family, masked, parse_address, parse_interface, parse_prefix, single

NETWORKS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda length: ipaddress.ip_network(f"{address}/{length}", strict=False)
    )
)


@given(NETWORKS)
def test_a_prefix_is_written_as_it_was_read(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    prefix = parse_prefix(str(network))
    assert str(prefix) == str(network)
    assert prefix.size == network.num_addresses
    assert str(prefix.last) == str(network[-1])


@given(NETWORKS, NETWORKS)
def test_containment_is_that_of_the_standard_library(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    expected = one.version == other.version and other.subnet_of(one)  # type: ignore[arg-type]
    assert parse_prefix(str(one)).contains(parse_prefix(str(other))) is expected


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_an_address_lies_in_its_own_prefixes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    parsed = parse_address(str(address))
    assert single(parsed).contains(parsed)
    assert masked(parsed, 8).contains(parsed)
    assert parsed.packed == address.packed


@pytest.mark.parametrize("text", ["10.0.0.1/24", "fd00::1/64", "10.0.0.0/33", "nonsense", ""])
def test_host_bits_and_nonsense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_prefix(text)


def test_an_interface_keeps_its_host_bits_and_knows_its_subnet() -> None:
    interface = parse_interface("172.18.0.7/24")
    assert interface.address == Address(Family.V4, 0xAC120007)
    assert str(interface) == "172.18.0.7/24"
    assert str(interface.subnet) == "172.18.0.0/24"


def test_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_address("fe80::1%eth0")
