"""Conditions: what a controller says of a resource in its status (metav1.Condition)."""

from typing import Literal

from tortie.api.resource import Value


class Condition(Value, frozen=True, kw_only=True):
    """One statement. Reading is lenient, because writing is not ours: only its writer must give all but the generation."""

    type: str = ""
    status: Literal["", "True", "False", "Unknown"] = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | None = None


class ConditionedStatus(Value, frozen=True, kw_only=True):
    """At most one condition of each type."""

    conditions: tuple[Condition, ...] = ()
