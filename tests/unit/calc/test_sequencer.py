"""The sequencer coalesces and keeps the order of dependence."""

from tortie.base.net import parse_prefix
from tortie.calc.sequencer import Sequencer
from tortie.intent.endpoint import Endpoint, HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId
from tortie.intent.messages import (
    ConfigUpdate,
    EndpointUpdate,
    HostEndpointUpdate,
    PolicyUpdate,
    ProfileUpdate,
    ServiceNetsUpdate,
    SetDelta,
    SetUpdate,
)
from tortie.intent.policy import Policy, Profile
from tortie.intent.sets import IPSet, Member, SetKind

ONE, TWO = parse_prefix("10.0.0.1"), parse_prefix("10.0.0.2")
SET = IPSet("s:x", SetKind.NET, "x")
POLICY = Policy(PolicyId("NetworkPolicy", "ns", "p"), "default", (), ())
PROFILE = Profile(ProfileId("kns.ns"), (), ())
ENDPOINT = Endpoint(EndpointId("n", "ns", "e"), "ns/e", "cali1", (), (), ())
HOST_ENDPOINT = HostEndpoint(HostEndpointId("n", "h"), "eth0")


def sequencer(*members: Member) -> Sequencer:
    return Sequencer(lambda _set_id: frozenset(members))


def put_all(target: Sequencer) -> None:
    target.host_endpoint(HOST_ENDPOINT.id, HOST_ENDPOINT)
    target.endpoint(ENDPOINT.id, ENDPOINT)
    target.profile(PROFILE.id, PROFILE)
    target.policy(POLICY.id, POLICY)
    target.set_needed(SET)


def test_what_is_named_goes_before_what_names_it_and_leaves_after_it() -> None:
    target = sequencer(ONE)
    put_all(target)
    target.config((("A", "b"),))
    assert target.flush() == [
        ConfigUpdate((("A", "b"),)),
        SetUpdate(SET.id, SET, frozenset({ONE})),
        PolicyUpdate(POLICY.id, POLICY),
        ProfileUpdate(PROFILE.id, PROFILE),
        EndpointUpdate(ENDPOINT.id, ENDPOINT),
        HostEndpointUpdate(HOST_ENDPOINT.id, HOST_ENDPOINT),
    ]
    target.set_gone(SET.id)
    target.policy(POLICY.id, None)
    target.profile(PROFILE.id, None)
    target.endpoint(ENDPOINT.id, None)
    target.host_endpoint(HOST_ENDPOINT.id, None)
    assert target.flush() == [
        HostEndpointUpdate(HOST_ENDPOINT.id, None),
        EndpointUpdate(ENDPOINT.id, None),
        ProfileUpdate(PROFILE.id, None),
        PolicyUpdate(POLICY.id, None),
        SetUpdate(SET.id, None),
    ]
    assert target.is_empty()


def test_what_comes_and_goes_between_two_flushes_is_never_said() -> None:
    target = sequencer()
    put_all(target)
    target.policy(POLICY.id, None)
    target.profile(PROFILE.id, None)
    target.endpoint(ENDPOINT.id, None)
    target.host_endpoint(HOST_ENDPOINT.id, None)
    target.set_gone(SET.id)
    assert target.flush() == []
    assert target.is_empty()


def test_what_goes_and_comes_back_unchanged_is_not_said_again() -> None:
    target = sequencer()
    put_all(target)
    target.flush()
    target.policy(POLICY.id, None)
    target.policy(POLICY.id, POLICY)
    target.endpoint(ENDPOINT.id, ENDPOINT)
    target.config(())
    target.flush()
    target.config((("A", "b"),))
    target.config(())
    assert target.flush() == []


def test_members_of_a_standing_set_become_one_delta_in_which_contraries_cancel() -> None:
    target = sequencer(ONE)
    target.set_needed(SET)
    target.member(SET.id, ONE, True)
    assert target.flush() == [SetUpdate(SET.id, SET, frozenset({ONE}))]
    target.member(SET.id, TWO, True)
    target.member(SET.id, ONE, False)
    target.member(SET.id, ONE, True)
    assert target.flush() == [SetDelta(SET.id, frozenset({TWO}), frozenset())]
    target.member(SET.id, ONE, False)
    target.member(SET.id, ONE, True)
    assert target.flush() == []


def test_a_set_that_is_made_anew_is_sent_whole() -> None:
    target = sequencer(TWO)
    target.set_needed(SET)
    target.flush()
    target.member(SET.id, ONE, False)
    target.set_gone(SET.id)
    target.set_needed(SET)
    target.member(SET.id, TWO, True)
    assert target.flush() == [SetUpdate(SET.id, SET, frozenset({TWO}))]


def test_service_networks_are_said_when_they_change_and_none_are_there_at_first() -> None:
    target = sequencer()
    target.service_nets(())
    assert target.flush() == []
    target.service_nets((ONE,))
    assert target.flush() == [ServiceNetsUpdate((ONE,))]
    target.service_nets(())
    target.service_nets((ONE,))
    assert target.flush() == []
    assert not target.is_empty()
    target.service_nets(())
    assert target.flush() == [ServiceNetsUpdate(())]
    assert target.is_empty()
