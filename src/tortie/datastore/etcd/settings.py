"""How to reach etcd: Calico's ETCD_* variables, and the etcd fields of calicoctl.cfg where a variable is silent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from tortie.datastore.errors import InvalidRequest

FILE_FIELDS = (
    "etcdEndpoints",
    "etcdDiscoverySrv",
    "etcdUsername",
    "etcdPassword",
    "etcdKeyFile",
    "etcdCertFile",
    "etcdCACertFile",
    "etcdKey",
    "etcdCert",
    "etcdCACert",
)
"""The fields of spec in calicoctl.cfg that are read here."""

_VARIABLES = {
    "etcdEndpoints": "ETCD_ENDPOINTS",
    "etcdDiscoverySrv": "ETCD_DISCOVERY_SRV",
    "etcdUsername": "ETCD_USERNAME",
    "etcdPassword": "ETCD_PASSWORD",
    "etcdKeyFile": "ETCD_KEY_FILE",
    "etcdCertFile": "ETCD_CERT_FILE",
    "etcdCACertFile": "ETCD_CA_CERT_FILE",
}
_INLINE = {"etcdKeyFile": "etcdKey", "etcdCertFile": "etcdCert", "etcdCACertFile": "etcdCACert"}


class Endpoint(NamedTuple):
    """One member as gRPC names it. `url` is what the user wrote, for messages."""

    url: str
    target: str
    secure: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """Where etcd is, and who we are. Secrets do not show in the repr."""

    endpoints: tuple[Endpoint, ...]
    username: str = ""
    password: str = field(default="", repr=False)
    ca_certificate: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


class _Value(NamedTuple):
    """A setting and the name under which the user gave it."""

    text: str
    origin: str


def are_given(env: Mapping[str, str], file: Mapping[str, str]) -> bool:
    """Whether anything says where an etcd is."""
    return any(_find(env, file, name).text for name in ("etcdEndpoints", "etcdDiscoverySrv"))


def read_settings(env: Mapping[str, str], file: Mapping[str, str]) -> Settings:
    """The settings of the variables (also with the prefix CALICO_), then those of the file. Reads certificate files.

    Raises InvalidRequest that names the variable or field and never shows a secret.
    """
    endpoints, discovery = _find(env, file, "etcdEndpoints"), _find(env, file, "etcdDiscoverySrv")
    if discovery.text:
        exclusive = f" and excludes {endpoints.origin}" if endpoints.text else ""
        raise InvalidRequest(f"{discovery.origin} is not supported{exclusive}: name the members of etcd in ETCD_ENDPOINTS only")
    urls = [part.strip() for part in endpoints.text.split(",") if part.strip()]
    if not urls:
        raise InvalidRequest(
            "ETCD_ENDPOINTS is empty: name the members of etcd, such as https://10.0.0.1:2379, with commas between"
        )
    username, password = _find(env, file, "etcdUsername"), _find(env, file, "etcdPassword")
    if bool(username.text) != bool(password.text):
        given, missing = (username, password) if username.text else (password, username)
        raise InvalidRequest(f"{given.origin} is set without {missing.origin}: give both or neither")
    key, certificate = _material(env, file, "etcdKeyFile"), _material(env, file, "etcdCertFile")
    if (key is None) != (certificate is None):
        given_name, missing_name = ("ETCD_KEY_FILE", "ETCD_CERT_FILE") if key else ("ETCD_CERT_FILE", "ETCD_KEY_FILE")
        raise InvalidRequest(f"{given_name} is set without {missing_name}: a client certificate is both of them")
    return Settings(
        endpoints=tuple(_endpoint(url, endpoints.origin) for url in urls),
        username=username.text,
        password=password.text,
        ca_certificate=_material(env, file, "etcdCACertFile"),
        certificate=certificate,
        key=key,
    )


def _find(env: Mapping[str, str], file: Mapping[str, str], name: str) -> _Value:
    variable = _VARIABLES.get(name)
    if variable is not None:
        for origin in (variable, f"CALICO_{variable}"):
            if env.get(origin):
                return _Value(env[origin], origin)
    if file.get(name):
        return _Value(file[name], f"spec.{name}")
    return _Value("", variable or f"spec.{name}")


def _material(env: Mapping[str, str], file: Mapping[str, str], name: str) -> bytes | None:
    """A key or certificate, from the file that is named or inline from calicoctl.cfg; None where neither is given."""
    path, inline = _find(env, file, name), _find({}, file, _INLINE[name])
    if path.text and inline.text:
        raise InvalidRequest(f"{path.origin} and {inline.origin} exclude each other: give one of them")
    if inline.text:
        data = inline.text.encode()
    elif path.text:
        try:
            with open(path.text, "rb") as opened:
                data = opened.read()
        except OSError as error:
            raise InvalidRequest(f"{path.origin} {path.text!r} cannot be read: {error.strerror}") from error
    else:
        return None
    if b"-----BEGIN " not in data:
        raise InvalidRequest(f"{(path if path.text else inline).origin} holds no PEM (it begins with -----BEGIN)")
    return data


def _endpoint(url: str, origin: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        problem = _problem(parts)
    except ValueError as error:
        problem = str(error)
    if problem:
        shown = url.rpartition("@")[2]
        raise InvalidRequest(f"{origin}: {shown!r}: {problem}; https://10.0.0.1:2379 is a good one")
    if parts.scheme == "unix":
        return Endpoint(url, f"unix:{parts.netloc}{parts.path}", secure=False)
    return Endpoint(url, parts.netloc, secure=parts.scheme == "https")


def _problem(parts: SplitResult) -> str:
    """What is wrong with an endpoint, "" if nothing."""
    if parts.scheme == "unix":
        return "" if parts.path or parts.netloc else "the socket's path is missing"
    if parts.scheme not in ("http", "https"):
        return "it must begin with https://, http:// or unix://"
    if parts.username is not None:
        return "a user and password do not belong here but into ETCD_USERNAME and ETCD_PASSWORD"
    if not parts.hostname or parts.port is None:
        return "host and port are needed"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "nothing may follow the port"
    return ""
