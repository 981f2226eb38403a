"""Certificates of a server without Kubernetes, made where they are missing, and kubeconfigs of its users."""

import base64
from dataclasses import dataclass
from pathlib import Path

from tortie.apiserver.access import ADMINS
from tortie.apiserver.errors import ApiServerError
from tortie.base import certificates
from tortie.base.certificates import Authority, CertificateError, Pair


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the certificates are: ca, server, and one pair for each user that was asked for."""

    path: Path

    @property
    def authority(self) -> Pair:
        """What signs all others."""
        return self.pair("ca")

    @property
    def server(self) -> Pair:
        """What the server shows."""
        return self.pair("server")

    def pair(self, name: str) -> Pair:
        """One by name."""
        return certificates.pair_in(self.path, name)

    def ensure(self, *, names: tuple[str, ...], addresses: tuple[str, ...]) -> None:
        """Make what is missing. Raises ApiServerError."""
        authority = Authority(self.path, "ca")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.authority.is_there:
                authority.create(subject="tortie-apiserver-ca")
            if not self.server.is_there:
                authority.sign_server("server", subject="tortie-apiserver", names=names, addresses=addresses)
        except OSError as error:
            raise ApiServerError(f"certificates cannot be kept in {self.path}: {error.strerror}") from error
        except CertificateError as error:
            raise ApiServerError(str(error)) from error

    def client(self, user: str, groups: tuple[str, ...]) -> Pair:
        """A new certificate of a user in groups. Raises ApiServerError."""
        if not self.authority.is_there:
            raise ApiServerError(f"{self.authority.certificate} is not there: start `tortie apiserver --standalone` once")
        name = f"user-{base64.urlsafe_b64encode(user.encode()).decode().rstrip('=')}"
        try:
            return Authority(self.path, "ca").sign_client(name, user=user, groups=groups)
        except CertificateError as error:
            raise ApiServerError(str(error)) from error


def kubeconfig(folder: Folder, *, server: str, user: str = "admin", groups: tuple[str, ...] = (ADMINS,)) -> bytes:
    """A kubeconfig by which kubectl reaches the server as this user. Raises ApiServerError."""
    client = folder.client(user, groups)
    try:
        return certificates.kubeconfig(
            server=server, authority=folder.authority.certificate, client=client, name="tortie", user=user
        )
    except CertificateError as error:
        raise ApiServerError(str(error)) from error


def write_private(path: Path, content: bytes) -> None:
    """A file that only we can read, replaced as a whole. Raises ApiServerError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise ApiServerError(f"{path} cannot be written: {error.strerror}") from error
