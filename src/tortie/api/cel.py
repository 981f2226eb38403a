"""CEL, the language of rules in CRDs: one rule, and what rules say again and again.

In all texts `self` is the struct that a rule stands at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CelRule:
    """One rule; `field` is where its error is shown, below the struct, such as `.spec.node`."""

    text: str
    message: str
    field: str = ""

    def as_schema(self) -> dict[str, Any]:
        """As x-kubernetes-validations has it."""
        shown = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.text, "message": self.message, **shown}


def given(field: str) -> str:
    """A text or a number is there and not empty. The last segment may be the only one missing."""
    return f"(has({field}) && {field} != '')"


def filled(field: str) -> str:
    """A list is there and not empty."""
    return f"(has({field}) && {field}.size() > 0)"


def exclude(one: str, other: str) -> CelRule:
    """Two texts of one struct must not both be given."""
    return CelRule(
        f"!({given(f'self.{one}')} && {given(f'self.{other}')})", f"cannot be combined with {one}", field=f".{other}"
    )


def none_of(conditions: Iterable[str]) -> str:
    """No condition holds."""
    return " && ".join(f"!{condition}" for condition in conditions)


def one_of(field: str, values: Iterable[str]) -> str:
    """The value, of any type, is one of these; each in CEL's own writing."""
    return "(" + " || ".join(f"{field} == {value}" for value in values) + ")"
