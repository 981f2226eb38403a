"""Private keys on disk, one file a device: a device that is made anew (wireguard-go restarted, the machine booted) gets its old
key, and no other node has to learn another one.
"""

import errno
import os
import stat
from pathlib import Path

from tortie.base import log
from tortie.kernel.errors import Invalid, kernel_error
from tortie.kernel.wireguard.keys import PrivateKey, decode, encode

_log = log.get(__name__)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFiles:
    """The files `<device>.key` of one folder; only root can read folder and files. Raises KernelError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, device: str) -> PrivateKey | None:
        """The device's key; None if there is none, none that can be understood, or one that somebody else has written."""
        path = self._path(device)
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
                    _log.warning("%s is not a file of our own: it is not used", path)
                    return None
                if found.st_mode & _OTHERS:
                    _log.warning("%s could be read by others: take a new key (tortie node wireguard rotate-key)", path)
                    os.fchmod(file.fileno(), 0o600)
                return PrivateKey(decode(file.read()))
        except (FileNotFoundError, Invalid, UnicodeDecodeError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link: somebody else's, too
                return None
            raise kernel_error(error.errno or 0, f"read the key of {device}") from error

    def write(self, device: str, key: PrivateKey) -> None:
        """Keep the key, in place of any other. Never half a file, never readable for others."""
        path = self._path(device)
        candidate = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
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
