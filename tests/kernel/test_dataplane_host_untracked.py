"""Untracked policy of host endpoints: both directions by themselves, and no connection."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.dataplane_node import PROFILE, config, endpoint, policy, tier
from tests.kernel.dataplane_stage import NODE, OUTSIDE, connect, tcp_server, udp_arrives
from tests.kernel.host_ground import ALLOW, DENY, NO, UDP, YES, Ground, dport, hep, host_ground, sport, tcp

from tortie.base.net import FAMILIES, Family
from tortie.intent.endpoint import Tier
from tortie.kernel import netns

pytestmark = pytest.mark.kernel


@pytest.fixture
def ground() -> Iterator[Ground]:
    with host_ground() as made:
        yield made


def undecided(*, ingress: tuple[str, ...] = (), egress: tuple[str, ...] = ()) -> tuple[Tier, ...]:
    """Tiers as untracked and pre-DNAT policy has them: what they do not decide goes on."""
    return (tier(ingress=ingress, egress=egress, default_pass=True),)


def tracked(ground: Ground) -> int:
    """How many connections the node knows."""
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return netns.run_in_named(ground.host, lambda: int(count.read_text()))


SERVE = policy("serve", ingress=(ALLOW | dport(80),), egress=(ALLOW | sport(80),))
"""A server without tracking: what comes to its port, and its answers."""


@pytest.mark.shows("PS-1.5", "PS-1.12", "PS-4.24", "PS-8.8", "PS-1.7")
def test_untracked_policy_serves_without_a_connection(ground: Ground) -> None:
    ground.tell(
        SERVE,
        policy("none", ingress=(DENY,), egress=(DENY,)),
        hep(
            tier(ingress=("none",), egress=("none",)),
            untracked=undecided(ingress=("serve",), egress=("serve",)),
            pre_dnat=undecided(ingress=("none",)),
        ),
    )
    before = tracked(ground)
    assert ground.into_host(80) == YES, "neither the early nor the ordinary policy is asked"
    assert tracked(ground) == before
    assert ground.into_host(81) == NO


@pytest.mark.shows("PS-8.8")
def test_untracked_policy_of_one_direction_does_not_let_the_answers_out(ground: Ground) -> None:
    ground.tell(SERVE, hep(untracked=undecided(ingress=("serve",)), profiles=(PROFILE,)))
    assert ground.into_host(80) == NO, "the answer belongs to no connection that anybody knows"
    assert ground.into_host(81) == YES, "undecided goes on, tracked"


def test_an_untracked_datagram_passes_each_way_by_its_own_rule(ground: Ground) -> None:
    asks = policy("asks", ingress=(ALLOW | sport(5000, protocol=UDP),), egress=(ALLOW | dport(5000, protocol=UDP),))
    ground.tell(asks, hep(untracked=undecided(ingress=("asks",), egress=("asks",))))
    before = tracked(ground)
    assert ground.udp_out_of_host(5000) == YES
    assert tracked(ground) == before
    assert ground.udp_into_host(5000) == NO, "not by its destination port"
    assert ground.udp_out_of_host(5001) == NO


@pytest.mark.shows("PS-4.23")
def test_untracked_policy_that_denies_comes_before_all_others(ground: Ground) -> None:
    ground.tell(
        policy("none", ingress=(DENY | dport(80),), egress=(DENY | dport(443),)),
        hep(untracked=undecided(ingress=("none",), egress=("none",)), profiles=(PROFILE,)),
    )
    assert ground.into_host(80) == NO
    assert ground.to_pod(80) == NO, "forwarded packets are no exception"
    assert ground.out_of_host(443) == NO
    assert ground.into_host(81) == YES
    assert ground.out_of_host(81) == YES
    assert ground.to_pod(81) == YES


@pytest.mark.shows("PS-9.6", "PS-9.7")
def test_failsafe_ports_pass_untracked_policy_with_their_answers(ground: Ground) -> None:
    ground.tell(
        policy("none", ingress=(DENY,), egress=(DENY,)),
        hep(untracked=undecided(ingress=("none",), egress=("none",))),
    )
    assert ground.into_host(22) == YES, "the answers leave"
    assert ground.out_of_host(179) == YES, "the answers enter"
    assert ground.into_host(80) == NO
    assert ground.out_of_host(80) == NO
    assert [udp_arrives(ground.outside, f, ground.host, NODE[f], 68) for f in FAMILIES] == YES
    ground.tell(config(FailsafeInboundHostPorts="tcp:22", FailsafeOutboundHostPorts="none"))
    assert ground.into_host(22) == YES
    assert ground.out_of_host(179) == NO


@pytest.mark.shows("PS-9.7")
def test_what_a_failsafe_port_lets_past_untracked_policy_is_still_tracked(ground: Ground) -> None:
    ground.tell(SERVE, hep(untracked=undecided(ingress=("serve",), egress=("serve",))))
    before = tracked(ground)
    with tcp_server(ground.host, Family.V4, 22):
        client = connect(ground.outside, Family.V4, NODE[Family.V4], 22)
        assert client is not None
        with client:
            assert tracked(ground) == before + 1


@pytest.mark.shows("PS-1.18")
def test_a_forwarded_packet_that_untracked_policy_allowed_still_meets_the_workload(ground: Ground) -> None:
    ground.tell(
        policy("pass", ingress=(ALLOW,), egress=(ALLOW,)),
        policy("none", ingress=(DENY,)),
        hep(untracked=undecided(ingress=("pass",), egress=("pass",)), forward=(tier(ingress=("none",)),)),
        endpoint(ground.a, tier(ingress=("none",))),
    )
    assert [udp_arrives(ground.outside, f, ground.a.netns, ground.a.address(f), 80) for f in FAMILIES] == NO
    ground.tell(endpoint(ground.a))
    assert [udp_arrives(ground.outside, f, ground.a.netns, ground.a.address(f), 80) for f in FAMILIES] == YES


@pytest.mark.shows("PS-6.13")
def test_untracked_policy_of_the_wildcard_is_named_and_has_no_effect(ground: Ground) -> None:
    ground.tell(
        policy("none", ingress=(DENY,), egress=(DENY,)),
        hep(name="all", interface="*", untracked=undecided(ingress=("none",), egress=("none",)), profiles=(PROFILE,)),
    )
    assert ground.into_host(80) == YES
    assert ground.out_of_host(80) == YES
    assert "raw-OUTPUT" not in ground.table()
    (problem,) = ground.node.dataplane.host_problems.values()
    assert "untracked" in problem


def test_what_the_node_sends_untracked_meets_ordinary_policy(ground: Ground) -> None:
    """Another program takes packets out of tracking: without a connection they are judged all the same."""
    chain = "chain c {\ntype filter hook output priority -300\nudp dport 5000 notrack\n}"
    ground.foreign(f"table inet foreign {{\n{chain}\n}}")
    ground.tell(hep())
    assert ground.udp_out_of_host(5000) == NO
    assert tcp(ground.host, Family.V4, ground.outside, OUTSIDE[Family.V4], 179)
