"""Maps inside raw documents: those of kinds that are read here and are no resources of a datastore."""

from collections.abc import Mapping
from typing import Any

from tortie.insight.errors import InsightError


def map_at(document: Mapping[str, Any], *path: str, where: str) -> Mapping[str, Any]:
    """The map at `path`, empty where it or one around it is absent. Raises InsightError if something else stands there."""
    value: Any = document
    for depth, key in enumerate(path, 1):
        value = value.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise InsightError(f"{where}: {'.'.join(path[:depth])} must be a map")
    return value  # type: ignore[no-any-return]
