"""Which policies select at least one local endpoint, of a workload or of a host, and which endpoints each of them selects.

Untracked and pre-DNAT policies select host endpoints only; a policy of a namespace selects what carries the namespace's label,
and so no host endpoint.

A policy whose own selector cannot be parsed must not vanish, for then what it denies would be allowed: it selects every
endpoint that it could apply to, and denies in the directions that it governs. It stands in `problems` until it is repaired.

Staged policies are active whether or not they select anything; those that would not be there if enforced (Delete, Learn,
Ignore) select nothing and have no rules (intent.policy.enforced_twin).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tortie.api.policy import DEFAULT_TIER, GlobalNetworkPolicy, NetworkPolicy, Rule
from tortie.api.resource import Key
from tortie.api.selector import Selector, SelectorError
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.calc.label_index import LabelIndex, Labels
from tortie.calc.multimap import discard
from tortie.calc.policy_sorter import Placement, placement_order
from tortie.calc.problems import Problems
from tortie.calc.selectors import policy_selector, scope_selector
from tortie.convert.errors import conversion_problems
from tortie.intent.keys import AnyEndpointId, HostEndpointId, PolicyId
from tortie.intent.policy import StagedAction

PolicyResource = NetworkPolicy | GlobalNetworkPolicy
StagedResource = StagedNetworkPolicy | StagedGlobalNetworkPolicy


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy before its rules are resolved: only the rules of directions that it governs."""

    namespace: str
    placement: Placement
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    staged: StagedAction | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A policy and what it selects: `selector` None nothing."""

    selector: Selector | None
    source: PolicySource

    @property
    def is_for_hosts_only(self) -> bool:
        return self.source.placement.is_for_hosts_only


OnActive = Callable[[PolicyId, PolicySource | None], None]
OnMatch = Callable[[PolicyId, AnyEndpointId, bool], None]


class ActivePolicies:
    """Policies by the local endpoints that they select.

    `on_active(policy, source)` on every change of an active policy, None when it is active no more; `on_match(policy,
    endpoint, selected)` on every change of the relation. A policy is announced before its matches, and taken back after them.
    """

    def __init__(self, on_active: OnActive, on_match: OnMatch, problems: Problems) -> None:
        self._on_active = on_active
        self._on_match = on_match
        self._problems = problems
        self._index: LabelIndex[AnyEndpointId] = LabelIndex(self._on_selected)
        self._policies: dict[PolicyId, _Known] = {}
        self._by_selector: dict[str, set[PolicyId]] = {}
        self._hosts_only: set[PolicyId] = set()
        self._uses: dict[PolicyId, int] = {}
        """Selected endpoints; one more if staged."""

    def on_endpoint(self, endpoint: AnyEndpointId, labels: Labels, profiles: tuple[str, ...]) -> None:
        """A local endpoint came or changed."""
        self._index.set_item(endpoint, labels, profiles)

    def on_endpoint_gone(self, endpoint: AnyEndpointId) -> None:
        """A local endpoint went."""
        self._index.remove_item(endpoint)

    def on_profile(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Labels that a profile hands down."""
        self._index.set_profile(name, labels)

    def on_policy(self, key: Key, policy: PolicyResource | StagedResource | None) -> None:
        """A policy came, changed or went."""
        policy_id = PolicyId(*key)
        self._problems.report(key, "conversion", conversion_problems(policy))
        if policy is None:
            self._problems.report(key, "selector", ())
            self._forget(policy_id)
            return
        staged: StagedAction | None = None
        if isinstance(policy, StagedResource):
            staged = StagedAction(policy.spec.staged_action)
            policy = _as_enforced(policy)
        new = self._known(key, policy, staged)
        old = self._policies.get(policy_id)
        if old is None or (old.selector, old.is_for_hosts_only) != (new.selector, new.is_for_hosts_only):
            self._select(policy_id, old, new)
        elif old.source != new.source:
            self._policies[policy_id] = new
            if policy_id in self._uses:
                self._on_active(policy_id, new.source)

    @property
    def evaluations(self) -> int:
        """How often a selector was evaluated, ever."""
        return self._index.evaluations

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._policies or self._by_selector or self._hosts_only or self._uses) and self._index.is_empty()

    def _known(self, key: Key, policy: PolicyResource, staged: StagedAction | None) -> _Known:
        selector: Selector | None = None
        source = _source(policy)
        problems: list[str] = []
        if staged not in (None, StagedAction.SET):
            source = replace(source, ingress=(), egress=())
        else:
            try:
                selector = policy_selector(policy)
            except SelectorError as error:
                problems = [f"selector: {error}; the policy denies every endpoint that it could apply to"]
                selector, source = scope_selector(policy), _denying(source)
        self._problems.report(key, "selector", problems)
        return _Known(selector, replace(source, staged=staged) if staged else source)

    def _select(self, policy_id: PolicyId, old: _Known | None, new: _Known) -> None:
        """Enter a policy, or move it to other endpoints. Those that it selects before and after hear nothing."""
        before: set[AnyEndpointId] = set()
        if old is not None:
            before = self._selected(old)
            self._leave(policy_id, old)
        self._policies[policy_id] = new
        self._enter(policy_id, new)
        after = self._selected(new)
        is_staged = new.source.staged is not None
        if old is None and is_staged:
            self._use(policy_id)
        elif (is_staged or (before and after)) and old is not None and old.source != new.source:
            self._on_active(policy_id, new.source)
        for endpoint in after - before:
            self._match(policy_id, endpoint)
        for endpoint in before - after:
            self._unmatch(policy_id, endpoint)

    def _selected(self, known: _Known) -> set[AnyEndpointId]:
        if known.selector is None:
            return set()
        found = self._index.items_of(known.selector.text)
        return {each for each in found if isinstance(each, HostEndpointId)} if known.is_for_hosts_only else set(found)

    def _forget(self, policy_id: PolicyId) -> None:
        old = self._policies.get(policy_id)
        if old is None:
            return
        for endpoint in self._selected(old):
            self._unmatch(policy_id, endpoint)
        self._leave(policy_id, old)
        if old.source.staged is not None:
            self._disuse(policy_id)
        del self._policies[policy_id]

    def _enter(self, policy_id: PolicyId, known: _Known) -> None:
        if known.is_for_hosts_only:
            self._hosts_only.add(policy_id)
        if known.selector is not None:
            self._by_selector.setdefault(known.selector.text, set()).add(policy_id)
            self._index.add_selector(known.selector)

    def _leave(self, policy_id: PolicyId, known: _Known) -> None:
        self._hosts_only.discard(policy_id)
        if known.selector is not None and discard(self._by_selector, known.selector.text, policy_id):
            self._index.remove_selector(known.selector.text)

    def _on_selected(self, text: str, endpoint: AnyEndpointId, selected: bool) -> None:
        for policy_id in self._by_selector[text]:
            if policy_id in self._hosts_only and not isinstance(endpoint, HostEndpointId):
                continue
            if selected:
                self._match(policy_id, endpoint)
            else:
                self._unmatch(policy_id, endpoint)

    def _match(self, policy_id: PolicyId, endpoint: AnyEndpointId) -> None:
        self._use(policy_id)
        self._on_match(policy_id, endpoint, True)

    def _unmatch(self, policy_id: PolicyId, endpoint: AnyEndpointId) -> None:
        self._on_match(policy_id, endpoint, False)
        self._disuse(policy_id)

    def _use(self, policy_id: PolicyId) -> None:
        uses = self._uses.get(policy_id, 0)
        self._uses[policy_id] = uses + 1
        if not uses:
            self._on_active(policy_id, self._policies[policy_id].source)

    def _disuse(self, policy_id: PolicyId) -> None:
        self._uses[policy_id] -= 1
        if not self._uses[policy_id]:
            del self._uses[policy_id]
            self._on_active(policy_id, None)


def _as_enforced(policy: StagedResource) -> PolicyResource:
    """The policy that a staged one would be."""
    if isinstance(policy, StagedNetworkPolicy):
        return NetworkPolicy(metadata=policy.metadata, spec=policy.spec)
    return GlobalNetworkPolicy(metadata=policy.metadata, spec=policy.spec)


def _source(policy: PolicyResource) -> PolicySource:
    spec = policy.spec
    ingress = not spec.types or "Ingress" in spec.types
    egress = not spec.types or "Egress" in spec.types
    placement = Placement(spec.tier or DEFAULT_TIER, placement_order(spec.order), ingress, egress)
    if isinstance(policy, GlobalNetworkPolicy):
        untracked, pre_dnat, forward = policy.spec.do_not_track, policy.spec.pre_dnat, policy.spec.apply_on_forward
        if untracked or pre_dnat or forward:
            placement = replace(placement, untracked=untracked, pre_dnat=pre_dnat, forward=forward)
    return PolicySource(
        namespace=policy.metadata.namespace,
        placement=placement,
        ingress=spec.ingress if ingress else (),
        egress=spec.egress if egress else (),
    )


def _denying(source: PolicySource) -> PolicySource:
    deny = (Rule(action="Deny"),)
    placement = source.placement
    return replace(source, ingress=deny if placement.ingress else (), egress=deny if placement.egress else ())
