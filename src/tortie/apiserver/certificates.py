"""Certificates of a server without Kubernetes, made by openssl where they are missing, and kubeconfigs that stand alone."""

import base64
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tortie.apiserver.access import ADMINS
from tortie.apiserver.errors import ApiServerError
from tortie.base import process

_DAYS = "3650"
_NAME_LIMIT = 64
_CONFIGURATION = """\
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path

    @property
    def is_there(self) -> bool:
        """Whether both exist."""
        return self.certificate.is_file() and self.key.is_file()


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
        return Pair(self.path / f"{name}.crt", self.path / f"{name}.key")

    def ensure(self, *, names: tuple[str, ...], addresses: tuple[str, ...]) -> None:
        """Make what is missing. Raises ApiServerError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / "openssl.cnf").write_text(_CONFIGURATION)
        except OSError as error:
            raise ApiServerError(f"certificates cannot be kept in {self.path}: {error.strerror}") from error
        if not self.authority.is_there:
            _request(self.authority, "/CN=tortie-apiserver-ca", "authority")
        if not self.server.is_there:
            alternatives = ",".join((*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)))
            _request(self.server, "/CN=tortie-apiserver", "server", signer=self.authority, alternatives=alternatives)

    def client(self, user: str, groups: tuple[str, ...]) -> Pair:
        """A new certificate of a user in groups. Raises ApiServerError."""
        for text in (user, *groups):
            if not text or len(text) > _NAME_LIMIT:
                raise ApiServerError(f"user or group {text!r}: a certificate holds names of 1 to {_NAME_LIMIT} characters")
        if not self.authority.is_there:
            raise ApiServerError(f"{self.authority.certificate} is not there: start `tortie apiserver --standalone` once")
        subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(user)}"
        pair = self.pair(f"user-{base64.urlsafe_b64encode(user.encode()).decode().rstrip('=')}")
        _request(pair, subject, "client", signer=self.authority)
        return pair


def kubeconfig(folder: Folder, *, server: str, user: str = "admin", groups: tuple[str, ...] = (ADMINS,)) -> bytes:
    """A kubeconfig by which kubectl reaches the server as this user (JSON, which is YAML). Raises ApiServerError."""
    client = folder.client(user, groups)
    name = "tortie"
    try:
        cluster = {"server": server, "certificate-authority-data": _base64(folder.authority.certificate)}
        login = {"client-certificate-data": _base64(client.certificate), "client-key-data": _base64(client.key)}
    except OSError as error:
        raise ApiServerError(f"{error.filename} cannot be read: {error.strerror}") from error
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": login}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


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


def _request(pair: Pair, subject: str, section: str, *, signer: Pair | None = None, alternatives: str = "") -> None:
    words = [
        "openssl", "req", "-x509", "-utf8", "-config", str(pair.key.parent / "openssl.cnf"), "-extensions", section,
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", _DAYS, "-subj", subject,
        "-keyout", str(pair.key), "-out", str(pair.certificate),
    ]  # fmt: skip
    if signer is not None:
        words += ["-CA", str(signer.certificate), "-CAkey", str(signer.key)]
    if alternatives:
        words += ["-addext", f"subjectAltName={alternatives}"]
    try:
        pair.key.unlink(missing_ok=True)
        pair.key.touch(mode=0o600)
        process.run_blocking(words).check()
    except (process.ProcessError, OSError) as error:
        raise ApiServerError(f"certificate {pair.certificate} cannot be made: {error}") from error


def _escaped(text: str) -> str:
    """A value inside openssl's -subj."""
    return "".join(f"\\{letter}" if letter in "\\/+" else letter for letter in text)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
