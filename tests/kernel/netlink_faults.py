"""Netlink that fails on command: every call of every netlink socket of this process is counted, and one of them goes wrong.

with injected() as injector:          # sockets that are opened inside can fail
    injector.arm(fault, at=3)         # the third call that this fault can befall
    ... injector.fired ...
"""

import contextlib
import errno
import os
import socket
import struct
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tortie.kernel import netlink

_HEADER = struct.Struct("=IHHII")
_BATCH_BEGIN = 0x10
_MSG_TRUNC = socket.MSG_TRUNC


@dataclass(frozen=True)
class Fault:
    """One way to go wrong. `does` names a method of _FaultySocket; `errno` is what it reports."""

    does: str
    errno: int = 0

    @property
    def on_send(self) -> bool:
        return self.does.startswith("send")

    def __str__(self) -> str:
        return f"{self.does.replace('_', ' ')} {errno.errorcode.get(self.errno, '')}".strip()


_NUMBERS = (errno.ENOBUFS, errno.EINTR, errno.EAGAIN, errno.EPERM, errno.ENOMEM, errno.EBUSY)
FAULTS: tuple[Fault, ...] = (
    *(Fault("send_fails", number) for number in _NUMBERS),
    *(Fault("send_is_refused", number) for number in _NUMBERS),
    Fault("send_reports_failure_of_what_was_done", errno.ENOBUFS),
    Fault("send_vanishes"),
    *(Fault("receive_fails", number) for number in (errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EAGAIN)),
    Fault("receive_finds_all_answers_dropped", errno.ENOBUFS),
    Fault("receive_finds_nothing", errno.EAGAIN),
    Fault("receive_truncates"),
    Fault("receive_sees_the_dump_interrupted"),
    Fault("receive_sees_the_dump_aborted", errno.EINTR),
)


class Injector:
    """Decides which call goes wrong."""

    def __init__(self) -> None:
        self.fired = 0
        self._fault: Fault | None = None
        self._countdown = 0
        self._for_ever = False

    def arm(self, fault: Fault, *, at: int, for_ever: bool = False) -> None:
        """The `at`-th call from now on that the fault can befall, counted from 1; `for_ever`: and all after it."""
        self._fault, self._countdown, self._for_ever, self.fired = fault, at, for_ever, 0

    def disarm(self) -> None:
        """All goes well again."""
        self._fault = None

    def befalls(self, *, send: bool) -> Fault | None:
        """Counts a call; the fault that befalls it, if one does."""
        fault = self._fault
        if fault is None or fault.on_send is not send:
            return None
        self._countdown -= 1
        if self._countdown > 0 or (self._countdown < 0 and not self._for_ever):
            return None
        self.fired += 1
        return fault


class _FaultySocket(socket.socket):
    injector: Injector

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._made_up: deque[bytes | None] = deque()  # None: nothing in time

    # ---- sending ----
    def sendto(self, data: bytes, address: Any) -> int:  # type: ignore[override]
        fault = self.injector.befalls(send=True)
        if fault is None:
            return super().sendto(data, address)
        outcome: int = getattr(self, fault.does)(fault, data, address)
        return outcome

    def send_fails(self, fault: Fault, _data: bytes, _address: Any) -> int:
        raise OSError(fault.errno, os.strerror(fault.errno))

    def send_is_refused(self, fault: Fault, data: bytes, _address: Any) -> int:
        """The kernel answers every message with an error; of a batch only the frame."""
        position = 0
        while position < len(data):
            length, kind, _, sequence, _ = header = _HEADER.unpack_from(data, position)
            body = struct.pack("=i", -fault.errno) + _HEADER.pack(*header)
            flags = netlink.NLM_F_CAPPED
            self._made_up.append(_HEADER.pack(16 + len(body), netlink.NLMSG_ERROR, flags, sequence, 0) + body)
            if kind == _BATCH_BEGIN:
                break
            position += (length + 3) & ~3
        return len(data)

    def send_reports_failure_of_what_was_done(self, fault: Fault, data: bytes, address: Any) -> int:
        super().sendto(data, address)
        raise OSError(fault.errno, os.strerror(fault.errno))

    def send_vanishes(self, _fault: Fault, data: bytes, _address: Any) -> int:
        """Neither done nor answered."""
        self._made_up.append(None)
        return len(data)

    # ---- receiving ----
    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0) -> Any:
        if self._made_up:
            made_up = self._made_up.popleft()
            if made_up is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            buffers[0][: len(made_up)] = made_up
            return len(made_up), [], 0, (0, 0)
        fault = self.injector.befalls(send=False)
        if fault is None:
            return super().recvmsg_into(buffers, ancbufsize, flags)
        return getattr(self, fault.does)(fault, buffers, flags)

    def receive_fails(self, fault: Fault, _buffers: Any, _flags: int) -> Any:
        raise OSError(fault.errno, os.strerror(fault.errno))

    def receive_finds_all_answers_dropped(self, fault: Fault, buffers: Any, _flags: int) -> Any:
        with contextlib.suppress(BlockingIOError):
            while True:
                super().recvmsg_into(buffers, 0, socket.MSG_DONTWAIT)
        raise OSError(fault.errno, os.strerror(fault.errno))

    def receive_finds_nothing(self, fault: Fault, buffers: Any, _flags: int) -> Any:
        with contextlib.suppress(BlockingIOError):
            super().recvmsg_into(buffers, 0, socket.MSG_DONTWAIT)
        raise OSError(fault.errno, os.strerror(fault.errno))

    def receive_truncates(self, _fault: Fault, buffers: Any, flags: int) -> Any:
        size, ancillary, received, sender = super().recvmsg_into(buffers, 0, flags)
        return size // 2, ancillary, received | _MSG_TRUNC, sender

    def receive_sees_the_dump_interrupted(self, _fault: Fault, buffers: Any, flags: int) -> Any:
        size, ancillary, received, sender = super().recvmsg_into(buffers, 0, flags)
        for position, (length, kind, given, sequence, port) in _headers(buffers[0], size):
            _HEADER.pack_into(buffers[0], position, length, kind, given | netlink.NLM_F_DUMP_INTR, sequence, port)
        return size, ancillary, received, sender

    def receive_sees_the_dump_aborted(self, fault: Fault, buffers: Any, flags: int) -> Any:
        size, ancillary, received, sender = super().recvmsg_into(buffers, 0, flags)
        for position, (length, kind, *_) in _headers(buffers[0], size):
            if kind == netlink.NLMSG_DONE and length >= 20:
                struct.pack_into("=i", buffers[0], position + 16, -fault.errno)
        return size, ancillary, received, sender


def _headers(buffer: memoryview, size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    position = 0
    while position + 16 <= size:
        header = _HEADER.unpack_from(buffer, position)
        yield position, header
        position += (header[0] + 3) & ~3


@contextlib.contextmanager
def injected() -> Iterator[Injector]:
    """Netlink sockets that are opened inside are the injector's."""

    class Socket(_FaultySocket):
        injector = Injector()

    module = types.ModuleType("socket")
    module.__dict__.update(socket.__dict__)
    module.__dict__["socket"] = Socket
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(netlink, "socket", module)
        yield Socket.injector
