"""Numbers that a process keeps about itself: counters, gauges, and the count, sum, largest and last of what was observed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Observed:
    """What was seen of one quantity."""

    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    last: float = 0.0


class Metrics:
    """By name, with Calico's names where the meaning is the same (typha-and-calc.md, section 6)."""

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, float] = {}
        self._observed: dict[str, Observed] = {}

    @property
    def counters(self) -> Mapping[str, int]:
        """What only ever grows."""
        return self._counters

    @property
    def gauges(self) -> Mapping[str, float]:
        """What was set last."""
        return self._gauges

    @property
    def observed(self) -> Mapping[str, Observed]:
        """What was seen of each quantity."""
        return self._observed

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self._counters[name] = self._counters.get(name, 0) + by

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name] = value

    def observe(self, name: str, value: float) -> None:
        """Record one observation, e.g. seconds taken."""
        seen = self._observed.setdefault(name, Observed())
        seen.count += 1
        seen.total += value
        seen.last = value
        seen.largest = max(seen.largest, value)

    def snapshot(self) -> Mapping[str, float]:
        """Everything, flat, sorted by name; observations as name_count, name_sum, name_max."""
        flat: dict[str, float] = {**self._counters, **self._gauges}
        for name, seen in self._observed.items():
            flat[f"{name}_count"] = seen.count
            flat[f"{name}_sum"] = seen.total
            flat[f"{name}_max"] = seen.largest
        return dict(sorted(flat.items()))
