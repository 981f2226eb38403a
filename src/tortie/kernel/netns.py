"""Network namespaces: named ones as iproute2 keeps them (/run/netns/NAME), and work inside any of them.

A thread that has switched its namespace is never used for anything else: each piece of work gets a thread of its own, which
ends with it. Nothing here forks. Ours are recognised by their name's prefix, which is the caller's to choose.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from tortie.kernel.errors import Invalid, NotFound, kernel_error

FOLDER = "/run/netns"

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 1 << 20
_MNT_DETACH = 2
_OURS = "/proc/thread-self/ns/net"
_LIBC = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class Identity(NamedTuple):
    """What tells network namespaces apart: device and inode of their file."""

    device: int
    inode: int


def path_of(name: str) -> str:
    """The file of a named namespace. Raises Invalid for a name that is not a file name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
        raise Invalid(f"network namespace name {name!r}: 1 to 255 bytes without a slash are needed", errno.EINVAL)
    return f"{FOLDER}/{name}"


def list_names() -> list[str]:
    """Names of all named namespaces, sorted."""
    try:
        return sorted(os.listdir(FOLDER))
    except FileNotFoundError:
        return []


def exists(name: str) -> bool:
    """True if there is a namespace of this name."""
    return os.path.exists(path_of(name))


def create(name: str) -> None:
    """Make an empty namespace (its loopback is down, as always). Raises AlreadyExists; leaves nothing after a failure."""
    path = path_of(name)
    _prepare_folder()
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except OSError as error:
        raise kernel_error(error.errno or 0, f"create network namespace {name}") from error
    try:
        in_thread(lambda: _unshare_and_bind(path))
    except BaseException:
        os.unlink(path)
        raise


def delete(name: str) -> None:
    """Take the name away; the namespace itself ends with its last user. A name that is not there is fine."""
    path = path_of(name)
    if _LIBC.umount2(os.fsencode(path), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):  # EINVAL: a plain file, what an interrupted create leaves
            raise kernel_error(number, f"unmount network namespace {name}")
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise kernel_error(error.errno or 0, f"delete network namespace {name}") from error


def open_path(path: str) -> int:
    """A descriptor of the namespace at any path, to be closed by the caller. NotFound if there is none."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"open network namespace {path}") from error


def open_named(name: str) -> int:
    """A descriptor of a named namespace, to be closed by the caller. NotFound if there is none."""
    return open_path(path_of(name))


@contextlib.contextmanager
def opened(name: str) -> Iterator[int]:
    """The descriptor of a named namespace for the length of a block."""
    fd = open_named(name)
    try:
        yield fd
    finally:
        os.close(fd)


def identity(fd: int) -> Identity:
    """Which namespace a descriptor stands for."""
    found = os.fstat(fd)
    return Identity(found.st_dev, found.st_ino)


def current_identity() -> Identity:
    """Which namespace the calling thread is in."""
    found = os.stat(_OURS)
    return Identity(found.st_dev, found.st_ino)


def in_netns(fd: int | None, function: Callable[[], T]) -> T:
    """What `function` returns or raises in the namespace of a descriptor, in a thread of its own; None is right here.

    Sockets that it opens stay in that namespace and may be used by any thread.
    """
    if fd is None:
        return function()

    def work() -> T:
        _switch(fd)
        return function()

    return in_thread(work)


def run_in_named(name: str, function: Callable[[], T]) -> T:
    """`in_netns` by name. NotFound if there is no such namespace."""
    with opened(name) as fd:
        return in_netns(fd, function)


class _Outcome(Generic[T]):
    """What a thread's work came to."""

    value: T
    error: BaseException | None = None


def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises in a thread of its own, which may leave namespaces that the others share."""
    outcome = _Outcome[T]()

    def work() -> None:
        try:
            outcome.value = function()
        except BaseException as error:  # carried to the caller's thread whatever it is
            outcome.error = error

    thread = threading.Thread(target=work, name="netns", daemon=True)
    thread.start()
    thread.join()
    if outcome.error is not None:
        try:
            raise outcome.error
        finally:
            outcome.error = None  # else error -> traceback -> frame -> outcome -> error
    return outcome.value


def _switch(fd: int) -> None:
    if _LIBC.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        if number == errno.EBADF:
            raise NotFound("enter network namespace: the descriptor is closed", number)
        raise kernel_error(number, "enter network namespace")


def _unshare_and_bind(path: str) -> None:
    if _LIBC.unshare(_CLONE_NEWNET) != 0:
        raise kernel_error(ctypes.get_errno(), "new network namespace")
    _mount(_OURS, path, _MS_BIND)


def _mount(source: str, target: str, flags: int) -> None:
    if _LIBC.mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None) != 0:
        raise kernel_error(ctypes.get_errno(), f"mount {source} on {target}")


def _prepare_folder() -> None:
    """Make the folder a shared mount, as iproute2 does: a name deleted elsewhere then does not pin the namespace here.

    Only the kernel knows whether it is one already (a folder bound on itself looks like any other folder), and each needless
    bind of a shared tree doubles it: so ask first, and let one process at a time do it.
    """
    try:
        os.makedirs(FOLDER, 0o755, exist_ok=True)
        folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"prepare {FOLDER}") from error
    try:
        if _try_share():
            return
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not _try_share():
            _mount(FOLDER, FOLDER, _MS_BIND | _MS_REC)
            _mount("", FOLDER, _MS_SHARED | _MS_REC)
    finally:
        os.close(folder)


def _try_share() -> bool:
    """Share the mount on the folder; False if the folder is no mount point."""
    try:
        _mount("", FOLDER, _MS_SHARED | _MS_REC)
    except Invalid:
        return False
    return True
