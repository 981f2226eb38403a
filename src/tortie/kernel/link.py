"""Links, their addresses and neighbours, in one network namespace; and notice of links and addresses that change.

Ours are recognised by their names (`cali…`, `vxlan.calico` …, conventions.md), which the callers own; nothing is kept here.
Calls are synchronous and take about 0.1 ms, except deleting a veth (16 ms: the kernel waits for all readers), which does not
belong on an event loop.
"""

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tortie.base.net import Address, Family, Interface
from tortie.kernel import rtnetlink
from tortie.kernel.errors import Invalid, NotFound
from tortie.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    attribute,
    nested,
    parse_attributes,
    string,
    text,
    u32,
)
from tortie.kernel.rtnetlink import (
    ADDRESS_HEADER,
    AF_UNSPEC,
    FAMILY_NUMBERS,
    LINK_HEADER,
    NEIGHBOUR_HEADER,
    SCOPE_HOST,
    SCOPE_UNIVERSE,
    open_requests,
    open_subscription,
    unpack_address,
    unpack_u32,
)

NAME_LIMIT = 15

_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_LOWER_UP = 0x10000
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_TXQLEN, _IFLA_LINKINFO = 1, 4, 5, 10, 13, 18
_IFLA_IFALIAS = 20
_IFLA_NET_NS_FD = 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 6, 8
_DEPRECATED = struct.pack("=IIII", 0, 0xFFFFFFFF, 0, 0)  # preferred for no time, valid for ever
_IFA_F_NODAD = 0x02
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80


@dataclass(frozen=True, slots=True)
class Link:
    """One device. `up` is what was asked for, `running` what is so; `kind` is "" for what the kernel has by itself."""

    index: int
    name: str
    kind: str
    up: bool
    running: bool
    loopback: bool
    mac: str
    mtu: int
    master: int | None
    """Index of the bridge that it is a port of."""
    peer: int | None
    """Index of the other end of a veth, in whichever namespace that is."""
    alias: str = ""
    """A remark that its maker left."""


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """One address of a device."""

    index: int
    interface: Interface
    scope: int

    @property
    def is_global(self) -> bool:
        """True if it is valid beyond the link."""
        return self.scope == SCOPE_UNIVERSE


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One entry of a neighbour table that knows its MAC."""

    index: int
    address: Address
    mac: str
    permanent: bool


class LinkChange(NamedTuple):
    """What a device is now, or was just before it went away."""

    link: Link
    present: bool


def pack_mac(mac: str) -> bytes:
    """`ee:ee:ee:ee:ee:ee` as six bytes. Raises Invalid."""
    try:
        packed = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6 or mac.count(":") != 5:
        raise Invalid(f"MAC address {mac!r}: six pairs of hexadecimal digits joined by ':' are needed", errno.EINVAL)
    return packed


def check_name(name: str) -> None:
    """Raise Invalid for a name that the kernel would refuse or read as a pattern."""
    if not 1 <= len(name.encode()) <= NAME_LIMIT or name in (".", "..") or any(c in "/:%" or c.isspace() for c in name):
        raise Invalid(
            f"device name {name!r}: 1 to {NAME_LIMIT} bytes without '/', ':', '%' and spaces are needed", errno.EINVAL
        )


class Links:
    """The links of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- reading ----
    def list(self) -> tuple[Link, ...]:
        """All links, by index."""
        messages = self._socket.dump(rtnetlink.get_all_links(), action="list links")
        return tuple(parse_link(message) for message in messages if message.type == rtnetlink.RTM_NEWLINK)

    def get(self, name: str) -> Link:
        """One link. Raises NotFound."""
        check_name(name)
        return parse_link(self._socket.request(rtnetlink.get_link_by_name(name), action=f"read link {name}")[0])

    def find(self, name: str) -> Link | None:
        """One link, or None."""
        try:
            return self.get(name)
        except NotFound:
            return None

    # ---- creating and deleting ----
    def create_veth(
        self,
        name: str,
        peer: str,
        *,
        peer_netns: int | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        peer_mac: str | None = None,
        queues: int = 1,
    ) -> Link:
        """A pair, both ends down: `name` here, `peer` here or in another namespace. Raises AlreadyExists for either name."""
        check_name(peer)
        other = [text(rtnetlink.IFLA_IFNAME, peer), *_settings(mtu, peer_mac), *_queues(queues)]
        if peer_netns is not None:
            other.append(u32(_IFLA_NET_NS_FD, peer_netns))
        data = nested(_INFO_DATA, attribute(_VETH_INFO_PEER, _link_header() + b"".join(other)))
        return self._create(name, "veth", [*_settings(mtu, mac), *_queues(queues)], data=data)

    def create_ifb(self, name: str) -> Link:
        """A device that gives packets back to where they were redirected from, down. Raises AlreadyExists."""
        return self._create(name, "ifb", ())

    def create_ipip(self, name: str) -> Link:
        """An IPIP device of the kernel's, without ends of its own, down. Raises AlreadyExists, and Unsupported where the
        kernel has none."""
        return self._create(name, "ipip", ())

    def create_bridge(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> Link:
        """A bridge, down. Raises AlreadyExists."""
        return self._create(name, "bridge", _settings(mtu, mac))

    def create_wireguard(self, name: str) -> Link:
        """A WireGuard device of the kernel's, down. Raises AlreadyExists, and Unsupported where the kernel has none."""
        return self._create(name, "wireguard", ())

    def _create(self, name: str, kind: str, settings: Iterable[bytes], *, data: bytes = b"") -> Link:
        check_name(name)
        info = nested(_IFLA_LINKINFO, text(_INFO_KIND, kind), data)
        body = b"".join((_link_header(), text(rtnetlink.IFLA_IFNAME, name), *settings, info))
        request = Request(rtnetlink.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)
        self._socket.request(request, action=f"create {kind} {name}")
        return self.get(name)

    def delete(self, name: str) -> bool:
        """Remove a link (of a veth: both ends). True if it was there."""
        check_name(name)
        request = Request(rtnetlink.RTM_DELLINK, 0, _link_header() + text(rtnetlink.IFLA_IFNAME, name))
        try:
            self._socket.request(request, action=f"delete link {name}")
        except NotFound:
            return False
        return True

    # ---- changing ----
    def set_up(self, name: str) -> None:
        """Switch on. Raises NotFound, as all of these do."""
        self._set(name, "switch on", header=_link_header(flags=_IFF_UP, change=_IFF_UP))

    def set_down(self, name: str) -> None:
        """Switch off; the kernel drops the device's routes."""
        self._set(name, "switch off", header=_link_header(change=_IFF_UP))

    def set_mac(self, name: str, mac: str) -> None:
        """Change the MAC address."""
        self._set(name, "set the MAC address of", attribute(_IFLA_ADDRESS, pack_mac(mac)))

    def set_mtu(self, name: str, mtu: int) -> None:
        """Change the MTU."""
        self._set(name, f"set MTU {mtu} of", u32(_IFLA_MTU, mtu))

    def set_queue_length(self, name: str, packets: int) -> None:
        """How many packets wait for the device at most; a qdisc heeds it when it is made, which is when the link comes up."""
        self._set(name, f"set queue length {packets} of", u32(_IFLA_TXQLEN, packets))

    def set_alias(self, name: str, alias: str) -> None:
        """Leave a remark of at most 255 bytes with it."""
        self._set(name, "set the alias of", attribute(_IFLA_IFALIAS, alias.encode()))

    def set_master(self, name: str, master: str | None) -> None:
        """Make it a port of a bridge, or of none."""
        index = self.get(master).index if master is not None else 0
        self._set(name, f"set master {master} of", u32(_IFLA_MASTER, index))

    def rename(self, name: str, new_name: str) -> None:
        """Change the name. Raises AlreadyExists."""
        check_name(new_name)
        header = _link_header(index=self.get(name).index)
        request = Request(rtnetlink.RTM_NEWLINK, 0, header + text(rtnetlink.IFLA_IFNAME, new_name))
        self._socket.request(request, action=f"rename link {name} to {new_name}")

    def move(self, name: str, netns_fd: int, *, new_name: str | None = None) -> None:
        """Put it into another namespace, down and without addresses. Raises AlreadyExists if the name is taken there."""
        if new_name is not None:
            check_name(new_name)
        header = _link_header(index=self.get(name).index)
        named = text(rtnetlink.IFLA_IFNAME, new_name) if new_name is not None else b""
        request = Request(rtnetlink.RTM_NEWLINK, 0, header + named + u32(_IFLA_NET_NS_FD, netns_fd))
        self._socket.request(request, action=f"move link {name} to another network namespace")

    def _set(self, name: str, action: str, attributes: bytes = b"", *, header: bytes | None = None) -> None:
        check_name(name)
        body = (header or _link_header()) + text(rtnetlink.IFLA_IFNAME, name) + attributes
        self._socket.request(Request(rtnetlink.RTM_NEWLINK, 0, body), action=f"{action} link {name}")

    # ---- addresses ----
    def addresses(self, name: str | None = None) -> tuple[DeviceAddress, ...]:
        """Addresses of one device (NotFound if it is not there) or of all."""
        index = self.get(name).index if name is not None else 0
        request = Request(rtnetlink.RTM_GETADDR, 0, ADDRESS_HEADER.pack(AF_UNSPEC, 0, 0, 0, index))
        found = [_parse_device_address(message) for message in self._socket.dump(request, action="list addresses")]
        return tuple(entry for entry in found if entry is not None)

    def add_address(
        self, name: str, address: Interface, *, detect_duplicates: bool = False, chosen_as_source: bool = True
    ) -> None:
        """Give a device an address; one that it has is fine. IPv6 is usable at once, unless duplicates are looked for.

        One that is not `chosen_as_source` is what packets come from only if somebody asks for it.
        """
        flags = 0 if detect_duplicates or address.address.family is Family.V4 else _IFA_F_NODAD
        body = self._address_body(name, address, flags, scope=SCOPE_UNIVERSE if chosen_as_source else SCOPE_HOST)
        if not chosen_as_source:
            body += attribute(_IFA_CACHEINFO, _DEPRECATED)  # IPv6 derives the scope from the address
        request = Request(rtnetlink.RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)
        self._socket.request(request, action=f"add address {address} to {name}")

    def delete_address(self, name: str, address: Interface) -> bool:
        """Take an address, or a device that is gone with it, away. True if it was there."""
        try:
            request = Request(rtnetlink.RTM_DELADDR, 0, self._address_body(name, address, 0))
            self._socket.request(request, action=f"delete address {address} from {name}")
        except NotFound:
            return False
        return True

    def _address_body(self, name: str, address: Interface, flags: int, *, scope: int = SCOPE_UNIVERSE) -> bytes:
        family = FAMILY_NUMBERS[address.address.family]
        header = ADDRESS_HEADER.pack(family, address.length, flags, scope, self.get(name).index)
        packed = address.address.packed
        return header + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)

    # ---- neighbours ----
    def neighbours(self, name: str) -> tuple[Neighbour, ...]:
        """Entries of a device that know a MAC."""
        index = self.get(name).index
        request = Request(rtnetlink.RTM_GETNEIGH, 0, NEIGHBOUR_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0))
        found = [_parse_neighbour(message) for message in self._socket.dump(request, action="list neighbours")]
        return tuple(entry for entry in found if entry is not None and entry.index == index)

    def add_neighbour(self, name: str, address: Address, mac: str) -> None:
        """A permanent entry, replacing any other for the address."""
        header = NEIGHBOUR_HEADER.pack(FAMILY_NUMBERS[address.family], self.get(name).index, _NUD_PERMANENT, 0, 0)
        body = header + attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, pack_mac(mac))
        request = Request(rtnetlink.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)
        self._socket.request(request, action=f"add neighbour {address} to {name}")

    def delete_neighbour(self, name: str, address: Address) -> bool:
        """Remove an entry. True if it was there."""
        try:
            header = NEIGHBOUR_HEADER.pack(FAMILY_NUMBERS[address.family], self.get(name).index, 0, 0, 0)
            request = Request(rtnetlink.RTM_DELNEIGH, 0, header + attribute(_NDA_DST, address.packed))
            self._socket.request(request, action=f"delete neighbour {address} from {name}")
        except NotFound:
            return False
        return True


class LinkMonitor:
    """Notice of links that appear, change or go. Wait for `fileno()`, then `read`; construct it before the first `list`."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._subscription = open_subscription(netns_fd, (rtnetlink.GROUP_LINK,))

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._subscription.fileno()

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._subscription.close()

    def read(self) -> list[LinkChange]:
        """What happened since the last call, in order. Overflow: some was lost, list the links again."""
        known = (rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK)
        # A bridge also tells of its ports with its own family; those are not links coming and going.
        messages = (each for each in self._subscription.read() if each.type in known and each.body[0] == AF_UNSPEC)
        return [LinkChange(parse_link(message), message.type == rtnetlink.RTM_NEWLINK) for message in messages]


class AddressMonitor:
    """Notice of addresses that devices get or lose. Wait for `fileno()`, then `read`; construct it before the first reading."""

    def __init__(self, netns_fd: int | None = None) -> None:
        groups = (rtnetlink.GROUP_IPV4_ADDRESS, rtnetlink.GROUP_IPV6_ADDRESS)
        self._subscription = open_subscription(netns_fd, groups)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._subscription.fileno()

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._subscription.close()

    def read(self) -> list[DeviceAddress]:
        """Addresses that came or went since the last call, in order. Overflow: some was lost, list the addresses again."""
        known = (rtnetlink.RTM_NEWADDR, rtnetlink.RTM_DELADDR)
        found = [_parse_device_address(message) for message in self._subscription.read() if message.type in known]
        return [entry for entry in found if entry is not None]


def parse_link(message: Message) -> Link:
    """A link message as a value."""
    _, _, _, index, flags, _ = LINK_HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, LINK_HEADER.size)
    info = parse_attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=string(found.get(rtnetlink.IFLA_IFNAME, b"")),
        kind=string(info.get(_INFO_KIND, b"")),
        up=bool(flags & _IFF_UP),
        running=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=unpack_u32(found[_IFLA_MTU]) if _IFLA_MTU in found else 0,
        master=unpack_u32(found[_IFLA_MASTER]) if _IFLA_MASTER in found else None,
        peer=(unpack_u32(found[_IFLA_LINK]) or None) if _IFLA_LINK in found else None,
        alias=string(found.get(_IFLA_IFALIAS, b"")),
    )


def _parse_device_address(message: Message) -> DeviceAddress | None:
    _, length, _, scope, index = ADDRESS_HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, ADDRESS_HEADER.size)
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)  # IFA_ADDRESS of a point-to-point link is the other end
    return DeviceAddress(index, Interface(unpack_address(packed), length), scope) if packed else None


def _parse_neighbour(message: Message) -> Neighbour | None:
    _, index, state, _, _ = NEIGHBOUR_HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, NEIGHBOUR_HEADER.size)
    if _NDA_DST not in found or len(found.get(_NDA_LLADDR, b"")) != 6:
        return None
    address = unpack_address(found[_NDA_DST])
    return Neighbour(index, address, found[_NDA_LLADDR].hex(":"), bool(state & _NUD_PERMANENT))


def _queues(count: int) -> list[bytes]:
    return [] if count == 1 else [u32(_IFLA_NUM_TX_QUEUES, count), u32(_IFLA_NUM_RX_QUEUES, count)]


def _link_header(*, index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return LINK_HEADER.pack(AF_UNSPEC, 0, 0, index, flags, change)


def _settings(mtu: int | None, mac: str | None) -> list[bytes]:
    found = []
    if mtu:
        found.append(u32(_IFLA_MTU, mtu))
    if mac is not None:
        found.append(attribute(_IFLA_ADDRESS, pack_mac(mac)))
    return found
