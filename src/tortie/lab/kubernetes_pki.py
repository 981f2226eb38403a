"""The certificates of a control plane: two authorities, and what each signs. Made by openssl; keys are readable by us alone."""

import base64
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tortie.base import process
from tortie.lab.spec import LabError

_DAYS = "3650"
_COMMON_NAME_LIMIT = 64
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


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs certificates: `folder`/`name`.crt and .key. `signed` are named by the caller and stand beside it."""

    folder: Path
    name: str

    @property
    def pair(self) -> Pair:
        """The authority's own."""
        return _pair(self.folder, self.name)

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        """A new one that signs itself. The folder must exist. Raises LabError."""
        (folder / "openssl.cnf").write_text(_CONFIGURATION)
        _openssl_request(_pair(folder, name), subject=f"/CN={_escaped(name)}", section="authority")
        return cls(folder, name)

    def sign_server(self, name: str, *, names: tuple[str, ...], addresses: tuple[str, ...]) -> Pair:
        """A certificate of a server that is called by any of these names and addresses."""
        alternatives = ",".join([*(f"DNS:{text}" for text in names), *(f"IP:{text}" for text in addresses)])
        pair = _pair(self.folder, name)
        _openssl_request(pair, subject=f"/CN={_escaped(name)}", section="server", signer=self.pair, alternatives=alternatives)
        return pair

    def sign_client(self, name: str, *, user: str, groups: tuple[str, ...] = ()) -> Pair:
        """A certificate by which Kubernetes knows a user and the groups it is in. Raises LabError for a name it cannot hold."""
        for text in (user, *groups):
            if not text or len(text) > _COMMON_NAME_LIMIT:
                raise LabError(f"user or group {text!r}: a certificate holds names of 1 to {_COMMON_NAME_LIMIT} characters")
        subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(user)}"
        pair = _pair(self.folder, name)
        _openssl_request(pair, subject=subject, section="client", signer=self.pair)
        return pair


def create_signing_key(folder: Path, name: str) -> Pair:
    """The key pair that signs service account tokens; `certificate` is the bare public key."""
    pair = Pair(folder / f"{name}.pub", folder / f"{name}.key")
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(pair.key))
    pair.key.chmod(0o600)
    _openssl("pkey", "-in", str(pair.key), "-pubout", "-out", str(pair.certificate))
    return pair


def write_kubeconfig(path: Path, *, server: str, authority: Path, client: Pair) -> Path:
    """A kubeconfig that needs no other file (JSON, which is YAML). Returns the path."""
    name = "tortie-lab"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _base64(authority)}}],
        "users": [
            {
                "name": name,
                "user": {"client-certificate-data": _base64(client.certificate), "client-key-data": _base64(client.key)},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    return path


def _pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def _openssl_request(pair: Pair, *, subject: str, section: str, signer: Pair | None = None, alternatives: str = "") -> None:
    words = [
        "req", "-x509", "-utf8", "-config", str(pair.key.parent / "openssl.cnf"), "-extensions", section,
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", _DAYS, "-subj", subject,
        "-keyout", str(pair.key), "-out", str(pair.certificate),
    ]  # fmt: skip
    if signer is not None:
        words += ["-CA", str(signer.certificate), "-CAkey", str(signer.key)]
    if alternatives:
        words += ["-addext", f"subjectAltName={alternatives}"]
    _openssl(*words)
    pair.key.chmod(0o600)


def _openssl(*words: str) -> None:
    try:
        process.run_blocking(["openssl", *words]).check()
    except process.ProcessError as error:
        raise LabError(f"certificates cannot be made: {error}") from error


def _escaped(text: str) -> str:
    """A value inside openssl's -subj."""
    return "".join(f"\\{letter}" if letter in "\\/+" else letter for letter in text)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
