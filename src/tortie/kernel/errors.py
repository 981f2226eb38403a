"""What the kernel refused, as one tree. Every error carries the errno and, where the kernel gave one, its own explanation.

KernelError
├── NotFound          ENOENT ESRCH ENODEV ENXIO EADDRNOTAVAIL
├── AlreadyExists     EEXIST EADDRINUSE
├── Busy              EBUSY EAGAIN EINTR ERESTART, and a dump that kept changing under us
├── PermissionDenied  EPERM EACCES
├── Invalid           EINVAL ERANGE EMSGSIZE EBADMSG E2BIG
├── Unsupported       EOPNOTSUPP EAFNOSUPPORT EPROTONOSUPPORT EPROTOTYPE
├── Unreachable       ENETUNREACH EHOSTUNREACH ENETDOWN
├── Overflow          ENOBUFS ENOMEM: answers or notifications were lost, read everything again
└── NftError          one nftables transaction, or the reading of our table, failed for good
"""

import errno as numbers
import os

from tortie.base.errors import TortieError

ERESTART = 85  # not in Python's errno on every platform; nf_tables says so when the generation moved on


class KernelError(TortieError):
    """The kernel refused. `errno` is 0 where the failure is not one of the kernel's numbers."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class NotFound(KernelError):
    """The object, or one that it refers to, does not exist."""


class AlreadyExists(KernelError):
    """The object exists and the request asked for a new one."""


class Busy(KernelError):
    """Something still uses the object, or it kept changing; trying again may help."""


class PermissionDenied(KernelError):
    """CAP_NET_ADMIN is missing in the namespace, or another process owns the object."""


class Invalid(KernelError):
    """The kernel does not accept the request's content."""


class Unsupported(KernelError):
    """This kernel was built without it, or the address family does not have it."""


class Unreachable(KernelError):
    """A gateway has no route, or its device is down."""


class Overflow(KernelError):
    """Messages for us were dropped: what we know of the kernel is no longer complete."""


class NftError(KernelError):
    """An nftables transaction or read-back failed; nothing of the transaction is in the kernel."""


_KINDS: dict[int, type[KernelError]] = {
    **dict.fromkeys((numbers.ENOENT, numbers.ESRCH, numbers.ENODEV, numbers.ENXIO, numbers.EADDRNOTAVAIL), NotFound),
    **dict.fromkeys((numbers.EEXIST, numbers.EADDRINUSE), AlreadyExists),
    **dict.fromkeys((numbers.EBUSY, numbers.EAGAIN, numbers.EINTR, ERESTART), Busy),
    **dict.fromkeys((numbers.EPERM, numbers.EACCES), PermissionDenied),
    **dict.fromkeys((numbers.EINVAL, numbers.ERANGE, numbers.EMSGSIZE, numbers.EBADMSG, numbers.E2BIG), Invalid),
    **dict.fromkeys(
        (numbers.EOPNOTSUPP, numbers.EAFNOSUPPORT, numbers.EPROTONOSUPPORT, numbers.EPROTOTYPE),
        Unsupported,
    ),
    **dict.fromkeys((numbers.ENETUNREACH, numbers.EHOSTUNREACH, numbers.ENETDOWN), Unreachable),
    **dict.fromkeys((numbers.ENOBUFS, numbers.ENOMEM), Overflow),
}


def kernel_error(errno: int, action: str, detail: str = "") -> KernelError:
    """The error for `errno` (positive) while doing `action`; `detail` is the kernel's own text."""
    name = numbers.errorcode.get(errno, str(errno))
    text = f"{action}: {os.strerror(errno)} ({name})" + (f": {detail}" if detail else "")
    return _KINDS.get(errno, KernelError)(text, errno)
