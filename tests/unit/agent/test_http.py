"""The small server: pages, rude clients, addresses that change."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from http import HTTPStatus

from tortie.agent.http import Address, Answer, Page, TextServer

PAGES = {"/page": lambda: Answer(HTTPStatus.OK, "héllo\n")}


@contextlib.asynccontextmanager
async def served(**pages: Page) -> AsyncIterator[TextServer]:
    server = TextServer("test", {**PAGES, **{f"/{name}": page for name, page in pages.items()}})
    server.want(Address("127.0.0.1", 0))
    task = asyncio.ensure_future(server.run())
    try:
        await until_bound(server)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until_bound(server: TextServer, *, bound: bool = True) -> None:
    async with asyncio.timeout(30):
        while bool(server.bound) != bound:
            await asyncio.sleep(0.01)


async def ask(server: TextServer, request: bytes) -> bytes:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*server.bound[0])
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def answers(*requests: bytes, **pages: Page) -> list[bytes]:
    async def run() -> list[bytes]:
        async with served(**pages) as server:
            return [await ask(server, request) for request in requests]

    return asyncio.run(run())


def test_a_page_is_served_with_its_length_in_bytes() -> None:
    get, query, head = answers(
        b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /page?x=1 HTTP/1.0\r\n\r\n", b"HEAD /page HTTP/1.1\r\n\r\n"
    )
    assert get == query
    assert get.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 7\r\n" in get
    assert get.endswith("\r\n\r\nhéllo\n".encode())
    assert b"Content-Length: 7\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_other_requests_are_refused_politely() -> None:
    absent, post, noise = answers(b"GET /none HTTP/1.1\r\n\r\n", b"POST /page HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n")
    assert absent.startswith(b"HTTP/1.1 404 ")
    assert b"/page" in absent
    assert post.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD" in post
    assert noise.startswith(b"HTTP/1.1 400 ")


def test_a_request_that_does_not_end_is_dropped_and_others_are_served() -> None:
    endless, fine = answers(b"GET /page HTTP/1.1\r\n" + b"x" * 20000, b"GET /page HTTP/1.1\r\n\r\n")
    assert endless == b""
    assert fine.startswith(b"HTTP/1.1 200")


def test_a_page_that_fails_is_an_error_of_that_page_alone() -> None:
    def broken() -> Answer:
        raise RuntimeError("private")

    failed, fine = answers(b"GET /broken HTTP/1.1\r\n\r\n", b"GET /page HTTP/1.1\r\n\r\n", broken=broken)
    assert failed.startswith(b"HTTP/1.1 500 ")
    assert b"private" not in failed
    assert fine.startswith(b"HTTP/1.1 200 ")


def test_it_stops_and_moves_when_told() -> None:
    async def run() -> None:
        async with served() as server:
            first = server.bound[0]
            server.want(None)
            await until_bound(server, bound=False)
            with socket.socket() as probe:
                assert probe.connect_ex(first) != 0
            server.want(Address("localhost", 0))
            await until_bound(server)
            assert (await ask(server, b"GET /page HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")

    asyncio.run(run())


def test_who_comes_in_the_moment_in_which_it_stops_is_not_left_waiting() -> None:
    """The agent loads without the garbage collector: what is lost then stays open."""

    async def comes(turns: int) -> bytes:
        async with served() as server:
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.bound[0])
            for _ in range(turns):
                await asyncio.sleep(0)
        try:
            async with asyncio.timeout(20):
                return await asyncio.get_running_loop().sock_recv(client, 1)
        except ConnectionError:
            return b""
        finally:
            client.close()

    gc.disable()
    try:
        assert [asyncio.run(comes(turns)) for turns in range(6)] == [b""] * 6
    finally:
        gc.enable()


def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = Address(*taken.getsockname())
            server = TextServer("test", PAGES)
            server.want(address)
            task = asyncio.ensure_future(server.run())
            async with asyncio.timeout(30):
                while not server.failure:
                    await asyncio.sleep(0.01)
            assert f"port {address.port}: Address already in use" in server.failure
        await until_bound(server)
        assert server.failure == ""
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
