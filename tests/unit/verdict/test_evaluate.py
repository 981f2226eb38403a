"""Tiers, Pass, Log, defaults, profiles, spoofing: the walk of the evaluator."""

from collections.abc import Sequence

import pytest

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.intent.endpoint import Endpoint, Tier
from tortie.intent.keys import EndpointId, PolicyId, ProfileId
from tortie.intent.policy import ANY, Action, Direction, Icmp, Match, Origin, Policy, PortRange, Profile, Rule
from tortie.intent.sets import IPSet, Member, PortMember, SetKind
from tortie.intent.state import State
from tortie.verdict.evaluate import judge
from tortie.verdict.judgement import Decider, Judgement
from tortie.verdict.packet import Packet

POD = EndpointId("n1", "prod", "web")


def policy_id(name: str) -> PolicyId:
    return PolicyId("NetworkPolicy", "prod", name)


def rule(action: Action = Action.ALLOW, *, owner: str = "p", index: int = 0, source: Match = ANY, **criteria: object) -> Rule:
    origin = Origin(policy_id(owner), Direction.INGRESS, index)
    return Rule(action=action, origin=origin, source=source, **criteria)  # type: ignore[arg-type]


def packet(source: str = "10.0.0.9", destination: str = "10.0.0.1", *, protocol: int = 6, port: int | None = 80) -> Packet:
    return Packet(
        family=Family.V6 if ":" in source else Family.V4,
        source=parse_address(source),
        destination=parse_address(destination),
        protocol=protocol,
        source_port=None if port is None else 40000,
        destination_port=port,
    )


def state_of(
    *tiers: tuple[str, bool, Sequence[tuple[str, Sequence[Rule]]]],
    profiles: Sequence[str] = ("allow",),
    staged: Sequence[str] = (),
) -> State:
    """A state with one pod; every policy governs ingress only."""
    state = State()
    listed = []
    for name, default_pass, policies in tiers:
        for policy, rules in policies:
            state.policies[policy_id(policy)] = Policy(
                policy_id(policy), name, ingress=tuple(rules), egress=(), staged=policy in staged
            )
        listed.append(Tier(name, default_pass, ingress=tuple(policy_id(policy) for policy, _ in policies), egress=()))
    allow = ProfileId("allow")
    origin = Origin(allow, Direction.INGRESS, 0)
    state.profiles[allow] = Profile(allow, ingress=(Rule(Action.ALLOW, origin),), egress=(Rule(Action.ALLOW, origin),))
    state.endpoints[POD] = Endpoint(
        id=POD,
        workload="prod/web",
        interface="cali1",
        addresses=(parse_prefix("10.0.0.1"), parse_prefix("fd00::1")),
        tiers=tuple(listed),
        profiles=tuple(ProfileId(name) for name in profiles),
    )
    return state


def ingress(state: State, sent: Packet | None = None) -> Judgement:
    return judge(state, POD, direction=Direction.INGRESS, packet=sent or packet())


def test_without_policies_the_profile_decides() -> None:
    answer = ingress(state_of())
    assert answer.allowed
    assert answer.decided_by.decider is Decider.PROFILE_RULE


def test_without_policy_and_profile_the_answer_is_no() -> None:
    answer = ingress(state_of(profiles=()))
    assert not answer.allowed
    assert answer.decided_by.decider is Decider.NO_PROFILE


def test_a_missing_profile_denies_even_before_one_that_allows() -> None:
    answer = ingress(state_of(profiles=("gone", "allow")))
    assert not answer.allowed
    assert "gone" in answer.decided_by.reason


def test_the_first_rule_that_matches_decides() -> None:
    rules = [rule(Action.DENY, index=0, protocol=17), rule(Action.ALLOW, index=1), rule(Action.DENY, index=2)]
    answer = ingress(state_of(("default", False, [("p", rules)])))
    assert answer.allowed
    assert (answer.decided_by.tier, answer.decided_by.owner, answer.decided_by.rule_index) == ("default", policy_id("p"), 1)
    failed, matched = answer.trace[0].owners[0].rules
    assert "protocol is TCP" in failed.failed
    assert matched.matched


def test_log_does_not_end_the_walk() -> None:
    answer = ingress(state_of(("default", False, [("p", [rule(Action.LOG), rule(Action.DENY, index=1)])])))
    assert not answer.allowed
    assert answer.decided_by.rule_index == 1


def test_pass_skips_the_rest_of_its_tier_and_its_default() -> None:
    state = state_of(
        ("a", False, [("p", [rule(Action.PASS)]), ("q", [rule(Action.DENY)])]), ("b", False, [("r", [rule(Action.ALLOW)])])
    )
    answer = ingress(state)
    assert answer.allowed
    assert answer.decided_by.tier == "b"


def test_pass_out_of_the_last_tier_reaches_the_profiles() -> None:
    answer = ingress(state_of(("a", False, [("p", [rule(Action.PASS)])])))
    assert answer.decided_by.decider is Decider.PROFILE_RULE


def test_a_policy_that_says_nothing_leaves_the_packet_to_the_next_policy() -> None:
    assert ingress(state_of(("a", False, [("p", []), ("q", [rule(Action.ALLOW)])]))).allowed


def test_the_tier_default_denies_what_no_rule_decided() -> None:
    answer = ingress(state_of(("a", False, [("p", [])])))
    assert not answer.allowed
    assert (answer.decided_by.decider, answer.decided_by.tier) == (Decider.TIER_DEFAULT, "a")


def test_a_tier_that_passes_by_default_goes_on() -> None:
    assert ingress(state_of(("a", True, [("p", [])]))).allowed


def test_a_tier_does_not_govern_the_direction_that_none_of_its_policies_is_for() -> None:
    state = state_of(("a", False, [("p", [])]))
    answer = judge(state, POD, direction=Direction.EGRESS, packet=packet("10.0.0.1", "10.0.0.9"))
    assert answer.allowed
    assert [step.name for step in answer.trace] == [""]


def test_a_staged_policy_is_recorded_and_decides_nothing() -> None:
    answer = ingress(state_of(("a", False, [("p", [rule(Action.DENY)])]), staged=("p",)))
    assert answer.allowed
    staged = answer.trace[0].owners[0]
    assert staged.staged
    assert staged.verdict is Action.DENY


def test_a_staged_policy_beside_an_enforced_one_does_not_lift_the_default() -> None:
    assert not ingress(state_of(("a", False, [("p", [rule(Action.ALLOW)]), ("q", [])]), staged=("p",))).allowed


def test_a_policy_not_known_yet_denies() -> None:
    state = state_of(("a", True, [("p", [rule(Action.ALLOW)])]))
    state.policies.clear()
    assert ingress(state).decided_by.decider is Decider.MISSING_POLICY


def test_an_unknown_endpoint_denies() -> None:
    answer = judge(State(), POD, direction=Direction.INGRESS, packet=packet())
    assert answer.decided_by.decider is Decider.UNKNOWN_ENDPOINT


def test_a_source_that_is_not_the_endpoints_own_is_dropped_when_it_sends() -> None:
    state = state_of()
    assert judge(state, POD, direction=Direction.EGRESS, packet=packet("10.0.0.1", "10.0.0.9")).allowed
    answer = judge(state, POD, direction=Direction.EGRESS, packet=packet("10.0.0.2", "10.0.0.9"))
    assert answer.decided_by.decider is Decider.SPOOFED


@pytest.mark.parametrize(("action", "allowed"), [(Action.ALLOW, False), (Action.PASS, False), (Action.DENY, False)])
def test_a_rule_that_cannot_be_enforced_never_lets_anything_through(action: Action, allowed: bool) -> None:
    state = state_of(("a", False, [("p", [rule(action, unenforceable="services are not there yet")])]))
    assert ingress(state).allowed is allowed


def test_a_deny_that_cannot_be_enforced_matches_everything() -> None:
    rules = [rule(Action.DENY, protocol=17, unenforceable="x"), rule(Action.ALLOW, index=1)]
    assert ingress(state_of(("a", True, [("p", rules)]))).decided_by.rule_index == 0


V4_NET = Match(nets=(parse_prefix("10.0.0.0/8"),))
NOT_V4_NET = Match(not_nets=(parse_prefix("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("criteria", "sent", "matches"),
    [
        ({}, packet(), True),
        ({"protocol": 6}, packet(), True),
        ({"protocol": 17}, packet(), False),
        ({"not_protocol": 6}, packet(), False),
        ({"not_protocol": 17}, packet(), True),
        ({"ip_version": 6}, packet(), False),
        ({"ip_version": 4}, packet(), True),
        ({"source": V4_NET}, packet(), True),
        ({"source": V4_NET}, packet("11.0.0.1"), False),
        ({"source": V4_NET}, packet("fd00::9", "fd00::1"), False),
        ({"source": NOT_V4_NET}, packet("11.0.0.1"), True),
        ({"source": NOT_V4_NET}, packet(), False),
        # A rule whose networks are all of the other family is no rule at all for this one, negated or not.
        ({"source": NOT_V4_NET}, packet("fd00::9", "fd00::1"), False),
        ({"protocol": 6, "destination": Match(ports=(PortRange(80, 81),))}, packet(port=81), True),
        ({"protocol": 6, "destination": Match(ports=(PortRange(80, 81),))}, packet(port=82), False),
        ({"protocol": 6, "destination": Match(not_ports=(PortRange(80, 81),))}, packet(port=81), False),
        ({"protocol": 6, "destination": Match(not_ports=(PortRange(80, 81),))}, packet(port=82), True),
        ({"source": Match(sets=("s:some",))}, packet(), True),
        ({"source": Match(sets=("s:some", "s:none"))}, packet(), False),
        ({"source": Match(not_sets=("s:some",))}, packet(), False),
        ({"source": Match(not_sets=("s:none",))}, packet(), True),
        ({"destination": Match(named_ports=("n:http",))}, packet(), True),
        ({"destination": Match(named_ports=("n:http",))}, packet(port=81), False),
        ({"destination": Match(named_ports=("n:http",))}, packet(protocol=17), False),
        ({"protocol": 6, "destination": Match(named_ports=("n:http",), ports=(PortRange(81, 81),))}, packet(port=81), True),
        ({"protocol": 6, "destination": Match(not_named_ports=("n:http",))}, packet(), False),
        ({"protocol": 1}, packet("fd00::9", "fd00::1", protocol=1, port=None), False),
        ({"protocol": 58}, packet(protocol=58, port=None), False),
    ],
)
def test_criteria_are_anded_and_entries_ored(criteria: dict[str, object], sent: Packet, matches: bool) -> None:
    state = state_of(("a", False, [("p", [rule(Action.ALLOW, **criteria)])]))  # type: ignore[arg-type]
    state.sets = {
        "s:some": IPSet("s:some", SetKind.NET, 'app == "some"'),
        "s:none": IPSet("s:none", SetKind.NET, 'app == "none"'),
        "n:http": IPSet("n:http", SetKind.IP_PORT, "all(),tcp,http"),
    }
    state.members = {
        "s:some": {parse_prefix("10.0.0.0/28"), parse_prefix("fd00::/64")},
        "s:none": set(),
        "n:http": {PortMember(parse_address("10.0.0.1"), 6, 80)},
    }
    assert ingress(state, sent).allowed is matches


@pytest.mark.parametrize(
    ("icmp", "not_icmp", "matches"),
    [(Icmp(8, None), None, True), (Icmp(8, 1), None, False), (None, Icmp(8, None), False), (None, Icmp(8, 1), True)],
)
def test_icmp_type_and_code(icmp: Icmp | None, not_icmp: Icmp | None, matches: bool) -> None:
    state = state_of(("a", False, [("p", [rule(protocol=1, icmp=icmp, not_icmp=not_icmp)])]))
    echo = Packet(
        family=Family.V4,
        source=parse_address("10.0.0.9"),
        destination=parse_address("10.0.0.1"),
        protocol=1,
        icmp_type=8,
        icmp_code=0,
    )
    assert ingress(state, echo).allowed is matches


def test_large_sets_answer_as_small_ones_do() -> None:
    state = state_of(("a", False, [("p", [rule(source=Match(sets=("s:big",)))])]))
    state.sets = {"s:big": IPSet("s:big", SetKind.NET, "all()")}
    big: set[Member] = {parse_prefix(f"10.1.{i}.0/24") for i in range(200)}
    state.members = {"s:big": big | {parse_prefix("fd01::/48")}}
    assert ingress(state, packet("10.1.77.5")).allowed
    assert not ingress(state, packet("10.2.77.5")).allowed
    assert ingress(state, packet("fd01::7", "fd00::1")).allowed
    assert not ingress(state, packet("fd02::7", "fd00::1")).allowed
