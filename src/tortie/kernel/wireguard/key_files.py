"""Private keys on disk, one file a device: a device that is made anew (wireguard-go restarted, the machine booted) gets its old
key, and no other node has to learn another one.
"""

import os
from pathlib import Path

from tortie.kernel.errors import Invalid, kernel_error
from tortie.kernel.wireguard.keys import PrivateKey, decode, encode


class KeyFiles:
    """The files `<device>.key` of one folder; only root can read folder and files. Raises KernelError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, device: str) -> PrivateKey | None:
        """The device's key; None if there is none, or none that can be understood."""
        try:
            return PrivateKey(decode(self._path(device).read_text()))
        except (FileNotFoundError, Invalid, UnicodeDecodeError):
            return None
        except OSError as error:
            raise kernel_error(error.errno or 0, f"read the key of {device}") from error

    def write(self, device: str, key: PrivateKey) -> None:
        """Keep the key, in place of any other. Never half a file, never readable for others."""
        path = self._path(device)
        candidate = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            candidate.unlink(missing_ok=True)
            with open(os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(encode(key.raw) + "\n")
                file.flush()
                os.fsync(file.fileno())
            candidate.replace(path)
        except OSError as error:
            raise kernel_error(error.errno or 0, f"keep the key of {device} in {self._folder}") from error

    def remove(self, device: str) -> None:
        """Forget the key; none there is fine."""
        try:
            self._path(device).unlink(missing_ok=True)
        except OSError as error:
            raise kernel_error(error.errno or 0, f"remove the key of {device}") from error

    def _path(self, device: str) -> Path:
        return self._folder / f"{device}.key"
