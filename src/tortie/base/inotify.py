"""Notices of changes to the files of one directory, from Linux inotify by way of libc.

ctypes stands here because the standard library has no inotify and two packages of one layer may need it.
"""

import ctypes
import os
import struct

_EVENT = struct.Struct("iIII")
_IN_MODIFY = 0x2
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_Q_OVERFLOW = 0x4000
_ANY_CHANGE = _IN_MODIFY | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_READ_SIZE = 64 * 1024


class DirectoryWatch:
    """Names of files that were written, created, moved or removed in `directory`. Not recursive.

    `fileno()` becomes readable when there is news; `names()` then takes it. Raises OSError where inotify is missing or its
    limits are used up: the caller polls instead.
    """

    def __init__(self, directory: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            init, add_watch = libc.inotify_init1, libc.inotify_add_watch
        except AttributeError as error:
            raise OSError("this C library has no inotify") from error
        add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        self._fd: int = init(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        if add_watch(self._fd, os.fsencode(directory), _ANY_CHANGE) < 0:
            code = ctypes.get_errno()
            self.close()
            raise OSError(code, f"cannot watch {directory}: {os.strerror(code)}")

    def fileno(self) -> int:
        """The descriptor to wait on; -1 when closed."""
        return self._fd

    def names(self) -> frozenset[str] | None:
        """Names that changed since the last call, without waiting. None: notices were lost, anything may have changed."""
        found: set[str] = set()
        lost = False
        while True:
            try:
                data = os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                return None if lost else frozenset(found)
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                lost = lost or bool(mask & _IN_Q_OVERFLOW)
                if length:
                    found.add(os.fsdecode(data[at : at + length].rstrip(b"\0")))
                at += length

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
