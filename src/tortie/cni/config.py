"""What the runtime asks: environment and network configuration, checked and as values.

Keys are Calico's (kube-controllers.md, section 8). CNI demands that unknown keys are tolerated; they are reported, so that a
misspelt one is not lost without a word. Keys that name Calico's own files and datastore are known and without effect here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tortie.cni import errors
from tortie.cni.errors import CniError

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
PLUGIN_TYPES = ("tortie-cni", "calico")
IPAM_TYPES = ("tortie-ipam", "calico-ipam")
DEFAULT_POLICY_TIMEOUT_SECONDS = 10.0
LONGEST_POLICY_TIMEOUT_SECONDS = 60.0
"""A runtime gives up after two to four minutes; the answer, and the undoing, must come before that."""
_LONGEST_INTERFACE = 15
_ID_RULE = "letters, digits, '_', '.' and '-' after a letter or digit are needed"

# fmt: off
_HANDLED = frozenset(
    {
        "cniVersion", "name", "type", "ipam", "mtu", "nodename", "policy_setup_timeout_seconds", "container_settings",
        "log_level", "prevResult", "runtimeConfig", "tortie_socket", "cni.dev/valid-attachments", "capabilities",
    }
)
_WITHOUT_EFFECT = frozenset(
    {
        "nodename_file", "nodename_file_optional", "hostname", "ipam_lock_file", "datastore_type", "etcd_endpoints",
        "etcd_discovery_srv", "etcd_scheme", "etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file", "etcd_authority",
        "log_file_path", "log_file_max_size", "log_file_max_age", "log_file_max_count", "policy", "kubernetes",
        "calico_api_group", "qps", "burst", "endpoint_status_dir", "require_mtu_file", "cni.dev/attachments",
        "disableGC", "disableCheck", "args", "num_queues", "cniVersions",
    }
)

# fmt: on


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """Which addresses to assign. Pools are CIDRs or names."""

    assign_ipv4: bool = True
    assign_ipv6: bool = False
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A network configuration."""

    name: str
    cni_version: str
    type: str
    ipam: IpamConfig = IpamConfig()
    mtu: int = 0
    nodename: str = ""
    policy_timeout_seconds: float = DEFAULT_POLICY_TIMEOUT_SECONDS
    allow_ip_forwarding: bool = False
    log_level: str = ""
    previous: Mapping[str, Any] | None = None
    """prevResult, as it came."""
    valid_attachments: frozenset[tuple[str, str]] | None = None
    """GC: (containerID, ifname) that live on; None when the key is absent."""
    unknown_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin."""

    command: str
    container_id: str
    netns: str
    interface: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def pod(self) -> str:
        """Name of the pod, "" when the runtime is no Kubernetes."""
        return self.arguments.get("K8S_POD_NAME", "")

    @property
    def namespace(self) -> str:
        """Namespace of the pod."""
        return self.arguments.get("K8S_POD_NAMESPACE", "")


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


def parse_config(text: bytes) -> Config:
    """Read the network configuration. Raises CniError 6 (no JSON), 1 (version) or 7, naming the key."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CniError(errors.UNDECODABLE, "the network configuration is not JSON", str(error)) from None
    if not isinstance(found, dict):
        raise CniError(errors.UNDECODABLE, "the network configuration is not a JSON object")
    version = _typed(found, "cniVersion", str, "0.2.0")
    if version not in VERSIONS:
        raise CniError(
            errors.INCOMPATIBLE_VERSION,
            f"cniVersion {version!r} is not supported",
            f"supported versions: {', '.join(VERSIONS)}",
        )
    timeout = _typed(found, "policy_setup_timeout_seconds", int, 0)
    if timeout < 0:
        raise _invalid("policy_setup_timeout_seconds", "must not be negative")
    mtu = _typed(found, "mtu", int, 0)
    if mtu and not 576 <= mtu <= 65535:
        raise _invalid("mtu", "must be 0 (automatic) or 576 to 65535")
    kind = _typed(found, "type", str, "")
    if kind not in PLUGIN_TYPES:
        raise _invalid("type", f"must be one of {', '.join(PLUGIN_TYPES)}, not {kind!r}")
    ipam, unknown_ipam = _ipam(_typed(found, "ipam", dict, {}))
    unknown = [key for key in found if key not in _HANDLED and key not in _WITHOUT_EFFECT]
    settings = _typed(found, "container_settings", dict, {})
    return Config(
        name=_name(found),
        cni_version=version,
        type=kind,
        ipam=ipam,
        mtu=mtu,
        nodename=_typed(found, "nodename", str, ""),
        policy_timeout_seconds=min(float(timeout), LONGEST_POLICY_TIMEOUT_SECONDS) or DEFAULT_POLICY_TIMEOUT_SECONDS,
        allow_ip_forwarding=_typed(settings, "allow_ip_forwarding", bool, default=False, parent="container_settings."),
        log_level=_typed(found, "log_level", str, ""),
        previous=_typed(found, "prevResult", dict, {}) or None,
        valid_attachments=_attachments(found),
        unknown_keys=tuple(sorted(unknown)) + unknown_ipam,
    )


def _ipam(found: dict[str, Any]) -> tuple[IpamConfig, tuple[str, ...]]:
    kind = _typed(found, "type", str, "", parent="ipam.")
    if kind not in IPAM_TYPES:
        raise _invalid("ipam.type", f"must be one of {', '.join(IPAM_TYPES)}, not {kind!r}")
    ipam = IpamConfig(
        assign_ipv4=_truth(found, "assign_ipv4", default=True),
        assign_ipv6=_truth(found, "assign_ipv6", default=False),
        ipv4_pools=_texts(found, "ipv4_pools"),
        ipv6_pools=_texts(found, "ipv6_pools"),
    )
    if not ipam.assign_ipv4 and not ipam.assign_ipv6:
        raise _invalid("ipam", "assign_ipv4 and assign_ipv6 are both false: a pod needs an address")
    known = {"type", "assign_ipv4", "assign_ipv6", "ipv4_pools", "ipv6_pools"}
    return ipam, tuple(sorted(f"ipam.{key}" for key in found if key not in known))


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
