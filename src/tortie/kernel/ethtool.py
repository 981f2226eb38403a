"""Checksum offload of devices: read and switched (SIOCETHTOOL)."""

import ctypes
import fcntl
import os
import re
import socket
import struct

from tortie.kernel import netns
from tortie.kernel.errors import kernel_error
from tortie.kernel.link import check_name

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM, _SET_TX_CHECKSUM = 0x16, 0x17
_LAST_BROKEN = (5, 7)


def checksum_offload_is_broken(release: str = "") -> bool:
    """True for kernels that spoil inner checksums of what goes through VXLAN and is masqueraded (until 5.7, Calico's rule).

    `release` is what `uname -r` says; of this machine if empty. One that cannot be read counts as new.
    """
    found = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) <= _LAST_BROKEN


class Offload:
    """The devices of one network namespace; None is the calling thread's. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = netns.in_netns(netns_fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def transmits_checksums(self, device: str) -> bool:
        """True if the device is given packets whose checksum it has to fill in itself. Raises NotFound, Unsupported."""
        return bool(self._ask(device, _GET_TX_CHECKSUM, 0, "read checksum offload of"))

    def set_transmits_checksums(self, device: str, on: bool) -> None:
        """Switch it. Raises NotFound, Unsupported."""
        self._ask(device, _SET_TX_CHECKSUM, int(on), f"switch checksum offload {'on' if on else 'off'} for")

    def _ask(self, device: str, command: int, value: int, action: str) -> int:
        check_name(device)
        question = ctypes.create_string_buffer(struct.pack("=II", command, value), 8)
        request = bytearray(struct.pack("16sP16x", device.encode(), ctypes.addressof(question)))
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError as error:
            raise kernel_error(error.errno or 0, f"{action} {device}") from error
        answer: int = struct.unpack("=II", question.raw)[1]
        return answer
