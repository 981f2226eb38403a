"""The graph's outcome depends on the state it was shown last, and on nothing else."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.sequences import EXPANDERS, SEQUENCES, Batches, Expander, plain
from tests.graph.states import EMPTY, NODE, State, updates

from tortie.calc.graph import STAGED_KINDS, Graph
from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.keys import PolicyId
from tortie.intent.messages import (
    EndpointUpdate,
    HostEndpointUpdate,
    InSync,
    Message,
    PolicyUpdate,
    ProfileUpdate,
    ServiceNetsUpdate,
    SetDelta,
    SetUpdate,
)
from tortie.intent.policy import Policy, Profile, Rule
from tortie.intent.state import State as Intent


class Consumer:
    """Applies messages one by one and checks the promises of the hand-over after each."""

    def __init__(self) -> None:
        self.intent = Intent()

    def take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._check(message)
            self.intent.apply(message)

    def _check(self, message: Message) -> None:
        intent = self.intent
        match message:
            case SetUpdate(id=set_id, ipset=None):
                assert set_id in intent.sets, "a set is removed once"
                users: list[Policy | Profile] = [*intent.policies.values(), *intent.profiles.values()]
                assert not any(set_id in named_sets(user) for user in users), "a set in use is removed"
            case SetDelta(id=set_id, added=added, removed=removed):
                assert set_id in intent.sets, "a delta precedes its set"
                assert added or removed, "a delta says nothing"
                assert not added & intent.members[set_id], "a member is added twice"
                assert removed <= intent.members[set_id], "an unknown member is removed"
            case PolicyUpdate(id=policy_id, policy=None):
                assert policy_id not in used_policies(intent), "a policy in use is removed"
                assert policy_id in intent.policies
            case PolicyUpdate(id=policy_id, policy=policy):
                assert policy is not None
                assert named_sets(policy) <= intent.sets.keys(), "a policy names an unknown set"
                assert intent.policies.get(policy_id) != policy, "nothing changed"
            case ProfileUpdate(profile=Profile() as profile):
                assert named_sets(profile) <= intent.sets.keys(), "a profile names an unknown set"
            case EndpointUpdate(id=endpoint_id, endpoint=endpoint):
                assert intent.endpoints.get(endpoint_id) != endpoint, "nothing changed"
                for tier in endpoint.tiers if endpoint else ():
                    assert set(tier.ingress + tier.egress) <= intent.policies.keys(), "an endpoint names an unknown policy"
            case HostEndpointUpdate(id=host_endpoint_id, endpoint=host_endpoint):
                assert intent.host_endpoints.get(host_endpoint_id) != host_endpoint, "nothing changed"
                for tier in host_tiers(host_endpoint) if host_endpoint else ():
                    assert set(tier.ingress + tier.egress) <= intent.policies.keys(), "a host endpoint names an unknown policy"
            case ServiceNetsUpdate(nets=nets):
                assert intent.service_nets != nets, "nothing changed"
            case InSync():
                assert not intent.in_sync, "in sync is said once"
            case _:
                pass


def host_tiers(endpoint: HostEndpoint) -> tuple[Tier, ...]:
    return endpoint.untracked + endpoint.pre_dnat + endpoint.forward + endpoint.normal


def used_policies(intent: Intent) -> set[PolicyId]:
    tiers = [tier for each in intent.endpoints.values() for tier in each.tiers]
    tiers += [tier for each in intent.host_endpoints.values() for tier in host_tiers(each)]
    return {policy_id for tier in tiers for policy_id in tier.ingress + tier.egress}


def named_sets(owner: Policy | Profile) -> set[str]:
    def of(rule: Rule) -> set[str]:
        sides = (rule.source, rule.destination)
        return {name for side in sides for name in side.sets + side.not_sets + side.named_ports + side.not_named_ports}

    return {name for rule in owner.ingress + owner.egress for name in of(rule)}


def run(batches: Batches, *, sync_first: bool = True, staged: bool = True) -> tuple[Graph, Consumer]:
    """Feed a fresh graph, flushing after each batch."""
    graph, consumer = Graph(NODE, staged=staged), Consumer()
    if sync_first:
        graph.on_in_sync()
    for batch in batches:
        graph.on_updates(batch)
        consumer.take(graph.flush())
    graph.on_in_sync()
    consumer.take(graph.flush())
    return graph, consumer


def direct(state: State) -> Intent:
    """The intent of a state that is shown at once, before in-sync."""
    return run([updates(EMPTY, state)], sync_first=False)[1].intent


@pytest.mark.parametrize("expander", EXPANDERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("sync_first", [True, False], ids=["after in-sync", "before in-sync"])
def test_every_way_to_a_state_gives_the_same_intent(name: str, expander: Expander, sync_first: bool) -> None:
    sequence = SEQUENCES[name]
    graph, consumer = run(expander(sequence), sync_first=sync_first)
    assert consumer.intent == direct(sequence[-1])
    fresh = run([updates(EMPTY, sequence[-1])])[0]
    assert graph.problems == fresh.problems


@pytest.mark.parametrize("expander", EXPANDERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", SEQUENCES)
def test_nothing_is_left_when_everything_is_deleted(name: str, expander: Expander) -> None:
    sequence = SEQUENCES[name]
    graph, consumer = run(expander(sequence))
    assert not graph.is_empty()
    graph.on_updates(updates(sequence[-1], EMPTY))
    consumer.take(graph.flush())
    assert graph.is_empty()
    assert consumer.intent == Intent(in_sync=True)


@pytest.mark.parametrize("name", SEQUENCES)
def test_each_state_on_the_way_is_complete(name: str) -> None:
    graph, consumer = Graph(NODE, staged=True), Consumer()
    graph.on_in_sync()
    for state, batch in zip(SEQUENCES[name], plain(SEQUENCES[name]), strict=True):
        graph.on_updates(batch)
        consumer.take(graph.flush())
        assert consumer.intent == direct(state)


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_sequences_say_something(name: str) -> None:
    intents = [direct(state) for state in SEQUENCES[name]]
    assert any(one != two for one, two in pairwise(intents))
    assert any(intent != direct(EMPTY) for intent in intents)


@pytest.mark.shows("PS-13.2")
@pytest.mark.parametrize("state", range(len(SEQUENCES["staged"])))
def test_a_node_hears_nothing_of_staged_policies(state: int) -> None:
    held = SEQUENCES["staged"][state]
    enforced = {key: value for key, value in held.items() if key.kind not in STAGED_KINDS}
    assert enforced != held
    graph, consumer = run([updates(EMPTY, held)], staged=False)
    assert consumer.intent == run([updates(EMPTY, enforced)], staged=False)[1].intent
    assert not graph.problems


def test_nothing_is_said_before_in_sync_and_in_sync_comes_last() -> None:
    graph = Graph(NODE)
    graph.on_updates(updates(EMPTY, SEQUENCES["basic"][1]))
    assert graph.flush() == []
    graph.on_in_sync()
    messages = graph.flush()
    assert isinstance(messages[-1], InSync)
    assert sum(isinstance(each, InSync) for each in messages) == 1
    assert graph.flush() == []


ALL_STATES = [state for sequence in SEQUENCES.values() for state in sequence]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(range(len(ALL_STATES))), min_size=1, max_size=6), st.sampled_from(EXPANDERS))
def test_any_states_in_any_order_end_in_the_last(indexes: list[int], expander: Expander) -> None:
    sequence = [ALL_STATES[index] for index in indexes]
    assert run(expander(sequence))[1].intent == direct(sequence[-1])
