"""One file descriptor in reserve: with it a process that has none left can still hear a caller, and say why not."""

import contextlib
import os
from collections.abc import Iterator


class SpareDescriptor:
    """Held open for nothing, until somebody needs its place."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._open()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Its place is free while the block runs; taken back at the end, if nobody else was faster."""
        self.close()
        try:
            yield
        finally:
            self._open()

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
