"""Netlink: framing, attributes, requests with answers, dumps, batches and notifications, for any protocol.

A socket belongs to the network namespace of the thread that opens it and stays there. The kernel works a request off inside
`send`, so when `send` returns every acknowledgement is already queued; only a dump continues while it is read.
`RequestSocket` is blocking and for one thread at a time; `Subscription` never blocks and has a file descriptor to wait for.

Integers in attributes: rtnetlink takes host order (`u16`, `u32`), nfnetlink network order (`be16`, `be32`, `be64`).
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tortie.kernel.errors import Busy, KernelError, Overflow, kernel_error

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NETLINK_GENERIC = 16

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_ECHO = 0x8
NLM_F_DUMP_INTR = 0x10
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100  # in an acknowledgement: the request is not repeated in it
NLM_F_ACK_TLVS = 0x200

NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_NLMSGERR_ATTR_MSG = 1
_NLMSGERR_ATTR_OFFS = 2

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_READ_BYTES = 1 << 20
_REQUEST_TIMEOUT_SECONDS = 30
_DUMP_ATTEMPTS = 10
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


# ---- writing ----
def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = len(payload)
    return _ATTRIBUTE.pack(size + 4, kind) + payload + _PADDING[size & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    """An 8-bit attribute."""
    return attribute(kind, value.to_bytes(1, "big"))


def u16(kind: int, value: int) -> bytes:
    """A 16-bit attribute in host order."""
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in host order."""
    return attribute(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    """A 16-bit attribute in network order."""
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network order; a negative value is sent as its two's complement."""
    return attribute(kind, (value & 0xFFFFFFFF).to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    """A 64-bit attribute in network order."""
    return attribute(kind, value.to_bytes(8, "big"))


def text(kind: int, value: str) -> bytes:
    """A string attribute with its terminating zero."""
    return attribute(kind, value.encode() + b"\0")


class Request(NamedTuple):
    """One message to the kernel without its sequence number. `flags` besides NLM_F_REQUEST."""

    type: int
    flags: int
    body: bytes


def pack_message(kind: int, flags: int, *, sequence: int, body: bytes) -> bytes:
    """One netlink message; `body` must already be padded (attributes always are)."""
    return _HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


# ---- reading ----
class Message(NamedTuple):
    """One message from the kernel."""

    type: int
    flags: int
    sequence: int
    port: int
    body: bytes


class Acknowledgement(NamedTuple):
    """The kernel's answer to one request: `errno` 0 is success; `detail` is its extended text."""

    sequence: int
    errno: int
    detail: str


def split_messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. A truncated last message raises KernelError."""
    position, end = 0, len(data)
    while position + 16 <= end:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, position)
        if length < 16 or position + length > end:
            raise KernelError(f"netlink: message of {length} bytes at {position} does not fit a datagram of {end} bytes")
        yield Message(kind, flags, sequence, port, data[position + 16 : position + length])
        position += (length + 3) & ~3


def iterate_attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each attribute from `offset` on, flags stripped; for lists whose types repeat."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise KernelError(f"netlink: attribute of {length} bytes at {offset} does not fit {end} bytes")
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def parse_attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of a repeated type the last one."""
    return dict(iterate_attributes(data, offset))


def string(payload: bytes) -> str:
    """A string attribute without its terminating zero."""
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def parse_acknowledgement(message: Message) -> Acknowledgement:
    """Read an NLMSG_ERROR message."""
    (code,) = struct.unpack_from("=i", message.body)
    offset = 20
    if not message.flags & NLM_F_CAPPED and code:
        (length,) = struct.unpack_from("=I", message.body, 4)
        offset = 4 + ((length + 3) & ~3)
    parts = []
    if message.flags & NLM_F_ACK_TLVS:
        found = parse_attributes(message.body, offset)
        if _NLMSGERR_ATTR_MSG in found:
            parts.append(string(found[_NLMSGERR_ATTR_MSG]))
        if _NLMSGERR_ATTR_OFFS in found:
            parts.append(f"attribute at byte {struct.unpack('=I', found[_NLMSGERR_ATTR_OFFS])[0]}")
    return Acknowledgement(message.sequence, -code, ", ".join(parts))


# ---- sockets ----
class _Socket:
    """A bound netlink socket and its reading of whole datagrams."""

    def __init__(self, protocol: int, *, receive_buffer: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._option(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer, optional=True)
            self._option(_SOL_NETLINK, _NETLINK_CAP_ACK, 1, optional=True)
            self._option(_SOL_NETLINK, _NETLINK_EXT_ACK, 1, optional=True)
            self._socket.bind((0, 0))
            self.port_id: int = self._socket.getsockname()[0]
        except BaseException:
            self._socket.close()
            raise
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)

    def _option(self, level: int, name: int, value: int, *, optional: bool = False) -> None:
        try:
            self._socket.setsockopt(level, name, value)
        except OSError as error:
            if not optional:
                raise kernel_error(error.errno or 0, f"netlink: socket option {name}") from error

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._socket.close()

    def _read(self, flags: int = 0) -> list[Message] | None:
        """One datagram's messages; None if there is none (with MSG_DONTWAIT). Overflow if the kernel dropped some."""
        while True:
            try:
                size, _, received, sender = self._socket.recvmsg_into([self._view], 0, flags)
            except BlockingIOError as error:
                if flags & socket.MSG_DONTWAIT:
                    return None
                raise Busy("netlink: the kernel did not answer in time", errno.ETIMEDOUT) from error
            except OSError as error:
                raise kernel_error(error.errno or 0, "netlink: receive") from error
            if received & socket.MSG_TRUNC:
                raise Overflow(f"netlink: a datagram was longer than {_READ_BYTES} bytes", errno.ENOBUFS)
            if sender[0] == 0:  # any process may send to our port id; only the kernel's is 0
                return list(split_messages(bytes(self._view[:size])))


class RequestSocket(_Socket):
    """Asks the kernel and reads its answers, in the network namespace of the thread that constructs it.

    `strict` asks rtnetlink to honour the filters of a dump's header. One thread at a time; blocking.
    """

    def __init__(
        self, protocol: int, *, receive_buffer: int = 8 << 20, send_buffer: int = 1 << 20, strict: bool = False
    ) -> None:
        super().__init__(protocol, receive_buffer=receive_buffer)
        self._option(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_buffer, optional=True)
        if strict:
            self._option(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1, optional=True)
        # Not settimeout: with that Python would wait in spite of MSG_DONTWAIT.
        timeout = struct.pack("@ll", _REQUEST_TIMEOUT_SECONDS, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._sequence = int.from_bytes(os.urandom(3), "big")
        self._interrupted = False

    def next_sequence(self, count: int = 1) -> int:
        """Reserve `count` consecutive sequence numbers and return the first; never 0, which notifications carry."""
        if self._sequence + count >= 1 << 32:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def send(self, data: bytes) -> None:
        """Send raw messages in one datagram. EMSGSIZE is Invalid: the send buffer is smaller than `data`."""
        if self._interrupted:
            self._clear()
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            self._interrupted = True
            raise kernel_error(error.errno or 0, f"netlink: send {len(data)} bytes") from error

    def _read(self, flags: int = 0) -> list[Message] | None:
        try:
            return super()._read(flags)
        except KernelError:
            self._interrupted = True
            raise

    def _clear(self) -> None:
        """Read away what an exchange that broke off has left: while a dump is not read to its end, the next is refused."""
        for _ in range(_DUMP_ATTEMPTS):
            with contextlib.suppress(KernelError):
                self.drain()
                self._interrupted = False
                return

    def drain(self) -> list[Message]:
        """Everything that is queued now, without waiting: the answers to what was just sent, except dumps."""
        answers: list[Message] = []
        while (messages := self._read(socket.MSG_DONTWAIT)) is not None:
            answers.extend(messages)
        return answers

    def request(self, request: Request, *, action: str) -> list[Message]:
        """Send one request, wait for its acknowledgement, return the messages that came before it.

        Raises the KernelError of the errno, its text beginning with `action`.
        """
        sequence = self.next_sequence()
        flags = request.flags | NLM_F_REQUEST | NLM_F_ACK
        self.send(pack_message(request.type, flags, sequence=sequence, body=request.body))
        answers: list[Message] = []
        while True:
            for message in self._read() or ():
                if message.sequence != sequence:
                    continue
                if message.type != NLMSG_ERROR:
                    answers.append(message)
                    continue
                answer = parse_acknowledgement(message)
                if answer.errno:
                    raise kernel_error(answer.errno, action, answer.detail)
                return answers

    def request_many(self, requests: Sequence[Request], *, window: int = 200) -> list[Acknowledgement]:
        """Send many independent requests, `window` to a datagram, and return their acknowledgements in order.

        Failures are returned, not raised: one bad request does not stop the others. The sequence numbers returned are
        indices into `requests`.
        """
        results: list[Acknowledgement] = []
        for begin in range(0, len(requests), window):
            part = requests[begin : begin + window]
            first = self.next_sequence(len(part))
            flags = NLM_F_REQUEST | NLM_F_ACK
            self.send(
                b"".join(
                    pack_message(request.type, request.flags | flags, sequence=first + index, body=request.body)
                    for index, request in enumerate(part)
                )
            )
            found: dict[int, Acknowledgement] = {}
            while len(found) < len(part):
                for message in self._read() or ():
                    index = message.sequence - first
                    if message.type == NLMSG_ERROR and 0 <= index < len(part):
                        found[index] = parse_acknowledgement(message)._replace(sequence=begin + index)
            results.extend(found[index] for index in range(len(part)))
        return results

    def failures(self, kind: int, flags: int, bodies: Sequence[bytes]) -> list[Acknowledgement]:
        """Send many independent requests of one kind in one datagram and return those that failed, by their place in `bodies`.

        Only the last one asks for an answer, the kernel tells of errors unasked: about twice as fast as `request_many`.
        """
        if not bodies:
            return []
        first = self.next_sequence(len(bodies))
        last = first + len(bodies) - 1
        flags |= NLM_F_REQUEST
        parts: list[bytes] = []
        for sequence, body in enumerate(bodies, first):
            asked = flags | NLM_F_ACK if sequence == last else flags
            parts += (_HEADER.pack(16 + len(body), kind, asked, sequence, 0), body)
        self.send(b"".join(parts))
        failed: list[Acknowledgement] = []
        while True:
            for message in self._read() or ():
                if message.type != NLMSG_ERROR or not first <= message.sequence <= last:
                    continue
                answer = parse_acknowledgement(message)
                if answer.errno:
                    failed.append(answer._replace(sequence=message.sequence - first))
                if message.sequence == last:
                    return failed

    def dump_in_parts(self, request: Request, *, action: str, kind: int) -> Iterator[list[bytes]]:
        """The bodies of a dump's messages of one kind, a datagram at a time; between two of them others may run, but nobody
        may use this socket. Raises Busy at the end if the dump changed while it was read: then all of it is worth nothing."""
        sequence = self.next_sequence()
        self.send(pack_message(request.type, request.flags | NLM_F_REQUEST | NLM_F_DUMP, sequence=sequence, body=request.body))
        self._interrupted = True  # unless it is read to its end
        consistent = True
        while True:
            found: list[bytes] = []
            for message in self._read() or ():
                if message.sequence != sequence:
                    continue
                if message.flags & NLM_F_DUMP_INTR:
                    consistent = False
                if message.type == kind:
                    found.append(message.body)
                elif message.type in (NLMSG_ERROR, NLMSG_DONE):
                    self._interrupted = False
                    code = -struct.unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
                    if code == errno.EINTR or not consistent:
                        raise Busy(f"{action}: changed while it was read", errno.EINTR)
                    if code > 0:
                        raise kernel_error(code, action)
                    yield found
                    return
            yield found

    def dump(self, request: Request, *, action: str) -> list[Message]:
        """All messages of a dump. A dump that changed while it was read is read again, ten times at most, then Busy."""
        for _ in range(_DUMP_ATTEMPTS):
            sequence = self.next_sequence()
            flags = request.flags | NLM_F_REQUEST | NLM_F_DUMP
            self.send(pack_message(request.type, flags, sequence=sequence, body=request.body))
            messages, consistent = self._read_dump(sequence, action)
            if consistent:
                return messages
        raise Busy(f"{action}: changed during each of {_DUMP_ATTEMPTS} readings", errno.EINTR)

    def _read_dump(self, sequence: int, action: str) -> tuple[list[Message], bool]:
        found: list[Message] = []
        consistent = True
        while True:
            for message in self._read() or ():
                if message.sequence != sequence:
                    continue
                if message.flags & NLM_F_DUMP_INTR:
                    consistent = False
                if message.type == NLMSG_ERROR:
                    answer = parse_acknowledgement(message)
                    if answer.errno == errno.EINTR:  # nf_tables refuses to go on when the generation moved
                        return [], False
                    if answer.errno:
                        raise kernel_error(answer.errno, action, answer.detail)
                    continue
                if message.type == NLMSG_DONE:
                    code = struct.unpack_from("=i", message.body)[0] if len(message.body) >= 4 else 0
                    if code == -errno.EINTR:
                        return [], False
                    if code < 0:
                        raise kernel_error(-code, action)
                    return found, consistent
                found.append(message)


class Subscription(_Socket):
    """Notifications of multicast groups (by number, not by bit), in the namespace of the thread that constructs it.

    Wait for `fileno()` to be readable, then call `read`. Never blocks.
    """

    def __init__(self, protocol: int, groups: Iterable[int], *, receive_buffer: int = 8 << 20) -> None:
        super().__init__(protocol, receive_buffer=receive_buffer)
        try:
            self._socket.setblocking(False)
            for group in groups:
                self._option(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            self.close()
            raise

    def read(self) -> list[Message]:
        """All queued notifications. Overflow if some were lost: the subscription goes on, the reader must resynchronise."""
        found: list[Message] = []
        while (messages := self._read(socket.MSG_DONTWAIT)) is not None:
            found.extend(messages)
        return found
