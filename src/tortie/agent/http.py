"""A very small HTTP server for the agent's two pages of text: GET and HEAD, one request a connection, everything bounded."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from tortie.base import log
from tortie.base.aio import Backoff

_log = log.get(__name__)
_REQUEST_BYTES = 8192
_REQUEST_SECONDS = 5.0
_CONNECTIONS = 64
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
        self._connections = 0
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
                server = await asyncio.start_server(self._serve, wanted.host or None, wanted.port, limit=_REQUEST_BYTES)
            except OSError as error:
                self.failure = f"{self._name}: cannot listen on {wanted.host or '*'} port {wanted.port}: {error.strerror}"
                _log.error("%s", self.failure)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), backoff.next_delay())
                continue
            backoff.reset()
            async with server:
                self.bound = tuple(Address(*sock.getsockname()[:2]) for sock in server.sockets)
                _log.info("%s: listening on %s port %d", self._name, wanted.host or "*", self.bound[0].port)
                try:
                    await self._changed.wait()
                finally:
                    self.bound = ()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; a client that is slow, rude or gone does not concern anybody else."""
        self._connections += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_REQUEST_SECONDS):
                    if self._connections <= _CONNECTIONS:
                        writer.write(self._response(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
        finally:
            self._connections -= 1
            writer.close()

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
