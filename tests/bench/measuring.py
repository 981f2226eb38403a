"""What a row of the bench is, and what five rounds of it say."""

import math
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a quantity of ours beside the same quantity of a peer or a floor.

    `quantile` of each round's samples is the round's value. `target` bounds the ratio ours / peer: from above where less is
    better, from below where more is.
    """

    name: str
    ours: str
    peer: str
    unit: str
    quantile: float = 0.5
    better: Literal["less", "more"] = "less"
    target: float | None = None


class Pair(NamedTuple):
    """The samples of one round, taken in turns."""

    ours: Sequence[float]
    peer: Sequence[float]


Measure = Callable[[int], Awaitable[Mapping[str, Pair]]]
"""One round (from 0): a pair for every row of the bench."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Rows that share a stage. `stage` builds it, gives the measuring function, and leaves nothing behind."""

    name: str
    rows: tuple[Row, ...]
    stage: Callable[[], AbstractAsyncContextManager[Measure]]


class Spread(NamedTuple):
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Result:
    """A row and its rounds; `problem` says why there are none."""

    row: Row
    ours: Spread | None = None
    peer: Spread | None = None
    ratio: Spread | None = None
    rounds: tuple[tuple[float, float], ...] = ()
    problem: str = ""

    @property
    def verdict(self) -> str:
        """Whether the median ratio meets the target."""
        if self.ratio is None:
            return "not measured"
        if self.row.target is None:
            return "no target"
        bound, ratio = self.row.target, self.ratio.median
        return "met" if (ratio <= bound if self.row.better == "less" else ratio >= bound) else "missed"

    def to_json(self) -> dict[str, Any]:
        """One item of kind BenchResult."""
        row = self.row
        return {
            "row": row.name,
            "ours": row.ours,
            "peer": row.peer,
            "unit": row.unit,
            "quantile": row.quantile,
            "better": row.better,
            "target": row.target,
            "verdict": self.verdict,
            **{
                name: None if spread is None else {"median": spread.median, "min": spread.least, "max": spread.greatest}
                for name, spread in (("oursValue", self.ours), ("peerValue", self.peer), ("ratio", self.ratio))
            },
            "rounds": [{"ours": ours, "peer": peer} for ours, peer in self.rounds],
            "problem": self.problem,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that at least `share` of the values do not exceed; for 0.5 the median."""
    if share == 0.5:
        return statistics.median(values)
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def result(row: Row, pairs: Sequence[Pair], *, problem: str = "") -> Result:
    """Fold a row's rounds; `problem` is why there are not more.

    The ratio is taken within each round, so that what slows both does not move it.
    """
    rounds = [(quantile(pair.ours, row.quantile), quantile(pair.peer, row.quantile)) for pair in pairs]
    return Result(
        row,
        ours=Spread.of([ours for ours, _ in rounds]),
        peer=Spread.of([peer for _, peer in rounds]),
        ratio=Spread.of([ours / peer if peer else math.inf for ours, peer in rounds]),
        rounds=tuple(rounds),
        problem=problem,
    )
