"""Which policies select at least one local endpoint, and which endpoints each of them selects.

A policy whose own selector cannot be parsed must not vanish, for then what it denies would be allowed: it selects every
endpoint that it could apply to, and denies in the directions that it governs. It stands in `problems` until it is repaired.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy, Rule
from tortie.api.resource import Key
from tortie.api.selector import Selector, SelectorError
from tortie.calc.label_index import LabelIndex, Labels
from tortie.calc.multimap import discard
from tortie.calc.policy_sorter import Placement, placement_order
from tortie.calc.problems import Problems
from tortie.calc.selectors import policy_selector, scope_selector
from tortie.intent.keys import EndpointId, PolicyId

PolicyResource = NetworkPolicy | GlobalNetworkPolicy


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy before its rules are resolved: only the rules of directions that it governs."""

    namespace: str
    placement: Placement
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]


@dataclass(slots=True)
class _Known:
    selector: Selector
    source: PolicySource


OnActive = Callable[[PolicyId, PolicySource | None], None]
OnMatch = Callable[[PolicyId, EndpointId, bool], None]


class ActivePolicies:
    """Policies by the local endpoints that they select.

    `on_active(policy, source)` on every change of an active policy, None when it is active no more; `on_match(policy,
    endpoint, selected)` on every change of the relation. A policy is announced before its matches, and taken back after them.
    """

    def __init__(self, on_active: OnActive, on_match: OnMatch, problems: Problems) -> None:
        self._on_active = on_active
        self._on_match = on_match
        self._problems = problems
        self._index: LabelIndex[EndpointId] = LabelIndex(self._on_selected)
        self._policies: dict[PolicyId, _Known] = {}
        self._by_selector: dict[str, set[PolicyId]] = {}
        self._endpoint_counts: dict[PolicyId, int] = {}

    def on_endpoint(self, endpoint: EndpointId, labels: Labels, profiles: tuple[str, ...]) -> None:
        """A local endpoint came or changed."""
        self._index.set_item(endpoint, labels, profiles)

    def on_endpoint_gone(self, endpoint: EndpointId) -> None:
        """A local endpoint went."""
        self._index.remove_item(endpoint)

    def on_profile(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Labels that a profile hands down."""
        self._index.set_profile(name, labels)

    def on_policy(self, key: Key, policy: PolicyResource | None) -> None:
        """A policy came, changed or went."""
        policy_id = PolicyId(*key)
        if policy is None or _hosts_only(policy):
            self._problems.report(key, "selector", ())
            self._forget(policy_id)
            return
        new = self._known(key, policy)
        old = self._policies.get(policy_id)
        if old is None or old.selector != new.selector:
            self._select(policy_id, old, new)
        elif old.source != new.source:
            self._policies[policy_id] = new
            if policy_id in self._endpoint_counts:
                self._on_active(policy_id, new.source)

    @property
    def evaluations(self) -> int:
        """How often a selector was evaluated, ever."""
        return self._index.evaluations

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._policies or self._by_selector or self._endpoint_counts) and self._index.is_empty()

    def _known(self, key: Key, policy: PolicyResource) -> _Known:
        try:
            selector = policy_selector(policy)
        except SelectorError as error:
            self._problems.report(
                key, "selector", [f"selector: {error}; the policy denies every endpoint that it could apply to"]
            )
            return _Known(scope_selector(policy), _denying(_source(policy)))
        self._problems.report(key, "selector", ())
        return _Known(selector, _source(policy))

    def _select(self, policy_id: PolicyId, old: _Known | None, new: _Known) -> None:
        """Enter a policy, or move it to another selector. Endpoints that both selectors select hear nothing."""
        before: set[EndpointId] = set()
        if old is not None:
            before = set(self._index.items_of(old.selector.text))
            self._leave(policy_id, old.selector.text)
        text = new.selector.text
        self._policies[policy_id] = new
        self._by_selector.setdefault(text, set()).add(policy_id)
        self._index.add_selector(new.selector)
        after = set(self._index.items_of(text))
        if before and after and old is not None and old.source != new.source:
            self._on_active(policy_id, new.source)
        for endpoint in after - before:
            self._match(policy_id, endpoint)
        for endpoint in before - after:
            self._unmatch(policy_id, endpoint)

    def _forget(self, policy_id: PolicyId) -> None:
        old = self._policies.get(policy_id)
        if old is None:
            return
        for endpoint in tuple(self._index.items_of(old.selector.text)):
            self._unmatch(policy_id, endpoint)
        self._leave(policy_id, old.selector.text)
        del self._policies[policy_id]

    def _leave(self, policy_id: PolicyId, text: str) -> None:
        if discard(self._by_selector, text, policy_id):
            self._index.remove_selector(text)

    def _on_selected(self, text: str, endpoint: EndpointId, selected: bool) -> None:
        for policy_id in self._by_selector[text]:
            if selected:
                self._match(policy_id, endpoint)
            else:
                self._unmatch(policy_id, endpoint)

    def _match(self, policy_id: PolicyId, endpoint: EndpointId) -> None:
        count = self._endpoint_counts.get(policy_id, 0)
        self._endpoint_counts[policy_id] = count + 1
        if not count:
            self._on_active(policy_id, self._policies[policy_id].source)
        self._on_match(policy_id, endpoint, True)

    def _unmatch(self, policy_id: PolicyId, endpoint: EndpointId) -> None:
        self._on_match(policy_id, endpoint, False)
        self._endpoint_counts[policy_id] -= 1
        if not self._endpoint_counts[policy_id]:
            del self._endpoint_counts[policy_id]
            self._on_active(policy_id, None)


def _hosts_only(policy: PolicyResource) -> bool:
    """Untracked and pre-DNAT policies have no effect on workloads."""
    return isinstance(policy, GlobalNetworkPolicy) and (policy.spec.do_not_track or policy.spec.pre_dnat)


def _source(policy: PolicyResource) -> PolicySource:
    spec = policy.spec
    ingress = not spec.types or "Ingress" in spec.types
    egress = not spec.types or "Egress" in spec.types
    return PolicySource(
        namespace=policy.metadata.namespace,
        placement=Placement(spec.tier or "default", placement_order(spec.order), ingress, egress),
        ingress=spec.ingress if ingress else (),
        egress=spec.egress if egress else (),
    )


def _denying(source: PolicySource) -> PolicySource:
    deny = (Rule(action="Deny"),)
    placement = source.placement
    return PolicySource(source.namespace, placement, deny if placement.ingress else (), deny if placement.egress else ())
