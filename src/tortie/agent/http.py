"""A very small HTTP server for the agent's two pages of text: GET and HEAD, one request a connection, everything bounded."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from tortie.base import log
from tortie.base.aio import Backoff

_log = log.get(__name__)
_REQUEST_BYTES = 8192
_REQUEST_SECONDS = 5.0
_CONNECTIONS = 64
_ACCEPT_PAUSE_SECONDS = 0.5
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    status: HTTPStatus
    body: str
    content_type: str = TEXT


class Address(NamedTuple):
    """Where to listen; an empty host means every address. Port 0 lets the kernel choose."""

    host: str
    port: int


Page = Callable[[], Answer]


class TextServer:
    """Serves `pages` by path where `want` said last, or nowhere. A bind that fails is tried again, and told in `failure`."""

    def __init__(self, name: str, pages: Mapping[str, Page]) -> None:
        self._name = name
        self._pages = pages
        self._wanted: Address | None = None
        self._changed = asyncio.Event()
        self._connections: set[socket.socket] = set()
        self.bound: tuple[Address, ...] = ()
        self.failure = ""

    def want(self, address: Address | None) -> None:
        """Listen there, instead of where we do; None stops listening."""
        if address != self._wanted:
            self._wanted = address
            self._changed.set()

    async def run(self) -> None:
        """Without end."""
        backoff = Backoff(first=0.2, last=10.0)
        while True:
            self._changed.clear()
            wanted = self._wanted
            self.failure = ""
            if wanted is None:
                await self._changed.wait()
                continue
            try:
                sockets = await _listen(wanted)
            except OSError as error:
                self.failure = f"{self._name}: cannot listen on {wanted.host or '*'} port {wanted.port}: {error.strerror}"
                _log.error("%s", self.failure)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), backoff.next_delay())
                continue
            backoff.reset()
            self.bound = tuple(Address(*listener.getsockname()[:2]) for listener in sockets)
            _log.info("%s: listening on %s port %d", self._name, wanted.host or "*", self.bound[0].port)
            try:
                await self._serve_until_changed(sockets)
            finally:
                self.bound = ()
                for listener in sockets:
                    listener.close()

    async def _serve_until_changed(self, sockets: Iterable[socket.socket]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {group.create_task(self._accept(listener, group)) for listener in sockets}
                await self._changed.wait()
                for task in tasks:
                    task.cancel()
        finally:
            while self._connections:  # a task that is cancelled before it begins closes nothing
                self._connections.pop().close()

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        """Without end. asyncio's own servers log a hundred tracebacks a second when descriptors run out; and its sock_accept,
        cancelled just when somebody came, keeps him waiting on a connection that nobody has."""
        while True:
            await _somebody_at(listener)
            try:
                connection, _ = listener.accept()
                connection.setblocking(False)
            except BlockingIOError:  # gone again
                continue
            except OSError as error:
                _log.error("%s: cannot accept, will be tried again: %s", self._name, error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            if len(self._connections) >= _CONNECTIONS:
                connection.close()
            else:
                self._connections.add(connection)
                group.create_task(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """One connection; a client that is slow, rude or gone does not concern anybody else."""
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_REQUEST_SECONDS):
                    request = b""
                    while b"\r\n\r\n" not in request:
                        received = await loop.sock_recv(connection, _REQUEST_BYTES)
                        request += received
                        if not received or len(request) > _REQUEST_BYTES:
                            return
                    await loop.sock_sendall(connection, self._response(request))
        except Exception:  # or the server would end, and the agent with it
            _log.exception("%s: a request failed in a way that nobody foresaw", self._name)
        finally:
            self._connections.discard(connection)
            connection.close()

    def _response(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            answer = Answer(HTTPStatus.BAD_REQUEST, "not a request of HTTP/1\n")
        elif words[0] not in ("GET", "HEAD"):
            answer = Answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        else:
            answer = self._page(words[1].partition("?")[0])
        body = answer.body.encode()
        head = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            head.append("Allow: GET, HEAD")
        return "\r\n".join((*head, "", "")).encode() + (b"" if words[0] == "HEAD" else body)

    def _page(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return Answer(HTTPStatus.NOT_FOUND, f"there are {', '.join(sorted(self._pages))}\n")
        try:
            return page()
        except Exception:
            _log.exception("%s: page %s failed", self._name, path)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the page failed; the agent's log says why\n")


async def _somebody_at(listener: socket.socket) -> None:
    """Return once there is a connection to accept, or one was."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(listener, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listener)


async def _listen(address: Address) -> list[socket.socket]:
    """A listening socket for every address behind a name. Raises OSError unless there is one at least."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    port = address.port
    for family, kind, protocol, _, where in dict.fromkeys(found):
        try:
            listener = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that the kernel lacks
            failure = error
            continue
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((where[0], port, *where[2:]))
            listener.listen(_CONNECTIONS)
        except OSError as error:
            failure = error
            listener.close()
            continue
        port = listener.getsockname()[1]
        sockets.append(listener)
    if not sockets:
        raise failure or OSError(0, "no address")
    return sockets
