"""The way to etcd's members: channels, TLS, a user's token, and going on with another member when one does not answer.

The only module that knows gRPC. Reads are asked again until somebody answers or patience is used up. A write is sent once:
what is to follow when its answer is lost only `writes` can decide.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tortie.base import log
from tortie.base.aio import Backoff
from tortie.datastore.errors import DatastoreError, Incompatible, Unauthorized, Unavailable
from tortie.datastore.etcd.errors import Lost, TokenRefused, error_of
from tortie.datastore.etcd.messages import (
    AUTHENTICATE,
    WATCH,
    AuthenticateRequest,
    AuthenticateResponse,
    WatchRequest,
    WatchResponse,
)
from tortie.datastore.etcd.settings import Endpoint, Settings
from tortie.datastore.etcd.wire import Message, WireError, decode, encode

# gRPC writes to stderr by itself, and its fork handlers are in the way of starting processes. It reads this when imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc
from grpc import aio

_log = log.get(__name__)
_M = TypeVar("_M", bound=Message)

ANSWER_SECONDS = 5.0
"""How long one member may take for one answer. Requests are small; etcd itself gives up after seven."""
PATIENCE_SECONDS = 10.0
"""How long we go round the members before saying Unavailable. An election takes one to three seconds."""

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A dead connection is noticed after at most 15 s. etcd hangs up on who pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Patience:
    """Pauses between attempts, until the time is up."""

    def __init__(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        self._backoff = Backoff(first=0.02, last=1.0)

    async def wait(self) -> bool:
        """Pause. False, at once, when the time is up."""
        if asyncio.get_running_loop().time() > self._deadline:
            return False
        await self._backoff.wait()
        return True


class Connection:
    """Requests to the members of one etcd cluster. Connects with the first request; use it from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[Endpoint, aio.Channel] = {}
        self._current = 0
        self._token = ""
        self._authenticating = asyncio.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def read(self, method: str, request: Message, answer: type[_M]) -> _M:
        """Ask until somebody answers. Raises Unavailable, saying what the last member said, and what etcd refuses for."""
        patience = Patience()
        while True:
            for _ in self._settings.endpoints:
                try:
                    return await self.send_once(method, request, answer)
                except Lost as error:
                    lost = error
            if not await patience.wait():
                raise Unavailable(f"{lost} (no member answered for {PATIENCE_SECONDS:g} s)") from lost

    async def send_once(self, method: str, request: Message, answer: type[_M]) -> _M:
        """Send to one member. Raises Lost when it is not known what became of it, and prefers another member from then on."""
        data = encode(request)
        for renewed in (False, True):
            endpoint, token = self._endpoint(), await self._valid_token()
            try:
                return self._decoded(answer, await self._send(endpoint, method, data, token), endpoint)
            except TokenRefused:
                if renewed:
                    raise
                if self._token == token:  # else another request has seen to it
                    self.forget_token()
            except Lost:
                self._avoid(endpoint)
                raise
        raise AssertionError("the second refusal was raised")

    @asynccontextmanager
    async def watch_stream(self, request: WatchRequest) -> AsyncIterator["WatchStream"]:
        """A stream on which `request` was sent. Raises Lost, and prefers another member from then on, when it breaks."""
        endpoint, token = self._endpoint(), await self._valid_token()
        start: Any = self._channel(endpoint).stream_stream(WATCH)
        call = start(metadata=_metadata(token))
        stream = WatchStream(self, call, endpoint)
        try:
            await stream.send(request)
            yield stream
        except Lost:
            self._avoid(endpoint)
            raise
        finally:
            call.cancel()

    def forget_token(self) -> None:
        """The next request authenticates again."""
        self._token = ""

    def closed_error(self) -> Unavailable:
        """For requests after, or cut off by, `close`."""
        return Unavailable("the client of this etcd datastore is closed")

    async def close(self) -> None:
        """Hang up. Requests in flight raise Unavailable. Idempotent."""
        self._closed = True
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    def _endpoint(self) -> Endpoint:
        if self._closed:
            raise self.closed_error()
        return self._settings.endpoints[self._current]

    def _avoid(self, endpoint: Endpoint) -> None:
        """Go on with the next member, once for all requests that fail with the same one."""
        endpoints = self._settings.endpoints
        if endpoints[self._current] == endpoint and len(endpoints) > 1:
            self._current = (self._current + 1) % len(endpoints)
            _log.info("etcd %s does not answer, going on with %s", endpoint.url, endpoints[self._current].url)

    def _channel(self, endpoint: Endpoint) -> aio.Channel:
        channel = self._channels.get(endpoint)
        if channel is None:
            if endpoint.secure:
                settings = self._settings
                credentials = grpc.ssl_channel_credentials(settings.ca_certificate, settings.key, settings.certificate)
                channel = aio.secure_channel(endpoint.target, credentials, options=_OPTIONS)
            else:
                channel = aio.insecure_channel(endpoint.target, options=_OPTIONS)
            self._channels[endpoint] = channel
        return channel

    async def _send(self, endpoint: Endpoint, method: str, data: bytes, token: str) -> bytes:
        ask: Any = self._channel(endpoint).unary_unary(method)
        try:
            answer: bytes = await ask(data, timeout=ANSWER_SECONDS, metadata=_metadata(token))
        except aio.AioRpcError as error:
            raise error_of(error.code().name, error.details() or "", url=endpoint.url) from None
        except asyncio.CancelledError:
            self.raise_if_hung_up()
            raise
        return answer

    def raise_if_hung_up(self) -> None:
        """gRPC cancels the awaiting task's call, not the task, when a channel is closed: Unavailable then."""
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise self.closed_error() from None

    def _decoded(self, kind: type[_M], data: bytes, endpoint: Endpoint) -> _M:
        try:
            return decode(kind, data)
        except WireError as error:
            raise Incompatible(f"etcd {endpoint.url} answers what cannot be read: {error}") from error

    async def _valid_token(self) -> str:
        """The token to send; "" where no user is configured."""
        if not self._settings.username or self._token:
            return self._token
        async with self._authenticating:
            if not self._token:
                self._token = await self._authenticate()
            return self._token

    async def _authenticate(self) -> str:
        endpoint = self._endpoint()
        request = AuthenticateRequest(name=self._settings.username, password=self._settings.password)
        try:
            data = await self._send(endpoint, AUTHENTICATE, encode(request), "")
        except TokenRefused as error:
            raise Unauthorized(str(error)) from None
        except Lost as error:
            if "authentication is not enabled" in str(error):
                return ""
            self._avoid(endpoint)
            raise
        return self._decoded(AuthenticateResponse, data, endpoint).token


class WatchStream:
    """One stream of watch answers from one member."""

    def __init__(self, connection: Connection, call: Any, endpoint: Endpoint) -> None:
        self._connection = connection
        self._call = call
        self._endpoint = endpoint

    async def send(self, request: WatchRequest) -> None:
        """Send one request. Raises Lost."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._call.write(encode(request))
        except aio.AioRpcError as error:
            raise self._error(error) from None
        except (asyncio.InvalidStateError, TimeoutError):
            raise self.lost("the stream could not be opened") from None
        except asyncio.CancelledError:
            self._connection.raise_if_hung_up()
            raise

    async def next(self, *, timeout: float | None = None) -> WatchResponse:
        """The next answer. Raises Lost when the stream ends or nothing comes in time."""
        try:
            async with asyncio.timeout(timeout):
                data = await self._call.read()
        except aio.AioRpcError as error:
            raise self._error(error) from None
        except TimeoutError:
            raise self.lost("no answer on the stream") from None
        except asyncio.CancelledError:
            self._connection.raise_if_hung_up()
            raise
        if data is aio.EOF:
            raise self.lost("the stream was ended")
        try:
            return decode(WatchResponse, data)
        except WireError as error:
            raise Incompatible(f"etcd {self._endpoint.url} answers what cannot be read: {error}") from error

    def lost(self, reason: str) -> Lost:
        """The error of a stream that is of no use any more."""
        return Lost(f"etcd {self._endpoint.url}: {reason}")

    def refusal(self, reason: str) -> DatastoreError:
        """What a cancelled watch says in words only, where requests have a code."""
        code = "PERMISSION_DENIED" if "permission denied" in reason.lower() else "UNAVAILABLE"
        return error_of(code, reason, url=self._endpoint.url)

    def _error(self, error: aio.AioRpcError) -> DatastoreError:
        return error_of(error.code().name, error.details() or "", url=self._endpoint.url)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    """`hasleader`: a member that is cut off from the others is to say so rather than to keep us waiting."""
    return (("hasleader", "true"), *((("token", token),) if token else ()))
