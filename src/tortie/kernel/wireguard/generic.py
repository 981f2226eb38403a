"""WireGuard of the kernel, over generic netlink.

The device itself is a link of kind "wireguard". A kernel that has none says Unsupported when one is to be made.
"""

import errno
import struct
from collections.abc import Iterator

from tortie.base.net import Address, Family, Prefix, address_from_bytes
from tortie.kernel import netns
from tortie.kernel.errors import AlreadyExists, NotFound, Unsupported
from tortie.kernel.link import Links
from tortie.kernel.netlink import (
    NETLINK_GENERIC,
    Message,
    Request,
    RequestSocket,
    attribute,
    iterate_attributes,
    nested,
    parse_attributes,
    text,
    u8,
    u16,
    u32,
)
from tortie.kernel.wireguard.device import Change, Device, Peer, PeerState
from tortie.kernel.wireguard.keys import PrivateKey, decode, encode

KIND = "wireguard"

_HEADER = struct.Struct("=BBH")
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GET_DEVICE, _SET_DEVICE, _VERSION = 0, 1, 1
_A_IFNAME, _A_PRIVATE_KEY, _A_PORT, _A_MARK, _A_PEERS = 2, 3, 6, 7, 8
_P_PUBLIC_KEY, _P_FLAGS, _P_ENDPOINT, _P_KEEPALIVE, _P_HANDSHAKE = 1, 3, 4, 5, 6
_P_RECEIVED, _P_SENT, _P_ALLOWED = 7, 8, 9
_I_FAMILY, _I_ADDRESS, _I_LENGTH = 1, 2, 3
_REMOVE_PEER, _REPLACE_ALLOWED, _UPDATE_ONLY = 1, 2, 4
_INET, _INET6 = 2, 10
_PEER_BYTES = 24_000
"""An attribute has at most 65535 bytes, and so have all peers of one message together."""
_ALLOWED_AT_ONCE = 400


class KernelWireguard:
    """The kernel's devices in one namespace: that of `netns_fd`, or the calling thread's at construction."""

    def __init__(self, links: Links, netns_fd: int | None = None) -> None:
        self._links = links
        self._socket = netns.in_netns(netns_fd, lambda: RequestSocket(NETLINK_GENERIC))
        self._family = 0

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    async def create(self, name: str) -> None:
        """Make the device, down; adopts one that is there."""
        try:
            self._links.create_wireguard(name)
        except AlreadyExists:
            return

    async def delete(self, name: str) -> bool:
        """Remove the device. True if it was there."""
        return self._links.delete(name)

    def read(self, name: str) -> Device:
        """How the device is set."""
        request = Request(self._number(), 0, _HEADER.pack(_GET_DEVICE, _VERSION, 0) + text(_A_IFNAME, name))
        return parse_device(self._socket.dump(request, action=f"read WireGuard device {name}"))

    def write(self, name: str, change: Change) -> None:
        """One message, or several for many peers: then each of them is complete by itself."""
        header = _HEADER.pack(_SET_DEVICE, _VERSION, 0) + text(_A_IFNAME, name)
        for body in change_bodies(change):
            self._socket.request(Request(self._number(), 0, header + body), action=f"set WireGuard device {name}")

    def _number(self) -> int:
        """The family's number, which it has from the moment when the module is there."""
        if not self._family:
            body = _HEADER.pack(_GET_FAMILY, 1, 0) + text(_FAMILY_NAME, KIND)
            try:
                answer = self._socket.request(Request(_CONTROL, 0, body), action="find WireGuard in this kernel")
            except NotFound as error:
                raise Unsupported("this kernel has no WireGuard", errno.EOPNOTSUPP) from error
            found = parse_attributes(answer[0].body, _HEADER.size)
            self._family = int(struct.unpack_from("=H", found[_FAMILY_ID])[0])
        return self._family


def change_bodies(change: Change) -> Iterator[bytes]:
    """Attributes of one message after the other; none for a change that changes nothing."""
    if not change:
        return
    parts = []
    if change.private_key is not None:
        parts.append(attribute(_A_PRIVATE_KEY, change.private_key.raw))
    if change.port is not None:
        parts.append(u16(_A_PORT, change.port))
    if change.mark is not None:
        parts.append(u32(_A_MARK, change.mark))
    peers: list[bytes] = []
    for entry in _peer_entries(change):
        if peers and sum(map(len, peers)) + len(entry) > _PEER_BYTES:
            yield b"".join((*parts, nested(_A_PEERS, *peers)))
            parts, peers = [], []
        peers.append(entry)
    yield b"".join((*parts, *([nested(_A_PEERS, *peers)] if peers else [])))


def _peer_entries(change: Change) -> Iterator[bytes]:
    for key in change.removed:
        yield nested(0, attribute(_P_PUBLIC_KEY, decode(key)), u32(_P_FLAGS, _REMOVE_PEER))
    for peer in change.extended:
        yield from _entries(peer, _UPDATE_ONLY)
    for peer in change.peers:
        yield from _entries(peer, _REPLACE_ALLOWED)


def _entries(peer: Peer, flags: int) -> Iterator[bytes]:
    """One, or several for many networks: only the first does more than add."""
    key = attribute(_P_PUBLIC_KEY, decode(peer.public_key))
    head = [key, u32(_P_FLAGS, flags), u16(_P_KEEPALIVE, peer.keepalive_seconds)]
    if peer.endpoint is not None:
        head.append(attribute(_P_ENDPOINT, pack_endpoint(*peer.endpoint)))
    allowed = [_allowed(prefix) for prefix in sorted(peer.allowed)]
    yield nested(0, *head, nested(_P_ALLOWED, *allowed[:_ALLOWED_AT_ONCE]))
    for begin in range(_ALLOWED_AT_ONCE, len(allowed), _ALLOWED_AT_ONCE):
        yield nested(0, key, nested(_P_ALLOWED, *allowed[begin : begin + _ALLOWED_AT_ONCE]))


def _allowed(prefix: Prefix) -> bytes:
    family = _INET if prefix.family is Family.V4 else _INET6
    return nested(0, u16(_I_FAMILY, family), attribute(_I_ADDRESS, prefix.network.packed), u8(_I_LENGTH, prefix.length))


def pack_endpoint(address: Address, port: int) -> bytes:
    """A struct sockaddr_in or sockaddr_in6."""
    place = port.to_bytes(2, "big")
    if address.family is Family.V4:
        return struct.pack("=H", _INET) + place + address.packed + bytes(8)
    return struct.pack("=H", _INET6) + place + bytes(4) + address.packed + bytes(4)


def unpack_endpoint(payload: bytes) -> tuple[Address, int]:
    """The inverse of `pack_endpoint`."""
    port = int.from_bytes(payload[2:4], "big")
    (family,) = struct.unpack_from("=H", payload)
    return address_from_bytes(payload[4:8] if family == _INET else payload[8:24]), port


def parse_device(messages: list[Message]) -> Device:
    """A device from its dump. A peer with many networks goes on in the message after."""
    settings: dict[int, bytes] = {}
    peers: dict[str, PeerState] = {}
    for message in messages:
        found = parse_attributes(message.body, _HEADER.size)
        settings |= {kind: payload for kind, payload in found.items() if kind != _A_PEERS}
        for _, entry in iterate_attributes(found.get(_A_PEERS, b"")):
            state = _parse_peer(entry)
            known = peers.get(state.peer.public_key)
            peers[state.peer.public_key] = state if known is None else _continued(known, state)
    packed = settings.get(_A_PRIVATE_KEY, b"")
    private = PrivateKey(packed) if any(packed) else None
    return Device(
        private_key=private,
        public_key=private.public if private is not None else "",
        port=struct.unpack_from("=H", settings[_A_PORT])[0] if _A_PORT in settings else 0,
        mark=struct.unpack_from("=I", settings[_A_MARK])[0] if _A_MARK in settings else 0,
        peers=peers,
    )


def _parse_peer(entry: bytes) -> PeerState:
    found = parse_attributes(entry)
    endpoint = found.get(_P_ENDPOINT, b"")
    seconds, nanoseconds = struct.unpack_from("=qq", found[_P_HANDSHAKE]) if _P_HANDSHAKE in found else (0, 0)
    return PeerState(
        Peer(
            encode(found[_P_PUBLIC_KEY]),
            endpoint=unpack_endpoint(endpoint) if endpoint else None,
            allowed=frozenset(map(_parse_allowed, (each for _, each in iterate_attributes(found.get(_P_ALLOWED, b""))))),
            keepalive_seconds=struct.unpack_from("=H", found[_P_KEEPALIVE])[0] if _P_KEEPALIVE in found else 0,
        ),
        last_handshake=seconds + nanoseconds / 1e9,
        received_bytes=_unsigned(found.get(_P_RECEIVED)),
        sent_bytes=_unsigned(found.get(_P_SENT)),
    )


def _continued(known: PeerState, more: PeerState) -> PeerState:
    peer = known.peer
    allowed = peer.allowed | more.peer.allowed
    whole = Peer(peer.public_key, peer.endpoint, allowed=allowed, keepalive_seconds=peer.keepalive_seconds)
    return PeerState(whole, known.last_handshake, received_bytes=known.received_bytes, sent_bytes=known.sent_bytes)


def _parse_allowed(entry: bytes) -> Prefix:
    found = parse_attributes(entry)
    address = address_from_bytes(found[_I_ADDRESS])
    return Prefix(address.family, address.value, found[_I_LENGTH][0])


def _unsigned(payload: bytes | None) -> int:
    return int(struct.unpack_from("=Q", payload)[0]) if payload else 0
