"""SCTP without the kernel's: associations of raw packets, since the kernel that the tests run on has no SCTP sockets."""

import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.kernel.dataplane_stage import open_socket

from tortie.base.net import Family

SCTP = 132
DATA, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK = 0, 1, 2, 10, 11
_PATIENCE = 0.4


def packet(source: int, target: int, tag: int, kind: int, body: bytes = b"") -> bytes:
    """One packet with one chunk."""
    chunk = struct.pack("!BBH", kind, 3 if kind == DATA else 0, 4 + len(body)) + body
    chunk += bytes(-len(chunk) % 4)
    ports_and_tag = struct.pack("!HHI", source, target, tag)
    return ports_and_tag + struct.pack("<I", _crc32c(ports_and_tag + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@dataclass
class End:
    """One side of an association: a raw socket in a namespace, a port, the tag that the other side must send."""

    family: Family
    raw: socket.socket
    address: str
    port: int
    tag: int = field(default_factory=lambda: secrets.randbits(31) + 1)

    def send(self, other: "End", kind: int, body: bytes = b"", *, tag: int | None = None) -> None:
        """One chunk to the other side."""
        made = packet(self.port, other.port, other.tag if tag is None else tag, kind, body)
        self.raw.sendto(made, (other.address, 0))

    def receives(self, other: "End", kind: int) -> bool:
        """True if a chunk of this kind comes from the other side in time."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                data = self.raw.recv(2048)
            except TimeoutError:
                return False
            data = data[20:] if self.family is Family.V4 else data
            if data[:4] == struct.pack("!HH", other.port, self.port) and data[12] == kind:
                return True
        return False


@contextlib.contextmanager
def ends(
    family: Family, client: tuple[str, str], server: tuple[str, str], port: int, *, source_port: int = 0
) -> Iterator[tuple[End, End]]:
    """Client and server, each given as namespace and address; the server's port."""
    chosen = source_port or 20000 + secrets.randbelow(20000)
    with (
        open_socket(client[0], family, socket.SOCK_RAW, SCTP) as one,
        open_socket(server[0], family, socket.SOCK_RAW, SCTP) as two,
    ):
        yield End(family, one, client[1], chosen), End(family, two, server[1], port)


def init_body(tag: int) -> bytes:
    """Of INIT and of INIT ACK: the sender's tag, window, streams out and in, first number."""
    return struct.pack("!IIHHI", tag, 65536, 1, 1, 1)


def initiates(client: End, server: End) -> bool:
    """True if the client's INIT arrives."""
    client.send(server, INIT, init_body(client.tag), tag=0)
    return server.receives(client, INIT)


def associates(client: End, server: End) -> bool:
    """True if the four packets that begin an association all arrive."""
    if not initiates(client, server):
        return False
    server.send(client, INIT_ACK, init_body(server.tag) + struct.pack("!HH4s", 7, 8, b"cook"))
    if not client.receives(server, INIT_ACK):
        return False
    client.send(server, COOKIE_ECHO, b"cook")
    if not server.receives(client, COOKIE_ECHO):
        return False
    server.send(client, COOKIE_ACK)
    return client.receives(server, COOKIE_ACK)


def carries(client: End, server: End) -> bool:
    """True if data arrives both ways."""
    for left, right in ((client, server), (server, client)):
        left.send(right, DATA, struct.pack("!IHHI", 1, 0, 0, 0) + b"data")
        if not right.receives(left, DATA):
            return False
    return True
