"""Workloads that speak BGP to their node: where they find it, and that nothing else becomes open."""

from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import config, endpoint, node, policy, tier
from tests.kernel.dataplane_stage import NODE, Stage, stage, tcp_passes, tcp_server

from tortie.base.net import FAMILIES, Family, parse_address, parse_interface
from tortie.intent.messages import BgpUpdate
from tortie.intent.policy import Action
from tortie.intent.routing import Bgp, BgpPeer, LocalWorkload

pytestmark = pytest.mark.kernel

VIRTUAL = {Family.V4: "169.254.10.1", Family.V6: "fd00:bee::1"}


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


def peering(*interfaces: str, refused: str = "") -> BgpUpdate:
    peers = tuple(
        BgpPeer(
            f"Local_Workload_{number}_{family.value}",
            parse_interface("10.0.0.1/32" if family is Family.V4 else "fd00::1/128"),
            65010,
            179,
            "routers",
            workload=LocalWorkload(interface, parse_address(VIRTUAL[family])),
            refused=refused,
        )
        for number, interface in enumerate(interfaces)
        for family in FAMILIES
    )
    return BgpUpdate(
        Bgp(
            node="node1", as_number=64512, router_id="1.1.1.1", ipv4=None, ipv6=None, listen_port=1790, bind_node_ip=False,
            log_level="Info", blocks=(), pools=(), peers=peers, ignored_interfaces=(), cluster_id="", ipv4_priority=1024,
            ipv6_priority=1024, programs_no_encap=True,
        )
    )  # fmt: skip


def addresses(built: Stage, interface: str) -> str:
    return built.show(built.node, "ip", "address", "show", "dev", interface)


def test_a_workload_that_is_a_peer_reaches_the_node_there_at_that_port_and_no_other(built: Stage) -> None:
    router, other = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(endpoint(router), endpoint(other), peering(router.interface))
        for family in FAMILIES:
            with tcp_server(built.node, family, 1790), tcp_server(built.node, family, 1791):
                assert tcp_passes(router.netns, family, VIRTUAL[family], 1790)
                assert not tcp_passes(router.netns, family, VIRTUAL[family], 1791)
                assert not tcp_passes(router.netns, family, NODE[family], 1790), "the node's own address is not meant"
                assert not tcp_passes(other.netns, family, VIRTUAL[family], 1790)
                if family is Family.V4:
                    made.tell(config(DefaultEndpointToHostAction="ACCEPT"))
                    assert tcp_passes(other.netns, family, VIRTUAL[family], 1790), "the address is the node's, whoever asks"
                    made.tell(config())
        assert "scope host" in addresses(built, router.interface), "it must not become the source of other packets"
        assert "169.254" not in addresses(built, other.interface)


def test_policy_of_the_workload_has_its_say_first(built: Stage) -> None:
    router = built.pod(1)
    with node(built) as made:
        made.start(
            policy("shut", egress=({"action": Action.DENY},)),
            endpoint(router, tier(egress=("shut",))),
            peering(router.interface),
        )
        with tcp_server(built.node, Family.V4, 1790):
            assert not tcp_passes(router.netns, Family.V4, VIRTUAL[Family.V4], 1790)


def test_the_address_comes_and_goes_with_the_peering_over_an_agents_lives(built: Stage) -> None:
    router, other = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(endpoint(router), endpoint(other), peering(router.interface))
        made.tell(peering(other.interface))
        assert VIRTUAL[Family.V6] not in addresses(built, router.interface)
        assert VIRTUAL[Family.V6] in addresses(built, other.interface)
        built.show(built.node, "ip", "address", "del", f"{VIRTUAL[Family.V4]}/32", "dev", other.interface)
        made.dataplane.invalidate("somebody was here")
        made.tell()
        assert VIRTUAL[Family.V4] in addresses(built, other.interface), "what was taken away is given back"
    with node(built) as made:
        made.start(endpoint(router), endpoint(other), peering(other.interface, refused="for a reason"))
        assert VIRTUAL[Family.V4] not in addresses(built, other.interface), "an agent that died left it behind"
        assert "fe80" in addresses(built, other.interface)
