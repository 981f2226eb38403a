"""Mounts, only ever in a mount namespace of our own: what a lab in a user namespace needs, and a process that insists on one
place for its files.
"""

import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

from tortie.kernel import netns
from tortie.kernel.errors import kernel_error

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 1 << 19
T = TypeVar("T")
_Mount = Callable[[str, str, str, int], None]


def tmpfs(folder: str) -> None:
    """Mount an empty tmpfs on a folder. Raises KernelError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), b"mode=755") != 0:
        raise kernel_error(ctypes.get_errno(), f"mount a tmpfs on {folder}")


def with_bound(source: str, target: str, function: Callable[[], T]) -> T:
    """What `function` returns or raises where the folder `target` is the folder `source`; for processes that it starts too.

    Everybody else sees `target` as it was. What is unmounted elsewhere later goes away there too, so that nothing is held.
    """
    return _apart(lambda mount: mount(source, target, "none", _MS_BIND), function)


def with_sysfs(netns_fd: int | None, function: Callable[[], T]) -> T:
    """What `function` returns or raises where /sys shows the devices of a network namespace (None: the calling thread's)."""
    return netns.in_netns(netns_fd, lambda: _apart(lambda mount: mount("sysfs", "/sys", "sysfs", 0), function))


def _apart(prepare: Callable[[_Mount], None], function: Callable[[], T]) -> T:
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(what: str, where: str, kind: str, flags: int) -> None:
        if libc.mount(os.fsencode(what), os.fsencode(where), kind.encode(), ctypes.c_ulong(flags), None) != 0:
            raise kernel_error(ctypes.get_errno(), f"mount {what} on {where}")

    def work() -> T:
        if libc.unshare(_CLONE_NEWNS) != 0:
            raise kernel_error(ctypes.get_errno(), "new mount namespace")
        mount("none", "/", "none", _MS_SLAVE | _MS_REC)
        prepare(mount)
        return function()

    return netns.in_thread(work)
