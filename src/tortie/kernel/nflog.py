"""nflog: packets that a rule's `log group N` hands to user space (include/uapi/linux/netfilter/nfnetlink_log.h).

One reader a group and network namespace: the kernel refuses a second one. Nothing is left behind at close: the binding
belongs to the socket.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tortie.base.net import Address, address_from_bytes
from tortie.kernel.errors import Overflow
from tortie.kernel.netlink import NETLINK_NETFILTER, Request, RequestSocket, attribute, be32, parse_attributes, string

_SUBSYSTEM = 4
_PACKET = _SUBSYSTEM << 8
_CONFIG = _SUBSYSTEM << 8 | 1
_CFG_CMD, _CFG_MODE, _CFG_QTHRESH = 1, 2, 5
_CMD_BIND = 1
_COPY_PACKET = 2
_INDEV, _OUTDEV, _PAYLOAD, _PREFIX = 4, 5, 9, 10
_WITH_PORTS = (6, 17, 132, 136)
_V6_EXTENSIONS = (0, 43, 60)


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """What is known of one packet. Addresses are None when the packet is not IP; ports where the protocol has none."""

    prefix: str
    in_interface: int
    out_interface: int
    source: Address | None = None
    destination: Address | None = None
    protocol: int = 0
    source_port: int | None = None
    destination_port: int | None = None


class NflogReader:
    """Reads groups in the network namespace of the thread that constructs it. Wait on `fileno`, then `read`."""

    def __init__(self, groups: Iterable[int], *, copy_bytes: int = 128) -> None:
        self._socket = RequestSocket(NETLINK_NETFILTER)
        try:
            for group in groups:
                header = struct.pack("!BBH", 0, 0, group)
                bind = attribute(_CFG_CMD, struct.pack("!B", _CMD_BIND))
                self._socket.request(Request(_CONFIG, 0, header + bind), action=f"nflog: bind group {group}")
                mode = attribute(_CFG_MODE, struct.pack("!IBB", copy_bytes, _COPY_PACKET, 0)) + be32(_CFG_QTHRESH, 1)
                self._socket.request(Request(_CONFIG, 0, header + mode), action=f"nflog: configure group {group}")
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def read(self) -> Iterator[LoggedPacket]:
        """Every packet that is queued now. Packets that the kernel had to drop are gone: logs are a best effort."""
        try:
            messages = self._socket.drain()
        except Overflow:
            return
        for message in messages:
            if message.type == _PACKET:
                yield parse_packet(message.body)

    def close(self) -> None:
        """Unbind. Idempotent."""
        self._socket.close()


def parse_packet(body: bytes) -> LoggedPacket:
    """One NFULNL_MSG_PACKET, from its nfgenmsg header on."""
    found = parse_attributes(body, 4)
    prefix = string(found.get(_PREFIX, b""))
    incoming, outgoing = (struct.unpack("!I", found[kind])[0] if kind in found else 0 for kind in (_INDEV, _OUTDEV))
    data = found.get(_PAYLOAD, b"")
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        protocol, source, destination, offset = data[9], data[12:16], data[16:20], (data[0] & 15) * 4
    elif version == 6 and len(data) >= 40:
        protocol, source, destination, offset = data[6], data[8:24], data[24:40], 40
        while protocol in _V6_EXTENSIONS and len(data) >= offset + 8:
            protocol, offset = data[offset], offset + 8 + data[offset + 1] * 8
    else:
        return LoggedPacket(prefix, incoming, outgoing)
    ports: tuple[int | None, int | None] = (None, None)
    if protocol in _WITH_PORTS and len(data) >= offset + 4:
        ports = struct.unpack_from("!HH", data, offset)
    return LoggedPacket(
        prefix, incoming, outgoing, address_from_bytes(source), address_from_bytes(destination), protocol, ports[0], ports[1]
    )
