"""Tier: the order in which groups of policies are asked (api.md, section 2)."""

from typing import Literal

from tortie.api.conditions import ConditionedStatus
from tortie.api.resource import V3, Metadata, Resource, Value


class TierSpec(Value, frozen=True, kw_only=True):
    """`order` ascending, None last. `default_action`: when a policy of the tier selects the endpoint and none decides."""

    order: float | None = None
    default_action: Literal["Deny", "Pass"] = "Deny"


class Tier(Resource, frozen=True, kw_only=True):
    """A tier."""

    api_version: str = V3
    kind: str = "Tier"
    metadata: Metadata = Metadata()
    spec: TierSpec = TierSpec()
    status: ConditionedStatus | None = None


PREDEFINED: dict[str, TierSpec] = {
    "kube-admin": TierSpec(order=1000, default_action="Pass"),
    "default": TierSpec(order=1_000_000, default_action="Deny"),
    "kube-baseline": TierSpec(order=10_000_000, default_action="Pass"),
}
"""The tiers that always exist, with the only values they may have."""
