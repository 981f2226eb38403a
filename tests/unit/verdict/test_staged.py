"""Staged policies: they never decide, and what they would decide can be asked."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.verdict.made import (
    ALLOW,
    DENY,
    FAR,
    NEIGHBOUR,
    POD,
    STRANGER,
    at_pod,
    empty_state,
    host_endpoint,
    packet,
    packets,
    policy,
    staged,
    states,
    tier,
    with_policies,
)

from tortie.intent.endpoint import Tier
from tortie.intent.policy import Direction, Policy, StagedAction
from tortie.intent.state import State
from tortie.verdict.evaluate import judge
from tortie.verdict.host import HostHook, judge_host
from tortie.verdict.judgement import Judgement
from tortie.verdict.quick import QuickJudge
from tortie.verdict.staged import has_staged, in_force, judge_pending

SENT = packet(STRANGER, "10.0.0.1")
ALLOWS = policy("allows", [ALLOW])


def pod_with(*policies: Policy, passes: bool = False) -> State:
    listed = [each for each in policies if each.staged_action is StagedAction.SET]
    return at_pod(with_policies(empty_state(), *policies), tier(listed, passes=passes))


def now(state: State) -> Judgement:
    return judge(state, POD, direction=Direction.INGRESS, packet=SENT)


def pending(state: State) -> Judgement:
    return judge_pending(state, POD, direction=Direction.INGRESS, packet=SENT)


@pytest.mark.shows("PS-13.2", "PS-13.4")
def test_a_staged_deny_is_ignored_now_and_would_deny() -> None:
    state = pod_with(staged("no", [DENY]), ALLOWS)
    assert now(state).allowed
    would = pending(state)
    assert not would.allowed
    assert would.decided_by.owner == staged("no").id
    assert has_staged(state)
    assert not has_staged(in_force(state))


@pytest.mark.shows("PS-13.1")
def test_set_stands_in_for_its_enforced_twin() -> None:
    enforced, draft = policy("same", [ALLOW]), staged("same", [DENY])
    assert not pending(pod_with(enforced, draft)).allowed
    # Also where the draft does not select: the twin is gone everywhere.
    state = at_pod(with_policies(empty_state(), enforced, draft), tier([enforced]))
    assert pending(state).decided_by.owner != enforced.id
    assert now(state).decided_by.owner == enforced.id


@pytest.mark.shows("PS-13.1")
def test_delete_takes_the_enforced_twin_away_with_its_tiers_default() -> None:
    enforced = policy("same", [DENY])
    state = pod_with(enforced, staged("same", action=StagedAction.DELETE))
    assert not now(state).allowed
    assert pending(state).allowed


@pytest.mark.shows("PS-13.1")
@pytest.mark.parametrize("action", [StagedAction.LEARN, StagedAction.IGNORE])
def test_learn_and_ignore_would_change_nothing(action: StagedAction) -> None:
    enforced = policy("same", [DENY])
    state = pod_with(enforced, staged("same", [ALLOW], action))
    assert pending(state).decided_by == now(state).decided_by


@pytest.mark.shows("PS-13.3")
def test_a_tier_with_staged_policies_only_denies_at_its_end_only_once_they_are_in_force() -> None:
    state = pod_with(staged("silent"))
    assert now(state).allowed
    assert not pending(state).allowed


def test_host_endpoints_are_previewed_too() -> None:
    draft = staged("no", [DENY])
    state = with_policies(empty_state(), draft)
    endpoint = host_endpoint(forward=(tier([draft]),))
    state.host_endpoints[endpoint.id] = endpoint
    changed = in_force(state)
    for each, allowed in ((state, True), (changed, False)):
        answer = judge_host(
            each, each.host_endpoints[endpoint.id], hook=HostHook.FORWARD, direction=Direction.INGRESS, packet=SENT
        )
        assert answer.allowed is allowed


def test_without_staged_policies_nothing_is_pending() -> None:
    state = pod_with(ALLOWS)
    assert in_force(state) is state


def without_staged(state: State) -> State:
    """As if nobody had written any."""

    def tiers(listed: tuple[Tier, ...]) -> tuple[Tier, ...]:
        return tuple(
            replace(
                each,
                ingress=tuple(key for key in each.ingress if not key.kind.startswith("Staged")),
                egress=tuple(key for key in each.egress if not key.kind.startswith("Staged")),
            )
            for each in listed
        )

    return replace(
        state,
        policies={key: each for key, each in state.policies.items() if not each.staged},
        endpoints={key: replace(each, tiers=tiers(each.tiers)) for key, each in state.endpoints.items()},
    )


@pytest.mark.shows("PS-13.2")
@given(states())
@settings(max_examples=30, deadline=None)
def test_removing_every_staged_policy_changes_no_verdict(state: State) -> None:
    one, other = QuickJudge(state), QuickJudge(without_staged(state))
    for sent in packets():
        for endpoint in (POD, NEIGHBOUR, FAR):
            for direction in Direction:
                assert (
                    one.at_workload(endpoint, direction=direction, packet=sent).decided_by
                    == other.at_workload(endpoint, direction=direction, packet=sent).decided_by
                )


@given(states(), st.sampled_from(Direction))
@settings(max_examples=30, deadline=None)
def test_what_is_in_force_has_no_trace_of_being_staged_and_is_stable(state: State, direction: Direction) -> None:
    changed = in_force(state)
    assert in_force(changed) is changed
    for endpoint in changed.endpoints.values():
        for each in endpoint.tiers:
            for key in each.policies(direction):
                assert key not in changed.policies or not changed.policies[key].staged
