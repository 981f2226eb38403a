"""Quick decisions are the same decisions."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.verdict.made import NEIGHBOUR, POD, packets, states

from tortie.intent.endpoint import HostEndpoint
from tortie.intent.keys import EndpointId
from tortie.intent.policy import Direction
from tortie.intent.state import State
from tortie.verdict.evaluate import judge
from tortie.verdict.host import HostHook, judge_host
from tortie.verdict.journey import AtInterface, AtNode, AtWorkload, Crossing, Journey, Side, ThoroughJudge, journey
from tortie.verdict.quick import QuickJudge


def hosts(state: State) -> tuple[HostEndpoint, HostEndpoint]:
    named, wildcard = sorted(state.host_endpoints.values(), key=lambda each: each.interface, reverse=True)
    return named, wildcard


def says(walk: Journey) -> list[object]:
    return [(step.node, step.hook, step.endpoint, step.judgement.allowed, step.judgement.decided_by) for step in walk.steps]


@given(states())
@settings(max_examples=40, deadline=None)
def test_at_every_endpoint_the_decision_and_its_reason_are_those_of_the_walk(state: State) -> None:
    quick = QuickJudge(state)
    for packet in packets():
        for direction in Direction:
            for endpoint in (POD, EndpointId("n1", "no", "pod")):
                thorough = judge(state, endpoint, direction=direction, packet=packet)
                answer = quick.at_workload(endpoint, direction=direction, packet=packet)
                assert (answer.allowed, answer.decided_by) == (thorough.allowed, thorough.decided_by)
            for host in hosts(state):
                for hook in HostHook:
                    thorough = judge_host(state, host, hook=hook, direction=direction, packet=packet)
                    answer = quick.at_host(host, hook=hook, direction=direction, packet=packet)
                    assert (answer.allowed, answer.decided_by) == (thorough.allowed, thorough.decided_by)


@given(states(), st.data())
@settings(max_examples=30, deadline=None)
def test_whole_ways_are_the_same_too(state: State, data: st.DataObject) -> None:
    named, wildcard = hosts(state)
    sides: tuple[Side, ...] = (
        AtWorkload(POD),
        AtWorkload(NEIGHBOUR),
        AtInterface(named),
        AtInterface(wildcard),
        AtInterface(),
        AtNode(),
    )
    enters, leaves = data.draw(st.sampled_from(sides)), data.draw(st.sampled_from(sides))
    quick, slow = QuickJudge(state), ThoroughJudge(state)
    for packet in packets():
        crossing = Crossing(node="n1", enters=enters, leaves=leaves, packet=packet, wildcard=wildcard)
        thorough = journey((crossing,), lambda _: slow)
        answer = journey((crossing,), lambda _: quick)
        assert says(answer) == says(thorough)
        assert answer.untracked == thorough.untracked


@given(states(with_staged=False))
@settings(max_examples=10, deadline=None)
def test_another_nodes_configuration_is_another_judge_of_the_same_state(state: State) -> None:
    base = QuickJudge(state)
    other = base.configured({"WorkloadSourceSpoofing": "Any", "AllowIPIPPacketsFromWorkloads": "true"})
    for quick in (base, other, base):
        thorough = ThoroughJudge(quick.state)
        for packet in packets():
            said = thorough.at_workload(POD, direction=Direction.EGRESS, packet=packet)
            answer = quick.at_workload(POD, direction=Direction.EGRESS, packet=packet)
            assert (answer.allowed, answer.decided_by) == (said.allowed, said.decided_by)
