"""What is particular to the embedded datastore: its file, its history, its survival."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.backends import netset

from tortie.api.resource import Key, Metadata
from tortie.api.tier import Tier
from tortie.base import inotify
from tortie.datastore.errors import Compacted, Incompatible, Unavailable
from tortie.datastore.sqlite import client as client_module
from tortie.datastore.sqlite import schema, wakeup
from tortie.datastore.sqlite.client import SqliteClient

WRITER = Path(__file__).with_name("writer_process.py")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store" / "tortie.sqlite")


def run(path: str, scenario: Callable[[SqliteClient], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        client = SqliteClient(path, **options)
        try:
            await scenario(client)
        finally:
            await client.close()

    asyncio.run(main())


def test_the_file_and_its_directory_are_private(path: str) -> None:
    old = os.umask(0)
    try:

        async def scenario(client: SqliteClient) -> None:
            await client.create(netset("a"))
            modes = {name: stat.S_IMODE(os.stat(f"{path}{name}").st_mode) for name in ("", "-wal", "-shm")}
            assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
            assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700

        run(path, scenario)
    finally:
        os.umask(old)


def test_contents_and_revisions_outlive_the_client(path: str) -> None:
    async def write(client: SqliteClient) -> None:
        await client.create(netset("a"))
        await client.delete(Key("NetworkSet", "default", "a"))

    async def read(client: SqliteClient) -> None:
        assert (await client.list("NetworkSet")).revision == "2"
        assert (await client.create(netset("a"))).metadata.resource_version == "3"

    run(path, write)
    run(path, read)


def test_a_file_of_a_newer_release_is_refused_and_left_alone(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    before = Path(path).read_bytes()

    async def scenario(client: SqliteClient) -> None:
        with pytest.raises(Incompatible, match=r"schema version 2, this release knows up to 1"):
            await client.list("Tier")

    run(path, scenario)
    assert Path(path).read_bytes() == before


def test_a_sqlite_file_of_another_program_is_refused(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()

    async def scenario(client: SqliteClient) -> None:
        with pytest.raises(Incompatible, match="another program"):
            await client.list("Tier")

    run(path, scenario)


def test_a_file_that_is_no_database_is_refused(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_text("not a database " * 100)

    async def scenario(client: SqliteClient) -> None:
        with pytest.raises(Incompatible, match="no sqlite file"):
            await client.list("Tier")

    run(path, scenario)


def test_a_place_where_no_file_can_be_is_unavailable_with_the_reason(tmp_path: Path) -> None:
    async def scenario(client: SqliteClient) -> None:
        with pytest.raises(Unavailable, match=r"tortie\.sqlite"):
            await client.list("Tier")

    (tmp_path / "file").write_text("")
    run(str(tmp_path / "file" / "tortie.sqlite"), scenario)


def test_many_clients_may_open_a_new_file_at_once(path: str) -> None:
    async def main() -> None:
        clients = [SqliteClient(path) for _ in range(8)]
        await asyncio.gather(*(client.create(netset(f"n{i}")) for i, client in enumerate(clients)))
        assert len((await clients[0].list("NetworkSet")).items) == 8
        await asyncio.gather(*(client.close() for client in clients))

    asyncio.run(main())


def test_history_is_bounded_and_a_watch_from_before_it_is_told_so(path: str) -> None:
    async def scenario(client: SqliteClient) -> None:
        for i in range(1000):
            await client.create(netset(f"n{i}"))
        with pytest.raises(Compacted, match="list again"):
            await anext(client.watch(["NetworkSet"], revision="899"))
        async with aclosing(client.watch(["NetworkSet"], revision="900")) as batches:  # type: ignore[type-var]
            assert len(await anext(batches)) == 100
        # Kinds that did not change lost nothing visible, but nobody can know that from a shortened log.
        with pytest.raises(Compacted):
            await anext(client.watch(["Tier"], revision="10"))

    run(path, scenario, history=100)


def test_requests_wait_for_a_short_lock_and_reads_do_not_wait_at_all(path: str) -> None:
    async def scenario(client: SqliteClient) -> None:
        await client.create(netset("a"))
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.ensure_future(client.create(netset("b")))
        await asyncio.sleep(0.1)
        assert not write.done()
        assert len((await asyncio.wait_for(client.list("NetworkSet"), 8)).items) == 1
        other.execute("ROLLBACK")
        other.close()
        await asyncio.wait_for(write, 30)

    run(path, scenario)


def test_a_lock_that_is_never_given_back_is_unavailable(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_BUSY_SECONDS", 0.3)

    async def scenario(client: SqliteClient) -> None:
        await client.create(netset("a"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="held by another process"):
            await client.create(netset("b"))
        other.close()
        assert len((await client.list("NetworkSet")).items) == 1

    run(path, scenario)


def move(path: str, target: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")


def test_a_file_that_was_taken_away_is_missed_and_not_made_anew_and_found_when_it_is_back(path: str) -> None:
    async def scenario(client: SqliteClient) -> None:
        await client.create(netset("a"))
        watch = client.watch(["NetworkSet"], revision="1")
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        move(path, f"{path}.away")
        with pytest.raises(Unavailable, match="was removed while in use"):
            await asyncio.wait_for(waiting, 30)
        with pytest.raises(Unavailable, match="was removed while in use"):
            await client.create(netset("b"))
        assert not os.path.exists(path)
        move(f"{path}.away", path)
        assert [item.metadata.name for item in (await client.list("NetworkSet")).items] == ["a"]

    run(path, scenario)


def test_who_may_not_create_waits_for_a_file_that_is_not_there(path: str) -> None:
    async def scenario(maker: SqliteClient) -> None:
        client = SqliteClient(path, create=False)
        with pytest.raises(Unavailable, match="is not there"):
            await client.list("NetworkSet")
        assert not os.path.exists(path)
        await maker.create(netset("a"))
        assert [item.metadata.name for item in (await client.list("NetworkSet")).items] == ["a"]
        await client.close()

    run(path, scenario)


def test_a_watch_notices_that_its_file_was_replaced_even_if_other_requests_did_first(path: str) -> None:
    async def scenario(client: SqliteClient) -> None:
        other = SqliteClient(f"{path}.other")
        for name in ("a", "b"):
            await client.create(netset(name))
            await other.create(netset(f"not-{name}"))
        await other.close()
        watch = client.watch(["NetworkSet"], revision="2")
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        move(path, f"{path}.away")
        move(f"{path}.other", path)
        assert [item.metadata.name for item in (await client.list("NetworkSet")).items] == ["not-a", "not-b"]
        with pytest.raises(Unavailable, match="was replaced while in use"):
            await asyncio.wait_for(waiting, 30)

    run(path, scenario)


def test_a_watch_works_without_inotify(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(directory: str) -> inotify.DirectoryWatch:
        raise OSError(f"no inotify for {directory}")

    monkeypatch.setattr(wakeup, "DirectoryWatch", refuse)

    async def scenario(client: SqliteClient) -> None:
        other = SqliteClient(path)
        revision = (await client.list("Tier")).revision
        watch = client.watch(["Tier"], revision=revision)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        created = await other.create(Tier(metadata=Metadata(name="a")))
        assert [event.value for event in await asyncio.wait_for(waiting, 30)] == [created]
        await other.close()

    run(path, scenario)


def test_closing_gives_back_thread_and_descriptors(path: str) -> None:
    async def scenario(client: SqliteClient) -> None:
        revision = (await client.list("NetworkSet")).revision
        await client.create(netset(f"after-{revision}"))
        async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
            await anext(batches)

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    run(path, scenario)
    threads, files = threading.active_count(), open_files()
    for _ in range(5):
        run(path, scenario)
    deadline = time.monotonic() + 30  # a thread is told to end, and not waited for
    while threading.active_count() > threads or open_files() > files:
        assert time.monotonic() < deadline, (threading.enumerate(), open_files(), files)
        time.sleep(0.02)


def test_a_writer_that_is_killed_loses_nothing_it_confirmed_and_leaves_nothing_half_done(path: str) -> None:
    confirmed: set[str] = set()
    for number in range(6):
        process = subprocess.Popen([sys.executable, WRITER, path, str(number)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        confirmed.add(process.stdout.readline().strip())
        timer = threading.Timer(random.uniform(0.01, 0.15), process.send_signal, [signal.SIGKILL])
        timer.start()
        confirmed |= {line.strip() for line in process.stdout if line.endswith("\n")}
        process.wait()
        timer.join()
        process.stdout.close()

    async def check(client: SqliteClient) -> None:
        listing = await client.list("NetworkSet")
        stored = {item.metadata.name: item for item in listing.items}
        assert confirmed <= set(stored)
        # Per killed run at most one object was between its two writes, and at most one was written but not confirmed.
        assert len(stored) <= len(confirmed) + 6
        replayed = {}
        position = 0
        async with aclosing(client.watch(["NetworkSet"], revision="0")) as batches:  # type: ignore[type-var]
            while position < int(listing.revision):
                for event in await anext(batches):
                    replayed[event.key.name] = event.value
                    assert int(event.revision) == position + 1
                    position += 1
        assert replayed == stored

    run(path, check)
    assert len(confirmed) > 6
