"""Pods that have lost their endpoint are named; nothing else is taken for one."""

import msgspec

from tortie.agent.checkup_pods import check_pods, without_endpoint
from tortie.api.endpoint import WorkloadEndpoint
from tortie.kernel.link import Link


def _link(name: str, alias: str = "") -> Link:
    return Link(1, name, "veth", True, True, False, "", 1500, None, None, alias=alias)


def _endpoint(name: str, node: str) -> WorkloadEndpoint:
    return msgspec.convert({"metadata": {"name": name}, "spec": {"node": node, "interfaceName": name}}, WorkloadEndpoint)


def test_only_devices_of_our_pods_without_an_endpoint_of_this_node_are_told() -> None:
    links = [
        _link("cali1", "tortie k8s-pod-network c1 eth0"),
        _link("cali2", "tortie k8s-pod-network c2 eth0"),
        _link("cali3", "tortie k8s-pod-network c3 net1"),
        _link("cali4"),
        _link("eth0", "uplink to the tortie switch, port 5"),
    ]
    lost = without_endpoint(links, [_endpoint("cali1", "n1"), _endpoint("cali2", "n2")], "n1")
    assert [link.name for link in lost] == ["cali2", "cali3"]
    found = check_pods(lost)
    assert [check.state for check in found] == ["problem", "problem"]
    assert found[1].detail == "cali3 (net1 of container c3, network k8s-pod-network) has no WorkloadEndpoint"
    assert [check.state for check in check_pods([])] == ["ok"]


def test_of_very_many_the_rest_is_counted() -> None:
    found = check_pods([_link(f"cali{number}", f"tortie net c{number} eth0") for number in range(200)])
    assert len(found) < 20
    assert found[-1].detail == "190 more interfaces of pods have no WorkloadEndpoint"
