"""Endpoints with their tiers."""

import pytest

from tortie.api.resource import Key
from tortie.api.tier import PREDEFINED, TierSpec
from tortie.calc.endpoint_resolver import EndpointResolver, LocalEndpoint, LocalHostEndpoint
from tortie.calc.policy_sorter import Placement
from tortie.calc.problems import Problems
from tortie.intent.endpoint import Endpoint, HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId

POLICY = PolicyId("GlobalNetworkPolicy", "", "g")


def local(name: str, interface: str = "") -> LocalEndpoint:
    endpoint_id = EndpointId("n", "ns", name)
    return LocalEndpoint(endpoint_id, f"ns/{name}", interface or f"cali{name}", (), (), "", ())


class Recorder:
    def __init__(self) -> None:
        self.said: list[tuple[str, Endpoint | None]] = []
        self.hosts: dict[HostEndpointId, HostEndpoint | None] = {}
        self.problems = Problems()
        self.resolver = EndpointResolver(
            lambda each, value: self.said.append((each.name, value)),
            emit_host=self.hosts.__setitem__,
            problems=self.problems,
        )

    def flush(self) -> dict[str, Endpoint | None]:
        self.said.clear()
        self.resolver.flush()
        assert len(self.said) == len({name for name, _ in self.said}), "an endpoint is resolved twice in one flush"
        return dict(self.said)


def test_only_endpoints_that_a_change_concerns_are_resolved_again() -> None:
    recorder = Recorder()
    resolver = recorder.resolver
    for name in "ab":
        resolver.on_endpoint(local(name).id, local(name))
    assert set(recorder.flush()) == {"a", "b"}
    resolver.on_policy(POLICY, Placement("t", 1, ingress=True, egress=False))
    resolver.on_match(POLICY, local("a").id, True)
    assert set(recorder.flush()) == {"a"}
    resolver.on_tier("t", TierSpec(order=1, default_action="Pass"))
    resolver.on_tier("other", TierSpec(order=1))
    found = recorder.flush()
    assert set(found) == {"a"}
    assert found["a"] is not None
    assert found["a"].tiers[0].default_pass
    resolver.on_policy(POLICY, Placement("t", 1, ingress=True, egress=False))
    assert recorder.flush() == {}


def test_a_device_changes_hands_when_its_claimants_change() -> None:
    recorder = Recorder()
    resolver = recorder.resolver
    resolver.on_endpoint(local("b").id, local("b", "cali0"))
    resolver.on_endpoint(local("c").id, local("c", "cali0"))
    assert {name for name, value in recorder.flush().items() if value} == {"b"}
    resolver.on_endpoint(local("b").id, local("b", "cali1"))
    assert {name for name, value in recorder.flush().items() if value} == {"b", "c"}
    resolver.on_endpoint(local("a").id, local("a", "cali0"))
    assert {name for name, value in recorder.flush().items() if not value} == {"c"}


def test_nothing_is_left_after_everything_is_taken_back() -> None:
    recorder = Recorder()
    resolver = recorder.resolver
    resolver.on_endpoint(local("a").id, local("a"))
    resolver.on_policy(POLICY, Placement("t", 1, ingress=True, egress=False))
    resolver.on_match(POLICY, local("a").id, True)
    resolver.on_tier("own", TierSpec(order=3))
    recorder.flush()
    resolver.on_match(POLICY, local("a").id, False)
    resolver.on_policy(POLICY, None)
    resolver.on_endpoint(local("a").id, None)
    resolver.on_tier("own", None)
    assert recorder.flush() == {"a": None}
    assert resolver.is_empty()


def local_host(name: str, interface: str = "eth0") -> LocalHostEndpoint:
    return LocalHostEndpoint(HostEndpointId("n", name), interface, (), (), None)


def show_host(recorder: Recorder, endpoint: LocalHostEndpoint, placement: Placement) -> HostEndpoint | None:
    recorder.resolver.on_host_endpoint(endpoint.id, endpoint)
    recorder.resolver.on_policy(POLICY, placement)
    recorder.resolver.on_match(POLICY, endpoint.id, True)
    recorder.flush()
    return recorder.hosts[endpoint.id]


def test_a_host_endpoint_follows_its_policies_and_tiers() -> None:
    recorder = Recorder()
    found = show_host(recorder, local_host("h"), Placement("t", 1, ingress=True, egress=False, forward=True))
    assert found is not None
    assert found.forward == found.normal
    assert [tier.default_pass for tier in found.normal] == [False]
    recorder.resolver.on_tier("t", TierSpec(order=1, default_action="Pass"))
    recorder.flush()
    found = recorder.hosts[HostEndpointId("n", "h")]
    assert found is not None
    assert [tier.default_pass for tier in found.normal] == [True]
    recorder.resolver.on_match(POLICY, HostEndpointId("n", "h"), False)
    recorder.resolver.on_policy(POLICY, None)
    recorder.resolver.on_host_endpoint(HostEndpointId("n", "h"), None)
    recorder.resolver.on_tier("t", None)
    recorder.flush()
    assert recorder.hosts == {HostEndpointId("n", "h"): None}
    assert recorder.resolver.is_empty()


@pytest.mark.shows("PS-6.13")
def test_untracked_policy_on_all_interfaces_is_left_out_and_reported() -> None:
    recorder = Recorder()
    placement = Placement("t", 1, ingress=True, egress=True, untracked=True)
    found = show_host(recorder, local_host("all", "*"), placement)
    assert found is not None
    assert found.untracked == ()
    assert "doNotTrack" in recorder.problems.by_key()[Key("HostEndpoint", "", "all")]
    named = show_host(recorder, local_host("all", "eth0"), placement)
    assert named is not None
    assert len(named.untracked) == 1
    assert recorder.problems.is_empty()


def test_of_host_endpoints_for_one_interface_all_are_handed_over() -> None:
    recorder = Recorder()
    for name in "ab":
        recorder.resolver.on_host_endpoint(local_host(name).id, local_host(name))
    recorder.flush()
    assert all(recorder.hosts.values())
    assert len(recorder.hosts) == 2


@pytest.mark.shows("PS-5.11")
def test_the_predefined_tiers_have_their_own_values_whatever_is_stored() -> None:
    recorder = Recorder()
    recorder.resolver.on_tier("default", TierSpec(order=3, default_action="Pass"))
    recorder.resolver.on_endpoint(local("a").id, local("a"))
    recorder.resolver.on_policy(POLICY, Placement("default", 1, ingress=True, egress=False))
    recorder.resolver.on_match(POLICY, local("a").id, True)
    found = recorder.flush()["a"]
    assert found is not None
    assert [tier.default_pass for tier in found.tiers] == [PREDEFINED["default"].default_action == "Pass"]
