"""The order in which tiers and policies are asked (policy-semantics.md, section 5)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tortie.api.tier import TierSpec
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId


@dataclass(frozen=True, slots=True)
class Placement:
    """What decides a policy's place, and for which directions it counts."""

    tier: str
    order: float
    ingress: bool
    egress: bool


def placement_order(order: float | None) -> float:
    """No order sorts last."""
    return math.inf if order is None else order


def sorted_tiers(policies: Mapping[PolicyId, Placement], tiers: Mapping[str, TierSpec]) -> tuple[Tier, ...]:
    """The tiers that hold these policies, in order. A tier that does not exist comes last and denies."""
    by_tier: dict[str, list[PolicyId]] = {}
    for policy_id, placement in policies.items():
        by_tier.setdefault(placement.tier, []).append(policy_id)
    names = sorted(by_tier, key=lambda name: _tier_key(name, tiers.get(name)))
    return tuple(_tier(name, sorted_policies(by_tier[name], policies), policies, spec=tiers.get(name)) for name in names)


def sorted_policies(ids: Iterable[PolicyId], policies: Mapping[PolicyId, Placement]) -> list[PolicyId]:
    """Policies of one tier: by order, then by the text `name/namespace/kind`."""
    return sorted(ids, key=lambda each: (policies[each].order, f"{each.name}/{each.namespace}/{each.kind}".encode()))


def _tier(name: str, ids: list[PolicyId], policies: Mapping[PolicyId, Placement], *, spec: TierSpec | None) -> Tier:
    return Tier(
        name=name,
        default_pass=spec is not None and spec.default_action == "Pass",
        ingress=tuple(each for each in ids if policies[each].ingress),
        egress=tuple(each for each in ids if policies[each].egress),
    )


def _tier_key(name: str, spec: TierSpec | None) -> tuple[bool, float, bytes]:
    return spec is None, placement_order(None if spec is None else spec.order), name.encode()
