"""Whole ways through nodes: which hook is asked, in which order, and what an early yes skips."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.verdict.made import (
    ADDRESSES,
    ALLOW,
    ALLOW_ALL,
    DENY,
    FAR,
    NEIGHBOUR,
    POD,
    STRANGER,
    at_pod,
    empty_state,
    host_endpoint,
    icmp6,
    packet,
    packets,
    policy,
    rule,
    states,
    tier,
    with_policies,
)

from tortie.base.net import parse_address, parse_prefix
from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.policy import ANY, Action, Direction, Match
from tortie.intent.routing import Pool
from tortie.intent.state import State
from tortie.verdict.host import HostHook
from tortie.verdict.journey import (
    AtInterface,
    AtNode,
    AtWorkload,
    Crossing,
    Hook,
    Journey,
    Side,
    ThoroughJudge,
    journey,
    replies,
)
from tortie.verdict.judgement import Decider
from tortie.verdict.packet import Packet

NODE, POD_IP, NEIGHBOUR_IP = "192.0.2.1", "10.0.0.1", "10.0.0.2"
ALLOWS, DENIES, SILENT = policy("allows", [ALLOW], [ALLOW]), policy("denies", [DENY], [DENY]), policy("silent")


def state_of(config: dict[str, str] | None = None) -> State:
    return with_policies(empty_state(config), ALLOWS, DENIES, SILENT)


def cross(
    state: State,
    enters: Side,
    leaves: Side,
    sent: Packet,
    *,
    wildcard: HostEndpoint | None = None,
    before: Packet | None = None,
) -> Journey:
    crossing = Crossing(node="n1", enters=enters, leaves=leaves, packet=sent, wildcard=wildcard, before_dnat=before)
    return journey((crossing,), lambda _: ThoroughJudge(state))


def asked(walk: Journey) -> list[tuple[Hook, Direction, HostHook | None]]:
    return [(step.hook, step.direction, step.host_hook) for step in walk.steps]


def says(what: HostEndpoint | None = None) -> AtInterface:
    return AtInterface(what)


def passing(*policies: Tier) -> tuple[Tier, ...]:
    return tuple(replace(each, default_pass=True) for each in policies)


@pytest.mark.shows("PS-2.2", "PS-2.3")
def test_a_forwarded_packet_meets_every_hook_in_order_and_nobodys_yes_ends_it() -> None:
    both = host_endpoint(forward=(tier([ALLOWS], [ALLOWS]),))
    state = state_of()
    walk = cross(
        state, says(both), AtWorkload(POD), packet(STRANGER, POD_IP), wildcard=host_endpoint("*", forward=both.forward)
    )
    assert asked(walk) == [
        (Hook.FILTER_FORWARD, Direction.INGRESS, HostHook.FORWARD),
        (Hook.FILTER_FORWARD, Direction.INGRESS, None),
        (Hook.FILTER_FORWARD, Direction.EGRESS, HostHook.FORWARD),
    ]
    assert walk.allowed
    closed = at_pod(state, tier([DENIES]))
    assert not cross(closed, says(both), AtWorkload(POD), packet(STRANGER, POD_IP)).allowed


@pytest.mark.shows("PS-2.4", "PS-2.5")
@pytest.mark.parametrize(("sender", "receiver", "allowed"), [("", "", True), ("no", "", False), ("", "no", False)])
def test_between_pods_of_one_node_both_ends_must_allow(sender: str, receiver: str, allowed: bool) -> None:
    state = state_of()
    if sender:
        state = at_pod(state, tier(egress=[DENIES]))
    if receiver:
        state = at_pod(state, tier([DENIES]), endpoint=NEIGHBOUR)
    walk = cross(state, AtWorkload(POD), AtWorkload(NEIGHBOUR), packet(POD_IP, NEIGHBOUR_IP))
    assert walk.allowed is allowed
    assert [step.direction for step in walk.steps] == [Direction.EGRESS, Direction.INGRESS]


@pytest.mark.shows("PS-2.11", "PS-1.14")
def test_ordinary_policy_of_host_endpoints_has_no_say_in_what_is_forwarded() -> None:
    closed = host_endpoint(normal=(tier([DENIES], [DENIES]),))
    assert cross(state_of(), says(closed), AtWorkload(POD), packet(STRANGER, POD_IP)).allowed
    assert cross(state_of(), AtWorkload(POD), says(closed), packet(POD_IP, STRANGER)).allowed


@pytest.mark.shows("PS-2.12", "PS-1.9")
def test_a_host_endpoint_for_all_interfaces_is_asked_about_those_of_workloads() -> None:
    forward = host_endpoint("*", forward=(tier([DENIES], []),))
    between = packet(POD_IP, NEIGHBOUR_IP)
    assert not cross(state_of(), AtWorkload(POD), AtWorkload(NEIGHBOUR), between, wildcard=forward).allowed
    early = host_endpoint("*", pre_dnat=passing(tier([DENIES])))
    assert not cross(state_of(), AtWorkload(POD), AtWorkload(NEIGHBOUR), between, wildcard=early).allowed
    assert cross(state_of(), AtWorkload(POD), AtWorkload(NEIGHBOUR), between).allowed


@pytest.mark.shows("PS-3.7", "PS-3.8", "PS-3.9", "PS-3.10", "PS-3.11")
@pytest.mark.parametrize(("action", "allowed"), [("", False), ("Drop", False), ("Accept", True), ("RETURN", True)])
def test_from_a_workload_to_its_node_its_egress_and_the_nodes_action_decide(action: str, allowed: bool) -> None:
    state = state_of({"DefaultEndpointToHostAction": action})
    closed = host_endpoint("*", normal=(tier([DENIES], [DENIES]),))
    sent = packet(POD_IP, NODE)
    walk = cross(state, AtWorkload(POD), AtNode(), sent, wildcard=closed)
    assert walk.allowed is allowed
    assert [step.judgement.decided_by.decider for step in walk.steps] == [Decider.PROFILE_RULE, Decider.HOST_ACTION]
    assert not cross(at_pod(state, tier(egress=[DENIES])), AtWorkload(POD), AtNode(), sent).allowed


@pytest.mark.shows("PS-16.1")
def test_neighbour_discovery_of_a_workload_reaches_its_node_whatever_policy_says() -> None:
    state = at_pod(state_of(), tier(egress=[DENIES]))
    for icmp_type in (130, 131, 132, 133, 135, 136):
        assert cross(state, AtWorkload(POD), AtNode(), icmp6("fd00::1", "2001:db8:1::1", icmp_type)).allowed
    assert not cross(state, AtWorkload(POD), AtNode(), icmp6("fd00::1", "2001:db8:1::1", 128)).allowed
    # To another workload it is a packet like any other.
    assert not cross(state, AtWorkload(POD), AtWorkload(NEIGHBOUR), icmp6("fd00::1", "fd00::2", 135)).allowed


@pytest.mark.shows("PS-10.1", "PS-10.3")
def test_a_workload_sends_from_its_own_and_from_link_local_addresses_only() -> None:
    state = state_of({"DefaultEndpointToHostAction": "Accept"})
    assert cross(state, AtWorkload(POD), AtNode(), packet("fe80::1", "2001:db8:1::1")).allowed
    assert cross(state, AtWorkload(POD), AtNode(), icmp6("::", "2001:db8:1::1", 135)).allowed
    for sent in (packet("::", "2001:db8:1::1"), packet("fd00::2", "2001:db8:1::1"), packet(NEIGHBOUR_IP, NODE)):
        walk = cross(state, AtWorkload(POD), AtNode(), sent)
        assert walk.deciding is not None
        assert (walk.deciding.hook, walk.deciding.judgement.decided_by.decider) == (Hook.RAW_PREROUTING, Decider.SPOOFED)


@pytest.mark.shows("PS-3.15")
def test_a_node_reaches_its_own_workloads_past_every_policy() -> None:
    state = at_pod(state_of(), tier([DENIES]))
    closed = host_endpoint("*", normal=(tier([DENIES], [DENIES]),))
    walk = cross(state, AtNode(), AtWorkload(POD), packet(NODE, POD_IP), wildcard=closed)
    assert walk.allowed
    assert [step.judgement.decided_by.decider for step in walk.steps] == [Decider.NOT_POLICED]


@pytest.mark.shows("PS-1.7", "PS-1.17", "PS-3.18", "PS-4.24")
def test_an_untracked_yes_skips_all_later_policy_of_the_host_endpoint_and_leaves_no_connection() -> None:
    endpoint = host_endpoint(
        untracked=passing(tier([ALLOWS])),
        pre_dnat=passing(tier([DENIES])),
        forward=(tier([DENIES]),),
        normal=(tier([DENIES]),),
    )
    into = cross(state_of(), says(endpoint), AtNode(), packet(STRANGER, NODE))
    assert into.allowed
    assert asked(into) == [(Hook.RAW_PREROUTING, Direction.INGRESS, HostHook.UNTRACKED)]
    assert into.untracked == (True,)


@pytest.mark.shows("PS-1.18")
def test_an_early_yes_skips_neither_the_workloads_policy_nor_the_forward_policy_of_the_way_out() -> None:
    state = at_pod(state_of(), tier([DENIES]))
    yes = passing(tier([ALLOWS]))
    for endpoint in (
        host_endpoint(forward=(tier([DENIES]),), untracked=yes),
        host_endpoint(forward=(tier([DENIES]),), pre_dnat=yes),
    ):
        assert not cross(state, says(endpoint), AtWorkload(POD), packet(STRANGER, POD_IP)).allowed
        assert cross(state_of(), says(endpoint), AtWorkload(POD), packet(STRANGER, POD_IP)).allowed
        out = host_endpoint("eth1", forward=(tier([], [DENIES]),))
        assert not cross(state_of(), says(endpoint), says(out), packet(STRANGER, STRANGER)).allowed


@pytest.mark.shows("PS-1.5", "PS-3.18")
def test_a_no_before_tracking_or_translation_is_final() -> None:
    no = passing(tier([DENIES]))
    for endpoint in (host_endpoint(profiles=(ALLOW_ALL,), untracked=no), host_endpoint(profiles=(ALLOW_ALL,), pre_dnat=no)):
        assert not cross(state_of(), says(endpoint), AtNode(), packet(STRANGER, NODE)).allowed
        assert not cross(state_of(), says(endpoint), AtWorkload(POD), packet(STRANGER, POD_IP)).allowed


@pytest.mark.shows("PS-1.8", "PS-1.11")
def test_before_translation_policy_sees_the_service_and_behind_it_the_backend() -> None:
    service = "10.96.0.7"
    by_service = rule(Action.DENY, destination=Match(nets=(parse_prefix(service),)))
    by_backend = rule(Action.DENY, destination=Match(nets=(parse_prefix(POD_IP),)))
    sees_service, sees_backend = policy("service", [by_service]), policy("backend", [by_backend])
    state = with_policies(state_of(), sees_service, sees_backend)
    sent, translated = packet(STRANGER, service), packet(STRANGER, POD_IP, port=8080)

    def allowed(endpoint: HostEndpoint) -> bool:
        return cross(state, says(endpoint), AtWorkload(POD), translated, before=sent).allowed

    assert not allowed(host_endpoint(pre_dnat=passing(tier([sees_service]))))
    assert allowed(host_endpoint(pre_dnat=passing(tier([sees_backend]))))
    assert allowed(host_endpoint(forward=(tier([sees_service], passes=True),)))
    assert not allowed(host_endpoint(forward=(tier([sees_backend], passes=True),)))


@pytest.mark.shows("PS-1.12", "PS-1.13", "PS-3.17")
def test_what_a_node_sends_meets_its_host_endpoints_egress_after_translation() -> None:
    service, backend = "10.96.0.7", "10.0.0.3"
    to_backend = policy("backend", [], [rule(Action.DENY, destination=Match(nets=(parse_prefix(backend),)))])
    state = with_policies(state_of(), to_backend)
    endpoint = host_endpoint(normal=(tier([], [to_backend]),))
    plain = cross(state, AtNode(), says(endpoint), packet(NODE, backend))
    assert asked(plain) == [(Hook.FILTER_OUTPUT, Direction.EGRESS, HostHook.NORMAL)]
    assert not plain.allowed
    translated = cross(state, AtNode(), says(endpoint), packet(NODE, backend), before=packet(NODE, service))
    assert asked(translated) == [(Hook.MANGLE_POSTROUTING, Direction.EGRESS, HostHook.NORMAL)]
    assert not translated.allowed
    untracked = host_endpoint(untracked=passing(tier([], [ALLOWS])), normal=(tier([], [DENIES]),))
    assert cross(state, AtNode(), says(untracked), packet(NODE, backend)).allowed


@pytest.mark.shows("PS-3.14")
def test_interfaces_without_host_endpoint_let_everything_in_and_out() -> None:
    assert cross(state_of(), says(), AtNode(), packet(STRANGER, NODE)).steps == ()
    assert cross(state_of(), AtNode(), says(), packet(NODE, STRANGER)).allowed


@pytest.mark.shows("PS-11.1", "PS-11.3")
def test_a_forwarded_packet_to_a_service_that_nobody_translated_goes_nowhere() -> None:
    for config, allowed in (
        ({}, False),
        ({"ServiceLoopPrevention": "Disabled"}, True),
        ({"ServiceLoopPrevention": "Reject"}, False),
    ):
        state = replace(state_of(config), service_nets=(parse_prefix("10.96.0.0/12"),))
        assert cross(state, AtWorkload(POD), says(), packet(POD_IP, "10.96.0.7")).allowed is allowed
        assert cross(state, AtWorkload(POD), says(), packet(POD_IP, STRANGER)).allowed
    into = cross(
        replace(state_of(), service_nets=(parse_prefix("10.96.0.0/12"),)), says(), AtNode(), packet(STRANGER, "10.96.0.7")
    )
    assert into.allowed, "only what is forwarded"


@pytest.mark.shows("PS-4.9", "PS-4.10", "PS-4.11", "PS-4.12")
def test_workloads_do_not_tunnel_unless_they_may() -> None:
    vxlan, ipip = packet(POD_IP, STRANGER, protocol=17, port=4789), packet(POD_IP, STRANGER, protocol=4, port=None)
    for sent, parameter in ((vxlan, "AllowVXLANPacketsFromWorkloads"), (ipip, "AllowIPIPPacketsFromWorkloads")):
        assert not cross(state_of(), AtWorkload(POD), says(), sent).allowed
        assert cross(state_of({parameter: "true"}), AtWorkload(POD), says(), sent).allowed
    assert cross(state_of({"VXLANPort": "4790"}), AtWorkload(POD), says(), vxlan).allowed


@pytest.mark.shows("PS-3.1", "PS-3.2", "PS-3.3", "PS-3.4", "PS-3.16")
@pytest.mark.parametrize("mode", ["ipip", "vxlan"])
def test_tunnels_between_nodes_pass_every_host_endpoint_and_strangers_tunnels_none(mode: str) -> None:
    pool = Pool(
        cidr=parse_prefix("10.0.0.0/16"),
        nat_outgoing=False,
        ipip_mode="Always" if mode == "ipip" else "Never",
        vxlan_mode="Always" if mode == "vxlan" else "Never",
        disabled=False,
        disable_bgp_export=False,
    )
    closed = host_endpoint(normal=(tier([DENIES], [DENIES]),))
    opened = host_endpoint(normal=(tier([ALLOWS], [ALLOWS]),))
    protocol, port = (4, None) if mode == "ipip" else (17, 4789)
    state = state_of()
    tunnelling = replace(state, pools={pool.cidr: pool})
    from_node, from_stranger = (packet(each, NODE, protocol=protocol, port=port) for each in ("192.0.2.2", STRANGER))
    to_node = packet(NODE, "192.0.2.2", protocol=protocol, port=port)
    assert cross(tunnelling, says(closed), AtNode(), from_node).allowed
    assert cross(tunnelling, AtNode(), says(closed), to_node).allowed
    assert not cross(tunnelling, says(opened), AtNode(), from_stranger).allowed
    invited = replace(tunnelling, config={"ExternalNodesCIDRList": "203.0.113.0/24"})
    assert cross(invited, says(closed), AtNode(), from_stranger).allowed
    # Without such a pool they are packets like any other.
    assert not cross(state, says(closed), AtNode(), from_node).allowed
    assert cross(state, says(opened), AtNode(), from_stranger).allowed


@pytest.mark.shows("PS-10.4", "PS-10.5", "PS-10.7")
def test_a_source_that_is_allowed_to_a_workload_is_still_subject_to_policy() -> None:
    state = state_of({"WorkloadSourceSpoofing": "Any"})
    allowed = replace(state.endpoints[POD], allowed_source_prefixes=(parse_prefix("203.0.113.0/24"),))
    state.endpoints[POD] = allowed
    sent = packet(STRANGER, NEIGHBOUR_IP)
    assert cross(state, AtWorkload(POD), AtWorkload(NEIGHBOUR), sent).allowed
    assert not cross(replace(state, config={}), AtWorkload(POD), AtWorkload(NEIGHBOUR), sent).allowed
    assert not cross(at_pod(state, tier(egress=[DENIES])), AtWorkload(POD), AtWorkload(NEIGHBOUR), sent).allowed


def test_the_nodes_loopback_is_for_the_node() -> None:
    state = state_of({"DefaultEndpointToHostAction": "Accept"})
    assert not cross(state, AtWorkload(POD), AtNode(), packet(POD_IP, "127.0.0.1")).allowed
    translated = cross(state, AtWorkload(POD), AtNode(), packet(POD_IP, "127.0.0.1"), before=packet(POD_IP, NODE))
    assert translated.allowed


@pytest.mark.parametrize(
    ("out", "protocol", "allowed"),
    [
        ((), 6, False),  # conntrack calls the answer to a SYN that it never saw invalid
        ((), 17, True),  # to UDP it is the first packet of a connection: ordinary egress decides
        ((tier(egress=[ALLOWS], passes=True),), 6, True),
        ((tier(egress=[DENIES], passes=True),), 17, False),
    ],
)
def test_replies_to_untracked_packets_need_a_rule_of_their_own(out: tuple[Tier, ...], protocol: int, allowed: bool) -> None:
    into = tier([ALLOWS], passes=True)
    endpoint = host_endpoint(untracked=(into, *out), profiles=(ALLOW_ALL,))
    state = state_of()
    crossing = Crossing(node="n1", enters=says(endpoint), leaves=AtNode(), packet=packet(STRANGER, NODE, protocol=protocol))

    def judge(_: str) -> ThoroughJudge:
        return ThoroughJudge(state)

    gone = journey((crossing,), judge)
    assert gone.allowed
    assert replies((crossing,), gone, judge).allowed is allowed


def test_replies_of_a_tracked_connection_are_not_judged() -> None:
    state = at_pod(state_of(), tier([ALLOWS], [DENIES]))
    crossing = Crossing(node="n1", enters=says(), leaves=AtWorkload(POD), packet=packet(STRANGER, POD_IP))

    def judge(_: str) -> ThoroughJudge:
        return ThoroughJudge(state)

    assert replies((crossing,), journey((crossing,), judge), judge).steps == ()


def test_a_reply_swaps_its_ends() -> None:
    sent = packet(STRANGER, NODE, port=80, source_port=40000)
    assert (sent.reply().source_port, sent.reply().destination) == (80, parse_address(STRANGER))
    assert sent.reply().reply() == sent
    assert icmp6("fd00::1", "fd00::2", 128).reply().icmp_type == 129


def test_each_node_on_the_way_is_judged_by_its_own_configuration() -> None:
    sent = packet(STRANGER, "10.0.0.3")
    spoofing = state_of({"WorkloadSourceSpoofing": "Any"})
    spoofing.endpoints[POD] = replace(spoofing.endpoints[POD], allowed_source_prefixes=(parse_prefix("203.0.113.0/24"),))
    judges = {"n1": ThoroughJudge(spoofing), "n2": ThoroughJudge(state_of())}
    crossings = (
        Crossing(node="n1", enters=AtWorkload(POD), leaves=says(), packet=sent),
        Crossing(node="n2", enters=says(), leaves=AtWorkload(FAR), packet=sent),
    )
    assert journey(crossings, judges.__getitem__).allowed
    assert not journey(crossings, lambda _: judges["n2"]).allowed


_SIDES: tuple[str, ...] = ("pod", "neighbour", "named", "wildcard", "node")


def side(state: State, name: str) -> Side:
    by_interface = {each.interface: each for each in state.host_endpoints.values()}
    match name:
        case "pod":
            return AtWorkload(POD)
        case "neighbour":
            return AtWorkload(NEIGHBOUR)
        case "named":
            return AtInterface(by_interface["eth0"])
        case "wildcard":
            return AtInterface(by_interface["*"])
        case _:
            return AtNode()


@given(states(), st.sampled_from(_SIDES), st.sampled_from(_SIDES))
@settings(max_examples=40, deadline=None)
def test_the_verdict_of_a_way_is_that_all_its_steps_agree(state: State, enters: str, leaves: str) -> None:
    for sent in packets()[::3]:
        walk = cross(state, side(state, enters), side(state, leaves), sent)
        assert walk.allowed == all(step.judgement.allowed for step in walk.steps)
        if walk.deciding is not None:
            assert walk.deciding.judgement.allowed == walk.allowed


@given(states(), st.sampled_from(Direction))
@settings(max_examples=30, deadline=None)
def test_an_allow_at_the_end_of_a_tier_that_denies_by_default_takes_nothing_away(state: State, direction: Direction) -> None:
    last = policy("last", [rule(Action.ALLOW, source=ANY)], [rule(Action.ALLOW, source=ANY)])
    endpoint = state.endpoints[POD]
    for index, each in enumerate(endpoint.tiers):
        listed = each.policies(direction)
        if each.default_pass or not any(not state.policies[key].staged for key in listed if key in state.policies):
            continue
        ingress, egress = ((*each.policies(way), last.id) if way is direction else each.policies(way) for way in Direction)
        grown = replace(each, ingress=ingress, egress=egress)
        tiers = (*endpoint.tiers[:index], grown, *endpoint.tiers[index + 1 :])
        opened = ThoroughJudge(at_pod(with_policies(state, last), *tiers))
        for sent in packets()[::2]:
            sent = replace(sent, source=parse_address(ADDRESSES[POD][sent.family == 6]))
            if ThoroughJudge(state).at_workload(POD, direction=direction, packet=sent).allowed:
                assert opened.at_workload(POD, direction=direction, packet=sent).allowed
