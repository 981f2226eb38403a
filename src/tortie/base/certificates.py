"""Certificates made by openssl: an authority, and what it signs for servers and users. Keys are readable by us alone.

Also kubeconfigs that stand alone: those who make client certificates hand them over in one.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tortie.base import process
from tortie.base.errors import TortieError

_DAYS = "3650"
_NAME_LIMIT = 64
_CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256")
_CONFIGURATION = """\
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class CertificateError(TortieError):
    """A certificate that cannot be made; the text names its file or the name that it cannot hold."""


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
class Authority:
    """What signs certificates: `folder`/`name`.crt and .key. What it signs is named by the caller and stands beside it."""

    folder: Path
    name: str

    @property
    def pair(self) -> Pair:
        """The authority's own."""
        return pair_in(self.folder, self.name)

    def create(self, *, subject: str = "") -> None:
        """Make it, signed by itself, called `subject` or as its file is. The folder must exist. Raises CertificateError."""
        _request(self.pair, subject=f"/CN={_escaped(subject or self.name)}", section="authority")

    def sign_server(self, name: str, *, names: tuple[str, ...], addresses: tuple[str, ...], subject: str = "") -> Pair:
        """A certificate of a server that is called by any of these names and addresses. Raises CertificateError."""
        alternatives = ",".join([*(f"DNS:{text}" for text in names), *(f"IP:{text}" for text in addresses)])
        pair = pair_in(self.folder, name)
        distinguished = f"/CN={_escaped(subject or name)}"
        _request(pair, subject=distinguished, section="server", signer=self.pair, alternatives=alternatives)
        return pair

    def sign_client(self, name: str, *, user: str, groups: tuple[str, ...] = ()) -> Pair:
        """A certificate by which Kubernetes knows a user and the groups it is in. Raises CertificateError."""
        for text in (user, *groups):
            if not text or len(text) > _NAME_LIMIT:
                raise CertificateError(f"user or group {text!r}: a certificate holds names of 1 to {_NAME_LIMIT} characters")
        subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(user)}"
        pair = pair_in(self.folder, name)
        _request(pair, subject=subject, section="client", signer=self.pair)
        return pair


def pair_in(folder: Path, name: str) -> Pair:
    """The files of that name, whether or not they are there."""
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def create_signing_key(folder: Path, name: str) -> Pair:
    """A key pair without a certificate: `certificate` is the bare public key. Raises CertificateError."""
    pair = Pair(folder / f"{name}.pub", folder / f"{name}.key")
    _openssl(pair, "genpkey", "-algorithm", "EC", *_CURVE, "-out", str(pair.key))
    pair.key.chmod(0o600)
    _openssl(pair, "pkey", "-in", str(pair.key), "-pubout", "-out", str(pair.certificate))
    return pair


def kubeconfig(*, server: str, authority: Path, client: Pair, name: str, user: str) -> bytes:
    """A kubeconfig that needs no other file (JSON, which is YAML). Raises CertificateError if a file cannot be read."""
    try:
        cluster = {"server": server, "certificate-authority-data": _base64(authority)}
        login = {"client-certificate-data": _base64(client.certificate), "client-key-data": _base64(client.key)}
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror}") from error
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": login}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def _request(pair: Pair, *, subject: str, section: str, signer: Pair | None = None, alternatives: str = "") -> None:
    configuration = pair.key.parent / "openssl.cnf"
    words = [
        "req", "-x509", "-utf8", "-config", str(configuration), "-extensions", section, "-newkey", "ec", *_CURVE,
        "-noenc", "-days", _DAYS, "-subj", subject, "-keyout", str(pair.key), "-out", str(pair.certificate),
    ]  # fmt: skip
    if signer is not None:
        words += ["-CA", str(signer.certificate), "-CAkey", str(signer.key)]
    if alternatives:
        words += ["-addext", f"subjectAltName={alternatives}"]
    try:
        configuration.write_text(_CONFIGURATION)
        # The key is never readable by others, not even while it is written.
        pair.key.unlink(missing_ok=True)
        pair.key.touch(mode=0o600)
    except OSError as error:
        raise CertificateError(f"certificates cannot be kept in {pair.key.parent}: {error.strerror}") from error
    _openssl(pair, *words)


def _openssl(pair: Pair, *words: str) -> None:
    try:
        process.run_blocking(["openssl", *words]).check()
    except process.ProcessError as error:
        raise CertificateError(f"certificate {pair.certificate} cannot be made: {error}") from error


def _escaped(text: str) -> str:
    """A value inside openssl's -subj."""
    return "".join(f"\\{letter}" if letter in "\\/+" else letter for letter in text)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
