"""What routers say of packets of ours that are too large for the way: "fragmentation needed" (RFC 1191) about IP in IP.

The kernel has no protocol here that it would tell. One packet socket at each uplink hears it, before any firewall: that takes
such errors for strays, since it never saw the packets that they are about. A filter lets nothing else through.
"""

import ctypes
import errno
import select
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from tortie.base.net import Address, address_from_bytes
from tortie.kernel import netns
from tortie.kernel.errors import kernel_error

_ETH_P_IP = 0x0800
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_ATTACH_FILTER = 26
_PACKET_HOST = 0
_LARGEST = 1 << 16
_MOST_AT_ONCE = 64

_ICMP, _IPIP = 1, 4
_FRAGMENTATION_NEEDED = b"\3\4"
_ICMP_BYTES, _HEADER_BYTES = 8, 20
_ANY_FRAGMENT = 0x3FFF

# Of the kernel's old kind of filter: an operation, how far to jump if true and if false, a number. From the IPv4 header on.
_BYTE, _HALF = 0x30, 0x28
_BYTE_BEHIND, _HALF_BEHIND, _HEADER_LENGTH = 0x50, 0x48, 0xB1  # behind a header as long as its first byte says
_IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_FILTER = (
    (_BYTE, 0, 0, 9), (_IF_EQUAL, 0, 8, _ICMP),
    (_HALF, 0, 0, 6), (_IF_ANY_BIT, 6, 0, _ANY_FRAGMENT),
    (_HEADER_LENGTH, 0, 0, 0),
    (_HALF_BEHIND, 0, 0, 0), (_IF_EQUAL, 0, 3, int.from_bytes(_FRAGMENTATION_NEEDED, "big")),
    (_BYTE_BEHIND, 0, 0, _ICMP_BYTES + 9), (_IF_EQUAL, 0, 1, _IPIP),
    (_RETURN, 0, 0, _LARGEST),
    (_RETURN, 0, 0, 0),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathError:
    """One error. Anybody can send one: nothing here says that it is true."""

    source: Address
    """Who sent the packet that was too large: whoever got this error, too."""
    target: Address
    """To whom it was sent."""
    mtu: int
    """What the way takes, of the outer packet."""


class PathErrors:
    """At uplinks of one network namespace; None is the calling thread's. Nothing is heard before `listen`."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}

    def close(self) -> None:
        """Hear nothing any more; may be called again."""
        self.listen(())
        self._poll.close()

    def fileno(self) -> int:
        """Readable when there is something to `read`; the same one for life."""
        return self._poll.fileno()

    def listen(self, devices: Iterable[str]) -> None:
        """Hear what comes to these from now on, and to no others. To be said again of one that was made anew. Raises
        KernelError, and hears what it heard."""
        opened: list[socket.socket] = []
        try:
            opened.extend(netns.in_netns(self._netns_fd, partial(_open, device)) for device in devices)
        except OSError as error:
            for each in opened:
                each.close()
            needs = "CAP_NET_RAW is needed" if error.errno == errno.EPERM else ""
            raise kernel_error(error.errno or 0, "hear which packets are too large for the way", needs) from error
        for each in self._sockets.values():
            each.close()
        self._sockets = {each.fileno(): each for each in opened}
        for descriptor in self._sockets:
            self._poll.register(descriptor, select.EPOLLIN)

    def read(self) -> tuple[PathError, ...]:
        """What has come; a few at a time, for a storm of them must not hold the loop. What is left stays readable."""
        found: list[PathError] = []
        for descriptor, _ in self._poll.poll(0):
            for _ in range(_MOST_AT_ONCE):
                try:
                    packet, (_, _, kind, *_) = self._sockets[descriptor].recvfrom(_LARGEST)
                except OSError:  # nothing more to read, or a device that has just gone
                    break
                error = understand(packet) if kind == _PACKET_HOST else None
                if error is not None:
                    found.append(error)
        return tuple(found)


def understand(packet: bytes) -> PathError | None:
    """What an IPv4 packet says of the way of another one; None if it is whatever else, or damaged."""
    length, whole = _header_bytes(packet), int.from_bytes(packet[2:4], "big")
    if not length or packet[9] != _ICMP or int.from_bytes(packet[6:8], "big") & _ANY_FRAGMENT or whole > len(packet):
        return None
    message = packet[length:whole]
    quoted = message[_ICMP_BYTES:]
    if message[:2] != _FRAGMENTATION_NEEDED or not _header_bytes(quoted) or quoted[9] != _IPIP or not _is_right(message):
        return None
    if packet[16:20] != quoted[12:16]:  # whose packet it was is told of it
        return None
    mtu = int.from_bytes(message[6:8], "big")
    return PathError(address_from_bytes(quoted[12:16]), address_from_bytes(quoted[16:20]), mtu)


def _header_bytes(packet: bytes) -> int:
    """How long an IPv4 header is; 0 if it is none, or not all there."""
    length = (packet[0] & 15) * 4 if packet and packet[0] >> 4 == 4 else 0
    return length if _HEADER_BYTES <= length <= len(packet) else 0


def _is_right(message: bytes) -> bool:
    """True if the checksum of an ICMP message is."""
    even = message + b"\0" * (len(message) % 2)
    # A sum of 16 bits with its carries added is what is left after division by 0xFFFF; and a message is never all zeros.
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    return total % 0xFFFF == 0


def _open(device: str) -> socket.socket:
    """A socket that nothing comes to before its filter stands."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        opened.setblocking(False)
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in _FILTER))
        opened.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(code)))
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.bind((device, _ETH_P_IP))
    except OSError:
        opened.close()
        raise
    return opened
