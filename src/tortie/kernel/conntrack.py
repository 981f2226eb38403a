"""Connection tracking: forgetting the connections of addresses (include/uapi/linux/netfilter/nfnetlink_conntrack.h).

Entries are the kernel's own; the only thing done to them here is to remove those of an address that has lost its owner, so
that whoever gets the address next is not reached by connections that policy has never judged for them.
"""

import struct
from collections.abc import Collection

from tortie.base.net import Address
from tortie.kernel.errors import NotFound, kernel_error
from tortie.kernel.netlink import NETLINK_NETFILTER, Message, Request, RequestSocket, attribute, parse_attributes
from tortie.kernel.netns import in_netns
from tortie.kernel.rtnetlink import FAMILY_NUMBERS

_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_HEADER = struct.Struct("=BBH")  # family, version, resource
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP = 1
_NLA_F_NESTED = 1 << 15


class Conntrack:
    """The connections of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = in_netns(netns_fd, lambda: RequestSocket(NETLINK_NETFILTER))

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def forget(self, addresses: Collection[Address]) -> int:
        """Remove every connection that one of the addresses is an end of, before or after translation; how many there were.

        Reads the whole table once a family: for changes of workloads, not for packets.
        """
        count = 0
        for family in sorted({address.family for address in addresses}):
            ends = {address.packed for address in addresses if address.family is family}
            header = _HEADER.pack(FAMILY_NUMBERS[family], 0, 0)
            entries = self._socket.dump(Request(_GET, 0, header), action="list connections")
            doomed = [body for entry in entries if (body := _removal(entry, ends)) is not None]
            for answer in self._socket.request_many([Request(_DELETE, 0, header + body) for body in doomed]):
                if answer.errno:
                    error = kernel_error(answer.errno, "forget a connection", answer.detail)
                    if not isinstance(error, NotFound):  # it ended by itself
                        raise error
                else:
                    count += 1
        return count


def _removal(entry: Message, ends: set[bytes]) -> bytes | None:
    """The attributes that name the entry in a request to remove it; None if it concerns none of the ends."""
    found = parse_attributes(entry.body, _HEADER.size)
    concerned = any(
        not ends.isdisjoint(parse_attributes(parse_attributes(found[tuple_])[_TUPLE_IP]).values())
        for tuple_ in (_TUPLE_ORIGINAL, _TUPLE_REPLY)
        if tuple_ in found
    )
    if not concerned:
        return None
    body = attribute(_TUPLE_ORIGINAL | _NLA_F_NESTED, found[_TUPLE_ORIGINAL])
    return body + b"".join(attribute(kind, found[kind]) for kind in (_ZONE, _ID) if kind in found)
