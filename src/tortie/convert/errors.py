"""What conversion refuses, and how a converted value tells of the parts that were refused."""

from collections.abc import Sequence

from tortie.api.resource import Resource
from tortie.base.errors import TortieError

_NOT_CONVERTED = "tortie.io/not-converted"


class ConversionError(TortieError):
    """A Kubernetes object, or a part of it, has no Calico form. The text names the field."""


def reporting(problems: Sequence[str]) -> dict[str, str]:
    """Annotations of a converted value, from which `conversion_problems` reads these sentences again."""
    return {_NOT_CONVERTED: "\n".join(problems)} if problems else {}


def conversion_problems(value: Resource | None) -> tuple[str, ...]:
    """What was left out of a value, or replaced, when it was converted: one sentence each."""
    return tuple(value.metadata.annotations.get(_NOT_CONVERTED, "").splitlines()) if value is not None else ()
