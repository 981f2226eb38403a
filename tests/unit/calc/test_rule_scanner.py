"""Sets are needed from their first user to their last."""

from tests.graph.states import profile, rules

from tortie.api.profile import Profile as ApiProfile
from tortie.api.profile import ProfileSpec
from tortie.api.resource import Key
from tortie.calc.active_policies import PolicySource
from tortie.calc.policy_sorter import Placement
from tortie.calc.problems import Problems
from tortie.calc.rule_scanner import RuleScanner, SetUse
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Policy, Profile


class Recorder:
    def __init__(self) -> None:
        self.needed: list[tuple[str, bool]] = []
        self.policies: dict[PolicyId, Policy | None] = {}
        self.profiles: dict[ProfileId, Profile | None] = {}
        self.problems = Problems()
        self.scanner = RuleScanner(
            self.hear,
            emit_policy=self.policies.__setitem__,
            emit_profile=self.profiles.__setitem__,
            problems=self.problems,
        )
        self.texts: dict[str, str] = {}

    def hear(self, use: SetUse) -> None:
        if use.spec is not None:
            self.texts[use.id] = use.spec.ipset.origin
        self.needed.append((self.texts[use.id], use.spec is not None))

    def heard(self) -> list[tuple[str, bool]]:
        needed, self.needed = self.needed, []
        return needed


def source(*selectors: str) -> PolicySource:
    documents = [{"action": "Allow", "source": {"selector": each}} for each in selectors]
    return PolicySource("", Placement("t", 0, ingress=True, egress=True), rules(*documents), ())


P, Q = (PolicyId("GlobalNetworkPolicy", "", name) for name in "pq")


def test_a_set_is_shared_by_its_users() -> None:
    recorder = Recorder()
    recorder.scanner.on_policy(P, source("has(a)", "has(a)"))
    recorder.scanner.on_policy(Q, source("has(a)"))
    assert recorder.heard() == [("has(a)", True)]
    recorder.scanner.on_policy(P, None)
    assert recorder.heard() == []
    recorder.scanner.on_policy(Q, None)
    assert recorder.heard() == [("has(a)", False)]
    assert recorder.scanner.is_empty()


def test_new_sets_are_announced_before_old_ones_go() -> None:
    recorder = Recorder()
    recorder.scanner.on_policy(P, source("has(a)", "has(b)"))
    recorder.heard()
    recorder.scanner.on_policy(P, source("has(b)", "has(c)"))
    assert recorder.heard() == [("has(c)", True), ("has(a)", False)]


def test_profiles_have_rules_and_sets_too() -> None:
    recorder = Recorder()
    spec = ProfileSpec(
        egress=rules({"action": "Deny", "destination": {"selector": "has(a)"}}, {"action": "Deny", "protocol": "x"})
    )
    recorder.scanner.on_profile("p", ApiProfile(metadata=profile("p").metadata, spec=spec))
    found = recorder.profiles[ProfileId("p")]
    assert found is not None
    assert [len(found.ingress), len(found.egress)] == [0, 2]
    assert recorder.heard() == [("has(a)", True)]
    assert list(recorder.problems.by_key().values()) == ["egress[1]: protocol: protocol 'x' is unknown"]
    recorder.scanner.on_profile("p", None)
    assert recorder.heard() == [("has(a)", False)]
    assert recorder.problems.is_empty()


def test_a_rule_that_never_matches_is_left_out_and_reported() -> None:
    recorder = Recorder()
    never = rules({"action": "Deny", "source": {"notNets": ["0.0.0.0/0"]}}, {"action": "Allow"})
    recorder.scanner.on_policy(P, PolicySource("", Placement("t", 0, ingress=True, egress=True), never, ()))
    found = recorder.policies[P]
    assert found is not None
    assert [rule.origin.index for rule in found.ingress] == [1]
    assert "ingress[0]: notNets" in recorder.problems.by_key()[Key(*P)]
