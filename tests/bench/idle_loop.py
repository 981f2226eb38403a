"""A loop that has nothing to do, in a process of its own: how long a busy machine holds even that one.

`python -m tests.bench.idle_loop` ticks until its standard input ends, then prints the longest hold in milliseconds.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

TICK_SECONDS = 0.0005


class Beside:
    """An idle loop that runs now; `longest` once the `with` block has ended."""

    def __init__(self) -> None:
        self.longest = 0.0


@contextlib.contextmanager
def running() -> Iterator[Beside]:
    """Watch an idle loop for as long as the block takes."""
    beside = Beside()
    command = [sys.executable, "-m", "tests.bench.idle_loop"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield beside
        finally:
            beside.longest = float(child.communicate()[0] or 0)


async def tick(holds: list[float]) -> None:
    """How late the loop comes back to somebody who only wants to be asked again, in milliseconds, without end.

    A hold cannot be longer than the time for which this process had a CPU: what others take of a busy machine is not ours.
    """
    last, last_cpu = time.perf_counter(), time.process_time()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        now, now_cpu = time.perf_counter(), time.process_time()
        holds.append(max(0.0, min(now - last - TICK_SECONDS, now_cpu - last_cpu)) * 1000)
        last, last_cpu = now, now_cpu


async def _main() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    longest, last = 0.0, time.perf_counter()
    print("ready", flush=True)
    while not ended.is_set():
        await asyncio.sleep(TICK_SECONDS)
        now = time.perf_counter()
        longest = max(longest, now - last - TICK_SECONDS)
        last = now
    print(longest * 1000)


if __name__ == "__main__":
    asyncio.run(_main())
