"""Indexes from a key to a set that leave nothing behind: an entry goes with its last element."""

from collections.abc import Hashable
from typing import TypeVar

_KeyT = TypeVar("_KeyT", bound=Hashable)
_ElementT = TypeVar("_ElementT", bound=Hashable)


def discard(index: dict[_KeyT, set[_ElementT]], key: _KeyT, element: _ElementT) -> bool:
    """Remove an element, unknown is fine, and the whole entry when it was the last. True if the entry is gone."""
    found = index.get(key)
    if found is None:
        return True
    found.discard(element)
    if found:
        return False
    del index[key]
    return True
