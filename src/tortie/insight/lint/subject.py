"""A world laid out for the checks: policies with their rules both as written and resolved, and whom they select."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tortie.api.hostendpoint import HostEndpoint
from tortie.api.kubernetes import Namespace, ServiceAccount
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.policy import Rule as ApiRule
from tortie.api.profile import Profile
from tortie.api.resource import Key, Resource
from tortie.api.selector import Selector, SelectorError
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.calc.labelled import Labelled, labelled_host_endpoint, labelled_network_set
from tortie.calc.rule_parser import parse_rule
from tortie.calc.selectors import policy_selector
from tortie.insight.lint.catalogue import CHECKS
from tortie.insight.lint.findings import Finding
from tortie.insight.subjects import Name, labels_of
from tortie.insight.world import World
from tortie.insight.written import written_indices
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Direction, Origin, Rule

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """One rule of a policy. `index` is where its author wrote it; `rule` None if it can never match."""

    index: int
    written: ApiRule
    rule: Rule | None
    origins: Mapping[str, str]
    """What the rule's sets come from, by id."""
    whole: bool = True
    """False if what its author wrote as one rule became several, of which this is one: it stands for a peer."""


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """A policy in Calico's form. `staged` is its stagedAction, "" for one that is enforced."""

    id: PolicyId
    policy: NetworkPolicy | GlobalNetworkPolicy
    staged: str
    rules: Mapping[Direction, tuple[WrittenRule, ...]]
    """All that are written, of directions that `types` leaves out too."""
    workloads: tuple[Name, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def governs(self) -> tuple[Direction, ...]:
        """The directions that it is for."""
        types = self.policy.spec.types
        return tuple(direction for direction in Direction if not types or direction.value in types)

    @property
    def is_for_hosts_only(self) -> bool:
        """True for untracked and pre-DNAT policies."""
        policy = self.policy
        return isinstance(policy, GlobalNetworkPolicy) and (policy.spec.do_not_track or policy.spec.pre_dnat)


@dataclass(frozen=True)
class Subject:
    """What lint looks at."""

    world: World
    written: Mapping[Key, Resource] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> "Subject":
        """Lay out a world."""
        return cls(world, {resource.key: resource for resource in world.written})

    @cached_property
    def workloads(self) -> dict[Name, dict[str, str]]:
        """Labels of workloads."""
        return labels_of(self.world)

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Profiles by name, those of namespaces and service accounts too."""
        return {update.key.name: update.value for update in self.world.updates if isinstance(update.value, Profile)}

    @cached_property
    def hosts(self) -> dict[str, dict[str, str]]:
        """Labels of host endpoints."""
        return {
            update.key.name: self._labels(labelled_host_endpoint(update.value)[0])
            for update in self.world.updates
            if isinstance(update.value, HostEndpoint)
        }

    @cached_property
    def carriers(self) -> list[Labels]:
        """All labels that a rule's selector may select: of workloads, host endpoints and network sets."""
        sets = [
            self._labels(labelled_network_set(update.value)[0])
            for update in self.world.updates
            if isinstance(update.value, NetworkSet | GlobalNetworkSet)
        ]
        return [*self.workloads.values(), *self.hosts.values(), *sets]

    @cached_property
    def namespaces(self) -> dict[str, Labels]:
        """Labels of namespaces as a namespaceSelector sees them, by name."""
        return {
            name.removeprefix("kns."): _unprefixed(profile.spec.labels_to_apply, "pcns.")
            for name, profile in self.profiles.items()
            if name.startswith("kns.")
        }

    @cached_property
    def accounts(self) -> set[tuple[str, str]]:
        """Namespace and name of service accounts."""
        found = {(key.namespace, key.name) for key, value in self.written.items() if isinstance(value, ServiceAccount)}
        for name in self.profiles:
            if name.startswith("ksa."):
                namespace, _, account = name.removeprefix("ksa.").partition(".")
                found.add((namespace, account))
        return found

    @cached_property
    def has_namespaces(self) -> bool:
        """True if somebody wrote namespaces down: only then are the others not there."""
        return any(isinstance(value, Namespace) for value in self.written.values())

    @cached_property
    def policies(self) -> list[WrittenPolicy]:
        """All there are, staged ones included, in order of their names."""
        found = [self._policy(update.key, update.value) for update in self.world.updates if update.value is not None]
        return sorted((policy for policy in found if policy is not None), key=lambda each: each.id)

    @cached_property
    def enforced(self) -> list[WrittenPolicy]:
        """Those that are not staged."""
        return [policy for policy in self.policies if not policy.staged]

    def selects_any(self, selector: Selector) -> bool:
        """True if a rule's selector selects anything at all now."""
        return any(selector.matches(labels) for labels in self.carriers)

    def finding(self, check: str, policy: PolicyId, field: str, message: str, *, fix: str = "") -> Finding:
        """A finding about a field of a policy, with the place where it is written."""
        return self.finding_of(check, Key(*policy), field, message, fix=fix)

    def finding_of(self, check: str, key: Key, field: str, message: str, *, fix: str = "") -> Finding:
        """A finding about a field of any resource."""
        rule = ".".join(field.split(".")[:2])
        location = self.world.locations.get((key, rule)) or self.world.locations.get((key, ""), "")
        return Finding(CHECKS[check], key, field, message, fix or CHECKS[check].fix, location)

    def _policy(self, key: Key, value: Resource | None) -> WrittenPolicy | None:
        staged = ""
        policy: NetworkPolicy | GlobalNetworkPolicy
        match value:
            case StagedNetworkPolicy():
                staged, policy = value.spec.staged_action, NetworkPolicy(metadata=value.metadata, spec=value.spec)
            case StagedGlobalNetworkPolicy():
                staged, policy = value.spec.staged_action, GlobalNetworkPolicy(metadata=value.metadata, spec=value.spec)
            case NetworkPolicy() | GlobalNetworkPolicy():
                policy = value
            case _:
                return None
        policy_id = PolicyId(*key)
        rules = {direction: tuple(self._rules(policy_id, policy, direction)) for direction in Direction}
        found = WrittenPolicy(policy_id, policy, staged, rules)
        if staged not in ("", "Set"):
            return found
        workloads, hosts = self._selected(found)
        return WrittenPolicy(policy_id, policy, staged, rules, workloads, hosts)

    def _selected(self, policy: WrittenPolicy) -> tuple[tuple[Name, ...], tuple[str, ...]]:
        try:
            selector = policy_selector(policy.policy)
        except SelectorError:
            return (), ()
        workloads = () if policy.is_for_hosts_only else self.workloads
        hosts = self.hosts if isinstance(policy.policy, GlobalNetworkPolicy) else {}
        return (
            tuple(name for name in workloads if selector.matches(self.workloads[name])),
            tuple(name for name, labels in hosts.items() if selector.matches(labels)),
        )

    def _rules(
        self, policy_id: PolicyId, policy: NetworkPolicy | GlobalNetworkPolicy, direction: Direction
    ) -> Iterator[WrittenRule]:
        resource = self.written.get(Key(*policy_id))
        indices = None if resource is None else written_indices(resource, direction)
        listed = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
        for number, written in enumerate(listed):
            index = indices[number] if indices is not None and number < len(indices) else number
            whole = indices is None or indices.count(index) == 1
            parsed = parse_rule(written, policy.metadata.namespace, origin=Origin(policy_id, direction, index))
            rule = None if parsed is None else parsed.rule
            origins = {} if parsed is None else {each.ipset.id: each.ipset.origin for each in parsed.sets}
            yield WrittenRule(index, written, rule, origins, whole)

    def _labels(self, labelled: Labelled) -> dict[str, str]:
        labels: dict[str, str] = {}
        for name in reversed(labelled.profiles):
            if name in self.profiles:
                labels |= self.profiles[name].spec.labels_to_apply
        return labels | dict(labelled.labels)


def _unprefixed(labels: Labels, prefix: str) -> Labels:
    return {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}


def rule_field(direction: Direction, index: int, *more: str) -> str:
    """`spec.ingress[0].source.selector`."""
    return ".".join((f"spec.{direction.value.lower()}[{index}]", *more))
