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


def test_lines_are_read_as_they_come_and_the_program_ends_with_the_block() -> None:
    async def scenario() -> tuple[list[bytes], int]:
        seen = []
        async with process.reading(["sh", "-c", "echo $$; echo two; exec sleep 30"]) as lines:
            async for line in lines:
                seen.append(line.strip())
                if len(seen) == 2:
                    break
        return seen[1:], int(seen[0])

    seen, pid = asyncio.run(scenario())
    assert seen == [b"two"]
    assert not process.is_alive(pid)


def test_a_process_that_shares_its_processor_is_known_to_wait_for_it() -> None:
    async def scenario() -> None:
        (one, *_) = sorted(os.sched_getaffinity(0))
        rivals = [
            await process.start_detached(["taskset", "--cpu-list", str(one), "sh", "-c", "while :; do :; done"]) for _ in "ab"
        ]
        try:
            async with asyncio.timeout(30):
                while not all(process.seconds_without_processor(rival) > 0.05 for rival in rivals):
                    await asyncio.sleep(0.02)
        finally:
            for rival in rivals:
                await process.stop(rival)
        assert process.seconds_without_processor(rivals[0]) == 0.0, "of one that is gone nothing is known"

    asyncio.run(scenario())


def test_lines_of_a_program_that_fails_end_with_its_own_words() -> None:
    async def scenario(script: str) -> list[bytes]:
        async with process.reading(["sh", "-c", script], line_limit=1000) as lines:
            return [line async for line in lines]

    assert asyncio.run(scenario("echo one; echo two")) == [b"one\n", b"two\n"]
    with pytest.raises(process.ProcessError, match="exit status 4: went wrong"):
        asyncio.run(scenario("echo one; echo went wrong >&2; exit 4"))
    with pytest.raises(process.ProcessError, match="a line of more than 1000 bytes"):
        asyncio.run(scenario("head -c 5000 /dev/zero; sleep 30"))
    with pytest.raises(process.ProcessError, match="cannot be started"):
        asyncio.run(_read_nothing())


async def _read_nothing() -> None:
    async with process.reading(["no-such-program"]):
        raise AssertionError("it is not there")
