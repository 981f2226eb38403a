"""What an agent is told at its start: flags first, then Calico's variables and files (conventions.md, "node name")."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tortie.agent.secrets import DIRECTORY_VARIABLE
from tortie.base.errors import TortieError
from tortie.base.net import Family, parse_address, parse_prefix
from tortie.calc.bgp_settings import BgpEnvironment

UNIX_PATH_LIMIT = 107
IPIP_CARRIERS = ("auto", "kernel", "ebpf")
NODENAME_FILE = Path("/var/lib/calico/nodename")
CALICO_MTU_FILE = Path("/var/lib/calico/mtu")


class AgentError(TortieError):
    """The agent cannot start or go on; the text says what to do."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Everything the wiring needs. `environment` is where Calico's variables (FELIX_*, IP, IP6, AS ...) are read from."""

    node: str
    run_dir: Path
    state_dir: Path
    log_level: str
    environment: Mapping[str, str]
    networking_backend: str = "bird"
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the command line sets, by Calico's name: stronger than any other source."""
    accept_datastore: bool = False
    """Follow the datastore that answers even if it is another cluster's than the one before (`datastore.identity`)."""

    ipip: str = "auto"
    """Who carries IPIP: the kernel's device, our ebpf programs, or, auto, the first of these that can be had."""

    own_tables: bool = False
    """Let nobody else change our nft tables while the agent lives (Linux 6.9)."""

    @property
    def cni_socket(self) -> Path:
        """Where CNI is served."""
        return self.run_dir / "cni.sock"

    @property
    def cluster_guid_file(self) -> Path:
        """Which cluster's datastore this node follows, across restarts."""
        return self.state_dir / "cluster-guid"

    @property
    def secrets_dir(self) -> Path:
        """Where the passwords of BGP sessions lie: `<secret name>/<key>`."""
        return Path(self.environment.get(DIRECTORY_VARIABLE) or self.state_dir / "secrets")


def read_options(
    environment: Mapping[str, str],
    *,
    node: str = "",
    run_dir: str = "",
    state_dir: str = "",
    log_level: str = "",
    accept_datastore: bool = False,
    own_tables: bool = False,
) -> AgentOptions:
    """Complete what was given on the command line. Raises AgentError with the name of what is wrong."""
    backend = environment.get("CALICO_NETWORKING_BACKEND", "bird")
    if backend not in ("bird", "vxlan", "none"):
        raise AgentError(f"CALICO_NETWORKING_BACKEND={backend!r}: bird, vxlan or none is expected")
    ipip = environment.get("TORTIE_IPIP") or "auto"
    if ipip not in IPIP_CARRIERS:
        raise AgentError(f"TORTIE_IPIP={ipip!r}: {', '.join(IPIP_CARRIERS)} are expected")
    options = AgentOptions(
        node=node or _node_name(environment),
        run_dir=Path(run_dir or environment.get("TORTIE_RUN_DIR", "/run/tortie")),
        state_dir=Path(state_dir or environment.get("TORTIE_STATE_DIR", "/var/lib/tortie")),
        log_level=log_level or environment.get("FELIX_LOGSEVERITYSCREEN", "info"),
        environment=environment,
        networking_backend=backend,
        overrides={"LogSeverityScreen": log_level} if log_level else {},
        accept_datastore=accept_datastore,
        ipip=ipip,
        own_tables=own_tables or environment.get("TORTIE_OWN_TABLES", "") == "true",
    )
    for path in (options.cni_socket, options.run_dir / "bird" / "bird.ctl"):
        if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
            raise AgentError(
                f"--run-dir {options.run_dir}: {path} is longer than the {UNIX_PATH_LIMIT} bytes of a socket's path"
            )
    return options


def bgp_environment(options: AgentOptions) -> BgpEnvironment:
    """Calico's variables about BGP. Raises AgentError for one that cannot be read."""
    router_id, cluster_ips = (
        options.environment.get(name, "").strip() for name in ("CALICO_ROUTER_ID", "CALICO_ADVERTISE_CLUSTER_IPS")
    )
    try:
        if router_id not in ("", "hash"):
            given = parse_address(router_id)
            if given.family is not Family.V4 or given.value == 0:  # BIRD takes the latter for none
                raise ValueError
    except ValueError as error:
        raise AgentError(f"CALICO_ROUTER_ID={router_id!r}: hash or an id such as 192.0.2.1 is expected") from error
    try:
        if cluster_ips:
            parse_prefix(cluster_ips, strict=False)
    except ValueError as error:
        raise AgentError(f"CALICO_ADVERTISE_CLUSTER_IPS={cluster_ips!r}: one CIDR is expected") from error
    return BgpEnvironment(
        speaks=options.networking_backend == "bird",
        router_id=router_id,
        log_level=options.environment.get("BGP_LOGSEVERITYSCREEN", "").strip(),
        cluster_ips=cluster_ips,
    )


def _node_name(environment: Mapping[str, str]) -> str:
    for variable in ("FELIX_FELIXHOSTNAME", "NODENAME"):
        if environment.get(variable):
            return environment[variable]
    try:
        written = NODENAME_FILE.read_text().strip()
    except OSError:
        written = ""
    return written or socket.gethostname().lower()
