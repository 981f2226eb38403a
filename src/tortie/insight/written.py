"""Rules by the place where their author wrote them: a rule of a Kubernetes policy becomes several of ours, or none."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from msgspec import structs

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.kubernetes import KubernetesNetworkPolicy
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.resource import Resource, Update
from tortie.api.staged import StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from tortie.convert.feed import convert_update
from tortie.intent.keys import PolicyId
from tortie.intent.messages import PolicyUpdate
from tortie.intent.policy import Direction, Rule
from tortie.intent.state import State

_Written = KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy | ClusterNetworkPolicy
_Converted = NetworkPolicy | StagedNetworkPolicy | GlobalNetworkPolicy


def number_as_written(state: State, resources: Iterable[Resource]) -> None:
    """Give the rules of every Kubernetes policy among `resources` the index that they have in it, in the state."""
    for resource in resources:
        ingress, egress = (written_indices(resource, direction) for direction in (Direction.INGRESS, Direction.EGRESS))
        policy = state.policies.get(PolicyId(*resource.key))
        if policy is None or ingress is None or egress is None:
            continue
        renumbered = replace(policy, ingress=_renumbered(policy.ingress, ingress), egress=_renumbered(policy.egress, egress))
        state.apply(PolicyUpdate(policy.id, renumbered))


def written_indices(resource: Resource, direction: Direction) -> list[int] | None:
    """For each rule that conversion makes of a Kubernetes policy, in order, the index of the rule that it comes from.

    None for a policy whose rules are converted one to one.
    """
    if not isinstance(resource, _Written):
        return None
    return [index for index, count in enumerate(_counts(resource, direction)) for _ in range(count)]


def _renumbered(rules: tuple[Rule, ...], indices: list[int]) -> tuple[Rule, ...]:
    return tuple(
        replace(rule, origin=replace(rule.origin, index=indices[rule.origin.index]))
        if rule.origin.index < len(indices)
        else rule
        for rule in rules
    )


def _counts(policy: _Written, direction: Direction) -> Iterator[int]:
    """How many rules of ours each rule becomes: converted on its own, it becomes as many as among others."""
    field = direction.value.lower()
    alone = structs.replace(policy.spec, ingress=(), egress=())
    for rule in getattr(policy.spec, field):
        single = structs.replace(policy, spec=structs.replace(alone, **{field: (rule,)}))
        converted = convert_update(Update(policy.key, single)).value
        yield len(getattr(converted.spec, field)) if isinstance(converted, _Converted) else 0
