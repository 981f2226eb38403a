"""Real packets between workloads meet the policies of both ends."""

from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, config, endpoint, ipset, node, np, policy, tier
from tests.kernel.dataplane_stage import (
    NODE,
    OUTSIDE,
    Pod,
    connect,
    echo,
    ping,
    stage,
    tcp_passes,
    tcp_server,
    udp_arrives,
)

from tortie.base.net import FAMILIES, Family, parse_address, parse_prefix
from tortie.intent.endpoint import Tier
from tortie.intent.messages import EndpointUpdate, PolicyUpdate, SetDelta
from tortie.intent.policy import Action, Icmp, Match, PortRange
from tortie.intent.sets import PortMember, SetKind
from tortie.kernel import netns
from tortie.kernel.nflog import NflogReader

pytestmark = pytest.mark.kernel

TCP, UDP, ICMPV6 = 6, 17, 58
ALLOW, DENY, PASS, LOG = ({"action": action} for action in (Action.ALLOW, Action.DENY, Action.PASS, Action.LOG))


@pytest.fixture
def ground() -> Iterator[tuple[Node, Pod, Pod]]:
    """A started node with two pods that only their profile governs."""
    with stage() as built, node(built) as made:
        a, b = built.pod(1), built.pod(2)
        made.start(endpoint(a), endpoint(b))
        yield made, a, b


def dport(*numbers: int) -> dict[str, object]:
    return {"protocol": TCP, "destination": Match(ports=tuple(PortRange(number, number) for number in numbers))}


def reaches(source: Pod, target: Pod, family: Family, port: int = 80) -> bool:
    with tcp_server(target.netns, family, port):
        return tcp_passes(source.netns, family, target.address(family), port)


def both(source: Pod, target: Pod, port: int = 80) -> list[bool]:
    """Whether IPv4 and IPv6 pass."""
    return [reaches(source, target, family, port) for family in FAMILIES]


YES, NO = [True, True], [False, False]


def test_a_profile_that_allows_lets_workloads_talk(ground: tuple[Node, Pod, Pod]) -> None:
    _, a, b = ground
    assert both(a, b) == YES
    assert both(b, a) == YES


@pytest.mark.shows("PS-4.15", "PS-5.18")
def test_ingress_policy_allows_what_it_names_and_denies_the_rest(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(policy("web", ingress=(ALLOW | dport(80, 82),)), endpoint(b, tier(ingress=("web",))))
    assert both(a, b, 80) == YES
    before = made.stage.dropped("end of tier default")
    assert both(a, b, 81) == NO
    assert made.stage.dropped("end of tier default") > before, "the drop is counted where it happened"
    assert both(b, a, 81) == YES, "egress of the same endpoint is not governed"


@pytest.mark.shows("PS-2.3", "PS-2.4", "PS-4.8")
def test_egress_that_allows_does_not_skip_the_other_ends_ingress(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(
        policy("out", egress=(ALLOW,)),
        policy("in", ingress=(DENY,)),
        endpoint(a, tier(egress=("out",))),
        endpoint(b, tier(ingress=("in",))),
    )
    assert both(a, b) == NO


@pytest.mark.shows("PS-2.4", "PS-2.5")
def test_egress_that_denies_is_not_opened_by_the_other_ends_ingress(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(
        policy("out", egress=(DENY,)),
        policy("in", ingress=(ALLOW,)),
        endpoint(a, tier(egress=("out",))),
        endpoint(b, tier(ingress=("in",))),
    )
    assert both(a, b) == NO
    assert both(b, a) == YES


@pytest.mark.shows("PS-5.15", "PS-5.16", "PS-8.4")
def test_pass_goes_on_to_the_next_tier_and_then_to_the_profile(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    rules = (PASS | dport(80, 81), DENY)
    first = policy("first", ingress=rules)
    second = policy("second", ingress=(PASS | dport(80), DENY))
    made.tell(first, second, endpoint(b, tier(name="one", ingress=("first",)), tier(name="two", ingress=("second",))))
    assert both(a, b, 80) == YES, "passed by both tiers, allowed by the profile"
    assert reaches(a, b, Family.V4, 81) is False, "passed by the first tier, denied in the second"
    assert reaches(a, b, Family.V4, 82) is False, "denied in the first tier"


@pytest.mark.shows("PS-4.16")
def test_a_tier_that_passes_by_default_does_not_drop(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(policy("some", ingress=(DENY | dport(81),)), endpoint(b, tier(ingress=("some",), default_pass=True)))
    assert both(a, b, 80) == YES
    assert reaches(a, b, Family.V6, 81) is False


def test_an_unknown_policy_denies_until_it_is_known(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(endpoint(b, tier(ingress=("late",))))
    assert both(a, b) == NO
    made.tell(policy("late", ingress=(ALLOW,)))
    assert both(a, b) == YES
    made.tell(PolicyUpdate(np("late"), None))
    assert reaches(a, b, Family.V4) is False


def test_sets_admit_their_members_as_they_come_and_go(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(
        ipset("s:front", SetKind.NET),
        policy("web", ingress=(ALLOW | {"source": Match(sets=("s:front",))},)),
        endpoint(b, tier(ingress=("web",))),
    )
    assert both(a, b) == NO
    made.tell(SetDelta("s:front", frozenset(a.addresses), frozenset()))
    assert both(a, b) == YES
    # A wider member covers the pod's; removing one of the two must not close the door.
    made.tell(SetDelta("s:front", frozenset({parse_prefix("10.77.0.0/16"), parse_prefix("::/0")}), frozenset(a.addresses)))
    assert both(a, b) == YES
    made.tell(SetDelta("s:front", frozenset(), frozenset({parse_prefix("10.77.0.0/16")})))
    assert both(a, b) == [False, True]


@pytest.mark.shows("PS-7.20")
def test_named_and_numeric_ports_are_alternatives(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    members = [PortMember(prefix.network, TCP, 8443) for prefix in b.addresses]
    match = Match(ports=(PortRange(80, 80),), named_ports=("n:web", "n:other"))
    made.tell(
        ipset("n:web", SetKind.IP_PORT, *members),
        ipset("n:other", SetKind.IP_PORT, PortMember(parse_address("10.77.0.99"), TCP, 9000)),
        policy("web", ingress=(ALLOW | {"protocol": TCP, "destination": match},)),
        endpoint(b, tier(ingress=("web",))),
    )
    assert both(a, b, 80) == YES
    assert both(a, b, 8443) == YES
    assert reaches(a, b, Family.V4, 9000) is False


def test_criteria_of_a_rule(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(endpoint(b, tier(ingress=("web",))))

    def with_source(*, protocol: int | None = TCP, **match: object) -> list[bool]:
        made.tell(policy("web", ingress=(ALLOW | {"protocol": protocol, "source": Match(**match)},)))  # type: ignore[arg-type]
        return both(a, b)

    mine4, mine6 = a.addresses
    other4, other6 = parse_prefix("192.0.2.0/24"), parse_prefix("2001:db8::/32")
    assert with_source(nets=(mine4,)) == [True, False]
    assert with_source(nets=(other4, mine4, other6, mine6)) == YES
    assert with_source(nets=(other4, other6)) == NO
    assert with_source(not_nets=(other4, other6)) == YES
    assert with_source(not_nets=(mine6,)) == NO, "not for IPv4, which the list does not name; and IPv6 is excluded"
    assert with_source(protocol=UDP) == NO
    assert with_source(protocol=None) == YES
    assert with_source(ports=(PortRange(1024, 65535),)) == YES
    assert with_source(not_ports=(PortRange(1024, 65535),)) == NO


def test_icmp_types_are_told_apart(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    echo_only = (ALLOW | {"protocol": 1, "icmp": Icmp(8, 0)}, DENY | {"protocol": ICMPV6, "icmp": Icmp(128, None)}, ALLOW)
    made.tell(policy("icmp", ingress=(*echo_only[:2],)), endpoint(b, tier(ingress=("icmp",))))
    assert ping(a.netns, Family.V4, b.address(Family.V4))
    assert not ping(a.netns, Family.V6, b.address(Family.V6))
    made.tell(policy("icmp", ingress=(ALLOW | {"protocol": ICMPV6, "not_icmp": Icmp(1, None)},)))
    assert ping(a.netns, Family.V6, b.address(Family.V6))
    assert not ping(a.netns, Family.V4, b.address(Family.V4))


def test_a_rule_that_cannot_be_enforced_denies_everything(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(policy("web", ingress=(DENY | {"unenforceable": "x"}, ALLOW)), endpoint(b, tier(ingress=("web",))))
    assert both(a, b) == NO
    made.tell(policy("web", ingress=(ALLOW | {"unenforceable": "x"}, DENY)))
    assert both(a, b) == NO


@pytest.mark.shows("PS-8.5")
def test_log_hands_the_packet_to_the_agent_and_goes_on(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(policy("web", ingress=(LOG | {"log_prefix": "seen %p"}, ALLOW)), endpoint(b, tier(ingress=("web",))))
    reader = netns.run_in_named(made.stage.node, lambda: NflogReader([1, 2]))
    try:
        assert reaches(a, b, Family.V6)
        seen = list(reader.read())
    finally:
        reader.close()
    assert [(packet.prefix, packet.destination_port) for packet in seen] == [("seen shop/web", 80)]


# ---- the node ----
def test_an_interface_without_an_endpoint_is_closed(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(EndpointUpdate(endpoint(b).id, None))
    # The route is gone with the endpoint; even where someone puts one back, nothing passes.
    made.stage.batch(made.stage.node, f"route add {b.address(Family.V4)} dev {b.interface}")
    before = made.stage.dropped("unknown workload interface")
    assert not reaches(a, b, Family.V4)
    assert not reaches(b, a, Family.V4)
    assert not ping(b.netns, Family.V4, NODE[Family.V4])
    assert made.stage.dropped("unknown workload interface") >= before + 3


@pytest.mark.shows("PS-10.1", "PS-10.3")
def test_a_source_address_that_is_not_the_workloads_is_dropped(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.stage.batch(a.netns, "addr add 10.77.0.66/32 dev eth0", "addr add fd77::66/128 dev eth0 nodad")
    for source, family in (("10.77.0.66", Family.V4), ("fd77::66", Family.V6)):
        assert udp_arrives(a.netns, family, b.netns, b.address(family), 5001, source=a.address(family))
        before = made.stage.dropped("source address is not the workload's")
        assert not udp_arrives(a.netns, family, b.netns, b.address(family), 5000, source=source)
        assert made.stage.dropped("source address is not the workload's") > before


@pytest.mark.shows("PS-10.4")
def test_configuration_can_allow_a_source_prefix(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.stage.batch(a.netns, "addr add 10.77.0.66/32 dev eth0")
    spoofing = endpoint(a, allowed_source_prefixes=(parse_prefix("10.77.0.64/26"),))

    def arrives() -> bool:
        return udp_arrives(a.netns, Family.V4, b.netns, b.address(Family.V4), 5000, source="10.77.0.66")

    made.tell(spoofing)
    assert not arrives(), "the prefix alone opens nothing"
    made.tell(config(WorkloadSourceSpoofing="Any"))
    assert arrives()


@pytest.mark.shows("PS-3.15")
def test_the_host_reaches_its_workloads_whatever_their_policy(ground: tuple[Node, Pod, Pod]) -> None:
    made, _, b = ground
    made.tell(policy("none", ingress=(DENY,), egress=(DENY,)), endpoint(b, tier(ingress=("none",), egress=("none",))))
    for family in FAMILIES:
        assert ping(made.stage.node, family, b.address(family))
        with tcp_server(b.netns, family, 80):
            assert tcp_passes(made.stage.node, family, b.address(family), 80)


@pytest.mark.parametrize(("action", "passes"), [("Drop", False), ("Accept", True), ("Return", True)])
def test_workload_to_host_follows_the_configuration(ground: tuple[Node, Pod, Pod], action: str, passes: bool) -> None:
    made, a, _ = ground
    made.tell(config(DefaultEndpointToHostAction=action))
    for family in FAMILIES:
        with tcp_server(made.stage.node, family, 8080):
            assert tcp_passes(a.netns, family, NODE[family], 8080) is passes


@pytest.mark.shows("PS-3.7")
def test_egress_policy_holds_towards_the_host_too(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, _ = ground
    made.tell(
        config(DefaultEndpointToHostAction="Accept"),
        policy("out", egress=(ALLOW | dport(8080),)),
        endpoint(a, tier(egress=("out",))),
    )
    with tcp_server(made.stage.node, Family.V4, 8080), tcp_server(made.stage.node, Family.V4, 8081):
        assert tcp_passes(a.netns, Family.V4, NODE[Family.V4], 8080)
        assert not tcp_passes(a.netns, Family.V4, NODE[Family.V4], 8081)


@pytest.mark.shows("PS-4.9", "PS-4.10")
def test_a_workload_cannot_send_encapsulated_packets(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    for family in FAMILIES:
        assert not udp_arrives(a.netns, family, b.netns, b.address(family), 4789)
        assert udp_arrives(a.netns, family, b.netns, b.address(family), 4790)
    assert made.stage.dropped("VXLAN from a workload") == 2
    made.tell(config(AllowVXLANPacketsFromWorkloads="true"))
    assert udp_arrives(a.netns, Family.V4, b.netns, b.address(Family.V4), 4789)


@pytest.mark.shows("PS-4.3", "PS-12.1")
def test_a_connection_outlives_a_policy_that_would_deny_it(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    for family in FAMILIES:
        made.tell(policy("web", ingress=(ALLOW,)), endpoint(b, tier(ingress=("web",))))
        with tcp_server(b.netns, family, 80) as server:
            client = connect(a.netns, family, b.address(family), 80)
            assert client is not None
            accepted, _ = server.accept()
            accepted.settimeout(1)
            with client, accepted:
                made.tell(policy("web", ingress=(DENY,)))
                assert echo(client, accepted)
                assert not tcp_passes(a.netns, family, b.address(family), 80), "a new connection is denied"


def test_the_outside_is_governed_like_any_peer(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, _ = ground
    outside = made.stage.outside
    web = {"source": Match(nets=(parse_prefix("192.0.2.0/24"), parse_prefix("2001:db8::/64")))}
    made.tell(policy("web", ingress=(ALLOW | web | dport(80),)), endpoint(a, tier(ingress=("web",))))
    for family in FAMILIES:
        with tcp_server(a.netns, family, 80), tcp_server(a.netns, family, 81), tcp_server(outside, family, 443):
            assert tcp_passes(outside, family, a.address(family), 80)
            assert not tcp_passes(outside, family, a.address(family), 81)
            assert tcp_passes(a.netns, family, OUTSIDE[family], 443)


@pytest.mark.shows("PS-8.3")
def test_denied_connections_are_refused_when_configured(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    made.tell(config(NftablesFilterDenyAction="Reject"), policy("none", ingress=(DENY,)), endpoint(b, tier(ingress=("none",))))
    with tcp_server(b.netns, Family.V4, 80):
        assert not tcp_passes(a.netns, Family.V4, b.address(Family.V4), 80)
    assert made.stage.dropped("np/shop/none ingress 0") == 1


@pytest.mark.shows("PS-4.17", "PS-13.3")
def test_a_tier_with_staged_policies_only_decides_nothing(ground: tuple[Node, Pod, Pod]) -> None:
    made, a, b = ground
    staged = np("tried")._replace(kind="StagedNetworkPolicy")
    made.tell(endpoint(b, Tier("default", default_pass=False, ingress=(staged,), egress=())))
    assert both(a, b) == YES


@pytest.mark.shows("PS-3.9", "PS-3.10")
@pytest.mark.parametrize("action", ["Accept", "Return"])
def test_a_workload_that_may_reach_the_host_does_not_reach_its_loopback(ground: tuple[Node, Pod, Pod], action: str) -> None:
    """What listens on 127.0.0.1 counts on nobody but the node itself (CVE-2020-8558); devices of workloads route there."""
    made, a, _ = ground
    made.tell(config(DefaultEndpointToHostAction=action))
    made.stage.batch(a.netns, "addr del 127.0.0.1/8 dev lo", "route replace 127.0.0.0/8 via 169.254.1.1 dev eth0")
    assert udp_arrives(a.netns, Family.V4, made.stage.node, NODE[Family.V4], 7001)
    assert not udp_arrives(a.netns, Family.V4, made.stage.node, "127.0.0.1", 7001)
    assert made.stage.dropped("loopback") > 0
