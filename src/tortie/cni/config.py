"""What the runtime asks: environment and network configuration, checked and as values.

Keys are Calico's (kube-controllers.md, section 8); `config_keys` says which of them have an effect here.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tortie.base.net import Prefix, parse_prefix
from tortie.cni import errors
from tortie.cni.config_keys import survey
from tortie.cni.errors import CniError

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
PLUGIN_TYPES = ("tortie-cni", "calico")
IPAM_TYPES = ("tortie-ipam", "calico-ipam")
"""Names of our own address management, and of the executable when it is called for nothing else."""
HOST_LOCAL = "host-local"
DEFAULT_POLICY_TIMEOUT_SECONDS = 10.0
LONGEST_POLICY_TIMEOUT_SECONDS = 60.0
"""A runtime gives up after two to four minutes; the answer, and the undoing, must come before that."""
_LONGEST_INTERFACE = 15
_MOST_QUEUES = 64
_ID_RULE = "letters, digits, '_', '.' and '-' after a letter or digit are needed"
_FOR_IPAM = ("cniVersion", "name", "type", "ipam", "nodename", "cni.dev/valid-attachments")
_TIMEOUT_ACTIONS = {"fail": True, "proceed": False}


class AddressManager(enum.Enum):
    """Who assigns addresses."""

    POOLS = "our IP pools"
    HOST_LOCAL = HOST_LOCAL
    NONE = "nobody"


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """Which addresses to assign. Pools are CIDRs or names; `raw` is the object as it came, for a plugin that reads it."""

    manager: AddressManager = AddressManager.POOLS
    assign_ipv4: bool = True
    assign_ipv6: bool = False
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A network configuration."""

    name: str
    cni_version: str
    type: str
    ipam: IpamConfig = IpamConfig()
    ipam_only: bool = False
    """True when the executable was called as an IPAM plugin, by another plugin."""
    mtu: int = 0
    require_mtu_file: bool = False
    num_queues: int = 1
    nodename: str = ""
    policy_timeout_seconds: float = DEFAULT_POLICY_TIMEOUT_SECONDS
    fail_without_policy: bool = True
    """False: an ADD whose policy is late succeeds all the same; until it comes the pod's packets are dropped."""
    allow_ip_forwarding: bool = False
    routes: tuple[Prefix, ...] = ()
    """What the pod sends through its device; empty means everything."""
    default_routes: bool = False
    """True: everything, in addition to `routes`."""
    addresses_without_ipam: bool = False
    floating_addresses: bool = False
    """True: a pod may bring its own addresses."""
    readiness_gates: tuple[str, ...] = ()
    previous: Mapping[str, Any] | None = None
    """prevResult, as it came."""
    valid_attachments: frozenset[tuple[str, str]] | None = None
    """GC: (containerID, ifname) that live on; None when the key is absent."""
    unknown_keys: tuple[str, ...] = ()
    ignored_keys: tuple[tuple[str, str], ...] = ()
    """Known keys without effect here, each with the reason."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin."""

    command: str
    container_id: str
    netns: str
    interface: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """CNI_PATH: the folders of other plugins."""

    @property
    def pod(self) -> str:
        """Name of the pod, "" when the runtime is no Kubernetes."""
        return self.arguments.get("K8S_POD_NAME", "")

    @property
    def namespace(self) -> str:
        """Namespace of the pod."""
        return self.arguments.get("K8S_POD_NAMESPACE", "")

    @property
    def asked_address(self) -> str:
        """The address that the runtime asks for, "" for any."""
        return self.arguments.get("IP", "")


def parse_request(environment: Mapping[str, str]) -> Request:
    """Read CNI_*. Raises CniError 4 that names the variable."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_COMMAND {command!r} is none of {', '.join(COMMANDS)}")
    request = Request(
        command=command,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        interface=environment.get("CNI_IFNAME", ""),
        arguments=_arguments(environment.get("CNI_ARGS", "")),
        path=environment.get("CNI_PATH", ""),
    )
    if command in ("ADD", "DEL", "CHECK"):
        _require("CNI_CONTAINERID", request.container_id, command)
        _require("CNI_IFNAME", request.interface, command)
        if not _is_container_id(request.container_id):
            raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_CONTAINERID {request.container_id!r}: {_ID_RULE}")
        if len(request.interface) > _LONGEST_INTERFACE or any(c in "/:" or c.isspace() for c in request.interface):
            raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_IFNAME {request.interface!r} is not a device name")
    if command in ("ADD", "CHECK"):
        _require("CNI_NETNS", request.netns, command)
    return request


def parse_config(text: bytes, *, program: str = "") -> Config:
    """Read the network configuration. Raises CniError 6 (no JSON), 1 (version) or 7, naming the key.

    `program` is the name that the executable was called by: one of IPAM_TYPES makes it an IPAM plugin.
    """
    found = _decoded(text)
    version = _typed(found, "cniVersion", str, "0.2.0")
    if version not in VERSIONS:
        raise CniError(
            errors.INCOMPATIBLE_VERSION,
            f"cniVersion {version!r} is not supported",
            f"supported versions: {', '.join(VERSIONS)}",
        )
    ipam_only = program in IPAM_TYPES
    if ipam_only:  # the other keys are those of the plugin that called
        found = {key: value for key, value in found.items() if key in _FOR_IPAM}
    kind = _typed(found, "type", str, "")
    if kind not in PLUGIN_TYPES and not ipam_only:
        raise _invalid("type", f"must be one of {', '.join(PLUGIN_TYPES)}, not {kind!r}")
    ipam = _ipam(_typed(found, "ipam", dict, {}))
    surveyed = survey(found, foreign_ipam=ipam.manager is AddressManager.HOST_LOCAL)
    settings = found.get("container_settings") or {}
    features = found.get("feature_control") or {}
    return Config(
        name=_name(found),
        cni_version=version,
        type=kind,
        ipam=ipam,
        ipam_only=ipam_only,
        mtu=_number(found, "mtu", 0, "0 (automatic) or 576 to 65535", least=576, most=65535),
        require_mtu_file=bool(found.get("require_mtu_file")),
        num_queues=_number(found, "num_queues", 1, f"1 to {_MOST_QUEUES}", least=1, most=_MOST_QUEUES) or 1,
        nodename=found.get("nodename") or "",
        policy_timeout_seconds=_policy_timeout(found),
        fail_without_policy=_fails_without_policy(found),
        allow_ip_forwarding=bool(settings.get("allow_ip_forwarding")),
        routes=_routes(ipam.raw),
        default_routes=bool(found.get("include_default_routes")),
        addresses_without_ipam=bool(features.get("ip_addrs_no_ipam")),
        floating_addresses=bool(features.get("floating_ips")),
        readiness_gates=_gates(found),
        previous=found.get("prevResult") or None,
        valid_attachments=_attachments(found),
        unknown_keys=surveyed.unknown,
        ignored_keys=surveyed.ignored,
    )


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CniError(errors.UNDECODABLE, "the network configuration is not JSON", str(error)) from None
    if not isinstance(found, dict):
        raise CniError(errors.UNDECODABLE, "the network configuration is not a JSON object")
    return found


def _number(found: dict[str, Any], key: str, default: int, words: str, *, least: int, most: int) -> int:
    value: int = _typed(found, key, int, default)
    if value and not least <= value <= most:
        raise _invalid(key, f"must be {words}")
    return value


def _policy_timeout(found: dict[str, Any]) -> float:
    timeout = _typed(found, "policy_setup_timeout_seconds", int, 0)
    if timeout < 0:
        raise _invalid("policy_setup_timeout_seconds", "must not be negative")
    return min(float(timeout), LONGEST_POLICY_TIMEOUT_SECONDS) or DEFAULT_POLICY_TIMEOUT_SECONDS


def _fails_without_policy(found: dict[str, Any]) -> bool:
    action = _typed(found, "policy_setup_timeout_action", str, "fail")
    if action not in _TIMEOUT_ACTIONS:
        raise _invalid("policy_setup_timeout_action", f"must be one of {', '.join(_TIMEOUT_ACTIONS)}, not {action!r}")
    return _TIMEOUT_ACTIONS[action]


def _gates(found: dict[str, Any]) -> tuple[str, ...]:
    gates = found.get("readiness_gates") or ()
    for gate in gates:
        if not isinstance(gate, str) or not gate.startswith(("http://", "https://")):
            raise _invalid("readiness_gates", f"must be a list of http or https addresses, {gate!r} is none")
    return tuple(gates)


def _routes(ipam: Mapping[str, Any]) -> tuple[Prefix, ...]:
    """`ipam.routes`, which the standard IPAM plugins share: [{"dst": CIDR}]."""
    try:
        return tuple(parse_prefix(str(route["dst"]), strict=False) for route in ipam.get("routes") or ())
    except (TypeError, KeyError, ValueError):
        raise _invalid("ipam.routes", "must be a list of objects with dst, a CIDR") from None


def _ipam(found: dict[str, Any]) -> IpamConfig:
    kind = _typed(found, "type", str, "", parent="ipam.")
    if kind == HOST_LOCAL:
        return IpamConfig(AddressManager.HOST_LOCAL, raw=found)
    if kind in ("", "none"):
        return IpamConfig(AddressManager.NONE, assign_ipv4=False, raw=found)
    if kind not in IPAM_TYPES:
        raise _invalid("ipam.type", f"must be one of {', '.join(IPAM_TYPES)}, {HOST_LOCAL} or none, not {kind!r}")
    ipam = IpamConfig(
        assign_ipv4=_truth(found, "assign_ipv4", default=True),
        assign_ipv6=_truth(found, "assign_ipv6", default=False),
        ipv4_pools=_texts(found, "ipv4_pools"),
        ipv6_pools=_texts(found, "ipv6_pools"),
        raw=found,
    )
    if not ipam.assign_ipv4 and not ipam.assign_ipv6:
        raise _invalid("ipam", "assign_ipv4 and assign_ipv6 are both false: a pod needs an address")
    return ipam


def _truth(found: dict[str, Any], key: str, *, default: bool) -> bool:
    """Calico writes these as text; we accept a JSON boolean too."""
    value = found.get(key, default)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _invalid(f"ipam.{key}", 'must be "true" or "false"')
    return value


def _texts(found: dict[str, Any], key: str) -> tuple[str, ...]:
    value = found.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _invalid(f"ipam.{key}", "must be a list of CIDRs or pool names")
    return tuple(value)


def _attachments(found: dict[str, Any]) -> frozenset[tuple[str, str]] | None:
    key = "cni.dev/valid-attachments"
    value = found.get(key)
    if value is None:
        return None
    try:
        return frozenset((str(item["containerID"]), str(item["ifname"])) for item in value)
    except (TypeError, KeyError):
        raise _invalid(key, "must be a list of objects with containerID and ifname") from None


def _name(found: dict[str, Any]) -> str:
    name: str = _typed(found, "name", str, "")
    if not _is_container_id(name):
        raise _invalid("name", f"{name!r}: {_ID_RULE}")
    return name


def _typed(found: dict[str, Any], key: str, kind: type, default: Any, *, parent: str = "") -> Any:
    value = found.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {str: "a text", int: "a whole number", dict: "an object", bool: "true or false"}
        raise _invalid(parent + key, f"must be {names[kind]}")
    return value


def _invalid(key: str, words: str) -> CniError:
    return CniError(errors.INVALID_CONFIG, f"network configuration: {key} {words}")


def _require(variable: str, value: str, command: str) -> None:
    if not value:
        raise CniError(errors.INVALID_ENVIRONMENT, f"{variable} is needed for {command} and is empty")


def _is_container_id(text: str) -> bool:
    return text.isascii() and text[:1].isalnum() and all(c.isalnum() or c in "_.-" for c in text)


def _arguments(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, text.split(";")):
        key, separator, value = part.partition("=")
        if not separator or not key:
            raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_ARGS: {part!r} is not KEY=VALUE")
        found[key] = value
    return found
