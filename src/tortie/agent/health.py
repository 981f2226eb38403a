"""Is the agent alive, is it ready, and if not, why: one answer over the conditions of its parts.

A part is asked when somebody asks us. It says whether it is live and ready, and since when it has been busy with one and the
same thing; a part that is busy for longer than its time limit counts as neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from tortie.agent.http import Answer


@dataclass(frozen=True, slots=True)
class Condition:
    """How one part is. `reason` says why it is not ready, or how it is."""

    ready: bool = True
    reason: str = ""
    live: bool = True
    busy_seconds: float = 0.0


Check = Callable[[], Condition]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one of the two questions, with a line for each part."""

    good: bool
    lines: tuple[str, ...]


class Health:
    """All parts by name. No parts: alive and ready."""

    def __init__(self) -> None:
        self._checks: dict[str, tuple[Check, float]] = {}
        self._limits: Mapping[str, float] = {}
        self._notes: dict[str, Callable[[], str]] = {}

    def register(self, name: str, check: Check, *, limit_seconds: float = 0.0) -> None:
        """Add a part. `limit_seconds` 0: it may be busy for ever."""
        self._checks[name] = check, limit_seconds

    def note(self, name: str, text: Callable[[], str]) -> None:
        """Add a line for people that decides nothing; "" leaves it out."""
        self._notes[name] = text

    def set_limits(self, limits: Mapping[str, float]) -> None:
        """Time limits by part, over those that parts registered with (HealthTimeoutOverrides)."""
        self._limits = limits

    def liveness(self) -> Verdict:
        """Whether every part is live."""
        return self._verdict(lambda condition: condition.live)

    def readiness(self) -> Verdict:
        """Whether every part is live and ready."""
        return self._verdict(lambda condition: condition.live and condition.ready)

    def reasons(self) -> tuple[str, ...]:
        """`part: reason` of every part that is not ready."""
        conditions = self._conditions()
        return tuple(f"{name}: {each.reason}" for name, each in conditions.items() if not (each.live and each.ready))

    def _verdict(self, good: Callable[[Condition], bool]) -> Verdict:
        conditions = self._conditions()
        lines = [_line(name, "ok" if good(each) else "FAILED", each.reason) for name, each in conditions.items()]
        lines += [_line(name, "note", said) for name, text in self._notes.items() if (said := text())]
        return Verdict(all(map(good, conditions.values())), tuple(lines))

    def _conditions(self) -> dict[str, Condition]:
        found: dict[str, Condition] = {}
        for name, (check, limit) in self._checks.items():
            condition = check()
            limit = self._limits.get(name, limit)
            if limit and condition.busy_seconds > limit:
                reason = f"busy with one thing for {condition.busy_seconds:.0f} s, {limit:g} s are the limit"
                condition = Condition(live=False, ready=False, reason=reason)
            found[name] = condition
        return found


def answer(verdict: Verdict) -> Answer:
    """A verdict over HTTP: 200 or 503 with a line for each part, 204 where there is nothing to say."""
    if not verdict.good:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    else:
        status = HTTPStatus.OK if verdict.lines else HTTPStatus.NO_CONTENT
    return Answer(status, "".join(f"{line}\n" for line in verdict.lines))


def _line(name: str, word: str, reason: str) -> str:
    return f"{name}: {word}" + (f" ({reason})" if reason else "")
