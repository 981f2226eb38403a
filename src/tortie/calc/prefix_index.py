"""Prefixes that can be asked what covers what, without walking through all of them."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from tortie.base.net import Address, Family, Prefix
from tortie.calc.multimap import discard

_V = TypeVar("_V")


class PrefixIndex(Generic[_V]):
    """Values by prefix. A question costs one look-up for each length that occurs, of which there are few."""

    def __init__(self) -> None:
        self._values: dict[Prefix, _V] = {}
        self._lengths: dict[Family, dict[int, int]] = {}
        self._longest_first: dict[Family, tuple[int, ...]] = {}

    def put(self, prefix: Prefix, value: _V) -> None:
        """Set a value."""
        if prefix not in self._values:
            counts = self._lengths.setdefault(prefix.family, {})
            counts[prefix.length] = counts.get(prefix.length, 0) + 1
            if counts[prefix.length] == 1:
                self._longest_first[prefix.family] = tuple(sorted(counts, reverse=True))
        self._values[prefix] = value

    def pop(self, prefix: Prefix) -> None:
        """Forget a value; unknown is fine."""
        if self._values.pop(prefix, None) is None:
            return
        counts = self._lengths[prefix.family]
        counts[prefix.length] -= 1
        if not counts[prefix.length]:
            del counts[prefix.length]
            self._longest_first[prefix.family] = tuple(sorted(counts, reverse=True))
        if not counts:
            del self._lengths[prefix.family], self._longest_first[prefix.family]

    def get(self, prefix: Prefix) -> _V | None:
        """The value of exactly this prefix."""
        return self._values.get(prefix)

    def covering(self, prefix: Prefix) -> _V | None:
        """The value of the longest prefix that contains this one, itself included."""
        family, value, own = prefix
        for length in self._longest_first.get(family, ()):
            if length <= own:
                shift = family.bits - length
                found = self._values.get(Prefix(family, value >> shift << shift, length))
                if found is not None:
                    return found
        return None

    def is_empty(self) -> bool:
        """True if there is no value, and nothing left of any."""
        return not (self._values or self._lengths or self._longest_first)


_CELL_BITS = 6
"""A cell is as large as a block usually is."""
_MOST_CELLS = 1 << 12
"""So many cells are looked at one by one; of more, all that hold anything."""


class AddressGrid:
    """Single addresses that can be asked which of them lie in a block."""

    def __init__(self) -> None:
        self._cells: dict[Address, set[Prefix]] = {}

    def add(self, single: Prefix) -> None:
        """Note a /32 or /128."""
        self._cells.setdefault(_cell(single.family, single.value), set()).add(single)

    def remove(self, single: Prefix) -> None:
        """Forget one."""
        discard(self._cells, _cell(single.family, single.value), single)

    def within(self, prefix: Prefix) -> Iterator[Prefix]:
        """Those that lie in a prefix, in no order."""
        first, last = prefix.value >> _CELL_BITS, prefix.last.value >> _CELL_BITS
        if last - first < _MOST_CELLS:
            cells = [Address(prefix.family, number) for number in range(first, last + 1)]
        else:
            cells = list(self._cells)
        for cell in cells:
            for single in self._cells.get(cell, ()):
                if prefix.contains(single):
                    yield single

    def is_empty(self) -> bool:
        """True if there is no address."""
        return not self._cells


def _cell(family: Family, value: int) -> Address:
    return Address(family, value >> _CELL_BITS)
