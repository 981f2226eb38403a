"""Processes: output, time-outs, an end that is waited for."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tortie.base import process


def test_run_gives_output_and_status() -> None:
    done = asyncio.run(process.run([sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit(3)"], stdin=b"hello"))
    assert (done.returncode, done.stdout) == (3, b"hello\n")
    with pytest.raises(process.ProcessError, match="exit status 3"):
        done.check()


def test_a_program_that_hangs_is_killed_and_named() -> None:
    with pytest.raises(process.ProcessError, match="not finished"):
        asyncio.run(process.run(["sleep", "30"], timeout=0.1))


def test_a_program_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(process.ProcessError, match="no-such-program: cannot be started"):
        asyncio.run(process.run(["no-such-program"]))


def test_a_detached_process_writes_its_log_and_ends_when_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "log"
        pid = await process.start_detached(["sh", "-c", "echo started; exec sleep 30"], log_path=log)
        while not log.read_text():
            await asyncio.sleep(0.01)
        assert process.is_alive(pid)
        await process.stop(pid)
        assert not process.is_alive(pid)
        await process.stop(pid)

    asyncio.run(scenario())


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    async def scenario() -> None:
        pid = await process.start_detached(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        await asyncio.sleep(0.1)
        await process.stop(pid, grace=0.2)
        assert not process.is_alive(pid)

    asyncio.run(scenario())


def test_a_process_replaces_itself_under_the_same_pid_and_closes_what_it_had_open() -> None:
    program = """
import os, sys
from tortie.base.process import replace_self
if "OPEN" not in os.environ:
    print("first", os.getpid(), sys.argv[1:])
    os.environ["OPEN"] = str(os.open("/dev/null", os.O_RDONLY))
    replace_self()
try:
    os.fstat(int(os.environ["OPEN"]))
    print("still open")
except OSError:
    print("second", os.getpid(), sys.argv[1:])
"""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = asyncio.run(process.run([sys.executable, "-c", program, "some", "words"], env=environment)).check()
    first, second = (line.split(" ", 1) for line in done.stdout.decode().splitlines())
    assert (first[0], second[0]) == ("first", "second")
    assert first[1] == second[1]
    assert "words" in first[1]
