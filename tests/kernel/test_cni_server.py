"""The agent's CNI socket: who may use it, in which order requests run, and what a bad one gets."""

import asyncio
import gc
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tortie.cni.config import Config, Request
from tortie.cni.protocol import HEADER, FrameReader, pack_call, pack_frame, parse_answer
from tortie.cni.server import CniServer, KeyedLocks, ServerError

pytestmark = pytest.mark.kernel

CONFIG = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"}})


class Script:
    """A plugin that does what the test says."""

    def __init__(self, action: Callable[[Request], Awaitable[dict[str, Any] | None]]) -> None:
        self.action = action
        self.ended: list[str] = []

    async def handle(self, request: Request, config: Config, netns_fd: int | None) -> dict[str, Any] | None:
        try:
            found = await self.action(request)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("done")
        return found


async def echo(request: Request) -> dict[str, Any] | None:
    return {"container": request.container_id}


@asynccontextmanager
async def serving(path: Path, plugin: Any) -> AsyncIterator[CniServer]:
    server = CniServer(path, plugin)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        while not server.serving:
            await asyncio.sleep(0.005)
        try:
            yield server
        finally:
            task.cancel()


def environment(command: str = "ADD", container: str = "c1", pod: str = "web") -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": "/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}",
    }


async def exchange(path: Path, data: bytes) -> Any:
    """Send bytes, return the answer's document."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        await writer.drain()
        frames = FrameReader()
        body = None
        while body is None:
            piece = await reader.read(frames.wanted)
            assert piece, "no answer"
            body = frames.feed(piece)
        answer = parse_answer(body)
        return json.loads(answer.result) if answer.result else None
    finally:
        writer.close()
        await writer.wait_closed()


def test_only_the_owner_may_touch_the_socket_and_it_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "cni.sock"

    async def scenario() -> None:
        before = os.umask(0)
        try:
            async with serving(path, Script(echo)) as server:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert await exchange(path, pack_call(environment(), CONFIG)) == {"container": "c1"}
            assert not server.serving
        finally:
            os.umask(before)
        assert not path.exists()

    asyncio.run(scenario())


def test_another_user_is_refused_even_where_the_file_would_let_him(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"
    text = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        f"s.connect({str(path)!r}); s.sendall(bytes.fromhex(sys.argv[1])); s.shutdown(socket.SHUT_WR);"
        "sys.stdout.buffer.write(s.makefile('rb').read())"
    )

    async def scenario() -> None:
        async with serving(path, Script(echo)):
            os.chmod(path, 0o666)
            folder = path.parent
            while folder != folder.parent:  # the test's folders are root's alone
                if not os.stat(folder).st_mode & 0o001:
                    os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o001)
                folder = folder.parent
            argv = [sys.executable, "-c", text, pack_call(environment(), CONFIG).hex()]
            done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=20)
            assert done.stderr == b""
            answer = parse_answer(done.stdout[HEADER.size :])
            assert answer.exit_status == 1
            assert "only root" in json.loads(answer.result)["msg"]

    asyncio.run(scenario())


def test_a_dead_servers_socket_is_replaced_a_live_ones_and_a_file_are_not(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def scenario() -> None:
        async with serving(path, Script(echo)):
            with pytest.raises(ServerError, match="another agent"):
                await CniServer(path, Script(echo)).run()  # type: ignore[arg-type]
            assert await exchange(path, pack_call(environment(), CONFIG)) == {"container": "c1"}
        path.write_text("precious")
        with pytest.raises(ServerError, match="no socket"):
            await CniServer(path, Script(echo)).run()  # type: ignore[arg-type]
        assert path.read_text() == "precious"

    asyncio.run(scenario())


def test_a_path_that_no_socket_can_have_is_refused_at_once() -> None:
    with pytest.raises(ServerError, match="107"):
        CniServer(Path("/" + "x" * 107), Script(echo))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 GET /", 6),
        (pack_frame(b"{}"), 6),
        (pack_call(environment("FROB"), CONFIG), 4),
        (pack_call(environment(), "{"), 6),
        (pack_call(environment(), "{}"), 1),
    ],
)
def test_a_bad_request_gets_an_answer_and_the_next_is_served(tmp_path: Path, data: bytes, code: int) -> None:
    path = tmp_path / "s"

    async def scenario() -> None:
        async with serving(path, Script(echo)):
            assert (await exchange(path, data))["code"] == code
            assert await exchange(path, pack_call(environment(), CONFIG)) == {"container": "c1"}

    asyncio.run(scenario())


def test_a_connection_that_sends_nothing_does_not_stop_others(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def scenario() -> None:
        async with serving(path, Script(echo)):
            with socket.socket(socket.AF_UNIX) as idle:
                idle.connect(str(path))
                idle.send(b"TC")
                assert await exchange(path, pack_call(environment(), CONFIG)) == {"container": "c1"}

    asyncio.run(scenario())


def test_a_defect_in_the_plugin_is_an_error_of_code_999_and_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"

    async def broken(_: Request) -> dict[str, Any] | None:
        raise ZeroDivisionError("oops")

    async def scenario() -> None:
        plugin = Script(broken)
        async with serving(path, plugin):
            found = await exchange(path, pack_call(environment(), CONFIG))
            assert (found["code"], found["cniVersion"]) == (999, "1.0.0")
            plugin.action = echo
            assert await exchange(path, pack_call(environment(), CONFIG)) == {"container": "c1"}

    asyncio.run(scenario())


def test_requests_of_one_pod_or_container_wait_for_each_other_and_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    running: set[tuple[str, str]] = set()
    most = 0

    async def careful(request: Request) -> dict[str, Any] | None:
        nonlocal most
        mine = (request.container_id, request.pod)
        assert not any(container == mine[0] or pod == mine[1] for container, pod in running)
        running.add(mine)
        most = max(most, len(running))
        await asyncio.sleep(0.02)
        running.remove(mine)
        return {}

    async def scenario() -> None:
        plugin = Script(careful)
        async with serving(path, plugin):
            pairs = [("c1", "a"), ("c1", "b"), ("c2", "a"), ("c3", "c"), ("c1", "a"), ("c4", "d")]
            calls = (exchange(path, pack_call(environment("ADD", *pair), CONFIG)) for pair in pairs)
            assert await asyncio.gather(*calls) == [{}] * len(pairs)
        assert plugin.ended == ["done"] * len(pairs)
        assert most >= 3

    asyncio.run(scenario())


@pytest.mark.parametrize(("command", "expected"), [("ADD", "CancelledError"), ("DEL", "done")])
def test_a_caller_that_goes_away_ends_an_add_but_not_a_del(tmp_path: Path, command: str, expected: str) -> None:
    path = tmp_path / "s"
    begun = asyncio.Event()

    async def slow(_: Request) -> dict[str, Any] | None:
        begun.set()
        await asyncio.sleep(0.3 if command == "DEL" else 60)
        return {}

    async def scenario() -> None:
        plugin = Script(slow)
        async with serving(path, plugin):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(pack_call(environment(command), CONFIG))
            await begun.wait()
            writer.close()
            await writer.wait_closed()
            for _ in range(3000):
                if plugin.ended:
                    break
                await asyncio.sleep(0.01)
            assert plugin.ended == [expected]

    asyncio.run(scenario())


def test_stopping_the_server_cancels_what_runs(tmp_path: Path) -> None:
    path = tmp_path / "s"
    begun = asyncio.Event()

    async def endless(_: Request) -> dict[str, Any] | None:
        begun.set()
        await asyncio.sleep(60)
        return {}

    async def scenario() -> None:
        plugin = Script(endless)
        async with serving(path, plugin):
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(pack_call(environment(), CONFIG))
            await begun.wait()
        assert plugin.ended == ["CancelledError"]
        writer.close()
        await writer.wait_closed()

    asyncio.run(scenario())


def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def scenario() -> None:
        async with serving(path, Script(echo)):
            with socket.socket(socket.AF_UNIX) as first:
                first.connect(str(path))
            await asyncio.sleep(0.05)
            gc.collect()  # nothing that tests before this one let fall is closed while we count
            before = len(os.listdir("/proc/self/fd"))
            for data in (pack_call(environment(), CONFIG), b"rubbish-rubbish"):
                for _ in range(10):
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(path))
                        socket.send_fds(client, [data], [0, 1, 2])
                        await asyncio.sleep(0.01)
            async with asyncio.timeout(30):
                while len(os.listdir("/proc/self/fd")) != before:
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_locks_are_forgotten_when_nobody_needs_them() -> None:
    async def scenario() -> None:
        locks = KeyedLocks()
        async with locks.hold(["a", "b"]):
            assert len(locks) == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), locks.hold(["b", "c"]):
                    pytest.fail("b is held")
        assert len(locks) == 0
        async with asyncio.timeout(1), locks.hold(["b", "c"]):
            pass

    asyncio.run(scenario())
