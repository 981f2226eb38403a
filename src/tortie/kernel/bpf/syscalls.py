"""The system call bpf(2), in the calling process: maps and programs as file descriptors.

They live as long as somebody holds them: a descriptor of ours, or a device where they hang. Nothing here is pinned. Needed
are CAP_BPF and CAP_NET_ADMIN in the machine's first user namespace (before Linux 5.8 CAP_SYS_ADMIN), and CAP_SYS_ADMIN for
programs that another process has loaded.
"""

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

from tortie.kernel.errors import KernelError, Unsupported, kernel_error

MAP_ARRAY, MAP_LPM_TRIE = 2, 11
NO_PREALLOCATION = 1
PROGRAM_TC = 3

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROGRAM_LOAD = 0, 2, 3, 5
_PROGRAM_ATTACH, _PROGRAM_DETACH, _PROGRAM_BY_NUMBER, _INFO_BY_FD, _PROGRAM_QUERY = 8, 9, 13, 15, 16
_REPLACE = 1 << 2
_LOG_BYTES = 1 << 18
_LOG_SHOWN = 2000
_PROGRAM_INFO = struct.Struct("=4xI56x16s")  # number, name; the kernel cuts the rest off
_ATTACHMENT = struct.Struct("=IIIIIIQ")  # device, program, hook, flags, replaced program, neighbour, revision
_QUERY = struct.Struct("=IIIIQIxxxxQQQQ")  # device, hook, 2 flags, programs, count, flags of each, links, their flags, revision
_CHAIN_LENGTH = 64  # more than that the kernel does not allow
_LOADING = "CAP_BPF and CAP_NET_ADMIN are needed, outside of any user namespace"
_OPENING = "CAP_SYS_ADMIN is needed, outside of any user namespace"

_libc = ctypes.CDLL(None, use_errno=True)


def create_map(kind: int, *, key: int, value: int, entries: int, flags: int = 0, name: str = "") -> int:
    """A new map; `key` and `value` are sizes in bytes. Returns its descriptor."""
    attributes = struct.pack("=IIIIIII16s", kind, key, value, entries, flags, 0, 0, name.encode()[:15])
    return _call(_MAP_CREATE, attributes, f"create BPF map {name}")


def update_map(descriptor: int, key: bytes, value: bytes, *, name: str = "") -> None:
    """Set one entry, whether it was there or not. Who reads meanwhile sees the old or the new one."""
    with _Buffers(key, value) as (key_at, value_at):
        _call(_MAP_UPDATE, struct.pack("=IxxxxQQQ", descriptor, key_at, value_at, 0), f"write to BPF map {name}")


def delete_from_map(descriptor: int, key: bytes, *, name: str = "") -> None:
    """Remove one entry. Raises NotFound."""
    with _Buffers(key) as (key_at,):
        _call(_MAP_DELETE, struct.pack("=IxxxxQ", descriptor, key_at), f"remove an entry of BPF map {name}")


def load_program(code: bytes, *, terms: bytes, name: str) -> int:
    """Have the kernel check a program for tc and take it. Returns its descriptor; refused, the verifier's words are in the
    error."""
    with _Buffers(code, terms) as (code_at, terms_at):

        def attributes(log_at: int) -> bytes:
            size, level = (_LOG_BYTES, 1) if log_at else (0, 0)
            return struct.pack(
                "=IIQQIIQII16s", PROGRAM_TC, len(code) // 8, code_at, terms_at, level, size, log_at, 0, 0, name.encode()[:15]
            )

        try:
            return _call(_PROGRAM_LOAD, attributes(0), f"load BPF program {name}")
        except Unsupported:
            raise
        except KernelError as refused:
            # The log costs time and memory: it is asked for only when there is something to explain.
            log = ctypes.create_string_buffer(_LOG_BYTES)
            try:
                return _call(_PROGRAM_LOAD, attributes(ctypes.addressof(log)), f"load BPF program {name}")
            except KernelError as error:
                words = log.value.decode(errors="replace").strip()[-_LOG_SHOWN:]
                raise kernel_error(error.errno, f"load BPF program {name}", words) from refused


class Program(NamedTuple):
    """What the kernel says of a program."""

    number: int
    name: str


def program(descriptor: int) -> Program:
    """Number and name of a program."""
    info = ctypes.create_string_buffer(_PROGRAM_INFO.size)
    attributes = struct.pack("=IIQ", descriptor, _PROGRAM_INFO.size, ctypes.addressof(info))
    _call(_INFO_BY_FD, attributes, "read what a BPF program is")
    number, name = _PROGRAM_INFO.unpack(info.raw)
    return Program(number, name.rstrip(b"\0").decode(errors="replace"))


def program_id(descriptor: int) -> int:
    """The number that the kernel gave to a program, as filters tell it."""
    return program(descriptor).number


def open_program(number: int) -> int:
    """A descriptor of any program, whoever loaded it. Raises NotFound; PermissionDenied without CAP_SYS_ADMIN."""
    return _call(_PROGRAM_BY_NUMBER, struct.pack("=III", number, 0, 0), f"open BPF program {number}", needs=_OPENING)


class Chain(NamedTuple):
    """The programs that hang at one hook of a device, in the order in which packets meet them."""

    revision: int
    """Another one after each change."""
    programs: tuple[int, ...]
    links: tuple[int, ...]
    """Of each program: the link that holds it; 0 where there is none."""


def chain(device: int, hook: int, *, action: str) -> Chain:
    """What hangs at a hook of a device (by index) of the calling thread's namespace. Raises Invalid where the kernel does not
    know this hook, and NotFound."""
    programs, links = ((ctypes.c_uint32 * _CHAIN_LENGTH)() for _ in range(2))
    where = [ctypes.addressof(each) for each in (programs, links)]
    query = ctypes.create_string_buffer(
        _QUERY.pack(device, hook, 0, 0, where[0], _CHAIN_LENGTH, 0, where[1], 0, 0), _QUERY.size
    )
    _exchange(_PROGRAM_QUERY, query, action)
    *_, count, _, _, _, revision = _QUERY.unpack(query.raw)
    return Chain(revision, tuple(programs[:count]), tuple(links[:count]))


def attach(descriptor: int, device: int, hook: int, *, action: str, revision: int = 0, replaced: int | None = None) -> None:
    """Hang a program at a device's hook: in the place of another one (a descriptor) in one step, else after all others. It
    stays without any descriptor. With a revision, only if the chain is still that; else KernelError with ESTALE."""
    flags, old = (0, 0) if replaced is None else (_REPLACE, replaced)
    _call(_PROGRAM_ATTACH, _ATTACHMENT.pack(device, descriptor, hook, flags, old, 0, revision), action)


def detach(descriptor: int, device: int, hook: int, *, action: str) -> None:
    """Take a program from a device's hook. Raises NotFound if it does not hang there."""
    _call(_PROGRAM_DETACH, _ATTACHMENT.pack(device, descriptor, hook, 0, 0, 0, 0), action)


class _Buffers:
    """Bytes where the kernel can read them, for the length of a block: their addresses."""

    def __init__(self, *contents: bytes) -> None:
        self._held = [ctypes.create_string_buffer(content, max(len(content), 1)) for content in contents]

    def __enter__(self) -> list[int]:
        return [ctypes.addressof(each) for each in self._held]

    def __exit__(self, *_: object) -> None:
        self._held.clear()


def _call(command: int, attributes: bytes, action: str, *, needs: str = _LOADING) -> int:
    return _exchange(command, ctypes.create_string_buffer(attributes, len(attributes)), action, needs=needs)


def _exchange(command: int, attributes: "ctypes.Array[ctypes.c_char]", action: str, *, needs: str = _LOADING) -> int:
    """The call itself; the kernel may write into the attributes."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise Unsupported(f"{action}: bpf(2) is not known for machines of kind {platform.machine()}")
    result: int = _libc.syscall(number, command, attributes, ctypes.c_uint(len(attributes)))
    if result < 0:
        error = ctypes.get_errno()
        if error == errno.ENOSYS:
            raise Unsupported(f"{action}: this kernel was built without bpf(2)", error)
        raise kernel_error(error, action, needs if error == errno.EPERM else "")
    return result


def close(descriptor: int) -> None:
    """Let go; what hangs at a device stays."""
    os.close(descriptor)
