"""The socket's frames between shim and agent, pure: one each way; the network namespace's descriptor goes beside the first.

A frame is the magic `TCNI`, a 32-bit version and a 32-bit length, both in network order, then that many bytes of JSON. The
answer's version is the highest that both know. In the answer the keys stand in this order and `result` is last, so that a
shim without a JSON parser can cut it out.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tortie.base.errors import TortieError

MAGIC = b"TCNI"
VERSION = 1
HEADER = struct.Struct("!4sII")
LIMIT = 1 << 20
"""Longest body in bytes, each way."""


class ProtocolError(TortieError):
    """The other side does not speak this protocol; the connection is of no further use."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim sends: the CNI_* variables and standard input as it came; `program` is the name it was called by."""

    version: int
    command: str
    env: dict[str, str]
    config: str
    program: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the shim gets: its exit status, and what it prints ("" for nothing)."""

    exit_status: int
    result: bytes


class FrameReader:
    """Collects one frame from pieces of any size."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._length: int | None = None
        self.version = 0

    @property
    def wanted(self) -> int:
        """How many bytes to read next; 0 when the frame is complete."""
        target = HEADER.size if self._length is None else HEADER.size + self._length
        return target - len(self._data)

    def feed(self, data: bytes) -> bytes | None:
        """Take at most `wanted` bytes; the body once it is complete. Raises ProtocolError as soon as it cannot be one."""
        self._data += data
        if self._length is None and len(self._data) >= HEADER.size:
            magic, self.version, self._length = HEADER.unpack_from(self._data)
            if magic != MAGIC:
                raise ProtocolError("not a frame of the CNI socket")
            if self.version < 1:
                raise ProtocolError(f"frame of version {self.version}: 1 or higher is needed")
            if self._length > LIMIT:
                raise ProtocolError(f"frame of {self._length} bytes: at most {LIMIT} are allowed")
        if self._length is None or len(self._data) < HEADER.size + self._length:
            return None
        if len(self._data) > HEADER.size + self._length:
            raise ProtocolError("more bytes than the frame's length says")
        return bytes(self._data[HEADER.size :])


def pack_frame(body: bytes, *, version: int = VERSION) -> bytes:
    """A frame. Raises ProtocolError for a body that is too long."""
    if len(body) > LIMIT:
        raise ProtocolError(f"frame of {len(body)} bytes: at most {LIMIT} are allowed")
    return HEADER.pack(MAGIC, version, len(body)) + body


def pack_call(environment: Mapping[str, str], config: str, *, program: str = "") -> bytes:
    """The frame of a request."""
    found = {key: value for key, value in environment.items() if key.startswith("CNI_")}
    call = Call(version=VERSION, command=found.get("CNI_COMMAND", ""), env=found, config=config, program=program)
    return pack_frame(msgspec.json.encode(call))


def parse_call(body: bytes) -> Call:
    """Read a request. Raises ProtocolError."""
    try:
        return msgspec.json.decode(body, type=Call)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the request cannot be read: {error}") from None


def pack_answer(answer: Answer) -> bytes:
    """The frame of an answer. `result` must be JSON, or empty."""
    return pack_frame(b'{"version":%d,"exit":%d,"result":%s}' % (VERSION, answer.exit_status, answer.result or b"null"))


def parse_answer(body: bytes) -> Answer:
    """Read an answer as the shim does. Raises ProtocolError."""
    try:
        found = msgspec.json.decode(body, type=_AnswerBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the answer cannot be read: {error}") from None
    result = bytes(found.result)
    return Answer(found.exit, b"" if result == b"null" else result)


class _AnswerBody(msgspec.Struct, frozen=True):
    version: int
    exit: int
    result: msgspec.Raw
