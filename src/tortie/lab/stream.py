"""Counted traffic between pods: TCP SYN packets at a fixed rate, each a connection of its own, so that policy judges each one.

A packet is `lost` when it was sent and never reached the target pod's interface. Numbers travel in the sequence field and
the source port changes with every packet; the stacks at both ends answer as they would to anybody (SYN-ACK, then RST).
"""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass

from tortie.base.net import Address, Family
from tortie.kernel import netns

_TCP = struct.Struct("!HHIIHHHH")
_SYN = 5 << 12 | 2
_FIRST_PORT, _LAST_PORT = 10_000, 60_000
_ETHERTYPE = {Family.V4: 0x0800, Family.V6: 0x86DD}
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23  # what the pod itself sent is not asked for
_IPV6_CHECKSUM = 7
_TCP_CHECKSUM_OFFSET = 16
_LONGEST_DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Count:
    """What one stream came to. `received` counts distinct packets; `worst_gap_seconds` is the longest silence at the target."""

    name: str
    sent: int
    received: int
    worst_gap_seconds: float

    @property
    def lost(self) -> int:
        """Packets sent that never arrived."""
        return self.sent - self.received


class Stream:
    """One stream from a pod to a port of another. Sends and receives in two threads of its own; `rate` is per second."""

    def __init__(
        self, name: str, *, source_netns: str, source: Address, target_netns: str, target: Address, port: int, rate: int
    ) -> None:
        self._name = name
        self._source_netns = source_netns
        self._source = source
        self._target_netns = target_netns
        self._target = target
        self._port = port
        self._rate = rate
        self._sending = threading.Event()
        self._receiving = threading.Event()
        self._sent = 0
        self._seen: set[int] = set()
        self._last_seen = 0.0
        self._worst_gap = 0.0
        self._threads: list[threading.Thread] = []
        self._sender: socket.socket | None = None
        self._receiver: socket.socket | None = None

    def start(self) -> None:
        """Open the sockets in their namespaces and begin."""
        self._receiver = netns.run_in_named(self._target_netns, self._open_receiver)
        self._sender = netns.run_in_named(self._source_netns, self._open_sender)
        self._sending.set()
        self._receiving.set()
        self._last_seen = time.monotonic()
        self._threads = [
            threading.Thread(target=self._receive, name=f"receive {self._name}", daemon=True),
            threading.Thread(target=self._send, name=f"send {self._name}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def so_far(self) -> Count:
        """The count at this moment; packets on their way count as lost."""
        return Count(self._name, self._sent, len(self._seen), self._worst_gap)

    @property
    def silent_seconds(self) -> float:
        """How long nothing has arrived."""
        return time.monotonic() - self._last_seen

    def stop(self, *, drain_seconds: float = 0.5) -> Count:
        """Stop sending, wait until all has arrived or nothing has for a while, close. Idempotent."""
        if self._threads:
            self._sending.clear()
            self._threads[1].join()
            ended = time.monotonic()
            while len(self._seen) < self._sent and time.monotonic() < ended + _LONGEST_DRAIN_SECONDS:
                if time.monotonic() - max(ended, self._last_seen) > drain_seconds:
                    break
                time.sleep(0.02)
            self._receiving.clear()
            self._threads[0].join()
            self._threads = []
        for opened in (self._sender, self._receiver):
            if opened is not None:
                opened.close()
        return self.so_far()

    def _open_receiver(self) -> socket.socket:
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETHERTYPE[self._target.family]))
        # What does not fit while we are not scheduled would count as lost on the way, and the limit for everybody holds half a
        # second of ours. Whoever may not pass it makes do.
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        with contextlib.suppress(PermissionError):
            receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        receiver.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        receiver.bind(("eth0", _ETHERTYPE[self._target.family]))
        receiver.settimeout(0.05)
        return receiver

    def _open_sender(self) -> socket.socket:
        family = socket.AF_INET if self._target.family is Family.V4 else socket.AF_INET6
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        if family == socket.AF_INET6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, _TCP_CHECKSUM_OFFSET)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        # A raw socket also gets a copy of what arrives; nobody reads it here, so let none be queued.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        return sender

    def _segment(self, port: int, number: int) -> bytes:
        segment = _TCP.pack(port, self._port, number, 0, _SYN, 64240, 0, 0)
        if self._target.family is Family.V6:
            return segment
        pseudo = self._source.packed + self._target.packed + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
        return segment[:16] + struct.pack("!H", _checksum(pseudo + segment)) + segment[18:]

    def _send(self) -> None:
        assert self._sender is not None
        interval = 1 / self._rate
        due = time.monotonic()
        target = (str(self._target), 0)
        ports = _LAST_PORT - _FIRST_PORT
        while self._sending.is_set():
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
                continue
            segment = self._segment(_FIRST_PORT + self._sent % ports, self._sent)
            # A refusal by our own stack (no route, say) is a loss like any other: the packet was due and did not arrive.
            with contextlib.suppress(OSError):
                self._sender.sendto(segment, target)
            self._sent += 1
            due += interval

    def _receive(self) -> None:
        assert self._receiver is not None
        source, length = self._source.packed, 20 if self._target.family is Family.V4 else 40
        where = slice(12, 16) if self._target.family is Family.V4 else slice(8, 24)
        while True:
            if not self._receiving.is_set():
                # Whoever waited for us may have done so while we had no processor: what is here by now has arrived.
                self._receiver.setblocking(False)
            try:
                data = self._receiver.recv(2048)
            except TimeoutError:
                continue
            except BlockingIOError:
                return
            if data[where] != source or len(data) < length + 20:
                continue
            _, port, number, _, flags = struct.unpack_from("!HHIIH", data, length)
            if port == self._port and flags & 0x3F == 2:
                now = time.monotonic()
                self._worst_gap = max(self._worst_gap, now - self._last_seen)
                self._last_seen = now
                self._seen.add(number)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return int(~(total + (total >> 16)) & 0xFFFF)
