"""Room in the receive buffers of another process's UDP sockets.

Debian's wireguard-go (0.0.20220316) leaves its sockets at net.core.rmem_default, 208 KiB or some 90 full packets: one bulk
transfer between two pods loses every sixth packet there. What a later wireguard-go does itself, and as much of it, is done from
outside: pidfd_getfd(2) (Linux 5.6) duplicates the descriptor, and the option belongs to the socket, not to the descriptor.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterator

from tortie.kernel.errors import kernel_error

BYTES = 7 << 20
"""What later versions of wireguard-go ask for. The kernel keeps, and tells, twice as much (socket(7))."""
_PIDFD_GETFD = 438  # one number on all architectures
_SO_RCVBUFFORCE = 33  # beyond net.core.rmem_max, with CAP_NET_ADMIN

_libc = ctypes.CDLL(None, use_errno=True)


def widen(pid: int) -> int:
    """Give every IP datagram socket of a process room for `BYTES`; returns how many had less.

    Raises KernelError, PermissionDenied without CAP_NET_ADMIN or the right to trace the process (Yama may refuse it).
    """
    widened = 0
    try:
        process = os.pidfd_open(pid)
        try:
            for found in _sockets(pid, process):
                with found:
                    widened += _widen(found)
        finally:
            os.close(process)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"widen the receive buffers of process {pid}") from error
    return widened


def _sockets(pid: int, process: int) -> Iterator[socket.socket]:
    """Duplicates, one after another, of those that the process does not close meanwhile; the caller closes them."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}").startswith("socket:"):
                yield socket.socket(fileno=_duplicate(process, int(name)))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBADF):
                raise


def _duplicate(process: int, descriptor: int) -> int:
    found: int = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


def _widen(found: socket.socket) -> bool:
    is_ours = found.type == socket.SOCK_DGRAM and found.family in (socket.AF_INET, socket.AF_INET6)
    if not is_ours or found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * BYTES:
        return False
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BYTES)
    return True
