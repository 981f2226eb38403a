"""Passwords from a directory of secrets: `<directory>/<secret name>/<key>`, as Kubernetes mounts a Secret.

A file is read again whenever somebody asks, so that a changed password needs no restart. Nothing here puts what a file says
into an error or a log.
"""

import os
import stat
from pathlib import Path

from tortie.base.errors import OUT_OF_MEANS, TortieError

DIRECTORY_VARIABLE = "TORTIE_SECRETS_DIR"
LONGEST_PASSWORD = 80
"""What the kernel takes as a key of TCP MD5 (RFC 2385)."""


class SecretError(TortieError):
    """A secret cannot be used; the text names secret, key and file, and never what is in it."""


class MissingSecret(SecretError):
    """There is no such file."""


class SecretsDirectory:
    """One directory. It need not exist while nobody names a secret."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str, key: str) -> str:
        """The password, without a line end behind it. Raises MissingSecret and SecretError, or OSError for
        want of descriptors or memory."""
        for field, part in (("name", name), ("key", key)):
            if not part or part.startswith(".") or "/" in part or "\0" in part:
                raise SecretError(f"secretKeyRef.{field} {part!r}: a file name that does not begin with a dot is expected")
        path = self._directory / name / key
        what = f"secret {name!r}, key {key!r}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode):
                    raise SecretError(f"{what}: {path} is not a file")
                return _password(os.read(descriptor, 4096), mode, what=what, path=path)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingSecret(f"{what}: there is no file {path}") from None
        except OSError as error:
            if error.errno in OUT_OF_MEANS:
                raise  # nothing is known of the file: the session that needs it must not end for that
            raise SecretError(f"{what}: {path} cannot be read: {error.strerror}") from None


def _password(content: bytes, mode: int, *, what: str, path: Path) -> str:
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SecretError(f"{what}: {path} is open to everybody (mode {mode & 0o777:04o}): `chmod o-rwx {path}` first")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"{what}: {path} is not UTF-8 text") from None
    if not text:
        raise SecretError(f"{what}: {path} is empty")
    if len(text.encode()) > LONGEST_PASSWORD:
        raise SecretError(f"{what}: {path} is longer than the {LONGEST_PASSWORD} bytes that a TCP MD5 password may have")
    if '"' in text or not text.isprintable():
        raise SecretError(f'{what}: {path} holds a quotation mark (") or a control character, which BIRD cannot take')
    return text
