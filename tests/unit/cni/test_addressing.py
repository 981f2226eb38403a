"""Which addresses a pod is to get: pod before namespace before configuration."""

import asyncio
from typing import Any

import pytest

from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.resource import Metadata
from tortie.base.net import Family, parse_address, parse_prefix
from tortie.cni.addressing import Wish, resolve
from tortie.cni.config import AddressManager, IpamConfig
from tortie.cni.errors import CniError
from tortie.datastore.client import Listing

BOTH = IpamConfig(assign_ipv4=True, assign_ipv6=True)


class Pools:
    """A datastore with two pools."""

    async def list(self, kind: str, **_: Any) -> Listing:
        assert kind == "IPPool"
        pools = (("four", "10.1.0.0/16"), ("six", "fd01::/48"))
        return Listing(tuple(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr)) for name, cidr in pools), "1")


def wish(config: IpamConfig = BOTH, *, pod: dict[str, str] | None = None, namespace: dict[str, str] | None = None) -> Wish:
    def full(found: dict[str, str] | None) -> dict[str, str]:
        return {f"cni.projectcalico.org/{name}": text for name, text in (found or {}).items()}

    client: Any = Pools()
    return asyncio.run(resolve(client, config, pod=full(pod), namespace=full(namespace)))


def test_without_annotations_the_configuration_decides() -> None:
    assert wish(IpamConfig()) == Wish(families=(Family.V4,))
    assert wish() == Wish(families=(Family.V4, Family.V6))
    found = wish(IpamConfig(ipv4_pools=("four",)))
    assert found.pools_v4 == (parse_prefix("10.1.0.0/16"),)


def test_the_pods_annotation_replaces_the_namespaces_and_that_the_configurations() -> None:
    config = IpamConfig(ipv4_pools=("10.9.0.0/16",))
    namespace = {"ipv4pools": '["10.8.0.0/16"]'}
    assert wish(config, namespace=namespace).pools_v4 == (parse_prefix("10.8.0.0/16"),)
    assert wish(config, namespace=namespace, pod={"ipv4pools": '["four"]'}).pools_v4 == (parse_prefix("10.1.0.0/16"),)
    assert wish(pod={"ipv6pools": '["six"]'}).pools_v6 == (parse_prefix("fd01::/48"),)


def test_families_are_chosen_by_annotation() -> None:
    assert wish(pod={"ipFamilies": '["IPv6"]'}).families == (Family.V6,)
    assert wish(IpamConfig(), namespace={"ipFamilies": '["IPv6", "IPv4"]'}).families == (Family.V4, Family.V6)


def test_addresses_that_the_pod_brings_need_the_gate_and_exclude_those_of_ipam() -> None:
    def outside(annotations: dict[str, str], config: IpamConfig = BOTH) -> Wish:
        full = {f"cni.projectcalico.org/{name}": text for name, text in annotations.items()}
        client: Any = Pools()
        return asyncio.run(resolve(client, config, pod=full, namespace={}, outside_allowed=True))

    own = {"ipAddrsNoIpam": '["192.0.2.7", "2001:db8::7"]'}
    addresses = (parse_address("192.0.2.7"), parse_address("2001:db8::7"))
    assert outside(own).outside == addresses
    assert outside(own, IpamConfig(AddressManager.NONE)).outside == addresses
    with pytest.raises(CniError, match="excludes ipAddrsNoIpam"):
        outside({**own, "ipAddrs": '["10.1.0.7"]'})
    with pytest.raises(CniError, match=r"needs ipam\.type calico-ipam"):
        outside({"ipAddrs": '["10.1.0.7"]'}, IpamConfig(AddressManager.HOST_LOCAL))


def test_the_runtime_may_ask_for_an_address_and_the_pod_knows_better() -> None:
    client: Any = Pools()
    asked = asyncio.run(resolve(client, BOTH, pod={}, namespace={}, asked="10.1.0.9"))
    assert asked.addresses == (parse_address("10.1.0.9"),)
    full = {"cni.projectcalico.org/ipAddrs": '["10.1.0.7"]'}
    better = asyncio.run(resolve(client, BOTH, pod=full, namespace={}, asked="10.1.0.9"))
    assert better.addresses == (parse_address("10.1.0.7"),)
    with pytest.raises(CniError, match="CNI_ARGS: IP 'x'"):
        asyncio.run(resolve(client, BOTH, pod={}, namespace={}, asked="x"))


def test_fixed_addresses_say_their_families_themselves() -> None:
    found = wish(pod={"ipAddrs": '["fd01::7"]'})
    assert (found.addresses, found.families) == ((parse_address("fd01::7"),), (Family.V6,))
    assert wish(namespace={"ipAddrs": '["fd01::7"]'}).addresses == ()


@pytest.mark.parametrize(
    ("pod", "word"),
    [
        ({"ipv4pools": "four"}, "ipv4pools"),
        ({"ipv4pools": '["none"]'}, "'none'"),
        ({"ipv4pools": '["six"]'}, "not of IPv4"),
        ({"ipFamilies": '["IPv5"]'}, "'IPv5'"),
        ({"ipAddrs": '["x"]'}, "'x'"),
        ({"ipAddrs": '["10.0.0.1", "10.0.0.2"]'}, "at most one"),
        ({"ipAddrsNoIpam": '["10.0.0.1"]'}, "feature_control.ip_addrs_no_ipam"),
        ({"floatingIPs": '["192.0.2.1"]'}, "feature_control.floating_ips"),
    ],
)
def test_a_wrong_annotation_is_named(pod: dict[str, str], word: str) -> None:
    with pytest.raises(CniError, match=word) as caught:
        wish(pod=pod)
    assert caught.value.code == 7
