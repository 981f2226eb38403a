"""Endpoints with their tiers."""

from tortie.api.tier import TierSpec
from tortie.calc.endpoint_resolver import EndpointResolver, LocalEndpoint
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
    resolver.on_tier("default", TierSpec(order=3))
    recorder.flush()
    resolver.on_match(POLICY, local("a").id, False)
    resolver.on_policy(POLICY, None)
    resolver.on_endpoint(local("a").id, None)
    resolver.on_tier("default", None)
    assert recorder.flush() == {"a": None}
    assert resolver.is_empty()
