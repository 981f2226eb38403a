"""Rules by the place where their author wrote them: a rule of a Kubernetes policy becomes several of ours."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec

from tortie.api.kubernetes import KubernetesNetworkPolicy
from tortie.api.resource import Resource
from tortie.convert.policies import network_policy
from tortie.intent.keys import PolicyId
from tortie.intent.messages import PolicyUpdate
from tortie.intent.policy import Direction, Rule
from tortie.intent.state import State


def number_as_written(state: State, resources: Iterable[Resource]) -> None:
    """Give the rules of every Kubernetes policy among `resources` the index that they have in it, in the state."""
    for resource in resources:
        if not isinstance(resource, KubernetesNetworkPolicy):
            continue
        policy = state.policies.get(PolicyId(*resource.key))
        if policy is None:
            continue
        ingress = _renumbered(
            policy.ingress, [index for index, count in enumerate(_ingress_counts(resource)) for _ in range(count)]
        )
        egress = _renumbered(
            policy.egress, [index for index, count in enumerate(_egress_counts(resource)) for _ in range(count)]
        )
        state.apply(PolicyUpdate(policy.id, replace(policy, ingress=ingress, egress=egress)))


def written_indices(resource: Resource, direction: Direction) -> list[int] | None:
    """For each rule that conversion makes of a Kubernetes policy, in order, the index of the rule that it comes from.

    None for a policy whose rules are converted one to one.
    """
    if not isinstance(resource, KubernetesNetworkPolicy):
        return None
    counts = _ingress_counts(resource) if direction is Direction.INGRESS else _egress_counts(resource)
    return [index for index, count in enumerate(counts) for _ in range(count)]


def _renumbered(rules: tuple[Rule, ...], indices: list[int]) -> tuple[Rule, ...]:
    return tuple(
        replace(rule, origin=replace(rule.origin, index=indices[rule.origin.index]))
        if rule.origin.index < len(indices)
        else rule
        for rule in rules
    )


def _ingress_counts(policy: KubernetesNetworkPolicy) -> Iterator[int]:
    """How many rules of ours each ingress rule becomes: converted on its own, it becomes as many as among others."""
    for rule in policy.spec.ingress:
        spec = msgspec.structs.replace(policy.spec, ingress=(rule,), egress=())
        yield len(network_policy(msgspec.structs.replace(policy, spec=spec)).spec.ingress)


def _egress_counts(policy: KubernetesNetworkPolicy) -> Iterator[int]:
    for rule in policy.spec.egress:
        spec = msgspec.structs.replace(policy.spec, ingress=(), egress=(rule,))
        yield len(network_policy(msgspec.structs.replace(policy, spec=spec)).spec.egress)
