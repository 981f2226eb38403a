"""The one place where desired and actual state are compared."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """What turns actual into desired: `add` is missing, `change` differs (new values), `remove` is not wanted (old values)."""

    add: Mapping[K, V]
    change: Mapping[K, V]
    remove: Mapping[K, V]

    def __bool__(self) -> bool:
        return bool(self.add or self.change or self.remove)


def diff(desired: Mapping[K, V], actual: Mapping[K, V]) -> Delta[K, V]:
    """Compare two mappings by key and value. Orders follow the given mappings; neither is changed."""
    return Delta(
        add={key: value for key, value in desired.items() if key not in actual},
        change={key: value for key, value in desired.items() if key in actual and actual[key] != value},
        remove={key: value for key, value in actual.items() if key not in desired},
    )
