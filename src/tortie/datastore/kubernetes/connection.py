"""The way to the API server: HTTP, TLS, logging in, being throttled, trying again. The only module that knows aiohttp.

Reads are asked again until somebody answers or patience is used up. A write is sent again only when it surely was not worked
on; otherwise nobody knows what became of it, and that is what the error says.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from weakref import WeakSet

import aiohttp
from yarl import URL

from tortie.api.resource import Key
from tortie.base import log
from tortie.base.aio import Backoff, Throttle
from tortie.datastore.errors import Unauthorized, Unavailable
from tortie.datastore.kubernetes.credentials import Credentials
from tortie.datastore.kubernetes.errors import Forbidden, Lost, NotLoggedIn, Refused, error_of, read_status
from tortie.datastore.kubernetes.settings import Settings

_log = log.get(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""How long the API server may be silent within one answer."""
PATIENCE_SECONDS = 10.0
"""How long we try before saying Unavailable."""
THROTTLED_SECONDS = 30.0
"""The same when the server answers that it has too much to do."""
SILENCE_SECONDS = 100.0
"""A watch brings a bookmark every minute; one that is silent for longer has no server behind it."""
_GOODBYE_SECONDS = 0.02
"""Time for whoever reads an answer that is broken off to see that it is."""
_LEAVE_SECONDS = 1.0
"""How long at most the loop may take to close the sockets, when all are shut down."""
_BUFFER = 1 << 20
_JSON = "application/json"


class Patience:
    """Pauses between attempts, until the time is up."""

    def __init__(self) -> None:
        self._started = asyncio.get_running_loop().time()
        self._backoff = Backoff(first=0.02, last=1.0)

    async def wait(self, error: Lost | Refused | Forbidden) -> bool:
        """Pause after a failure. False, at once, when the time is up."""
        waited = asyncio.get_running_loop().time() - self._started
        if isinstance(error, Refused):
            if waited + error.seconds > THROTTLED_SECONDS:
                return False
            # All who were refused were told the same time: they must not come back together.
            await asyncio.sleep(error.seconds * random.uniform(1.0, 1.5))
            return True
        if waited > PATIENCE_SECONDS:
            return False
        await self._backoff.wait()
        return True


class Chunks(Protocol):
    """The body of an answer, as it comes."""

    async def next(self) -> bytes:
        """Some bytes; none at the end. Raises Lost."""
        ...


class Connection:
    """Requests to one API server. Connects with the first request; use it from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials = Credentials(settings)
        self._renewing = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._pair: tuple[bytes, bytes] | None = None
        self._throttle = Throttle(burst=settings.burst, interval=1 / settings.qps) if settings.qps else None
        self._answers: set[aiohttp.ClientResponse] = set()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._closed = False

    @property
    def server(self) -> str:
        """The API server's URL, for messages."""
        return self._settings.server

    async def read(self, path: str, query: Mapping[str, str], *, verb: str, key: Key) -> bytes:
        """GET until there is an answer. Raises what the server refuses for, and Unavailable."""
        return await self._insist("GET", path, query=query, body=b"", content_type=_JSON, verb=verb, key=key)

    async def write(self, method: str, path: str, *, body: bytes, verb: str, key: Key, content_type: str = _JSON) -> bytes:
        """Change something, once. Raises what the server refuses for, and Unavailable, also when the outcome is not known."""
        return await self._insist(method, path, query={}, body=body, content_type=content_type, verb=verb, key=key)

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], *, key: Key) -> AsyncIterator[Chunks]:
        """A watch's answer while it comes. Raises Lost, Refused and what the server refuses for."""
        for renewed in (False, True):
            try:
                async with self._answer("GET", path, query=query, silence=SILENCE_SECONDS) as answer:
                    if answer.status != 200:
                        await self._raise_refusal(answer, verb="watch", key=key)
                    yield _Body(answer, self)
                    return
            except NotLoggedIn as error:
                await self._after_refusal(error, final=renewed)

    async def close(self) -> None:
        """Hang up. Requests in flight raise Unavailable. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            if self._answers:
                for answer in self._answers:
                    _break_off(answer)
                await asyncio.sleep(_GOODBYE_SECONDS)  # whoever waits for the rest of one wakes up
            await session.close()
            await self._leave()

    def check_open(self) -> None:
        """Raise Unavailable after `close`."""
        if self._closed:
            raise Unavailable(f"the client of {self.server} is closed")

    async def _leave(self) -> None:
        """Close what the session does not know any more: a request that was given up before its answer came leaves a connection
        that waits for the server's goodbye to TLS, for as long as that takes."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            with suppress(OSError):  # it is closed, or was never connected
                one.shutdown(socket.SHUT_RDWR)
        deadline = loop.time() + _LEAVE_SECONDS
        while any(one.fileno() >= 0 for one in self._sockets) and loop.time() < deadline:
            await asyncio.sleep(0.001)

    def _open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """As aiohttp would, or as the settings say."""
        own = self._settings.open_socket
        opened = socket.socket(*address[:3]) if own is None else own(address)
        self._sockets.add(opened)
        return opened

    async def _insist(
        self, method: str, path: str, *, query: Mapping[str, str], body: bytes, content_type: str, verb: str, key: Key
    ) -> bytes:
        patience, renewed = Patience(), False
        while True:
            try:
                async with self._answer(method, path, query=query, body=body, content_type=content_type) as answer:
                    if answer.status >= 300:
                        await self._raise_refusal(answer, verb=verb, key=key)
                    return await answer.read()
            except NotLoggedIn as error:
                await self._after_refusal(error, final=renewed)
                renewed = True
            except (Lost, Refused) as error:
                self.check_open()
                if method != "GET" and isinstance(error, Lost) and error.sent:
                    raise Unavailable(f"{error}: {verb} of {key} may have happened: look again") from error
                if not await patience.wait(error):
                    seconds = THROTTLED_SECONDS if isinstance(error, Refused) else PATIENCE_SECONDS
                    raise Unavailable(f"{error} (tried for {seconds:g} s)") from error

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: bytes = b"",
        content_type: str = _JSON,
        silence: float = ANSWER_SECONDS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self.check_open()
        async with self._renewing:
            await self._credentials.renew()
            session = await self._opened()
        if self._throttle is not None:
            await self._throttle.wait()
        headers = self._credentials.headers() | ({"Content-Type": content_type} if body else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        url = URL(self.server + path, encoded=True).with_query(query)
        try:
            async with session.request(
                method,
                url,
                data=body or None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._settings.server_name or None,
            ) as answer:
                self._answers.add(answer)
                try:
                    yield answer
                finally:
                    self._answers.discard(answer)
                    _break_off(answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Lost(f"{self.server} cannot be reached: {error}", sent=False) from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Lost(f"{self.server} did not answer: {str(error) or type(error).__name__}") from error
        except RuntimeError as error:
            if not self._closed:
                raise
            raise Unavailable(f"the client of {self.server} is closed") from error

    async def _opened(self) -> aiohttp.ClientSession:
        """The session, a new one when our certificate is another one than at the last request."""
        if self._session is not None and self._pair == self._credentials.pair:
            return self._session
        if self._session is not None:
            await self._session.close()
        self._pair = self._credentials.pair
        tls = self._credentials.tls()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=True if tls is None else tls, socket_factory=self._open_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_BUFFER,
            # The server would spend more time compressing than a network of today needs for the rest.
            headers={"Accept": _JSON, "Accept-Encoding": "identity", "User-Agent": "tortie"},
        )
        return self._session

    async def _raise_refusal(self, answer: aiohttp.ClientResponse, *, verb: str, key: Key) -> None:
        """Raise what an answer that is no success stands for."""
        status = read_status(answer.status, await answer.read())
        code = answer.status
        if code == 401:
            raise NotLoggedIn(f"{self.server}: {status.message}")
        wait = _retry_after(answer.headers.get("Retry-After", ""))
        if code == 429 or (code == 503 and wait is not None):
            raise Refused(f"{self.server} has too much to do: {status.message}", wait or 1.0)
        error = error_of(self.server, status, code, verb=verb, key=key)
        if code >= 500 and type(error) is Unavailable:
            raise Lost(str(error))
        raise error

    async def _after_refusal(self, error: NotLoggedIn, *, final: bool) -> None:
        if final or not self._credentials.can_renew:
            raise Unauthorized(f"{error}: who we are is not accepted") from error
        async with self._renewing:
            await self._credentials.renew(refused=True)


class _Body:
    def __init__(self, answer: aiohttp.ClientResponse, connection: Connection) -> None:
        self._content = answer.content
        self._connection = connection

    async def next(self) -> bytes:
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            self._connection.check_open()
            raise Lost(f"{self._connection.server}: the watch broke off: {str(error) or type(error).__name__}") from error


def _break_off(answer: aiohttp.ClientResponse) -> None:
    """Neither the rest of an answer is waited for nor the server's goodbye to TLS."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()


def _retry_after(text: str) -> float | None:
    """The seconds of the header, within reason; None where it is missing or a date."""
    return min(float(text), THROTTLED_SECONDS) if text.isdecimal() else None
