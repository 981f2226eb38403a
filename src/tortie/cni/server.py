"""The agent's unix socket for CNI requests: only root, one request a connection, many connections at once.

Requests for one pod or one container wait for each other. A client that goes away cancels its ADD, which undoes itself; DEL
goes on, because its work is wanted all the same.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tortie.base import log
from tortie.base.errors import OUT_OF_MEANS, TortieError
from tortie.cni import errors
from tortie.cni.config import Config, Request, parse_config, parse_request
from tortie.cni.errors import CniError
from tortie.cni.plugin import Plugin
from tortie.cni.protocol import Answer, Call, FrameReader, ProtocolError, pack_answer, parse_call
from tortie.cni.spare import SpareDescriptor

_log = log.get(__name__)
PATH_LIMIT = 107
"""Bytes of a unix socket's path (sockaddr_un, less the terminating zero)."""
_BACKLOG = 128
_CREDENTIALS = struct.Struct("=iii")
_ACCEPT_PAUSE_SECONDS = 0.5
_RECEIVE_SECONDS = 10.0
_REFUSE_SECONDS = 2.0
_REQUEST_SECONDS = 90.0
"""Below the shim's own 120 s, so that the runtime hears the reason."""
_FALLBACK_VERSION = "1.1.0"


class ServerError(TortieError):
    """The socket cannot be served; the text says why."""


class CniServer:
    """Serves one plugin at one path. `run` serves until it is cancelled; `serving` is True meanwhile."""

    def __init__(self, path: Path, plugin: Plugin) -> None:
        if len(os.fsencode(path)) > PATH_LIMIT:
            raise ServerError(f"CNI socket {path}: a socket's path has at most {PATH_LIMIT} bytes; choose a shorter --run-dir")
        self._path = path
        self._plugin = plugin
        self._locks = KeyedLocks()
        self.serving = False

    async def run(self) -> None:
        """Serve without end. Raises ServerError when somebody else serves there already."""
        listener = listen(self._path)
        identity = os.stat(self._path).st_ino
        loop = asyncio.get_running_loop()
        spare = SpareDescriptor()
        try:
            async with asyncio.TaskGroup() as group:
                self.serving = True
                while True:
                    try:
                        connection, _ = await loop.sock_accept(listener)
                    except OSError as error:  # out of descriptors, say: it passes
                        _log.error("CNI socket: cannot accept: %s", error)
                        await _refuse(listener, error, spare)
                        await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                        continue
                    group.create_task(self._serve(connection))
        finally:
            self.serving = False
            spare.close()
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == identity:
                    os.unlink(self._path)

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, from the request to the answer; never raises, or the server would end with it."""
        try:
            with connection:
                connection.setblocking(False)
                with contextlib.suppress(OSError, TimeoutError):
                    await self._converse(connection)
        except Exception:
            _log.exception("a CNI request failed in a way that nobody foresaw")

    async def _converse(self, connection: socket.socket) -> None:
        version = _FALLBACK_VERSION
        received = _Received()
        try:
            async with asyncio.timeout(_RECEIVE_SECONDS):
                received = await _receive(connection)
            _require_root(connection)  # after reading: an answer before it might be lost on a client that still writes
            call = parse_call(received.body)
            with contextlib.suppress(CniError):  # an answer is in the version that was asked for, where there is one
                version = parse_config(call.config.encode(), program=call.program).cni_version
            result = await self._watched(connection, call, received.netns_fd)
            answer = Answer(0, b"" if result is None else msgspec.json.encode(result))
        except CniError as error:
            answer = _failure(error, version)
        except ProtocolError as error:
            answer = _failure(CniError(errors.UNDECODABLE, "CNI socket", str(error)), version)
        finally:
            received.close()
        async with asyncio.timeout(_RECEIVE_SECONDS):
            await asyncio.get_running_loop().sock_sendall(connection, pack_answer(answer))

    async def _watched(self, connection: socket.socket, call: Call, netns_fd: int | None) -> dict[str, Any] | None:
        """The plugin's result. The request is given up when its client is gone, if it is an ADD, or after 90 s."""
        request = parse_request(call.env)
        outcome: list[dict[str, Any] | None] = []
        problems: list[CniError] = []

        async def work() -> None:
            try:
                outcome.append(await self._perform(request, call, netns_fd))
            except CniError as error:
                problems.append(error)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            if request.command == "ADD":
                watch = group.create_task(_cancel_when_gone(connection, task))
                task.add_done_callback(lambda _: watch.cancel())
        if problems:
            raise problems[0]
        if not outcome:
            raise CniError(errors.TRY_AGAIN_LATER, f"{request.command} was given up: its caller has gone away")
        return outcome[0]

    async def _perform(self, request: Request, call: Call, netns_fd: int | None) -> dict[str, Any] | None:
        config = parse_config(call.config.encode(), program=call.program)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                if request.command == "GC":
                    await self._collect(request, config)
                    return None
                return await self._locked(request, config, netns_fd)
        except TimeoutError:
            words = f"{request.command} was given up after {_REQUEST_SECONDS:g} s"
            raise CniError(errors.TRY_AGAIN_LATER, words) from None
        except (CniError, asyncio.CancelledError):
            raise
        except OSError as error:
            if error.errno not in OUT_OF_MEANS:
                raise _internal(request, error) from error
            raise CniError(errors.TRY_AGAIN_LATER, "the agent is short of something just now", str(error)) from error
        except Exception as error:
            raise _internal(request, error) from error

    async def _locked(self, request: Request, config: Config, netns_fd: int | None) -> dict[str, Any] | None:
        async with self._locks.hold(_lock_keys(request)):
            return await self._plugin.handle(request, config, netns_fd)

    async def _collect(self, request: Request, config: Config) -> None:
        """GC is a DEL for each container that is gone; one failure does not stop the others and is told in the end."""
        problems: list[CniError] = []
        for leftover in await self._plugin.stale(request, config):
            container = leftover.request.container_id
            if self._locks.is_held(f"container {container}"):
                continue  # it is being set up: newer than what the runtime counted
            _log.info("GC: container %s of network %s", container, config.name)
            try:
                async with self._locks.hold(_lock_keys(leftover.request)):
                    await self._plugin.remove_leftover(leftover, config)
            except CniError as error:
                problems.append(error)
        if problems:
            raise problems[0]


def _lock_keys(request: Request) -> list[str]:
    keys = [f"container {request.container_id}"] if request.container_id else []
    return [*keys, f"pod {request.namespace}/{request.pod}"] if request.pod else keys


class KeyedLocks:
    """A lock per key, there only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Hold all of them; taken in one order by everybody, so that nobody waits in a circle."""
        async with contextlib.AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._one(key))
            yield

    @contextlib.asynccontextmanager
    async def _one(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)

    def is_held(self, key: str) -> bool:
        """True while somebody holds or awaits it."""
        return key in self._locks

    def __len__(self) -> int:
        return len(self._locks)


def listen(path: Path) -> socket.socket:
    """A listening socket that only its owner may use. A file that a dead server left is replaced; a live one is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and _is_served(path):
        raise ServerError(f"CNI socket {path}: another agent serves it; stop that one first")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)  # from its first moment on, not after a chmod
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener.bind(os.fspath(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(f"CNI socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return listener


def _is_served(path: Path) -> bool:
    if not path.is_socket():
        raise ServerError(f"CNI socket {path}: something that is no socket is in its place; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(os.fspath(path))
    return result not in (errno.ECONNREFUSED, errno.ENOENT)


async def _refuse(listener: socket.socket, error: OSError, spare: SpareDescriptor) -> None:
    """Tell the caller that waits longest to come again, in the place of the spare descriptor. Never raises."""
    refusal = CniError(errors.TRY_AGAIN_LATER, "the agent cannot serve this request just now", str(error.strerror))
    with spare.lent(), contextlib.suppress(OSError, TimeoutError, ProtocolError):
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            async with asyncio.timeout(_REFUSE_SECONDS):
                (await _receive(connection)).close()
                answer = pack_answer(_failure(refusal, _FALLBACK_VERSION))
                await asyncio.get_running_loop().sock_sendall(connection, answer)


def _require_root(connection: socket.socket) -> None:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = _CREDENTIALS.unpack(packed)[1]
    if uid != 0:
        _log.warning("a CNI request by user %d was refused", uid)
        raise CniError(errors.INVALID_ENVIRONMENT, f"only root may ask for networking, not user {uid}")


@dataclass(slots=True)
class _Received:
    """A request's body and the descriptor that came beside it."""

    body: bytes = b""
    netns_fd: int | None = None

    def close(self) -> None:
        if self.netns_fd is not None:
            os.close(self.netns_fd)
            self.netns_fd = None


async def _receive(connection: socket.socket) -> _Received:
    """Read one frame. Raises ProtocolError; keeps no descriptor then."""
    reader = FrameReader()
    received = _Received()
    try:
        while True:
            await _readable(connection)
            try:
                data, descriptors, _, _ = socket.recv_fds(connection, reader.wanted, 1)
            except BlockingIOError:
                continue
            for descriptor in descriptors:
                received.close()
                received.netns_fd = descriptor
                os.set_inheritable(descriptor, False)
            if not data:
                raise ProtocolError("the request ends before its length says")
            body = reader.feed(data)
            if body is not None:
                received.body = body
                return received
    except BaseException:
        received.close()
        raise


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


async def _cancel_when_gone(connection: socket.socket, task: "asyncio.Task[None]") -> None:
    """End the task when the other side closes. It has nothing more to send, so readable means gone."""
    await _readable(connection)
    _log.info("the caller of a CNI request has gone away; undoing it")
    task.cancel()


def _internal(request: Request, error: Exception) -> CniError:
    _log.error("CNI %s %s/%s", request.command, request.namespace, request.pod, exc_info=error)
    return CniError(errors.INTERNAL, "the agent failed", f"{type(error).__name__}: {error}")


def _failure(error: CniError, cni_version: str) -> Answer:
    _log.warning("CNI error %d: %s", error.code, error)
    return Answer(1, msgspec.json.encode(error.document(cni_version)))
