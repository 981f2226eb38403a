"""An agent that starts while its datastore is away, or is not the one that it was, waits and says so; the kernel stays."""

import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tortie.agent.options import AgentOptions
from tortie.agent.status import StatusFile
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.datastore.errors import Replaced, Unavailable
from tortie.datastore.identity import Identity

_T = TypeVar("_T")
_log = log.get(__name__)


class PatientStart:
    """Requests to the datastore before anything else runs."""

    def __init__(self, options: AgentOptions, identity: Identity) -> None:
        self._node = options.node
        self._identity = identity
        self._waiting_for = ""
        self._status = StatusFile(options.run_dir, self._report)

    async def ask(self, request: Callable[[], Awaitable[_T]]) -> _T:
        """The answer to a request, repeated until there is one. Raises what waiting cannot heal."""
        backoff = Backoff(first=0.1, last=10.0)
        while True:
            try:
                return await request()
            except (Unavailable, Replaced) as error:
                _log.warning("the kernel stays as it is, and the agent waits: %s", error)
                self._waiting_for = str(error)
            with contextlib.suppress(OSError):
                self._status.write()
            await backoff.wait()

    def _report(self) -> dict[str, Any]:
        return {
            "apiVersion": "tortie.io/v1",
            "kind": "AgentStatus",
            "node": self._node,
            "pid": os.getpid(),
            "ready": False,
            "inSync": False,
            "datastoreConnected": bool(self._identity.refusal),
            "datastoreFailure": self._waiting_for,
            "datastoreRefused": self._identity.refusal,
            "failure": self._waiting_for,
        }
