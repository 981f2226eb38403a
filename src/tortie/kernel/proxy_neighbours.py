"""Addresses that this node answers ARP and neighbour solicitations for on an interface, although they are elsewhere behind it.

Ours carry route protocol 80; the kernel answers by itself from then on, for as long as it forwards and has another way to the
address. Calls are synchronous.
"""

from typing import NamedTuple

from tortie.base.net import FAMILIES, Address
from tortie.kernel import rtnetlink, sysctl
from tortie.kernel.errors import NotFound
from tortie.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, Message, Request, attribute, parse_attributes, u8
from tortie.kernel.rtnetlink import FAMILY_NUMBERS, NEIGHBOUR_HEADER, open_requests, unpack_address

PROTOCOL = 80
_NTF_PROXY = 0x08
_NDA_DST, _NDA_PROTOCOL = 1, 12
_NUD_PERMANENT = 0x80


class ProxyNeighbour(NamedTuple):
    """One address, on one interface."""

    device: int
    """Its index."""
    address: Address


class ProxyNeighbours:
    """Those of one network namespace; None is the calling thread's."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._socket = open_requests(netns_fd)

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def list(self) -> set[ProxyNeighbour]:
        """Ours, of all interfaces."""
        found: set[ProxyNeighbour] = set()
        for family in FAMILIES:
            header = NEIGHBOUR_HEADER.pack(FAMILY_NUMBERS[family], 0, 0, _NTF_PROXY, 0)
            request = Request(rtnetlink.RTM_GETNEIGH, 0, header)
            for message in self._socket.dump(request, action="list proxied neighbours"):
                entry = _parse(message)
                if entry is not None:
                    found.add(entry)
        return found

    def add(self, entry: ProxyNeighbour) -> None:
        """Answer for it. Raises NotFound where there is no such interface."""
        body = self._body(entry) + u8(_NDA_PROTOCOL, PROTOCOL)
        request = Request(rtnetlink.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)
        self._socket.request(request, action=f"answer for {entry.address}")

    def delete(self, entry: ProxyNeighbour) -> bool:
        """Answer for it no longer. True if it was there."""
        try:
            request = Request(rtnetlink.RTM_DELNEIGH, 0, self._body(entry))
            self._socket.request(request, action=f"answer for {entry.address} no longer")
        except NotFound:
            return False
        return True

    def prepare(self, device: str) -> None:
        """Let the kernel answer on this interface for what is listed, and at once instead of after a random delay."""
        values = {
            f"net/ipv4/neigh/{device}/proxy_delay": 0,
            f"net/ipv6/neigh/{device}/proxy_delay": 0,
            f"net/ipv6/conf/{device}/proxy_ndp": 1,
        }
        sysctl.write_many(values, netns_fd=self._netns_fd)

    def _body(self, entry: ProxyNeighbour) -> bytes:
        family = FAMILY_NUMBERS[entry.address.family]
        header = NEIGHBOUR_HEADER.pack(family, entry.device, _NUD_PERMANENT, _NTF_PROXY, 0)
        return header + attribute(_NDA_DST, entry.address.packed)


def _parse(message: Message) -> ProxyNeighbour | None:
    _, index, _, flags, _ = NEIGHBOUR_HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, NEIGHBOUR_HEADER.size)
    if not flags & _NTF_PROXY or _NDA_DST not in found or found.get(_NDA_PROTOCOL, b"\0")[0] != PROTOCOL:
        return None
    return ProxyNeighbour(index, unpack_address(found[_NDA_DST]))
