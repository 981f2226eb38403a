"""Which disjoint prefixes cover a set of prefixes that may overlap, kept up to date member by member. Pure.

An interval set of the kernel refuses overlaps. Prefixes are nested or disjoint, never crossing, so the cover is exactly the
members that no other member contains. Each change says which prefixes leave the cover and which enter it; nothing else has
to be sent. Neighbours (10.0.0.0/25 and 10.0.0.128/25) stay two ranges: the kernel takes them, and merging them would turn
the change of one member into a change of its whole run.
"""

from bisect import bisect_left
from collections.abc import Iterable

from tortie.base.net import Family, Prefix


class PrefixCover:
    """Members of one family and their cover."""

    def __init__(self, family: Family, members: Iterable[Prefix] = ()) -> None:
        self._bits = family.bits
        self._family = family
        self._members = set(members)
        # Sorted by (value, length), which puts every prefix directly before all that it contains.
        self._order: list[tuple[int, int]] = sorted((member.value, member.length) for member in self._members)
        self._lengths: dict[int, int] = {}
        for _, length in self._order:
            self._lengths[length] = self._lengths.get(length, 0) + 1

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> frozenset[Prefix]:
        """All members, covered ones too."""
        return frozenset(self._members)

    def cover(self) -> list[Prefix]:
        """The disjoint prefixes, in order."""
        found: list[Prefix] = []
        last = -1
        for value, length in self._order:
            if value > last:
                found.append(Prefix(self._family, value, length))
                last = value + (1 << (self._bits - length)) - 1
        return found

    def add(self, member: Prefix) -> tuple[list[Prefix], list[Prefix]]:
        """Add one member: (prefixes that leave the cover, prefixes that enter it). A known member changes nothing."""
        if member in self._members:
            return [], []
        covered = self._is_covered(member)
        position = bisect_left(self._order, (member.value, member.length))
        replaced = [] if covered else self._outermost_within(member, position)
        self._order.insert(position, (member.value, member.length))
        self._members.add(member)
        self._lengths[member.length] = self._lengths.get(member.length, 0) + 1
        return ([], []) if covered else (replaced, [member])

    def remove(self, member: Prefix) -> tuple[list[Prefix], list[Prefix]]:
        """Remove one member: (prefixes that leave the cover, prefixes that enter it). An unknown member changes nothing."""
        if member not in self._members:
            return [], []
        position = bisect_left(self._order, (member.value, member.length))
        del self._order[position]
        self._members.discard(member)
        self._lengths[member.length] -= 1
        if not self._lengths[member.length]:
            del self._lengths[member.length]
        if self._is_covered(member):
            return [], []
        return [member], self._outermost_within(member, position)

    def _is_covered(self, member: Prefix) -> bool:
        """True if a shorter member contains it."""
        for length in self._lengths:
            if length < member.length:
                shift = self._bits - length
                if Prefix(self._family, (member.value >> shift) << shift, length) in self._members:
                    return True
        return False

    def _outermost_within(self, member: Prefix, position: int) -> list[Prefix]:
        """Members inside `member` that nothing else inside it contains, from index `position` of the order on."""
        found: list[Prefix] = []
        end = member.value + (1 << (self._bits - member.length)) - 1
        while position < len(self._order) and self._order[position][0] <= end:
            value, length = self._order[position]
            found.append(Prefix(self._family, value, length))
            position = bisect_left(self._order, (value + (1 << (self._bits - length)), -1), position)
        return found
