"""`python -m tests.kernel.cni_victim FOLDER STEP WHOM`: the agent's CNI server, which kills itself or its caller at a step.

Steps are counted over everything that changes the world: before and after each step of the wiring (and its undoing), and
before and after each write to the datastore. STEP -1 never kills. WHOM is `agent`, or `caller`: the executable, whose pid is
in FOLDER/caller. Prints a line when it serves, and one with the count of steps when its standard input ends.
"""

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kernel.cni_stage import NODE

from tortie.cni import wiring
from tortie.cni.plugin import Plugin
from tortie.cni.server import CniServer
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam

_WRITES = ("create", "update", "delete")


class Countdown:
    """Kills when its number comes up."""

    def __init__(self, folder: Path, step: int, whom: str) -> None:
        self.count = 0
        self._folder = folder
        self._step = step
        self._whom = whom

    def pass_point(self) -> None:
        """One step."""
        if self.count == self._step:
            os.kill(os.getpid() if self._whom == "agent" else self._caller(), signal.SIGKILL)
            time.sleep(0.02)  # the caller's death is noticed on the loop, meanwhile this goes on
        self.count += 1

    def _caller(self) -> int:
        while True:
            text = (self._folder / "caller").read_text() if (self._folder / "caller").exists() else ""
            if text.endswith("\n"):
                return int(text)
            time.sleep(0.002)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function between two steps."""

        def counted(*arguments: Any) -> Any:
            self.pass_point()
            found = function(*arguments)
            self.pass_point()
            return found

        return counted


class Counted:
    """A datastore whose writes are steps."""

    def __init__(self, inner: Any, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in _WRITES:
            return found

        async def counted(*arguments: Any, **options: Any) -> Any:
            self._countdown.pass_point()
            answer = await found(*arguments, **options)
            self._countdown.pass_point()
            return answer

        return counted


async def _programmed(*_: Any) -> bool:
    return True


async def serve(folder: Path, step: int, whom: str) -> None:
    """Until standard input ends."""
    countdown = Countdown(folder, step, whom)
    wiring.STEPS = tuple(
        dataclasses.replace(each, do=countdown.around(each.do), undo=countdown.around(each.undo)) for each in wiring.STEPS
    )
    for name in ("remove_host_device", "remove_pod_device"):
        setattr(wiring, name, countdown.around(getattr(wiring, name)))
    store = SqliteClient(str(folder / "tortie.sqlite"))
    client: Any = Counted(store, countdown)
    plugin = Plugin(client=client, ipam=Ipam(client), node=NODE, wait_until_programmed=_programmed)
    server = CniServer(folder / "cni.sock", plugin)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        while not server.serving:
            await asyncio.sleep(0.002)
        print("serving", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        while len(server._locks):  # a request whose caller died is still being undone
            await asyncio.sleep(0.005)
        task.cancel()
    await store.close()
    print(countdown.count, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
