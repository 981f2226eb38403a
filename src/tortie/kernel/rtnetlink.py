"""What link, address, neighbour and route messages share: numbers, fixed headers, and the request socket of a namespace."""

import struct

from tortie.base.net import Address, address_from_bytes
from tortie.kernel import netns
from tortie.kernel.netlink import (
    NETLINK_ROUTE,
    Message,
    Request,
    RequestSocket,
    Subscription,
    iterate_attributes,
    string,
    text,
    u32,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV4_ROUTE, GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE = 1, 5, 7, 9, 11
GROUP_IPV4_RULE, GROUP_IPV6_RULE = 8, 19

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10

SCOPE_UNIVERSE, SCOPE_SITE, SCOPE_LINK, SCOPE_HOST = 0, 200, 253, 254

LINK_HEADER = struct.Struct("=BBHiII")  # family, pad, type, index, flags, change
ADDRESS_HEADER = struct.Struct("=BBBBI")  # family, length, flags, scope, index
ROUTE_HEADER = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, protocol, scope, type, flags
NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

IFLA_IFNAME = 3
_IFLA_EXT_MASK = 29
_SKIP_STATISTICS = 1 << 3

FAMILY_NUMBERS = {4: AF_INET, 6: AF_INET6}


def open_requests(netns_fd: int | None) -> RequestSocket:
    """A request socket in a namespace (None: the calling thread's); dumps honour the filters of their header."""
    return netns.in_netns(netns_fd, lambda: RequestSocket(NETLINK_ROUTE, strict=True, receive_buffer=1 << 20))


def open_subscription(netns_fd: int | None, groups: tuple[int, ...]) -> Subscription:
    """Notifications of a namespace (None: the calling thread's)."""
    return netns.in_netns(netns_fd, lambda: Subscription(NETLINK_ROUTE, groups, receive_buffer=4 << 20))


def get_link_by_name(name: str) -> Request:
    """Ask for one link."""
    header = LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0, 0)
    return Request(RTM_GETLINK, 0, header + text(IFLA_IFNAME, name) + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))


def get_all_links() -> Request:
    """Ask for a dump of links."""
    header = LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0, 0)
    return Request(RTM_GETLINK, 0, header + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))


def link_index(message: Message) -> int:
    """Interface index of a link message."""
    index: int = LINK_HEADER.unpack_from(message.body)[3]
    return index


def link_name(message: Message) -> str:
    """Name in a link message; the kernel puts it first, so this does not read all of the others."""
    return next(
        (string(payload) for kind, payload in iterate_attributes(message.body, LINK_HEADER.size) if kind == IFLA_IFNAME), ""
    )


def unpack_address(payload: bytes) -> Address:
    """An address attribute."""
    return address_from_bytes(payload)


def unpack_u32(payload: bytes) -> int:
    """A 32-bit attribute in host order."""
    value: int = struct.unpack_from("=I", payload)[0]
    return value
