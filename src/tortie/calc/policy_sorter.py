"""The order in which tiers and policies are asked (policy-semantics.md, section 5)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tortie.api.tier import TierSpec
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId


@dataclass(frozen=True, slots=True)
class Placement:
    """What decides a policy's place, and for which directions it counts.

    `untracked`, `pre_dnat` and `forward` (doNotTrack, preDNAT, applyOnForward) concern host endpoints; the first two, of which
    the first wins, no others.
    """

    tier: str
    order: float
    ingress: bool
    egress: bool
    untracked: bool = False
    pre_dnat: bool = False
    forward: bool = False

    @property
    def is_for_hosts_only(self) -> bool:
        """True if the policy has no effect on workloads."""
        return self.untracked or self.pre_dnat


class HostTiers(NamedTuple):
    """The tiers of a host endpoint, a list for each kind of policy (intent.HostEndpoint)."""

    untracked: tuple[Tier, ...]
    pre_dnat: tuple[Tier, ...]
    forward: tuple[Tier, ...]
    normal: tuple[Tier, ...]


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


def host_tiers(policies: Mapping[PolicyId, Placement], tiers: Mapping[str, TierSpec]) -> HostTiers:
    """What applies to a host endpoint and where. Policies for forwarded traffic are for the host's own too.

    What untracked and pre-DNAT policies leave undecided goes on to the policies behind them: each such tier passes by default.
    """
    untracked = {each: place for each, place in policies.items() if place.untracked}
    pre_dnat = {
        each: replace(place, egress=False) for each, place in policies.items() if place.pre_dnat and not place.untracked
    }
    normal = {each: place for each, place in policies.items() if not place.is_for_hosts_only}
    forward = {each: place for each, place in normal.items() if place.forward}
    return HostTiers(
        untracked=_passing(sorted_tiers(untracked, tiers)),
        pre_dnat=_passing(sorted_tiers(pre_dnat, tiers)),
        forward=sorted_tiers(forward, tiers),
        normal=sorted_tiers(normal, tiers),
    )


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


def _passing(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    return tuple(replace(tier, default_pass=True) for tier in tiers)


def _tier_key(name: str, spec: TierSpec | None) -> tuple[bool, float, bytes]:
    return spec is None, placement_order(None if spec is None else spec.order), name.encode()
