"""How long something takes those who do it, on a machine that others use as well."""

import os
import time
from collections.abc import Callable

from tortie.base import process

_PATIENCE_SECONDS = 40.0


class OwnTime:
    """Begins when it is made. While these processes or the test wait for a processor, the time is the machine's."""

    def __init__(self, *pids: int) -> None:
        self._pids = (os.getpid(), *pids)
        self._waited = self._waits()
        self._began = time.monotonic()

    def seconds(self) -> float:
        """So far."""
        return self._between(time.monotonic())

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Ask again and again; the seconds until the question that found it so."""
        while True:
            asked = time.monotonic()
            if condition():
                return self._between(asked)
            assert asked < self._began + _PATIENCE_SECONDS, what
            time.sleep(0.01)

    def _between(self, end: float) -> float:
        return end - self._began - (self._waits() - self._waited)

    def _waits(self) -> float:
        return sum(map(process.seconds_without_processor, self._pids))
