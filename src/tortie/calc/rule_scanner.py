"""Active policies and profiles with every selector resolved; the IP sets that they need, counted by user."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tortie.api.policy import Rule as ApiRule
from tortie.api.profile import Profile as ApiProfile
from tortie.api.resource import Key
from tortie.calc.active_policies import PolicySource
from tortie.calc.multimap import discard
from tortie.calc.problems import Problems
from tortie.calc.rule_parser import AnySetSpec, ParsedRule, parse_rule
from tortie.intent.keys import PolicyId, ProfileId, SetId
from tortie.intent.policy import Direction, Origin, Policy, Profile, Rule

_Owner = PolicyId | ProfileId


@dataclass(frozen=True, slots=True)
class SetUse:
    """The first user of a set came, or (`spec` None) the last one went."""

    id: SetId
    spec: AnySetSpec | None


class RuleScanner:
    """`on_set(use)` when a set begins or ceases to be needed; a policy's new sets are announced before its old ones go."""

    def __init__(
        self,
        on_set: Callable[[SetUse], None],
        *,
        emit_policy: Callable[[PolicyId, Policy | None], None],
        emit_profile: Callable[[ProfileId, Profile | None], None],
        problems: Problems,
    ) -> None:
        self._on_set = on_set
        self._emit_policy = emit_policy
        self._emit_profile = emit_profile
        self._problems = problems
        self._sets_of: dict[_Owner, frozenset[SetId]] = {}
        self._users: dict[SetId, set[_Owner]] = {}

    def on_policy(self, policy_id: PolicyId, source: PolicySource | None) -> None:
        """An active policy came, changed or went."""
        if source is None:
            self._use(policy_id, {})
            self._problems.report(Key(*policy_id), "rules", ())
            self._emit_policy(policy_id, None)
            return
        ingress, bad_ingress = _parsed(source.ingress, source.namespace, owner=policy_id, direction=Direction.INGRESS)
        egress, bad_egress = _parsed(source.egress, source.namespace, owner=policy_id, direction=Direction.EGRESS)
        self._use(policy_id, _needed(ingress + egress))
        self._problems.report(Key(*policy_id), "rules", bad_ingress + bad_egress)
        policy = Policy(policy_id, source.placement.tier, _rules(ingress), _rules(egress))
        if source.staged is not None:
            policy = replace(policy, staged=True, staged_action=source.staged)
        self._emit_policy(policy_id, policy)

    def on_profile(self, name: str, profile: ApiProfile | None) -> None:
        """A profile in use came, changed or went."""
        profile_id = ProfileId(name)
        key = Key("Profile", "", name)
        if profile is None:
            self._use(profile_id, {})
            self._problems.report(key, "rules", ())
            self._emit_profile(profile_id, None)
            return
        ingress, bad_ingress = _parsed(profile.spec.ingress, "", owner=profile_id, direction=Direction.INGRESS)
        egress, bad_egress = _parsed(profile.spec.egress, "", owner=profile_id, direction=Direction.EGRESS)
        self._use(profile_id, _needed(ingress + egress))
        self._problems.report(key, "rules", bad_ingress + bad_egress)
        self._emit_profile(profile_id, Profile(profile_id, _rules(ingress), _rules(egress)))

    def is_empty(self) -> bool:
        """True if nothing is in use."""
        return not (self._sets_of or self._users)

    def _use(self, owner: _Owner, needed: dict[SetId, AnySetSpec]) -> None:
        before = self._sets_of.pop(owner, frozenset())
        if needed:
            self._sets_of[owner] = frozenset(needed)
        for set_id, spec in needed.items():
            if set_id in before:
                continue
            users = self._users.setdefault(set_id, set())
            users.add(owner)
            if len(users) == 1:
                self._on_set(SetUse(set_id, spec))
        for set_id in before - needed.keys():
            if discard(self._users, set_id, owner):
                self._on_set(SetUse(set_id, None))


def _parsed(
    rules: Iterable[ApiRule], namespace: str, *, owner: _Owner, direction: Direction
) -> tuple[list[ParsedRule], list[str]]:
    """The rules of one direction, and what is wrong with them."""
    found: list[ParsedRule] = []
    problems: list[str] = []
    for index, rule in enumerate(rules):
        parsed = parse_rule(rule, namespace, origin=Origin(owner, direction, index))
        if parsed is not None:
            found.append(parsed)
        why = "notNets leaves no address; the rule never matches" if parsed is None else parsed.rule.unenforceable
        if why:
            problems.append(f"{direction.value.lower()}[{index}]: {why}")
    return found, problems


def _rules(parsed: Iterable[ParsedRule]) -> tuple[Rule, ...]:
    return tuple(each.rule for each in parsed)


def _needed(parsed: Iterable[ParsedRule]) -> dict[SetId, AnySetSpec]:
    return {spec.ipset.id: spec for each in parsed for spec in each.sets}
