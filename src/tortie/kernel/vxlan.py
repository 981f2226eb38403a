"""VXLAN devices of one network namespace: what they are made of, making them, reading them back.

Up, down, MTU, MAC and addresses are those of any link (link); whom a device sends to stands in remotes.
"""

from dataclasses import dataclass

from tortie.base.net import Address, Family
from tortie.kernel import rtnetlink
from tortie.kernel.errors import NotFound
from tortie.kernel.link import check_name, pack_mac
from tortie.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Request,
    attribute,
    be16,
    nested,
    parse_attributes,
    string,
    text,
    u8,
    u32,
)
from tortie.kernel.rtnetlink import LINK_HEADER, open_requests, unpack_address, unpack_u32

KIND = "vxlan"
LARGEST_VNI = (1 << 24) - 1

_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINKINFO = 1, 4, 18
_INFO_KIND, _INFO_DATA = 1, 2
_ID, _GROUP, _LINK, _LOCAL, _LEARNING, _PROXY, _L2MISS, _L3MISS = 1, 2, 3, 4, 7, 11, 13, 14
_PORT, _GROUP6, _LOCAL6, _UDP_CHECKSUM, _GBP, _METADATA, _GPE = 15, 16, 17, 18, 23, 25, 27
_SWITCHES = {_LEARNING: "learning", _PROXY: "proxy", _L2MISS: "l2miss", _L3MISS: "l3miss", _METADATA: "external"}
_FLAGS = {_GBP: "gbp", _GPE: "gpe"}


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What cannot change while the device lives. Ours neither learn nor flood: `extras` and `group` are of foreign ones."""

    vni: int
    port: int
    local: Address | None
    """The outer source address."""
    parent: int
    """Index of the device that it sends through; 0 leaves that to the routes."""
    group: Address | None = None
    """Where frames go whose receiver it does not know."""
    extras: frozenset[str] = frozenset()
    """Whatever else is switched on, by the names that `ip link` has for it."""


class Vxlans:
    """The VXLAN devices of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def __enter__(self) -> "Vxlans":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, name: str) -> Vxlan | None:
        """What the device of this name is made of; None if there is none, or one of another kind."""
        check_name(name)
        try:
            answer = self._socket.request(rtnetlink.get_link_by_name(name), action=f"read link {name}")
        except NotFound:
            return None
        return _parse(answer[0])

    def create(self, name: str, vxlan: Vxlan, *, mac: str, mtu: int) -> None:
        """A device that is down. Raises AlreadyExists, NotFound for the parent.

        Over IPv4 its datagrams carry no checksum of their own (RFC 7348; what is inside has one), over IPv6 they must.
        """
        check_name(name)
        data = [u32(_ID, vxlan.vni), be16(_PORT, vxlan.port), u8(_LEARNING, "learning" in vxlan.extras)]
        data.append(u8(_UDP_CHECKSUM, 0))
        if vxlan.parent:
            data.append(u32(_LINK, vxlan.parent))
        if vxlan.local is not None:
            kind = _LOCAL if vxlan.local.family is Family.V4 else _LOCAL6
            data.append(attribute(kind, vxlan.local.packed))
        body = b"".join(
            (
                LINK_HEADER.pack(rtnetlink.AF_UNSPEC, 0, 0, 0, 0, 0),
                text(rtnetlink.IFLA_IFNAME, name),
                attribute(_IFLA_ADDRESS, pack_mac(mac)),
                u32(_IFLA_MTU, mtu),
                nested(_IFLA_LINKINFO, text(_INFO_KIND, KIND), nested(_INFO_DATA, *data)),
            )
        )
        request = Request(rtnetlink.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)
        self._socket.request(request, action=f"create {KIND} {name} (VNI {vxlan.vni}, port {vxlan.port}, from {vxlan.local})")


def _parse(message: Message) -> Vxlan | None:
    info = parse_attributes(parse_attributes(message.body, LINK_HEADER.size).get(_IFLA_LINKINFO, b""))
    if string(info.get(_INFO_KIND, b"")) != KIND:
        return None
    data = parse_attributes(info.get(_INFO_DATA, b""))
    extras = {name for kind, name in _SWITCHES.items() if any(data.get(kind, b""))}
    extras |= {name for kind, name in _FLAGS.items() if kind in data}
    return Vxlan(
        vni=unpack_u32(data[_ID]) if _ID in data else 0,
        port=int.from_bytes(data.get(_PORT, b""), "big"),
        local=_address(data, _LOCAL, _LOCAL6),
        parent=unpack_u32(data[_LINK]) if _LINK in data else 0,
        group=_address(data, _GROUP, _GROUP6),
        extras=frozenset(extras),
    )


def _address(data: dict[int, bytes], *kinds: int) -> Address | None:
    return next((unpack_address(data[kind]) for kind in kinds if any(data.get(kind, b""))), None)
