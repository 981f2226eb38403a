"""Kernel parameters below /proc/sys, in the calling thread's network namespace (for another: `netns.in_netns`).

Names are paths with slashes (`net/ipv4/conf/eth0/rp_filter`), because device names may contain dots.
"""

import os
from collections.abc import Mapping

from tortie.kernel import netns
from tortie.kernel.errors import NotFound, kernel_error

_ROOT = "/proc/sys"


def read(name: str) -> str:
    """The value without its line end. NotFound where this kernel, or this device, does not have it."""
    try:
        with open(_path(name), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        raise kernel_error(error.errno or 0, f"read sysctl {name}") from error


def write(name: str, value: str | int) -> bool:
    """Set the value unless it is already so; True if it was changed. Raises NotFound and other KernelErrors."""
    wanted = str(value)
    if read(name) == wanted:
        return False
    try:
        with open(_path(name), "w", encoding="ascii") as file:
            file.write(wanted)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"write {wanted!r} to sysctl {name}") from error
    return True


def write_many(values: Mapping[str, str | int], *, netns_fd: int | None = None) -> tuple[str, ...]:
    """Set several, in order, in a namespace; the names that do not exist there are skipped and returned."""

    def work() -> tuple[str, ...]:
        missing = []
        for name, value in values.items():
            try:
                write(name, value)
            except NotFound:
                missing.append(name)
        return tuple(missing)

    return netns.in_netns(netns_fd, work)


def read_in(netns_fd: int | None, name: str) -> str:
    """`read` in a namespace."""
    return netns.in_netns(netns_fd, lambda: read(name))


def _path(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise NotFound(f"sysctl {name!r}: not a name below {_ROOT}")
    return os.path.join(_ROOT, name)
