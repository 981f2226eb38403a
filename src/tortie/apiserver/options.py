"""How the server is told what to do: its options, checked."""

from dataclasses import dataclass
from pathlib import Path

from tortie.apiserver.errors import ApiServerError
from tortie.base.net import parse_address

DEFAULT_FOLDER = Path("/var/lib/tortie/apiserver")
DEFAULT_PORT = 6443
AGGREGATED_PORT = 5443


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen, what to show, whom to ask.

    Standalone: `folder` holds certificates, which are made where they are missing; `tokens` is a token file. Behind Kubernetes:
    `certificate` and `key` are the server's, `kubeconfig` is the way to the cluster (empty: the pod's own).
    """

    standalone: bool
    host: str
    port: int
    folder: Path = DEFAULT_FOLDER
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    kubeconfig: str = ""
    kubeconfig_out: Path | None = None
    insecure_loopback: bool = False

    @property
    def url(self) -> str:
        """Where kubectl finds the server from this machine."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  (told apart, not bound)
        host = everywhere.get(self.host, self.host)
        scheme = "http" if self.insecure_loopback else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def check_options(options: Options) -> None:
    """Raise ApiServerError for options that do not go together."""
    if not 1 <= options.port <= 65535:
        raise ApiServerError(f"--port {options.port}: must be from 1 to 65535")
    if options.insecure_loopback and not options.standalone:
        raise ApiServerError("--insecure-loopback needs --standalone: Kubernetes speaks TLS with us")
    if options.insecure_loopback and not is_loopback(options.host):
        raise ApiServerError(f"--insecure-loopback listens on a loopback address only, and --bind is {options.host or 'all'}")
    if options.standalone and (options.certificate or options.key or options.kubeconfig):
        raise ApiServerError("--tls-cert, --tls-key and --kubeconfig are for a server behind Kubernetes, not --standalone")
    if not options.standalone and (options.tokens or options.kubeconfig_out):
        raise ApiServerError("--token-file and --write-kubeconfig need --standalone: Kubernetes knows its users itself")
    if bool(options.certificate) is not bool(options.key):
        raise ApiServerError("--tls-cert and --tls-key come together")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        address = parse_address(host)
    except ValueError:
        return False
    return str(address).startswith("127.") or str(address) == "::1"
