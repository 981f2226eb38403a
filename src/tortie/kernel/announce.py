"""Word to a link's neighbours that an address is here: gratuitous ARP, unsolicited neighbour advertisement. Nobody answers."""

import errno
import socket
import struct

from tortie.base.net import Address, Family
from tortie.kernel import netns
from tortie.kernel.errors import kernel_error
from tortie.kernel.link import pack_mac

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET, _ETH_P_IP, _REQUEST = 1, 0x0800, 1
_NEIGHBOUR_ADVERTISEMENT = 136
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000
_TARGET_LINK_LAYER = 2
_ALL_NODES = "ff02::1"


class Announcer:
    """Sockets of one network namespace (None: the calling thread's), opened with the first word."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._arp: socket.socket | None = None
        self._icmp: socket.socket | None = None

    def close(self) -> None:
        """Give back the sockets; may be called again."""
        for each in (self._arp, self._icmp):
            if each is not None:
                each.close()
        self._arp = self._icmp = None

    def announce(self, address: Address, *, device: str, index: int, mac: str) -> None:
        """Say once that `address` is at `mac`. Raises KernelError where that cannot be said."""
        try:
            if address.family is Family.V4:
                self._gratuitous_arp(address, device, pack_mac(mac))
            else:
                self._advertisement(address, index, pack_mac(mac))
        except OSError as error:
            raise kernel_error(error.errno or errno.EIO, f"announce {address} on {device}") from error

    def _gratuitous_arp(self, address: Address, device: str, mac: bytes) -> None:
        if self._arp is None:
            self._arp = netns.in_netns(self._netns_fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            self._arp.setblocking(False)
        packed = address.packed
        body = _ARP.pack(_ETHERNET, _ETH_P_IP, 6, 4, _REQUEST, mac, packed, b"\0" * 6, packed)
        frame = _BROADCAST + mac + _ETH_P_ARP.to_bytes(2, "big") + body
        self._arp.sendto(frame, (device, _ETH_P_ARP))

    def _advertisement(self, address: Address, index: int, mac: bytes) -> None:
        if self._icmp is None:
            self._icmp = netns.in_netns(
                self._netns_fd, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            )
            self._icmp.setblocking(False)
            self._icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            self._icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        header = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _ROUTER | _OVERRIDE)
        body = header + address.packed + bytes((_TARGET_LINK_LAYER, 1)) + mac  # the kernel adds the checksum
        self._icmp.sendto(body, (_ALL_NODES, 0, 0, index))
