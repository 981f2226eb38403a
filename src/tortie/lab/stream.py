"""Counted UDP traffic between pods: a fixed rate, every packet a connection of its own, so that policy judges each one.

A packet is `lost` when it was sent and never arrived. Packets carry a sequence number; the source port changes with each.
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass

from tortie.base.net import Address, Family
from tortie.kernel import netns

_PAYLOAD = struct.Struct("!8sQ")
_UDP = struct.Struct("!HHHH")
_FIRST_PORT, _LAST_PORT = 10_000, 60_000


@dataclass(frozen=True, slots=True)
class Count:
    """What one stream came to. `received` counts distinct packets; `worst_gap_seconds` is the longest silence at the receiver."""

    name: str
    sent: int
    received: int
    worst_gap_seconds: float

    @property
    def lost(self) -> int:
        """Packets sent that never arrived."""
        return self.sent - self.received


class Stream:
    """One stream from a network namespace to a pod's address and port. Sends and receives in two threads of its own."""

    def __init__(self, name: str, *, source_netns: str, target_netns: str, target: Address, port: int, rate: int) -> None:
        self._name = name
        self._source_netns = source_netns
        self._target_netns = target_netns
        self._target = target
        self._port = port
        self._rate = rate
        self._tag = struct.pack("!Q", threading.get_ident() ^ time.monotonic_ns() ^ id(self))
        self._sending = threading.Event()
        self._receiving = threading.Event()
        self._sent = 0
        self._seen: set[int] = set()
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
        self._threads = [
            threading.Thread(target=self._receive, name=f"receive {self._name}", daemon=True),
            threading.Thread(target=self._send, name=f"send {self._name}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def so_far(self) -> Count:
        """The count at this moment; packets on their way count as lost."""
        return Count(self._name, self._sent, len(self._seen), self._worst_gap)

    def stop(self, *, drain_seconds: float = 0.5) -> Count:
        """Stop sending, let what is on its way arrive, close. Idempotent."""
        if self._threads:
            self._sending.clear()
            self._threads[1].join()
            time.sleep(drain_seconds)
            self._receiving.clear()
            self._threads[0].join()
            self._threads = []
            assert self._sender is not None
            assert self._receiver is not None
            self._sender.close()
            self._receiver.close()
        return self.so_far()

    def _open_receiver(self) -> socket.socket:
        family = socket.AF_INET if self._target.family is Family.V4 else socket.AF_INET6
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind((str(self._target), self._port))
        receiver.settimeout(0.05)
        return receiver

    def _open_sender(self) -> socket.socket:
        if self._target.family is Family.V4:
            sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        else:
            sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
            sender.setsockopt(socket.IPPROTO_IPV6, 7, 6)  # IPV6_CHECKSUM: the kernel fills the UDP checksum at offset 6
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        return sender

    def _send(self) -> None:
        assert self._sender is not None
        interval = 1 / self._rate
        due = time.monotonic()
        port = _FIRST_PORT
        while self._sending.is_set():
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
                continue
            payload = _PAYLOAD.pack(self._tag, self._sent)
            datagram = _UDP.pack(port, self._port, _UDP.size + len(payload), 0) + payload
            port = port + 1 if port < _LAST_PORT else _FIRST_PORT
            try:
                self._sender.sendto(datagram, (str(self._target), 0))
            except OSError:
                # Local refusal (no route, say) is a loss like any other: the packet was due and did not arrive.
                pass
            self._sent += 1
            due += interval

    def _receive(self) -> None:
        assert self._receiver is not None
        last = time.monotonic()
        while self._receiving.is_set():
            try:
                data = self._receiver.recv(2048)
            except TimeoutError:
                continue
            if len(data) == _PAYLOAD.size:
                tag, number = _PAYLOAD.unpack(data)
                if tag == self._tag:
                    now = time.monotonic()
                    self._worst_gap = max(self._worst_gap, now - last)
                    last = now
                    self._seen.add(number)
