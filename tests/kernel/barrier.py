"""A frame that overtakes nothing: what has not come before it is back does not come at all.

It goes to the node by one of its devices and is turned round there; on one processor the kernel hands packets on in order. So
"did not arrive" needs no waiting, however busy the machine is.
"""

import select
import socket
import struct
from collections.abc import Iterator

PROTOCOL = 0x88B5
"""An EtherType for local experiments (IEEE 802)."""
_FRAME = b"\xff" * 6 + bytes(6) + struct.pack("!H", PROTOCOL) + bytes(46)
_PATIENCE_SECONDS = 20.0
_PACKET_OUTGOING = 4


class Barrier:
    """`sender` writes to the far end of a device; `turn`, for `PROTOCOL` alone, is at the node's end of the same device;
    `receiver` reads all far ends."""

    def __init__(self, sender: socket.socket, turn: socket.socket, receiver: socket.socket) -> None:
        self._sender = sender
        self._turn = turn
        self._receiver = receiver

    def arrivals(self) -> Iterator[tuple[bytes, str]]:
        """Every frame that came before it, and the device where. Raises TimeoutError when it is lost itself."""
        self._sender.send(_FRAME)
        _wait(self._turn)
        self._turn.recv(2048)
        self._turn.send(_FRAME)
        while True:
            _wait(self._receiver)
            content, (device, protocol, kind, *_) = self._receiver.recvfrom(4096)
            if kind == _PACKET_OUTGOING:
                continue
            if protocol == PROTOCOL:
                return
            yield content, device


def _wait(opened: socket.socket) -> None:
    if not select.select([opened], [], [], _PATIENCE_SECONDS)[0]:
        raise TimeoutError("the barrier is lost: nothing can be concluded")
