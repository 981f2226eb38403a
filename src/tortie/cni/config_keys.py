"""Every key of a network configuration that Calico, the specification or we ourselves define, and what becomes of it.

Three kinds (kube-controllers.md, section 8): a key has its effect; or it is ignored, and the log says why, once; or it is
refused, because a pod would get less than what was asked for. CNI demands that keys of nobody are tolerated: they are
reported as unknown, so that a misspelt one is not lost without a word.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tortie.cni import errors
from tortie.cni.errors import CniError


class Handling(enum.Enum):
    """What becomes of a key."""

    EFFECTIVE = "effective"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key. `kind` is its type in JSON; `reason` says why it is ignored or refused; `harmless` values are accepted."""

    kind: type
    handling: Handling
    reason: str = ""
    harmless: tuple[Any, ...] = ()


_NAMES = {str: "a text", int: "a whole number", dict: "an object", bool: "true or false", list: "a list"}
_DATASTORE = "the agent has the connection to the datastore"
_LOG = "the agent writes the log, see LogSeverityScreen"
_NODE_NAME = "the agent knows the name of its node"
_RUNTIME = "meant for the runtime"
_WINDOWS = "for Windows nodes"
_DEPRECATED = "deprecated by Calico"
_KUBERNETES = "pods and their annotations come from the agent's datastore"


def _effective(kind: type, *names: str) -> dict[str, ConfigKey]:
    return dict.fromkeys(names, ConfigKey(kind, Handling.EFFECTIVE))


def _ignored(kind: type, reason: str, *names: str) -> dict[str, ConfigKey]:
    return dict.fromkeys(names, ConfigKey(kind, Handling.IGNORED, reason))


KEYS: Mapping[str, ConfigKey] = {
    **_effective(str, "cniVersion", "name", "type", "nodename", "tortie_socket", "policy_setup_timeout_action"),
    **_effective(int, "mtu", "policy_setup_timeout_seconds", "num_queues"),
    **_effective(bool, "require_mtu_file", "include_default_routes"),
    **_effective(dict, "ipam", "container_settings", "feature_control", "prevResult"),
    **_effective(list, "readiness_gates", "cni.dev/valid-attachments"),
    **_effective(bool, "container_settings.allow_ip_forwarding"),
    **_effective(bool, "feature_control.ip_addrs_no_ipam", "feature_control.floating_ips"),
    **_ignored(str, _NODE_NAME, "nodename_file", "hostname"),
    **_ignored(bool, _NODE_NAME, "nodename_file_optional"),
    **_ignored(str, "requests for addresses take turns in the agent", "ipam_lock_file"),
    **_ignored(str, _DATASTORE, "datastore_type", "etcd_endpoints", "etcd_discovery_srv", "etcd_scheme", "etcd_key_file"),
    **_ignored(str, _DATASTORE, "etcd_cert_file", "etcd_ca_cert_file", "calico_api_group"),
    **_ignored(int, _DATASTORE, "qps", "burst"),
    **_ignored(str, _DEPRECATED, "etcd_authority"),
    **_ignored(str, _LOG, "log_level", "log_file_path"),
    **_ignored(int, _LOG, "log_file_max_size", "log_file_max_age", "log_file_max_count"),
    **_ignored(dict, _KUBERNETES, "policy", "kubernetes"),
    **_ignored(str, _KUBERNETES, "policy.type", "policy.k8s_api_root", "policy.k8s_auth_token"),
    **_ignored(str, _KUBERNETES, "policy.k8s_client_certificate", "policy.k8s_client_key", "policy.k8s_certificate_authority"),
    **_ignored(str, _KUBERNETES, "kubernetes.k8s_api_root", "kubernetes.kubeconfig", "kubernetes.node_name"),
    **_ignored(dict, "for dataplanes other than this one", "dataplane_options"),
    "device_type": ConfigKey(str, Handling.REFUSED, "only veth is made by this release", ("", "veth")),
    **_ignored(str, "the agent itself knows when policy is in the kernel", "endpoint_status_dir"),
    **_ignored(str, _WINDOWS, "mode", "vxlan_mac_prefix"),
    **_ignored(int, _WINDOWS, "vxlan_vni"),
    **_ignored(
        bool, _WINDOWS, "windows_use_single_network", "windows_disable_host_subnet_nat_rule", "windows_disable_proxy_arp"
    ),
    **_ignored(dict, _WINDOWS, "windows_loopback_DSR"),
    **_ignored(dict, "Mesos is no more", "args"),
    # The specification's own.
    **_ignored(dict, "port mappings are the portmap plugin's, bandwidth comes from the pod's annotations", "runtimeConfig"),
    **_ignored(dict, _RUNTIME, "capabilities"),
    **_ignored(bool, _RUNTIME, "disableCheck", "disableGC", "loadOnlyInlinedPlugins"),
    **_ignored(list, _RUNTIME, "cniVersions", "cni.dev/attachments"),
    **_ignored(dict, "the kubelet writes the pods' resolver configuration", "dns"),
    **_ignored(bool, "natOutgoing of the IP pool decides", "ipMasq"),
    # ipam, as far as it is ours; host-local gets all of it.
    **_effective(str, "ipam.type"),
    **_effective(list, "ipam.ipv4_pools", "ipam.ipv6_pools", "ipam.routes"),
    **dict.fromkeys(("ipam.assign_ipv4", "ipam.assign_ipv6"), ConfigKey(object, Handling.EFFECTIVE)),
    **_ignored(str, "only host-local takes its addresses from a subnet", "ipam.subnet"),
}
"""By full name; `ipam.subnet` is the key `subnet` in the object `ipam`."""
_SECTIONS = ("ipam", "container_settings", "feature_control", "policy", "kubernetes")
SILENT = frozenset(("capabilities", "disableCheck", "disableGC", "cniVersions", "cni.dev/attachments", "runtimeConfig"))
"""Ignored keys that a runtime adds by itself: nobody wrote them, so nobody is told."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What of a configuration has no effect: unknown keys, and known ones with the reason."""

    unknown: tuple[str, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()


def survey(found: Mapping[str, Any], *, foreign_ipam: bool) -> Survey:
    """Check type and handling of every key. Raises CniError 7 for a wrong type or a refused key.

    `foreign_ipam` says that another program reads `ipam`.
    """
    unknown: list[str] = []
    ignored: list[tuple[str, str]] = []
    for name, value in _flattened(found, foreign_ipam):
        key = KEYS.get(name)
        if key is None:
            unknown.append(name)
            continue
        if value is None:
            continue
        if not isinstance(value, key.kind) or (key.kind is int and isinstance(value, bool)):
            raise CniError(errors.INVALID_CONFIG, f"network configuration: {name} must be {_NAMES[key.kind]}")
        if key.handling is Handling.REFUSED and value not in key.harmless:
            raise CniError(errors.INVALID_CONFIG, f"network configuration: {name} {value!r} is refused", key.reason)
        if key.handling is Handling.IGNORED and name not in SILENT and value not in ("", False, 0):
            ignored.append((name, key.reason))
    return Survey(tuple(sorted(unknown)), tuple(ignored))


def _flattened(found: Mapping[str, Any], foreign_ipam: bool) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        yield name, value
        if name in _SECTIONS and isinstance(value, dict) and not (name == "ipam" and foreign_ipam):
            for inner, content in value.items():
                yield f"{name}.{inner}", content
