"""Mounts that a lab in a user namespace needs. Only ever in a mount namespace of our own."""

import ctypes
import os

from tortie.kernel.errors import kernel_error


def tmpfs(folder: str) -> None:
    """Mount an empty tmpfs on a folder. Raises KernelError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), b"mode=755") != 0:
        raise kernel_error(ctypes.get_errno(), f"mount a tmpfs on {folder}")
