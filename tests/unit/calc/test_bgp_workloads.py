"""Workloads as BGP peers of their own node."""

from typing import Any

import pytest
from tests.unit.calc.test_bgp import N2, NO_MESH, maybe, node, peering, peers, settings

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_address
from tortie.calc.bgp import BgpStage
from tortie.calc.problems import Problems
from tortie.intent.routing import Bgp, BgpPeer, LocalWorkload

N1 = node("n1", "172.18.0.1/16", "fd00:18::1/64", rack="a")
VIRTUAL = settings(
    node_to_node_mesh_enabled=False, local_workload_peering_ipv4="169.254.10.1", local_workload_peering_ipv6="fd00:99::1"
)


def pod(name: str = "router", *addresses: str, at: str = "n1", **labels: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        metadata=Metadata(name=f"{at}-k8s-{name}-eth0", namespace="default", labels=labels),
        spec=WorkloadEndpointSpec(
            node=at,
            orchestrator="k8s",
            pod=name,
            interface_name=f"cali{name}",
            ip_networks=addresses or ("10.0.0.5/32", "10.0.0.6/32", "fd00:10::5/128"),
            profiles=("kns.default",),
        ),
    )


def routers(**more: Any) -> Resource:
    return peering("routers", **{"local_workload_selector": "role == 'router'", "as_number": 65010, **more})


def namespace(**labels: str) -> Profile:
    return Profile(metadata=Metadata(name="kns.default"), spec=ProfileSpec(labels_to_apply=labels))


def test_a_selected_workload_of_this_node_opens_a_session_of_each_family_to_the_virtual_address() -> None:
    found = peers(N1, VIRTUAL, routers(), pod(role="router"), pod("other"), pod("far", at="n2", role="router"))
    assert set(found) == {"Local_Workload_10_0_0_5", "Local_Workload_fd00_10__5"}
    four, six = found["Local_Workload_10_0_0_5"], found["Local_Workload_fd00_10__5"]
    assert four.workload == LocalWorkload("calirouter", parse_address("169.254.10.1"))
    assert six.workload == LocalWorkload("calirouter", parse_address("fd00:99::1"))
    assert (four.as_number, four.passive, four.refused, four.is_mesh) == (65010, True, "", False)
    assert four.description == "BGPPeer routers, default/router"


@pytest.mark.parametrize(
    ("fields", "there"),
    [
        ({"node": "n1"}, True),
        ({"node": "n2"}, False),
        ({"node_selector": "rack == 'a'"}, True),
        ({"node_selector": "rack == 'b'"}, False),
    ],
)
def test_only_the_nodes_of_the_peering_have_it(fields: dict[str, Any], there: bool) -> None:
    assert bool(peers(N1, VIRTUAL, routers(**fields), pod(role="router"))) is there


def test_settings_of_the_peering_count_and_those_for_addresses_do_not() -> None:
    fields = {
        "local_as_number": 65099,
        "filters": ("missing",),
        "num_allowed_local_as_numbers": 3,
        "max_restart_time": "90s",
        "reverse_peering": "Auto",
    }
    found = peers(N1, N2, VIRTUAL, routers(**fields), pod(role="router"))
    assert len(found) == 2
    session: BgpPeer = found["Local_Workload_10_0_0_5"]
    assert (session.local_as_number, session.allowed_local_as, session.restart_seconds) == (65099, 0, 90)
    assert "there is no BGPFilter 'missing'" in session.refused


def test_without_a_virtual_address_the_session_is_refused_by_name() -> None:
    found = peers(
        N1, settings(node_to_node_mesh_enabled=False, local_workload_peering_ipv4="169.254.10.1"), routers(), pod(role="router")
    )
    assert found["Local_Workload_10_0_0_5"].refused == ""
    assert "spec.localWorkloadPeeringIPV6 is not set" in found["Local_Workload_fd00_10__5"].refused
    assert found["Local_Workload_fd00_10__5"].workload is None
    assert "Local_Workload_10_0_0_5" in peers(N1, NO_MESH, routers(), pod(role="router"))


def test_labels_of_its_profiles_count_and_its_own_win() -> None:
    assert peers(N1, VIRTUAL, routers(), pod(), namespace(role="router"))
    assert not peers(N1, VIRTUAL, routers(), pod(role="none"), namespace(role="router"))


def test_sessions_come_and_go_with_pods_labels_and_peerings() -> None:
    stage = BgpStage("n1")

    def now(*resources: Resource) -> Bgp | None:
        for resource in resources:
            stage.on_update(Update(resource.key, resource))
        update = stage.flush()
        return None if update is None else update.bgp

    assert now(N1, VIRTUAL, pod(), namespace()) is not None
    assert now(pod(role="router")) is None, "nothing is worked out for workloads while nobody peers with them"
    bgp = now(routers())
    assert bgp is not None
    assert len(bgp.peers) == 2
    bgp = now(pod())
    assert bgp is not None
    assert bgp.peers == ()
    bgp = now(namespace(role="router"))
    assert bgp is not None
    assert len(bgp.peers) == 2
    stage.on_update(Update(pod().key, None))
    update = stage.flush()
    assert update is not None
    assert update.bgp is not None
    assert update.bgp.peers == ()


def test_a_virtual_address_that_is_none_is_said_and_counts_as_not_set() -> None:
    problems = Problems()
    stage = BgpStage("n1", problems)
    wrong = settings(local_workload_peering_ipv4="fd00::1", local_workload_peering_ipv6="here")
    stage.on_update(Update(wrong.key, wrong))
    (text,) = problems.by_key().values()
    assert "spec.localWorkloadPeeringIPV4 fd00::1 is no IPv4 address; it counts as not set" in text
    assert "spec.localWorkloadPeeringIPV6 'here' is no address; it counts as not set" in text
    bgp = maybe(N1, wrong, routers(), pod(role="router"))
    assert bgp is not None
    assert all(peer.refused for peer in bgp.peers)


UNUSABLE = [("0.0.0.0", "::"), ("127.0.0.1", "::1"), ("224.0.0.1", "ff02::1"), ("255.255.255.255", "::")]


@pytest.mark.parametrize(("four", "six"), UNUSABLE)
def test_a_virtual_address_that_no_interface_can_have_is_said_and_counts_as_not_set(four: str, six: str) -> None:
    """BIRD would refuse everything for the one, and be found on the node's own loopback by the other."""
    problems = Problems()
    stage = BgpStage("n1", problems)
    wrong = settings(local_workload_peering_ipv4=four, local_workload_peering_ipv6=six)
    stage.on_update(Update(wrong.key, wrong))
    (text,) = problems.by_key().values()
    assert f"spec.localWorkloadPeeringIPV4 {four} is no address that an interface can have" in text
    assert f"spec.localWorkloadPeeringIPV6 {six} is no address that an interface can have" in text
    bgp = maybe(N1, wrong, routers(), pod(role="router"))
    assert bgp is not None
    assert all(peer.refused for peer in bgp.peers)
