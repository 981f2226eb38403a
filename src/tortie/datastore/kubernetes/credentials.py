"""Who we say we are: a token from a file that rotates, a token, a password, a certificate, or what a program hands out.

Nothing secret is ever logged, or written to a disk: certificates go to OpenSSL through memory.
"""

import base64
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from tortie.base import log, process
from tortie.datastore.errors import InvalidRequest, Unauthorized
from tortie.datastore.kubernetes.settings import Program, Settings

_log = log.get(__name__)
_TOKEN_SECONDS = 10.0
"""A token's file is read again after this time; kubelet renews it long before it runs out."""
_EARLY_SECONDS = 60.0
_PROGRAM_SECONDS = 60.0


class _ExecStatus(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _ExecCredential(msgspec.Struct, frozen=True):
    status: _ExecStatus | None = None


class Credentials:
    """One login, renewed when it runs out."""

    def __init__(self, settings: Settings, *, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._login = settings.login
        self._now = now
        self._token = self._login.token
        self._expires: float | None = 0.0
        self._pair = (self._login.certificate, self._login.key)

    async def renew(self, *, refused: bool = False) -> None:
        """Log in again where that is due; at once when the last answer was that we are not known. Raises Unauthorized."""
        login = self._login
        if not refused and (self._expires is None or self._now() < self._expires):
            return
        if login.token_file:
            self._read_token(Path(login.token_file))
        elif login.program is not None:
            await self._run(login.program)
        else:
            self._expires = None

    @property
    def can_renew(self) -> bool:
        """Whether logging in again may give anything else."""
        return bool(self._login.token_file or self._login.program)

    def headers(self) -> dict[str, str]:
        """What each request says."""
        if self._token:
            return {"Authorization": f"Bearer {self._token}"}
        if self._login.user:
            both = f"{self._login.user}:{self._login.password}"
            return {"Authorization": "Basic " + base64.b64encode(both.encode()).decode()}
        return {}

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Our certificate and its key, as they are now; both empty where there is none."""
        return self._pair

    def tls(self) -> ssl.SSLContext | None:
        """How to make connections that show our certificate; None for http. Raises InvalidRequest."""
        settings = self._settings
        if settings.server.startswith("http://"):
            return None
        try:
            context = ssl.create_default_context(cadata=settings.ca.decode() if settings.ca else None)
            if settings.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            certificate, key = self._pair
            if certificate:
                with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
                    context.load_cert_chain(certificate_path, key_path)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidRequest(f"certificates for {settings.server} cannot be used: {error}") from error
        return context

    def _read_token(self, path: Path) -> None:
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            if not self._token:
                raise Unauthorized(f"token file {path} cannot be read: {error}") from error
            _log.warning("token file %s cannot be read, the last token stays in use: %s", path, error)
        else:
            self._token = token
        self._expires = self._now() + _TOKEN_SECONDS

    async def _run(self, program: Program) -> None:
        info = {"apiVersion": program.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        env = {**os.environ, **dict(program.env), "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode()}
        try:
            done = await process.run(program.argv, env=env, timeout=_PROGRAM_SECONDS)
        except process.ProcessError as error:
            raise Unauthorized(f"the kubeconfig's exec cannot be used: {error}") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()[-300:]
            raise Unauthorized(f"the kubeconfig's exec {program.argv[0]} failed with status {done.returncode}: {words}")
        try:
            status = msgspec.json.decode(done.stdout, type=_ExecCredential).status
        except msgspec.MsgspecError as error:
            raise Unauthorized(f"the kubeconfig's exec {program.argv[0]} gave no ExecCredential: {error}") from None
        if status is None or not (status.token or status.client_certificate_data):
            raise Unauthorized(f"the kubeconfig's exec {program.argv[0]} gave neither token nor certificate")
        self._token = status.token
        if status.client_certificate_data:
            self._pair = (status.client_certificate_data.encode(), status.client_key_data.encode())
        self._expires = _expiry(status.expiration_timestamp)


def _expiry(text: str | None) -> float | None:
    """When to log in again; None for never, unless we are refused."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() - _EARLY_SECONDS
    except ValueError:
        return None


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL finds the bytes."""
    descriptor = os.memfd_create("tortie", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
