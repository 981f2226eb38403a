"""Host endpoints, hook by hook."""

import pytest
from tests.unit.verdict.made import (
    ALLOW,
    ALLOW_ALL,
    DENY,
    STRANGER,
    empty_state,
    host_endpoint,
    packet,
    policy,
    tier,
    to_port,
    with_policies,
)

from tortie.intent.endpoint import HostEndpoint
from tortie.intent.policy import Action, Direction, Policy
from tortie.verdict.host import HostHook, judge_host
from tortie.verdict.judgement import Decider, Judgement
from tortie.verdict.packet import Packet

NODE = "192.0.2.1"
SENT = packet(STRANGER, NODE, port=80)
ALLOWS, DENIES, SILENT = policy("allows", [ALLOW], [ALLOW]), policy("denies", [DENY], [DENY]), policy("silent")
IN, OUT = Direction.INGRESS, Direction.EGRESS


def ask(
    endpoint: HostEndpoint,
    hook: HostHook,
    *policies: Policy,
    direction: Direction = IN,
    sent: Packet = SENT,
    config: dict[str, str] | None = None,
) -> Judgement:
    state = with_policies(empty_state(config), ALLOWS, DENIES, SILENT, *policies)
    return judge_host(state, endpoint, hook=hook, direction=direction, packet=sent)


@pytest.mark.shows("PS-3.19", "PS-6.21", "PS-4.19")
def test_a_host_endpoint_without_policy_and_profile_closes_the_node_but_for_its_failsafe_ports() -> None:
    bare = host_endpoint()
    assert ask(bare, HostHook.NORMAL).decided_by.decider is Decider.NO_PROFILE
    assert not ask(bare, HostHook.NORMAL).allowed
    assert ask(bare, HostHook.NORMAL, sent=packet(STRANGER, NODE, port=22)).decided_by.decider is Decider.FAILSAFE
    assert ask(bare, HostHook.NORMAL, direction=OUT, sent=packet(NODE, STRANGER, protocol=17, port=53)).allowed
    assert not ask(bare, HostHook.NORMAL, direction=OUT, sent=packet(NODE, STRANGER, port=22)).allowed


@pytest.mark.shows("PS-2.7", "PS-2.10", "PS-4.21", "PS-6.22")
def test_what_a_node_forwards_passes_unless_a_policy_for_it_says_no() -> None:
    answer = ask(host_endpoint(profiles=()), HostHook.FORWARD)
    assert (answer.allowed, answer.decided_by.decider) == (True, Decider.NO_DECISION)
    assert not ask(host_endpoint(forward=(tier([DENIES]),), profiles=(ALLOW_ALL,)), HostHook.FORWARD).allowed


@pytest.mark.shows("PS-4.15", "PS-2.8")
def test_a_forward_tier_denies_at_its_end_in_its_own_direction_only() -> None:
    endpoint = host_endpoint(forward=(tier([SILENT]),))
    assert ask(endpoint, HostHook.FORWARD).decided_by.decider is Decider.TIER_DEFAULT
    assert ask(endpoint, HostHook.FORWARD, direction=OUT, sent=packet(NODE, STRANGER)).allowed


@pytest.mark.shows("PS-2.9")
def test_forwarded_traffic_has_no_failsafe_ports() -> None:
    endpoint = host_endpoint(forward=(tier([DENIES]),))
    assert not ask(endpoint, HostHook.FORWARD, sent=packet(STRANGER, NODE, port=22)).allowed


@pytest.mark.shows("PS-4.22", "PS-4.23")
@pytest.mark.parametrize("hook", [HostHook.UNTRACKED, HostHook.PRE_DNAT])
def test_early_policies_let_go_on_what_they_did_not_decide(hook: HostHook) -> None:
    early = (tier([SILENT], passes=True),)
    answer = ask(host_endpoint(untracked=early, pre_dnat=early), hook)
    assert (answer.allowed, answer.accepted, answer.decided_by.decider) == (True, False, Decider.NO_DECISION)
    deciding = (tier([ALLOWS], passes=True),)
    assert ask(host_endpoint(untracked=deciding, pre_dnat=deciding), hook).accepted


@pytest.mark.shows("PS-9.6")
def test_before_tracking_replies_of_failsafe_ports_pass_in_both_directions() -> None:
    closed = host_endpoint(untracked=(tier([DENIES], [DENIES], passes=True),), normal=(tier([DENIES], [DENIES]),))
    from_ssh = packet(NODE, STRANGER, source_port=22, port=40000)
    from_etcd = packet(STRANGER, NODE, source_port=2379, port=40000)
    assert ask(closed, HostHook.UNTRACKED, direction=OUT, sent=from_ssh).decided_by.decider is Decider.FAILSAFE
    assert ask(closed, HostHook.UNTRACKED, sent=from_etcd).decided_by.decider is Decider.FAILSAFE
    # Behind tracking they are replies by conntrack's word, and need no ports.
    assert not ask(closed, HostHook.NORMAL, direction=OUT, sent=from_ssh).allowed
    other = packet(NODE, STRANGER, source_port=80, port=40000)
    assert not ask(closed, HostHook.UNTRACKED, direction=OUT, sent=other).allowed


@pytest.mark.shows("PS-4.7", "PS-9.4", "PS-9.3")
def test_failsafe_ports_come_before_policy_and_follow_the_configuration() -> None:
    closed = host_endpoint(normal=(tier([DENIES]),), profiles=(ALLOW_ALL,))
    ssh = packet(STRANGER, NODE, port=22)
    assert ask(closed, HostHook.NORMAL, sent=ssh).allowed
    assert not ask(closed, HostHook.NORMAL, sent=ssh, config={"FailsafeInboundHostPorts": "none"}).allowed
    from_ten = {"FailsafeInboundHostPorts": "tcp:10.0.0.0/8:22"}
    assert not ask(closed, HostHook.NORMAL, sent=ssh, config=from_ten).allowed
    assert ask(closed, HostHook.NORMAL, sent=packet("10.1.1.1", NODE, port=22), config=from_ten).allowed


@pytest.mark.shows("PS-6.13")
def test_untracked_policy_has_no_effect_on_a_host_endpoint_for_all_interfaces() -> None:
    endpoint = host_endpoint("*", untracked=(tier([DENIES], passes=True),))
    assert ask(endpoint, HostHook.UNTRACKED).decided_by.decider is Decider.NO_DECISION


@pytest.mark.shows("PS-3.13", "PS-4.18")
def test_the_nodes_own_traffic_meets_tiers_then_profiles() -> None:
    some = policy("some", [to_port(Action.ALLOW, 80)])
    endpoint = host_endpoint(normal=(tier([some], passes=True),), profiles=(ALLOW_ALL,))
    assert ask(endpoint, HostHook.NORMAL, some).decided_by.decider is Decider.POLICY_RULE
    other = ask(endpoint, HostHook.NORMAL, some, sent=packet(STRANGER, NODE, port=81))
    assert (other.allowed, other.decided_by.decider) == (True, Decider.PROFILE_RULE)
