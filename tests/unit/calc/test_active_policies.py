"""Which policies are active, and what is said about it in which order."""

from typing import Any

import pytest
from tests.graph.states import global_policy, policy, staged_global_policy, staged_policy

from tortie.calc.active_policies import ActivePolicies, PolicySource
from tortie.calc.problems import Problems
from tortie.intent.keys import AnyEndpointId, EndpointId, HostEndpointId, PolicyId
from tortie.intent.policy import StagedAction

A, B = EndpointId("n", "ns", "a"), EndpointId("n", "ns", "b")
HOST = HostEndpointId("n", "h")


class Recorder:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.active: dict[PolicyId, PolicySource] = {}
        self.stage = ActivePolicies(self.on_active, self.on_match, Problems())

    def on_active(self, policy_id: PolicyId, source: PolicySource | None) -> None:
        self.said.append((policy_id.name, "active" if source else "inactive"))
        if source is None:
            del self.active[policy_id]
        else:
            self.active[policy_id] = source

    def on_match(self, policy_id: PolicyId, endpoint: AnyEndpointId, selected: bool) -> None:
        assert policy_id in self.active, "a match is announced outside the policy's life"
        self.said.append((policy_id.name, endpoint.name, selected))

    def endpoint(self, endpoint: AnyEndpointId, **labels: str) -> None:
        self.stage.on_endpoint(endpoint, frozenset(labels.items()), ())

    def heard(self) -> list[tuple[Any, ...]]:
        said, self.said = self.said, []
        return said


def test_a_policy_is_announced_before_its_first_match_and_taken_back_after_its_last() -> None:
    recorder = Recorder()
    recorder.stage.on_policy(global_policy("g").key, global_policy("g", selector="app == 'x'"))
    assert recorder.heard() == []
    recorder.endpoint(A, app="x")
    recorder.endpoint(B, app="x")
    assert recorder.heard() == [("g", "active"), ("g", "a", True), ("g", "b", True)]
    recorder.endpoint(A, app="y")
    recorder.stage.on_endpoint_gone(B)
    assert recorder.heard() == [("g", "a", False), ("g", "b", False), ("g", "inactive")]


def test_a_change_of_selector_concerns_only_endpoints_that_it_tells_apart() -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x", zone="1")
    recorder.endpoint(B, app="x", zone="2")
    key = global_policy("g").key
    recorder.stage.on_policy(key, global_policy("g", selector="app == 'x'"))
    recorder.heard()
    recorder.stage.on_policy(key, global_policy("g", selector="zone == '2'"))
    assert recorder.heard() == [("g", "a", False)]
    recorder.stage.on_policy(key, global_policy("g", selector="zone == '1'", order=3))
    assert recorder.heard() == [("g", "active"), ("g", "a", True), ("g", "b", False)]
    recorder.stage.on_policy(key, global_policy("g", selector="zone == '3'", order=3))
    assert recorder.heard() == [("g", "a", False), ("g", "inactive")]


def test_a_change_of_content_is_announced_once_and_a_repetition_not_at_all() -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x")
    key = global_policy("g").key
    for order in (1, 2, 2):
        recorder.stage.on_policy(key, global_policy("g", order=order))
    assert recorder.heard() == [("g", "active"), ("g", "a", True), ("g", "active")]


def test_policies_with_one_selector_live_and_die_alone() -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x")
    for name in ("g", "h"):
        recorder.stage.on_policy(global_policy(name).key, global_policy(name))
    recorder.heard()
    recorder.stage.on_policy(global_policy("g").key, None)
    assert recorder.heard() == [("g", "a", False), ("g", "inactive")]
    assert [each.name for each in recorder.active] == ["h"]
    recorder.stage.on_policy(global_policy("h").key, None)
    recorder.stage.on_endpoint_gone(A)
    assert recorder.stage.is_empty()


def test_rules_of_a_direction_that_is_not_governed_are_left_out() -> None:
    recorder = Recorder()
    recorder.endpoint(A, **{"projectcalico.org/namespace": "ns"})
    rules = [{"action": "Deny"}]
    recorder.stage.on_policy(policy("p").key, policy("p", types=["Egress"], ingress=rules, egress=rules))
    (source,) = recorder.active.values()
    assert (len(source.ingress), len(source.egress)) == (0, 1)


@pytest.mark.shows("PS-6.11")
@pytest.mark.parametrize("flag", ["doNotTrack", "preDNAT"])
def test_untracked_and_pre_dnat_policies_select_hosts_only(flag: str) -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x")
    recorder.endpoint(HOST, app="x")
    key = global_policy("g").key
    recorder.stage.on_policy(key, global_policy("g", applyOnForward=True, **{flag: True}))
    assert recorder.heard() == [("g", "active"), ("g", "h", True)]
    recorder.endpoint(B, app="x")
    recorder.endpoint(B, app="y")
    assert recorder.heard() == []
    recorder.stage.on_policy(key, global_policy("g", applyOnForward=True))
    said = recorder.heard()
    assert said[0] == ("g", "active")
    assert sorted(said[1:]) == [("g", "a", True), ("g", "b", True)]
    recorder.stage.on_policy(key, global_policy("g", applyOnForward=True, **{flag: True}))
    recorder.heard()
    recorder.stage.on_endpoint_gone(HOST)
    assert recorder.heard() == [("g", "h", False), ("g", "inactive")]
    for endpoint in (A, B):
        recorder.stage.on_endpoint_gone(endpoint)
    recorder.stage.on_policy(key, None)
    assert recorder.stage.is_empty()


def test_a_policy_that_becomes_one_for_hosts_is_inactive_where_there_are_none() -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x")
    key = global_policy("g").key
    recorder.stage.on_policy(key, global_policy("g"))
    recorder.heard()
    recorder.stage.on_policy(key, global_policy("g", doNotTrack=True, applyOnForward=True))
    assert recorder.heard() == [("g", "a", False), ("g", "inactive")]


@pytest.mark.shows("PS-6.1", "PS-6.2", "PS-6.5")
def test_a_host_endpoint_has_no_namespace() -> None:
    recorder = Recorder()
    recorder.endpoint(HOST, app="x")
    recorder.stage.on_policy(policy("p").key, policy("p"))
    recorder.stage.on_policy(global_policy("ns").key, global_policy("ns", namespaceSelector="all()"))
    recorder.stage.on_policy(global_policy("sa").key, global_policy("sa", serviceAccountSelector="all()"))
    assert recorder.heard() == []
    recorder.stage.on_policy(global_policy("g").key, global_policy("g", selector="app == 'x'"))
    assert recorder.heard() == [("g", "active"), ("g", "h", True)]


def test_a_staged_policy_is_active_from_the_first_to_the_last_and_selects_like_any_other() -> None:
    recorder = Recorder()
    key = staged_global_policy("g").key
    recorder.stage.on_policy(key, staged_global_policy("g", selector="app == 'x'"))
    assert recorder.heard() == [("g", "active")]
    recorder.endpoint(A, app="x")
    recorder.endpoint(A, app="y")
    assert recorder.heard() == [("g", "a", True), ("g", "a", False)]
    recorder.stage.on_policy(key, staged_global_policy("g", selector="app == 'y'", order=3))
    assert recorder.heard() == [("g", "active"), ("g", "a", True)]
    recorder.stage.on_policy(key, staged_global_policy("g", selector="app == 'z'", order=3))
    assert recorder.heard() == [("g", "a", False)]
    recorder.stage.on_policy(key, None)
    assert recorder.heard() == [("g", "inactive")]
    recorder.stage.on_endpoint_gone(A)
    assert recorder.stage.is_empty()


@pytest.mark.parametrize("action", ["Delete", "Learn", "Ignore"])
def test_a_staged_policy_that_would_not_be_there_selects_nothing(action: str) -> None:
    recorder = Recorder()
    recorder.endpoint(A, **{"projectcalico.org/namespace": "ns"})
    key = staged_policy("p").key
    recorder.stage.on_policy(key, staged_policy("p", types=["Ingress"], ingress=[{"action": "Deny"}]))
    assert recorder.heard() == [("p", "active"), ("p", "a", True)]
    recorder.stage.on_policy(key, staged_policy("p", stagedAction=action, types=["Ingress"], ingress=[{"action": "Deny"}]))
    assert recorder.heard() == [("p", "active"), ("p", "a", False)]
    (source,) = recorder.active.values()
    assert (source.staged, source.ingress) == (StagedAction(action), ())
    recorder.stage.on_policy(key, None)
    recorder.stage.on_endpoint_gone(A)
    assert recorder.stage.is_empty()


def test_a_policy_that_leaves_one_endpoint_for_another_goes_with_its_new_content() -> None:
    recorder = Recorder()
    recorder.endpoint(A, app="x")
    recorder.endpoint(B, app="y")
    key = global_policy("g").key
    recorder.stage.on_policy(key, global_policy("g", selector="app == 'x'"))
    recorder.stage.on_policy(key, global_policy("g", selector="app == 'y'", order=7))
    (source,) = recorder.active.values()
    assert source.placement.order == 7
