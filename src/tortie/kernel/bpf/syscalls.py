"""The system call bpf(2), in the calling process: maps and programs as file descriptors.

They live as long as somebody holds them: a descriptor of ours, or a filter of a device. Nothing here is pinned. Needed are
CAP_BPF and CAP_NET_ADMIN in the machine's first user namespace; before Linux 5.8 CAP_SYS_ADMIN.
"""

import ctypes
import os
import platform
import struct

from tortie.kernel.errors import KernelError, Unsupported, kernel_error

MAP_ARRAY, MAP_LPM_TRIE = 2, 11
NO_PREALLOCATION = 1
PROGRAM_TC = 3

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROGRAM_LOAD, _INFO_BY_FD = 0, 2, 3, 5, 15
_LOG_BYTES = 1 << 18
_LOG_SHOWN = 2000
_PROGRAM_INFO = struct.Struct("=II")  # type, id; the kernel cuts the rest off

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


def program_id(descriptor: int) -> int:
    """The number that the kernel gave to a program, as filters tell it."""
    info = ctypes.create_string_buffer(_PROGRAM_INFO.size)
    attributes = struct.pack("=IIQ", descriptor, _PROGRAM_INFO.size, ctypes.addressof(info))
    _call(_INFO_BY_FD, attributes, "read what a BPF program is")
    number: int = _PROGRAM_INFO.unpack(info.raw)[1]
    return number


class _Buffers:
    """Bytes where the kernel can read them, for the length of a block: their addresses."""

    def __init__(self, *contents: bytes) -> None:
        self._held = [ctypes.create_string_buffer(content, max(len(content), 1)) for content in contents]

    def __enter__(self) -> list[int]:
        return [ctypes.addressof(each) for each in self._held]

    def __exit__(self, *_: object) -> None:
        self._held.clear()


def _call(command: int, attributes: bytes, action: str) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise Unsupported(f"{action}: bpf(2) is not known for machines of kind {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(number, command, buffer, ctypes.c_uint(len(attributes)))
    if result < 0:
        error = ctypes.get_errno()
        if error == 1:
            raise kernel_error(error, action, "CAP_BPF and CAP_NET_ADMIN are needed, outside of any user namespace")
        raise kernel_error(error, action)
    return result


def close(descriptor: int) -> None:
    """Let go; what a filter holds stays."""
    os.close(descriptor)
