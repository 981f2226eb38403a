"""Eight processes on one sqlite file, two on every node, three of them killed in the middle."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.ipam.cluster import findings, in_use, pool

from tortie.base.net import Address, parse_address
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam

WORKERS = 8
KILLED = 3
COUNT = 625
"""Requests of one worker: 5,000 in all."""


def test_processes_that_race_and_die_neither_share_nor_lose_an_address(tmp_path: Path) -> None:
    database = str(tmp_path / "stress.db")
    asyncio.run(_create_pool(database))
    logs = [tmp_path / f"w{number}.log" for number in range(WORKERS)]
    started = time.monotonic()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.stress.ipam_worker", database, f"n{number // 2}", f"w{number}", str(COUNT), str(log)],
            cwd=Path(__file__).parents[2],
        )
        for number, log in enumerate(logs)
    ]
    try:
        for number in range(KILLED):
            _wait_for_lines(logs[number], 60 + 40 * number)
            workers[number].send_signal(signal.SIGKILL)
        codes = [worker.wait(timeout=50) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    seconds = time.monotonic() - started
    assert codes == [-signal.SIGKILL] * KILLED + [0] * (WORKERS - KILLED)
    assert any(_done(log) for log in logs[KILLED:]), "nobody lost a race: this test shows nothing"
    held = dict(entry for log in logs[KILLED:] for entry in _held(log).items())
    assert len(held) == sum(len(_held(log)) for log in logs[KILLED:]), "an address was given away twice"
    asyncio.run(_judge(database, held))
    assert seconds < 50, f"{seconds:.0f} s is too slow for {WORKERS * COUNT} requests"


async def _create_pool(database: str) -> None:
    client = SqliteClient(database)
    await client.create(pool("p", "10.0.0.0/18", blockSize=26))
    await client.close()


async def _judge(database: str, held: dict[Address, str]) -> None:
    """What the survivors were told is what the datastore says; the dead ones' handles give everything else back."""
    client = SqliteClient(database)
    dead = tuple(f"w{number}-" for number in range(KILLED))
    before = await in_use(client)
    assert {address: handle for address, handle in before.items() if not handle.startswith(dead)} == held
    assert any(handle.startswith(dead) for handle in before.values()), "the killed ones held nothing: this test shows nothing"
    ipam = Ipam(client)
    for handle in [item.metadata.name for item in (await client.list("IPAMHandle")).items]:
        if handle.startswith(dead):
            await ipam.release_by_handle(handle)
    assert await in_use(client) == held
    assert await findings(client) == ()
    await client.close()


def _wait_for_lines(log: Path, count: int) -> None:
    deadline = time.monotonic() + 40
    while not log.exists() or log.read_text().count("\n") < count:
        assert time.monotonic() < deadline, f"{log} does not grow"
        time.sleep(0.01)


def _held(log: Path) -> dict[Address, str]:
    held: dict[Address, str] = {}
    for line in log.read_text().splitlines():
        words = line.split()
        if words[0] == "+":
            assert parse_address(words[2]) not in held, f"{words[2]} was given to one process twice"
            held[parse_address(words[2])] = words[1]
        elif words[0] == "-":
            del held[parse_address(words[2])]
    return held


def _done(log: Path) -> int:
    """Conflicts that a worker met."""
    return int(log.read_text().splitlines()[-1].removeprefix("done "))
