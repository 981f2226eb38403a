"""Answers to ARP for addresses that are nowhere on this machine: of services that are translated before they are routed.

The kernel answers by proxy only for what it would route to another interface; such an address it would look for on the very
link that asks. One socket hears the requests of all links, and there is none while nothing is to be answered.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tortie.base.net import Address, Family, address_from_bytes
from tortie.kernel import netns
from tortie.kernel.errors import kernel_error
from tortie.kernel.link import pack_mac

_ETH_P_ARP = 0x0806
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_HEAD = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_ETHERNET_BYTES = 14
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """What is answered on one link, and with which MAC."""

    mac: str
    addresses: frozenset[Address]


class ArpResponder:
    """Of one network namespace; None is the calling thread's. `want` is called on a running loop."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._wanted: Mapping[str, Answers] = {}
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Answer nothing any more; may be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def addresses(self) -> frozenset[Address]:
        """All that is answered for, on any link."""
        return frozenset(address for each in self._wanted.values() for address in each.addresses)

    def want(self, wanted: Mapping[str, Answers]) -> None:
        """Answer for these from now on, by the names of links. Raises KernelError."""
        self._wanted = wanted
        if not wanted:
            if self._socket is not None:
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self.close()
        elif self._socket is None:
            try:
                made = netns.in_netns(
                    self._netns_fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
                )
            except OSError as error:
                raise kernel_error(error.errno or 0, "hear ARP") from error
            made.setblocking(False)
            made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket = made
            asyncio.get_running_loop().add_reader(made.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        """A few at a time: a storm of requests must not hold the loop."""
        for _ in range(_MOST_AT_ONCE):
            if self._socket is None:
                return
            try:
                frame, (device, *_) = self._socket.recvfrom(128)
                reply = answer(frame, self._wanted.get(device))
                if reply is not None:
                    self._socket.sendto(reply, (device, _ETH_P_ARP))
            except OSError:  # nothing more to read, or a link that has just gone
                return


def answer(frame: bytes, answers: Answers | None) -> bytes | None:
    """The reply to an ARP request; None if there is nothing to say."""
    if answers is None or len(frame) < _ETHERNET_BYTES + _ARP.size:
        return None
    *head, operation, sender_mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET_BYTES)
    address = address_from_bytes(target)
    if tuple(head) != _HEAD or operation != _REQUEST or sender == target or address not in answers.addresses:
        return None
    mac = pack_mac(answers.mac)
    assert address.family is Family.V4
    body = _ARP.pack(*_HEAD, _REPLY, mac, target, sender_mac, sender)
    asker: bytes = sender_mac
    return asker + mac + _ETH_P_ARP.to_bytes(2, "big") + body
