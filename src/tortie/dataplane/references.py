"""Who jumps to which chains of policies and profiles: they are programmed only where somebody does."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tortie.dataplane.render.names import Layer
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId
from tortie.intent.policy import Direction


class Use(NamedTuple):
    """One direction of a policy or profile in one layer."""

    owner: PolicyId | ProfileId
    layer: Layer
    direction: Direction


class References:
    """Counts the endpoints that use each chain."""

    def __init__(self) -> None:
        self._uses: dict[EndpointId | HostEndpointId, frozenset[Use]] = {}
        self._counts: Counter[Use] = Counter()

    def __contains__(self, use: Use) -> bool:
        return use in self._counts

    def replace(
        self, user: EndpointId | HostEndpointId, uses: Iterable[tuple[PolicyId | ProfileId, Layer, Direction]]
    ) -> set[PolicyId | ProfileId]:
        """These are the user's now, none if there are none. Returns whose chains came into use, or went out of it."""
        before, after = self._uses.pop(user, frozenset()), frozenset(Use(*use) for use in uses)
        if after:
            self._uses[user] = after
        changed: set[PolicyId | ProfileId] = set()
        for use in after - before:
            self._counts[use] += 1
            if self._counts[use] == 1:
                changed.add(use.owner)
        for use in before - after:
            self._counts[use] -= 1
            if not self._counts[use]:
                del self._counts[use]
                changed.add(use.owner)
        return changed
