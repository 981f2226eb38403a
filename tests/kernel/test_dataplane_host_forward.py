"""Policy of host endpoints for packets that the node passes on, and before destination NAT."""

from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import PROFILE, config, endpoint, policy, tier
from tests.kernel.dataplane_stage import NODE, OUTSIDE, OUTSIDE_2, connect, echo, tcp_server
from tests.kernel.host_ground import ALLOW, DENY, NO, PASS, YES, Ground, dport, gone, hep, host_ground, tcp

from tortie.base.net import FAMILIES, Family
from tortie.intent.endpoint import Tier

pytestmark = pytest.mark.kernel


@pytest.fixture
def ground() -> Iterator[Ground]:
    with host_ground() as made:
        yield made


def undecided(*, ingress: tuple[str, ...] = (), egress: tuple[str, ...] = ()) -> tuple[Tier, ...]:
    """Tiers as untracked and pre-DNAT policy has them: what they do not decide goes on."""
    return (tier(ingress=ingress, egress=egress, default_pass=True),)


# ---- apply on forward ----
@pytest.mark.shows("PS-2.3", "PS-2.9", "PS-2.10")
def test_forward_policy_judges_what_the_node_passes_on(ground: Ground) -> None:
    ground.tell(
        policy("some", ingress=(ALLOW | dport(80),)),
        hep(forward=(tier(ingress=("some",)),), profiles=(PROFILE,)),
    )
    assert ground.forwarded(80) == YES
    assert ground.forwarded(81) == NO, "the tier's end, and no profile"
    assert ground.forwarded(22) == NO, "no failsafe port either"
    assert ground.to_pod(80) == YES
    assert ground.to_pod(81) == NO
    assert ground.into_host(81) == YES, "the profile: to the node itself the forward policy says nothing"
    ground.tell(policy("none", ingress=(DENY,)), endpoint(ground.a, tier(ingress=("none",))))
    assert ground.to_pod(80) == NO, "the workload is asked all the same"


@pytest.mark.shows("PS-2.8", "PS-4.13")
def test_forward_policy_of_one_direction_leaves_the_other_alone(ground: Ground) -> None:
    ground.tell(policy("out", egress=(ALLOW | dport(80),)), hep(forward=(tier(egress=("out",)),), interface="uplink2"))
    assert ground.forwarded(80) == YES
    assert ground.forwarded(81) == NO
    back = [tcp(ground.second, family, ground.outside, OUTSIDE[family], 81) for family in FAMILIES]
    assert back == YES, "into uplink2: only its egress is governed"


def test_a_pods_way_out_meets_the_uplinks_forward_egress(ground: Ground) -> None:
    ground.tell(policy("out", egress=(ALLOW | dport(80),)), hep(forward=(tier(egress=("out",)),)))

    def leaves(port: int) -> list[bool]:
        return [tcp(ground.a.netns, family, ground.outside, OUTSIDE[family], port) for family in FAMILIES]

    assert leaves(80) == YES
    assert leaves(81) == NO
    assert [tcp(ground.a.netns, f, ground.second, OUTSIDE_2[f], 81) for f in FAMILIES] == YES, "another way out"


@pytest.mark.shows("PS-2.12")
def test_forward_policy_of_the_wildcard_is_for_workloads_interfaces_too(ground: Ground) -> None:
    ground.tell(
        policy("some", ingress=(ALLOW | dport(80),)),
        hep(name="all", interface="*", forward=(tier(ingress=("some",)),)),
    )
    assert ground.to_pod(80, source=ground.b.netns) == YES
    assert ground.to_pod(81, source=ground.b.netns) == NO
    assert ground.forwarded(81) == NO
    ground.tell(hep(profiles=(PROFILE,)))
    assert ground.forwarded(81) == YES, "uplink has a host endpoint of its own, without forward policy"
    assert ground.to_pod(81, source=ground.second) == NO


@pytest.mark.shows("PS-4.3", "PS-12.1")
def test_a_forwarded_connection_outlives_the_policy_that_would_deny_it(ground: Ground) -> None:
    with tcp_server(ground.second, Family.V4, 80) as server:
        client = connect(ground.outside, Family.V4, OUTSIDE_2[Family.V4], 80)
        assert client is not None
        accepted, _ = server.accept()
        accepted.settimeout(1)
        with client, accepted:
            ground.tell(policy("none", ingress=(DENY,)), hep(forward=(tier(ingress=("none",)),)))
            assert echo(client, accepted)
    assert ground.forwarded(80) == NO


# ---- before destination NAT ----
def node_port(ground: Ground) -> list[bool]:
    """Whether the first neighbour reaches pod 1 through port 30080 of the node."""
    return [tcp_node_port(ground, family) for family in FAMILIES]


def tcp_node_port(ground: Ground, family: Family) -> bool:
    with tcp_server(ground.a.netns, family, 80):
        client = connect(ground.outside, family, NODE[family], 30080)
        if client is not None:
            client.close()
        return client is not None


def translate(ground: Ground) -> None:
    """What kube-proxy would do for a node port."""
    ground.translate(
        "prerouting",
        {
            Family.V4: f"ip daddr {NODE[Family.V4]} tcp dport 30080 dnat to {ground.a.address(Family.V4)}:80",
            Family.V6: f"ip6 daddr {NODE[Family.V6]} tcp dport 30080 dnat to [{ground.a.address(Family.V6)}]:80",
        },
    )


@pytest.mark.shows("PS-1.8", "PS-4.23")
def test_pre_dnat_policy_sees_the_port_of_the_node(ground: Ground) -> None:
    translate(ground)
    assert node_port(ground) == YES
    ground.tell(
        policy("ports", ingress=(DENY | dport(30080),)),
        hep(pre_dnat=undecided(ingress=("ports",)), profiles=(PROFILE,)),
    )
    assert node_port(ground) == NO
    assert ground.to_pod(80) == YES, "the pod's own address was not denied"
    assert ground.into_host(8080) == YES, "undecided goes on, here to the profile"
    ground.tell(policy("ports", ingress=(DENY | dport(80), ALLOW | dport(30080), DENY)))
    assert node_port(ground) == YES, "before translation it is port 30080"
    assert ground.into_host(8080) == NO
    assert ground.into_host(22) == YES, "failsafe ports come first here too"


@pytest.mark.shows("PS-1.17", "PS-1.18")
def test_what_pre_dnat_policy_allows_enters_the_node_and_skips_forward_ingress_only(ground: Ground) -> None:
    ground.tell(
        policy("early", ingress=(ALLOW | dport(80, 81, 8080),)),
        policy("none", ingress=(DENY,)),
        policy("out", egress=(DENY | dport(81), ALLOW)),
        hep(tier(ingress=("none",)), pre_dnat=undecided(ingress=("early",)), forward=(tier(ingress=("none",)),)),
        hep(name="b", interface="uplink2", forward=(tier(egress=("out",)),)),
    )
    assert ground.into_host(8080) == YES
    assert ground.into_host(8081) == NO
    assert ground.forwarded(80) == YES, "its ingress is not asked again"
    assert ground.forwarded(81) == NO, "the egress of the other uplink is"
    assert ground.forwarded(82) == NO
    assert ground.to_pod(80) == YES
    ground.tell(endpoint(ground.a, tier(ingress=("none",))))
    assert ground.to_pod(80) == NO, "and so is the workload"


@pytest.mark.shows("PS-1.9")
def test_pre_dnat_policy_of_the_wildcard_is_for_workloads_interfaces_too(ground: Ground) -> None:
    ground.tell(
        policy("some", ingress=(DENY | dport(81),)),
        hep(name="all", interface="*", pre_dnat=undecided(ingress=("some",)), profiles=(PROFILE,)),
    )
    assert ground.to_pod(80, source=ground.b.netns) == YES
    assert ground.to_pod(81, source=ground.b.netns) == NO
    ground.tell(hep(profiles=(PROFILE,)))
    assert ground.to_pod(81) == YES, "uplink has one of its own"


@pytest.mark.shows("PS-1.6")
def test_an_established_connection_is_not_asked_before_translation(ground: Ground) -> None:
    translate(ground)
    with tcp_server(ground.a.netns, Family.V4, 80) as server:
        client = connect(ground.outside, Family.V4, NODE[Family.V4], 30080)
        assert client is not None
        accepted, _ = server.accept()
        accepted.settimeout(1)
        with client, accepted:
            ground.tell(policy("none", ingress=(DENY,)), hep(pre_dnat=undecided(ingress=("none",))))
            assert echo(client, accepted)
    assert node_port(ground) == NO


@pytest.mark.shows("PS-8.4", "PS-5.15")
def test_pass_in_pre_dnat_policy_goes_on_to_the_next_tier_and_then_to_the_later_hooks(ground: Ground) -> None:
    ground.tell(
        policy("first", ingress=(PASS | dport(80, 81), DENY | dport(82))),
        policy("second", ingress=(DENY | dport(81),)),
        hep(
            pre_dnat=(
                tier(name="one", ingress=("first",), default_pass=True),
                tier(name="two", ingress=("second",), default_pass=True),
            ),
            profiles=(PROFILE,),
        ),
    )
    assert [ground.into_host(port) for port in (80, 81, 82)] == [YES, NO, NO]


@pytest.mark.shows("PS-1.1")
def test_an_approval_that_a_packet_brings_along_does_not_count(ground: Ground) -> None:
    """Another program sets our accept mark before us."""
    ground.foreign("table inet foreign {\nchain c {\ntype filter hook prerouting priority -400\nmeta mark set 0x10000\n}\n}")
    ground.foreign("table inet foreign2 {\nchain c {\ntype filter hook output priority -400\nmeta mark set 0x10000\n}\n}")
    ground.tell(policy("none", ingress=(DENY,)), hep())
    assert ground.into_host(8080) == NO
    assert ground.out_of_host(8080) == NO
    ground.tell(hep(pre_dnat=undecided(ingress=("none",))))
    assert ground.into_host(8080) == NO
    ground.tell(hep(untracked=undecided(ingress=("none",), egress=("none",)), forward=(tier(ingress=("none",)),)))
    assert ground.into_host(8080) == NO
    assert ground.out_of_host(8080) == NO
    assert ground.forwarded(8080) == NO
    ground.tell(gone())
    assert ground.into_host(8080) == YES


@pytest.mark.shows("PS-8.3")
def test_denied_before_translation_is_dropped_even_where_denials_are_rejected(ground: Ground) -> None:
    ground.tell(
        config(NftablesFilterDenyAction="Reject"),
        policy("none", ingress=(DENY | dport(80),)),
        hep(pre_dnat=undecided(ingress=("none",)), profiles=(PROFILE,)),
    )
    assert ground.into_host(80) == NO
    assert not ground.node.dataplane.refused
