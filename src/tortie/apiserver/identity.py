"""Who asks: kube-apiserver on a user's behalf, a client certificate, or a token. Headers alone are never believed.

Which authority signed a certificate is decided by the verified chain's own bytes, not by names in it: both kinds of
certificates are accepted by one TLS listener, and one that a client authority signed must never pass for kube-apiserver's.
"""

import csv
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from tortie.apiserver.access import AUTHENTICATED, User
from tortie.apiserver.errors import ApiServerError, Refusal

Fingerprint = bytes

_ANONYMOUS = "system:anonymous"
_UNAUTHENTICATED = "system:unauthenticated"


class TokenReader(Protocol):
    """Knows tokens."""

    async def user(self, token: str) -> User | None:
        """Whose token this is; None if nobody's."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's certificate after TLS has verified it: its subject, and the digests of all certificates of its chain."""

    common_name: str
    organizations: tuple[str, ...]
    chain: frozenset[Fingerprint]


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """Whom we let speak for others: certificates of these authorities, with one of these names (none: any)."""

    authorities: frozenset[Fingerprint]
    allowed_names: frozenset[str] = frozenset()
    user_headers: tuple[str, ...] = ("X-Remote-User",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)

    def speaks(self, peer: Peer) -> bool:
        """Whether headers of this peer count."""
        if not self.authorities & peer.chain:
            return False
        return not self.allowed_names or peer.common_name in self.allowed_names


@dataclass(frozen=True, slots=True)
class Trust:
    """What makes somebody known. Replaced as a whole when the cluster's configuration changes."""

    front_proxy: FrontProxy | None = None
    clients: frozenset[Fingerprint] = frozenset()
    tokens: TokenReader | None = None
    anonymous: User | None = None
    """Who it is when nothing is said; None refuses."""


Headers = Any
"""A multi-dictionary of headers (aiohttp's): `get`, `getall`, items."""


async def identify(trust: Trust, peer: Peer | None, headers: Headers) -> User:
    """Who asks. Raises Refusal (401)."""
    if peer is not None and trust.front_proxy is not None and trust.front_proxy.speaks(peer):
        user = _proxied(trust.front_proxy, headers)
        if user is not None:
            return user
    if peer is not None and trust.clients & peer.chain and peer.common_name:
        return User(peer.common_name, (*peer.organizations, AUTHENTICATED))
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip() and trust.tokens is not None:
        known = await trust.tokens.user(token.strip())
        if known is not None:
            return known
    elif trust.anonymous is not None and not scheme:
        return trust.anonymous
    raise Refusal(401, "Unauthorized")


def read_peer(ssl_object: Any) -> Peer | None:
    """The peer of a connection; None without a certificate that TLS has verified."""
    if ssl_object is None:
        return None
    found = ssl_object.getpeercert()
    if not found:
        return None
    # Public from Python 3.13 on; the object behind has had it since 3.10.
    verified = getattr(ssl_object, "get_verified_chain", None) or getattr(ssl_object._sslobj, "get_verified_chain", None)
    if verified is None:
        return None
    chain = frozenset(_fingerprint(_der(each)) for each in verified() or ())
    subject = [pair for part in found.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    groups = tuple(value for key, value in subject if key == "organizationName")
    return Peer(names[0] if names else "", groups, chain)


def fingerprints(pem: str, *, origin: str) -> frozenset[Fingerprint]:
    """Of all certificates of a PEM text. Raises ApiServerError where there is none."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = []
    for part in pem.split(begin)[1:]:
        try:
            found.append(_fingerprint(ssl.PEM_cert_to_DER_cert(f"{begin}{part.partition(end)[0]}{end}\n")))
        except ValueError as error:
            raise ApiServerError(f"{origin}: a certificate cannot be read: {error}") from error
    if not found:
        raise ApiServerError(f"{origin}: holds no certificate")
    return frozenset(found)


class TokenFile:
    """Kubernetes' static token file: lines of `token,user,uid,"group,group"`. Read once."""

    def __init__(self, path: Path) -> None:
        self._users = _read_tokens(path)

    async def user(self, token: str) -> User | None:
        """See `TokenReader.user`. All are compared, each in constant time."""
        given = hashlib.sha256(token.encode()).digest()
        found = [user for digest, user in self._users if hmac.compare_digest(digest, given)]
        return found[0] if found else None


def _read_tokens(path: Path) -> Sequence[tuple[bytes, User]]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ApiServerError(f"token file {path} cannot be read: {error}") from error
    found: list[tuple[bytes, User]] = []
    for number, row in enumerate(rows, 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[0].strip() or not row[1].strip():
            raise ApiServerError(f'token file {path}, line {number}: expected token,user,uid,"group,group"')
        groups = tuple(group.strip() for group in (row[3] if len(row) > 3 else "").split(",") if group.strip())
        digest = hashlib.sha256(row[0].strip().encode()).digest()
        found.append((digest, User(row[1].strip(), (*groups, AUTHENTICATED), row[2].strip())))
    return found


def _proxied(front: FrontProxy, headers: Headers) -> User | None:
    name = next((headers.get(header) for header in front.user_headers if headers.get(header)), "")
    if not name:
        return None
    groups = tuple(value for header in front.group_headers for value in headers.getall(header, ()))
    uid = next((headers.get(header) for header in front.uid_headers if headers.get(header)), "")
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        for prefix in front.extra_prefixes:
            if header.lower().startswith(prefix.lower()):
                extra.setdefault(unquote(header[len(prefix) :].lower()), []).append(value)
    if not {AUTHENTICATED, _UNAUTHENTICATED} & set(groups) and name != _ANONYMOUS:
        groups = (*groups, AUTHENTICATED)  # kube-apiserver itself asks without any group, and relies on this one
    return User(name, groups, uid, extra)


def _der(certificate: Any) -> bytes:
    """Python 3.13 gives bytes; before, an object that can be written as PEM (1) or DER (2)."""
    return certificate if isinstance(certificate, bytes) else bytes(certificate.public_bytes(2))


def _fingerprint(der: bytes) -> Fingerprint:
    return hashlib.sha256(der).digest()
