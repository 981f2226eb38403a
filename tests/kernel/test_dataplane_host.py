"""Ordinary policy of host endpoints: what enters and leaves the node itself, and what does not concern it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kernel.dataplane_node import PROFILE, config, endpoint, policy, pool, tier
from tests.kernel.dataplane_stage import NODE, NODE_2, OUTSIDE, connect, echo, ping, tcp_server, udp_arrives
from tests.kernel.host_ground import ALLOW, DENY, NO, UDP, YES, Ground, dport, gone, hep, host_ground, tcp

from tortie.base.net import FAMILIES, Family, parse_interface, parse_prefix
from tortie.intent.keys import ProfileId
from tortie.intent.messages import HostUpdate, PoolUpdate, ServiceNetsUpdate
from tortie.intent.policy import Icmp
from tortie.intent.routing import Host

pytestmark = pytest.mark.kernel


@pytest.fixture
def ground() -> Iterator[Ground]:
    with host_ground() as made:
        yield made


@pytest.mark.shows("PS-3.14", "PS-6.21", "PS-6.22", "PS-2.7")
def test_a_host_endpoint_without_policy_closes_the_node_but_for_failsafe_ports(ground: Ground) -> None:
    assert ground.into_host(8080) == YES, "there is no host endpoint yet"
    ground.tell(hep())
    assert ground.into_host(8080) == NO
    assert ground.out_of_host(8080) == NO
    assert ground.into_host(22) == YES
    assert ground.into_host(6443) == YES
    assert ground.out_of_host(179) == YES
    assert ground.udp_out_of_host(53) == YES
    assert ground.udp_into_host(53) == NO, "open towards others, not from them"
    assert ground.out_of_host(22) == NO, "open from others, not towards them"
    assert ground.into_host(8080, source=ground.second) == YES, "the other uplink has no host endpoint"
    assert ground.forwarded(8080) == YES
    assert ground.to_pod(8080) == YES
    ground.tell(gone())
    assert ground.into_host(8080) == YES
    assert "host-endpoint" not in ground.table()


@pytest.mark.shows("PS-3.13", "PS-3.17", "PS-4.15")
def test_ordinary_policy_judges_what_enters_and_leaves_the_node(ground: Ground) -> None:
    ground.tell(
        policy("node", ingress=(ALLOW | dport(8080),), egress=(ALLOW | dport(443),)),
        hep(tier(ingress=("node",), egress=("node",))),
    )
    assert ground.into_host(8080) == YES
    assert ground.into_host(443) == NO
    assert ground.out_of_host(443) == YES
    assert ground.out_of_host(8080) == NO
    assert ground.node.stage.dropped("end of tier default") > 0, "the drop is counted where it happened"


@pytest.mark.shows("PS-4.18", "PS-5.28")
def test_profiles_of_a_host_endpoint_come_after_its_tiers(ground: Ground) -> None:
    ground.tell(
        policy("some", ingress=(DENY | dport(8081),)), hep(tier(ingress=("some",), default_pass=True), profiles=(PROFILE,))
    )
    assert ground.into_host(8080) == YES
    assert ground.into_host(8081) == NO
    assert ground.out_of_host(8081) == YES
    ground.tell(hep(profiles=(ProfileId("not-there"),)))
    assert ground.into_host(8080) == NO, "a missing profile denies"


@pytest.mark.shows("PS-2.11", "PS-1.14", "PS-2.9", "PS-2.10")
def test_ordinary_policy_is_not_asked_about_forwarded_packets(ground: Ground) -> None:
    ground.tell(policy("none", ingress=(DENY,), egress=(DENY,)), hep(tier(ingress=("none",), egress=("none",))))
    # Translated, so that the hook after routing sees it too.
    ground.translate("prerouting", {Family.V4: f"tcp dport 30080 dnat to {OUTSIDE[Family.V4]}:8080"})
    assert ground.forwarded(8080) == YES
    assert ground.to_pod(8080) == YES
    assert tcp_to(ground, ground.second, NODE_2[Family.V4], 30080), "out of the uplink, which denies all of its own"


def tcp_to(ground: Ground, source: str, address: str, port: int) -> bool:
    """True if a connection to a translated address reaches port 8080 of the first neighbour."""
    with tcp_server(ground.outside, Family.V4, 8080):
        client = connect(source, Family.V4, address, port)
        if client is not None:
            client.close()
    return client is not None


@pytest.mark.shows("PS-3.15", "PS-6.19")
def test_the_host_reaches_its_own_pods_whatever_the_wildcard_says(ground: Ground) -> None:
    ground.tell(
        policy("none", ingress=(DENY,), egress=(DENY,)),
        hep(tier(ingress=("none",), egress=("none",)), name="all", interface="*"),
        endpoint(ground.a, tier(ingress=("none",), egress=("none",))),
    )
    assert ground.out_of_host(8080) == NO
    assert ground.to_pod(8080, source=ground.host) == YES


@pytest.mark.shows("PS-3.7", "PS-3.8", "PS-3.9", "PS-3.10", "PS-3.11")
def test_a_pod_reaches_its_node_by_its_own_egress_and_never_by_host_ingress(ground: Ground) -> None:
    ground.tell(
        config(DefaultEndpointToHostAction="Accept"),
        policy("none", ingress=(DENY,)),
        policy("out", egress=(ALLOW | dport(8080),)),
        hep(tier(ingress=("none",)), name="all", interface="*"),
        endpoint(ground.a, tier(egress=("out",))),
    )
    assert ground.into_host(8080, source=ground.a.netns) == YES
    assert ground.into_host(8081, source=ground.a.netns) == NO, "its own egress"
    ground.tell(config(DefaultEndpointToHostAction="Return"))
    assert ground.into_host(8080, source=ground.a.netns) == YES
    ground.tell(config(DefaultEndpointToHostAction="Drop"))
    assert ground.into_host(8080, source=ground.a.netns) == NO
    ground.tell(config(DefaultEndpointToHostAction="Drop"), policy("none", ingress=(ALLOW,)))
    assert ground.into_host(8080, source=ground.a.netns) == NO, "host ingress that allows opens nothing to pods"
    assert ground.into_host(8080) == YES


@pytest.mark.shows("PS-4.3", "PS-12.1")
def test_a_connection_to_the_node_outlives_the_policy_that_would_deny_it(ground: Ground) -> None:
    for family in FAMILIES:
        ground.tell(gone())
        with tcp_server(ground.host, family, 8080) as server:
            client = connect(ground.outside, family, NODE[family], 8080)
            assert client is not None
            accepted, _ = server.accept()
            accepted.settimeout(1)
            with client, accepted:
                ground.tell(hep())
                assert ground.into_host(8081) == NO
                assert echo(client, accepted)


@pytest.mark.shows("PS-6.14", "PS-6.17", "PS-6.18", "PS-6.15")
def test_a_named_host_endpoint_goes_before_the_wildcard(ground: Ground) -> None:
    ground.tell(
        policy("web", ingress=(ALLOW | dport(80),)),
        policy("admin", ingress=(ALLOW | dport(81),)),
        policy("other", ingress=(ALLOW | dport(82),)),
        hep(tier(ingress=("web",)), name="m-uplink", interface="uplink"),
        hep(tier(ingress=("other",)), name="n-uplink", interface="uplink"),
        hep(tier(ingress=("other",)), name="a-elsewhere", interface="uplink9", expected=(NODE[Family.V4],)),
        hep(tier(ingress=("admin",)), name="b-all", interface="*"),
        hep(tier(ingress=("other",)), name="c-all", interface="*"),
    )
    assert [ground.into_host(port) for port in (80, 81, 82)] == [YES, NO, NO]
    assert [ground.into_host(port, source=ground.second) for port in (80, 81, 82)] == [NO, YES, NO]
    ground.tell(gone("m-uplink"))
    assert [ground.into_host(port) for port in (80, 81, 82)] == [NO, NO, YES], "the next one by name"
    ground.tell(gone("n-uplink"))
    assert [ground.into_host(port) for port in (80, 81, 82)] == [NO, YES, NO], "the wildcard's, like any other"
    ground.tell(gone("b-all"), gone("c-all"), gone("a-elsewhere"))
    assert ground.into_host(83) == YES


@pytest.mark.shows("PS-6.16")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_endpoint_follows_its_address(ground: Ground, family: Family) -> None:
    stage = ground.node.stage
    address, length = ("203.0.113.9", 32) if family is Family.V4 else ("2001:db8:9::9", 128)
    ground.tell(hep(name="by-address", interface="", expected=(address,)))
    assert ground.node.dataplane.host_endpoints == {}
    stage.batch(ground.host, f"addr add {address}/{length} dev uplink")
    assert ground.node.dataplane.addresses_changed()
    ground.tell()
    assert ground.into_host(8080) == NO
    assert ground.into_host(8080, source=ground.second) == YES
    stage.batch(ground.host, f"addr del {address}/{length} dev uplink", f"addr add {address}/{length} dev uplink2")
    assert ground.node.dataplane.addresses_changed()
    ground.tell()
    assert set(ground.node.dataplane.host_endpoints) == {"uplink2"}
    assert ground.into_host(8080) == YES
    assert ground.into_host(8080, source=ground.second) == NO


def test_an_interface_that_comes_is_closed_before_its_first_packet(ground: Ground) -> None:
    ground.tell(hep(interface="later0"))
    assert "later0" in ground.table()
    assert not ground.node.dataplane.links_changed({"later0"}), "nothing is to be done when it comes"


@pytest.mark.shows("PS-6.19")
def test_a_workloads_interface_is_no_candidate(ground: Ground) -> None:
    ground.node.stage.batch(ground.host, f"addr add 169.254.1.1/32 dev {ground.a.interface}")
    ground.tell(
        hep(name="wrong", interface=ground.a.interface),
        hep(name="also-wrong", interface="", expected=("169.254.1.1",)),
    )
    assert ground.to_pod(8080) == YES
    assert ground.node.dataplane.host_endpoints == {}
    (problem,) = ground.node.dataplane.host_problems.values()
    assert "InterfacePrefix" in problem


@pytest.mark.shows("PS-9.3", "PS-9.4")
def test_failsafe_ports_are_configured(ground: Ground) -> None:
    net = "tcp:192.0.2.0/24:8080,tcp:[2001:db8:5::/64]:8080,udp:5000"
    ground.tell(hep(), config(FailsafeInboundHostPorts=net, FailsafeOutboundHostPorts="none"))
    assert ground.into_host(8080) == [True, False], "each net is for its own family and its own addresses"
    assert ground.udp_into_host(5000) == YES
    assert ground.into_host(22) == NO
    assert ground.out_of_host(179) == NO
    ground.tell(config(FailsafeInboundHostPorts="none"))
    assert ground.into_host(8080) == NO
    ground.tell(config())
    assert ground.into_host(22) == YES


@pytest.mark.shows("PS-1.13", "PS-1.11")
def test_what_the_node_sends_to_a_translated_address_is_judged_where_it_leaves(ground: Ground) -> None:
    """The route to the address before translation leads out of uplink2, which has no host endpoint."""
    rules = {
        Family.V4: "ip daddr 198.51.100.77 dnat to 192.0.2.2",
        Family.V6: "ip6 daddr 2001:db8:2::77 dnat to 2001:db8::2",
    }
    ground.translate("output", rules)
    ground.tell(policy("out", egress=(ALLOW | dport(443),)), hep(tier(egress=("out",))))

    def reaches(port: int) -> list[bool]:
        services = {Family.V4: "198.51.100.77", Family.V6: "2001:db8:2::77"}
        return [tcp(ground.host, family, ground.outside, services[family], port) for family in FAMILIES]

    assert reaches(443) == YES
    assert reaches(444) == NO
    assert reaches(179) == YES, "a failsafe port"
    ground.tell(config(NftablesFilterDenyAction="Reject"))
    assert reaches(444) == NO, "the hook after routing cannot reject, so it drops"
    assert not ground.node.dataplane.refused
    ground.tell(hep(tier(egress=("out",)), name="all", interface="*"), gone())
    assert reaches(444) == NO
    assert reaches(443) == YES


def test_a_translated_address_of_an_own_pod_is_not_policed(ground: Ground) -> None:
    ground.translate("output", {Family.V4: f"ip daddr 198.51.100.77 dnat to {ground.a.address(Family.V4)}"})
    ground.tell(hep(name="all", interface="*"))
    assert tcp(ground.host, Family.V4, ground.a.netns, "198.51.100.77", 8080)


def test_the_wildcard_closes_the_loopback_too(ground: Ground) -> None:
    assert tcp(ground.host, Family.V4, ground.host, "127.0.0.1", 8080)
    ground.tell(hep(name="all", interface="*"))
    assert not tcp(ground.host, Family.V4, ground.host, "127.0.0.1", 8080)
    assert tcp(ground.host, Family.V4, ground.host, "127.0.0.1", 6443), "a failsafe port in both directions"


@pytest.mark.shows("PS-16.4")
def test_icmp_to_the_node_is_policy_like_all_else(ground: Ground) -> None:
    ground.tell(hep())
    assert not any(ping(ground.outside, family, NODE[family]) for family in FAMILIES)
    echo_only = (ALLOW | {"protocol": 1, "icmp": Icmp(8, None)}, ALLOW | {"protocol": 58, "icmp": Icmp(128, None)})
    ground.tell(policy("ping", ingress=echo_only), hep(tier(ingress=("ping",))))
    assert ping(ground.outside, Family.V4, NODE[Family.V4])
    neighbours = tuple(ALLOW | {"protocol": 58, "icmp": Icmp(kind, None)} for kind in (135, 136))
    both = policy("ping", ingress=(*echo_only, *neighbours), egress=neighbours)
    ground.tell(both, hep(tier(ingress=("ping",), egress=("ping",))))
    assert ping(ground.outside, Family.V6, NODE[Family.V6])


@pytest.mark.shows("PS-3.3", "PS-3.4", "PS-3.16")
def test_vxlan_of_our_hosts_passes_and_of_others_does_not(ground: Ground) -> None:
    hosts = Host("node2", parse_interface("192.0.2.2/24"), parse_interface("2001:db8::2/64"))
    assert ground.udp_into_host(4789) == YES, "no pool is encapsulated: the port is like any other"
    ground.tell(vxlan_pool("10.77.0.0/16"), vxlan_pool("fd77::/64"))
    assert ground.udp_into_host(4789) == NO, "not one of our hosts"
    ground.tell(HostUpdate("node2", hosts), hep())
    assert ground.udp_into_host(4789) == YES
    assert ground.udp_out_of_host(4789) == YES
    assert ground.udp_into_host(4790) == NO
    assert not udp_arrives(ground.second, Family.V4, ground.host, NODE[Family.V4], 4789)
    assert ground.node.stage.dropped("VXLAN from others") > 0
    ground.tell(HostUpdate("node2", None), config(ExternalNodesCIDRList="192.0.2.2/32"))
    assert ground.udp_into_host(4789) == [True, False]
    ground.tell(config(VXLANEnabled="false"), gone())
    assert ground.udp_into_host(4789) == [True, False], "the parameter is about IPv4 alone"


def vxlan_pool(cidr: str) -> PoolUpdate:
    made = pool(cidr, nat=False)
    assert made.pool is not None
    return replace(made, pool=replace(made.pool, vxlan_mode="Always"))


@pytest.mark.shows("PS-11.1", "PS-11.2", "PS-11.3", "PS-11.4")
def test_a_forwarded_packet_to_a_service_that_nobody_has_goes_nowhere(ground: Ground) -> None:
    stage = ground.node.stage
    stage.batch(ground.host, "route add 10.96.0.0/16 via 198.51.100.2", "-6 route add fd96::/64 via 2001:db8:2::2")
    stage.batch(ground.second, "addr add 10.96.0.1/32 dev lo", "addr add fd96::1/128 dev lo")
    services = {Family.V4: "10.96.0.1", Family.V6: "fd96::1"}

    def reaches() -> list[bool]:
        return [udp_arrives(ground.outside, family, ground.second, services[family], 5000) for family in FAMILIES]

    assert reaches() == YES
    nets = ServiceNetsUpdate((parse_prefix("10.96.0.0/16"), parse_prefix("fd96::/64")))
    ground.tell(nets)
    assert reaches() == NO
    assert ground.forwarded(8080) == YES
    assert udp_arrives(ground.host, Family.V4, ground.second, "10.96.0.1", 5000), "the node's own are not forwarded"
    ground.tell(config(ServiceLoopPrevention="Reject"))
    assert reaches() == NO
    assert "reject" in ground.table()
    ground.tell(config(ServiceLoopPrevention="Disabled"))
    assert reaches() == YES
    ground.tell(config(), ServiceNetsUpdate((parse_prefix("fd96::/64"),)))
    assert reaches() == [True, False]
    ground.tell(ServiceNetsUpdate(()))
    assert "service" not in ground.table()


def test_rules_say_whose_they_are(ground: Ground) -> None:
    rule = ALLOW | dport(8080, protocol=UDP) | {"comments": (("ticket", "42"),)}
    ground.tell(policy("node", ingress=(rule,)), hep(tier(ingress=("node",))))
    assert 'comment "np/shop/node ingress 0; ticket=42"' in ground.table()
    assert ground.udp_into_host(8080) == YES
    assert ground.node.stage.dropped("ticket=42") == 2, "and count"
