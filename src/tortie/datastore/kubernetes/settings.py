"""How to reach the API server: Calico's variables and calicoctl.cfg, a kubeconfig, or what a pod is given (datastore.md, 5).

The kubeconfig is read by lightkube's loader, which is imported only where there is one.
"""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tortie.api.documents import load_raw
from tortie.convert.names import DEFAULT_INTERFACE_PREFIX
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.kubernetes.places import GROUPS

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

FILE_FIELDS = (
    "kubeconfig",
    "kubeconfigInline",
    "k8sAPIEndpoint",
    "k8sKeyFile",
    "k8sCertFile",
    "k8sCAFile",
    "k8sAPIToken",
    "k8sInsecureSkipTLSVerify",
    "k8sDisableNodePoll",
    "usePodCIDR",
    "k8sClientQPS",
    "k8sClientBurst",
    "k8sCurrentContext",
    "calicoAPIGroup",
)
"""Fields of calicoctl.cfg that are this backend's."""

_VARIABLES = {
    "kubeconfig": "KUBECONFIG",
    "k8sAPIEndpoint": "K8S_API_ENDPOINT",
    "k8sKeyFile": "K8S_KEY_FILE",
    "k8sCertFile": "K8S_CERT_FILE",
    "k8sCAFile": "K8S_CA_FILE",
    "k8sAPIToken": "K8S_API_TOKEN",
    "k8sInsecureSkipTLSVerify": "K8S_INSECURE_SKIP_TLS_VERIFY",
    "usePodCIDR": "USE_POD_CIDR",
    "k8sClientQPS": "K8S_CLIENT_QPS",
    "k8sClientBurst": "K8S_CLIENT_BURST",
    "k8sCurrentContext": "K8S_CURRENT_CONTEXT",
    "calicoAPIGroup": "CALICO_API_GROUP",
    "kubeconfigInline": "KUBECONFIG_INLINE",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A program that logs in for us (a kubeconfig's `exec`)."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    api_version: str


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are: any of these. What is secret is not shown."""

    token_file: str = ""
    token: str = ""
    user: str = ""
    password: str = ""
    certificate: bytes = b""
    key: bytes = b""
    program: Program | None = None

    def __repr__(self) -> str:
        return "Login(...)"


@dataclass(frozen=True, slots=True)
class Settings:
    """One API server and how to talk to it. `group` is "" where discovery decides; `qps` 0 is without a limit of our own."""

    server: str
    login: Login
    ca: bytes = b""
    insecure: bool = False
    group: str = ""
    qps: float = 0.0
    burst: int = 10
    use_pod_cidr: bool = False
    interface_prefix: str = DEFAULT_INTERFACE_PREFIX
    server_name: str = ""
    """The name in the server's certificate, where it is another one than in `server`."""
    open_socket: Callable[[tuple[Any, ...]], socket] | None = None
    """Opens the sockets, as told by one result of getaddrinfo: for a caller in another network namespace than its server."""


def read_settings(env: Mapping[str, str], file: Mapping[str, Any]) -> Settings:
    """Settings out of the environment and, where it is silent, calicoctl.cfg. Raises InvalidRequest, naming the field."""
    given = _Given(env, file)
    group = given.text("calicoAPIGroup")
    if group and group not in GROUPS:
        raise InvalidRequest(f"{given.origin('calicoAPIGroup')} {group!r} is unknown: use {GROUPS[1]}, or nothing")
    server, login, ca, insecure, server_name = _reached(given, env)
    insecure = insecure or given.flag("k8sInsecureSkipTLSVerify")
    if given.text("k8sAPIEndpoint"):
        server_name = ""
        server = given.text("k8sAPIEndpoint")
    if given.text("k8sCAFile"):
        ca = given.content("k8sCAFile")
    if given.text("k8sCertFile") or given.text("k8sKeyFile"):
        login = Login(certificate=given.content("k8sCertFile"), key=given.content("k8sKeyFile"))
    if given.text("k8sAPIToken"):
        login = Login(token=given.text("k8sAPIToken"), certificate=login.certificate, key=login.key)
    server = (server if "://" in server else f"https://{server}").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise InvalidRequest(f"API server {server!r} must begin with https:// or http://")
    _check_address(server)
    return Settings(
        server=server,
        login=login,
        ca=ca,
        insecure=insecure,
        server_name=server_name,
        group=group,
        qps=given.number("k8sClientQPS"),
        burst=int(given.number("k8sClientBurst")) or 10,
        use_pod_cidr=given.flag("usePodCIDR"),
        interface_prefix=env.get("FELIX_INTERFACEPREFIX") or DEFAULT_INTERFACE_PREFIX,
    )


def _check_address(server: str) -> None:
    try:
        parts = urlsplit(server)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidRequest(f"API server {server!r} is no address: {error}") from error
    if not complete:
        raise InvalidRequest(f"API server {server!r} is no address: https://10.0.0.1:6443 is a good one")


class _Given:
    """A field's value: the variable goes before its CALICO_ form and before the file."""

    def __init__(self, env: Mapping[str, str], file: Mapping[str, Any]) -> None:
        self._env = env
        self._file = file

    def origin(self, field: str) -> str:
        """How the user called the field."""
        variable = _VARIABLES[field]
        return next((name for name in (variable, f"CALICO_{variable}") if self._env.get(name)), f"spec.{field}")

    def text(self, field: str) -> str:
        name = self.origin(field)
        value = self._env[name] if name in self._env else self._file.get(field, "")
        return str(value).lower() if isinstance(value, bool) else str(value or "")

    def flag(self, field: str) -> bool:
        text = self.text(field).lower()
        if text not in ("", "true", "false", "1", "0", "yes", "no"):
            raise InvalidRequest(f"{self.origin(field)} {text!r} must be true or false")
        return text in ("true", "1", "yes")

    def number(self, field: str) -> float:
        text = self.text(field) or "0"
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e9:
            raise InvalidRequest(f"{self.origin(field)} {text!r} must be a number, 0 or more")
        return number

    def content(self, field: str) -> bytes:
        """What is in the file that the field names."""
        if not self.text(field):
            raise InvalidRequest(f"{_VARIABLES[field]} is missing: a client certificate needs K8S_CERT_FILE and K8S_KEY_FILE")
        return _file(self.text(field), self.origin(field))


class _Reached(NamedTuple):
    """Server, login, authorities, whether not to check them, and the server's name if its certificate has another."""

    server: str
    login: Login
    ca: bytes
    insecure: bool
    server_name: str = ""


def _reached(given: _Given, env: Mapping[str, str]) -> _Reached:
    """What a kubeconfig or a pod's own files say, before the single fields have their say."""
    if inline := given.text("kubeconfigInline"):
        return _kubeconfig(load_raw(inline, origin="kubeconfigInline"), "kubeconfigInline", given.text("k8sCurrentContext"))
    path = given.text("kubeconfig")
    if not path and not given.text("k8sAPIEndpoint"):
        if env.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
            return _in_cluster(env)
        home = Path(env.get("HOME") or os.path.expanduser("~"), ".kube", "config")
        path = str(home) if home.exists() else ""
        if not path:
            raise InvalidRequest("no API server is named: set KUBECONFIG, or K8S_API_ENDPOINT")
    if not path:
        return _Reached("", Login(), b"", False)
    # KUBECONFIG may be a list, as for kubectl; the first file that is there counts.
    path = next((part for part in path.split(os.pathsep) if os.path.exists(part)), path)
    text = _file(path, "KUBECONFIG").decode(errors="replace")
    return _kubeconfig(load_raw(text, origin=path), path, given.text("k8sCurrentContext"))


def _in_cluster(env: Mapping[str, str]) -> _Reached:
    """What every pod is given. The token is read again whenever it is used: it rotates."""
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT") or "443"
    host = f"[{host}]" if ":" in host else host
    ca = _file(str(SERVICE_ACCOUNT / "ca.crt"), "the service account's ca.crt")
    return _Reached(f"https://{host}:{port}", Login(token_file=str(SERVICE_ACCOUNT / "token")), ca, False)


def _kubeconfig(documents: list[Any], origin: str, context: str) -> _Reached:
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig
    from lightkube.core.exceptions import ConfigError

    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise InvalidRequest(f"kubeconfig {origin} must be one document of kind Config")
    try:
        config: SingleConfig | None = KubeConfig.from_dict(documents[0], fname=origin).get(context or None)
    except ConfigError as error:
        raise InvalidRequest(f"kubeconfig {origin}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"kubeconfig {origin}: {type(error).__name__}: {error}") from error
    assert config is not None
    cluster, user = config.cluster, config.user

    def content(data: str | None, path: str | None, field: str) -> bytes:
        if data:
            try:
                return base64.b64decode(data)
            except binascii.Error as error:
                raise InvalidRequest(f"kubeconfig {origin}: {field}-data is not base64") from error
        return _file(str(config.abs_file(path)), f"kubeconfig {origin}: {field}") if path else b""

    # lightkube does not know this field.
    name = next(
        (c["cluster"].get("tls-server-name", "") for c in documents[0]["clusters"] if c["name"] == config.context.cluster), ""
    )
    ca = content(cluster.certificate_auth_data, cluster.certificate_auth, "certificate-authority")
    if user is None:
        return _Reached(cluster.server, Login(), ca, cluster.insecure, name)
    if user.auth_provider:
        raise InvalidRequest(f"kubeconfig {origin}: auth-provider is not supported: use exec")
    program = None
    if user.exec is not None:
        command = user.exec.command
        if "/" in command:
            command = str(config.abs_file(command))
        env = tuple((each.name, each.value) for each in user.exec.env or ())
        program = Program((command, *(user.exec.args or ())), env, user.exec.apiVersion)
    login = Login(
        token_file=str(config.abs_file(user.token_file)) if user.token_file else "",
        token=user.token or "",
        user=user.username or "",
        password=user.password or "",
        certificate=content(user.client_cert_data, user.client_cert, "client-certificate"),
        key=content(user.client_key_data, user.client_key, "client-key"),
        program=program,
    )
    return _Reached(cluster.server, login, ca, cluster.insecure, name)


def _file(path: str, origin: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{origin}: {path} cannot be read: {error.strerror}") from error
