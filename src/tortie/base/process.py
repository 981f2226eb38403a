"""The only place where processes are started (a lint sees to it).

No shell, ever. Every wait has a limit. A process that is to live in another network namespace is started through
`nsenter --net`, which, unlike `ip netns exec`, leaves /sys alone.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tortie.base.errors import TortieError


class ProcessError(TortieError):
    """A program could not be started, ran too long, or failed."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished program left."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    def check(self) -> "Completed":
        """Raise ProcessError with the program's own words if it failed."""
        if self.returncode != 0:
            words = (self.stderr or self.stdout).decode(errors="replace").strip()
            raise ProcessError(f"{' '.join(self.argv)}: exit status {self.returncode}: {words[-2000:]}")
        return self


def in_namespace(argv: Sequence[str], netns_path: str | None) -> list[str]:
    """The same command line, in the network namespace at a path."""
    return list(argv) if netns_path is None else ["nsenter", f"--net={netns_path}", "--", *argv]


def replace_self() -> NoReturn:
    """Start this very program again, as it was called, in this very process: same pid, same parent, same children.

    Descriptors are closed (Python opens all of them so); what is in the kernel stays. Raises ProcessError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (no shell is the rule here)
    except OSError as error:
        raise ProcessError(f"{sys.executable}: cannot be started again: {error.strerror}") from error


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 30.0,
    env: Mapping[str, str] | None = None,
    netns_path: str | None = None,
) -> Completed:
    """Run to the end and collect the output. `env` replaces the environment. Raises ProcessError on start or time-out.

    Cancelled or out of time, the program is killed and waited for.
    """
    line = in_namespace(argv, netns_path)
    try:
        process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if env is None else dict(env),
        )
    except OSError as error:
        raise ProcessError(f"{argv[0]}: cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate(stdin)
    except TimeoutError as error:
        raise ProcessError(f"{' '.join(argv)}: not finished after {timeout:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Completed(tuple(argv), process.returncode, stdout, stderr)


@contextlib.asynccontextmanager
async def reading(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    netns_path: str | None = None,
    line_limit: int = 1 << 24,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The lines that a program writes, as they come, for the length of a block; then it is killed and waited for.

    The lines end when its output does; raises ProcessError then if it failed, and at once if it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *in_namespace(argv, netns_path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if env is None else dict(env),
            limit=line_limit,
        )
    except OSError as error:
        raise ProcessError(f"{argv[0]}: cannot be started: {error.strerror}") from error
    output, errors = process.stdout, process.stderr
    assert output is not None
    assert errors is not None

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for line in output:
                yield line
        except ValueError as error:
            raise ProcessError(f"{argv[0]}: a line of more than {line_limit} bytes") from error
        words = await errors.read()
        Completed(tuple(argv), await process.wait(), b"", words).check()

    try:
        yield lines()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def run_blocking(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0, netns_path: str | None = None) -> Completed:
    """`run` for code without a loop (set-up steps)."""
    try:
        done = subprocess.run(in_namespace(argv, netns_path), input=stdin, capture_output=True, timeout=timeout, check=False)
    except OSError as error:
        raise ProcessError(f"{argv[0]}: cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"{' '.join(argv)}: not finished after {timeout:g} s") from error
    return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


async def start_detached(
    argv: Sequence[str],
    *,
    log_path: Path | None = None,
    env: Mapping[str, str] | None = None,
    netns_path: str | None = None,
) -> int:
    """Start a process in a session of its own that outlives us; return its pid.

    Output goes to the end of `log_path`, else nowhere. While we live we reap it when it ends.
    """
    return start_detached_here(argv, log_path=log_path, env=env, netns_path=netns_path)


def start_detached_here(
    argv: Sequence[str],
    *,
    log_path: Path | None = None,
    env: Mapping[str, str] | None = None,
    netns_path: str | None = None,
) -> int:
    """`start_detached` for code without a loop, and for a thread whose namespaces the process is to have."""
    output = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640) if log_path else subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            in_namespace(argv, netns_path),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError(f"{argv[0]}: cannot be started: {error.strerror}") from error
    finally:
        if log_path:
            os.close(output)
    _children[process.pid] = process
    return process.pid


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Detached processes that this process started and has not seen end. Held so that they can be reaped."""


def is_alive(pid: int) -> bool:
    """True while the process exists and has not ended (a zombie has ended)."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def seconds_without_processor(pid: int) -> float:
    """How long a process could have run but had no processor, all its threads together; 0 where the kernel does not say."""
    found = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += int((task / "schedstat").read_text().split()[1])
    return found / 1e9


def forget(pid: int) -> None:
    """Stop watching a detached process that is meant to outlive this one."""
    child = _children.pop(pid, None)
    if child is not None:
        child.returncode = 0  # Popen would warn that it still runs; that is the intention


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process; one that is gone is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


async def stop(pid: int, *, grace: float = 5.0) -> None:
    """SIGTERM, then SIGKILL after `grace` seconds; returns when the process has ended. One that is gone is fine."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        send_signal(pid, number)
        deadline = time.monotonic() + patience
        while is_alive(pid):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    raise ProcessError(f"process {pid} does not end")
