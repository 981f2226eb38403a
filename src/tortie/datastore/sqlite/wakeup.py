"""Who tells watchers that there may be something to read. It only ever wakes: what happened is read from the store."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tortie.base.inotify import DirectoryWatch

_FOLLOW_UPS = (0.0005, 0.002, 0.01, 0.05, 0.2, 0.6)
"""Seconds after a notice. sqlite writes its log (we get the notice), syncs it, and only then makes the commit visible, so
the first look may come too soon; the later ones catch it."""

_IDLE_POLL = 1.0
_POLL_WITHOUT_INOTIFY = 0.05


class Wakeup:
    """One inotify watch per client, shared by all of its watchers; it exists while there are any.

    Where inotify is missing or used up, watchers are woken every 50 ms instead.
    """

    def __init__(self, path: str) -> None:
        self._directory, name = os.path.split(os.path.abspath(path))
        self._names = frozenset({name, f"{name}-wal"})
        self._listeners: set[asyncio.Event] = set()
        self._watch: DirectoryWatch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._step = 0

    @contextmanager
    def listener(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be news, until the context ends. Clear it before you look."""
        event = asyncio.Event()
        if not self._listeners:
            self._start()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)
            if not self._listeners:
                self._stop()

    def notify(self) -> None:
        """Wake all watchers: this client has just committed (or is being closed)."""
        for event in self._listeners:
            event.set()

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._watch = DirectoryWatch(self._directory)
        except OSError:
            self._watch = None
        else:
            self._loop.add_reader(self._watch.fileno(), self._on_notice)
        self._step = len(_FOLLOW_UPS)
        self._schedule()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None and self._loop is not None:
            self._loop.remove_reader(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _on_notice(self) -> None:
        assert self._watch is not None
        names = self._watch.names()
        if names is None or names & self._names:
            self._step = 0
            self._schedule()
            self.notify()

    def _on_timer(self) -> None:
        self._step += 1
        self._schedule()
        self.notify()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None
        if self._watch is None:
            delay = _POLL_WITHOUT_INOTIFY
        elif self._step < len(_FOLLOW_UPS):
            delay = _FOLLOW_UPS[self._step]
        else:
            delay = _IDLE_POLL
        self._timer = self._loop.call_later(delay, self._on_timer)
