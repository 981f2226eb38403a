"""Checks of names, namespaces, labels and annotations (api.md, section 1.2)."""

from collections.abc import Callable, Mapping

from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.kinds import Kind
from tortie.api.names import (
    parse_dns_label,
    parse_dns_subdomain,
    parse_global_policy_name,
    parse_label_key,
    parse_label_value,
    parse_network_policy_name,
)
from tortie.api.resource import Metadata

MAX_ANNOTATION_BYTES = 262144

_NAME_SYNTAX: Mapping[str, Callable[[str], str]] = {
    "Tier": parse_dns_label,
    "Namespace": parse_dns_label,
    "NetworkPolicy": parse_network_policy_name,
    "GlobalNetworkPolicy": parse_global_policy_name,
    "StagedNetworkPolicy": parse_network_policy_name,
    "StagedGlobalNetworkPolicy": parse_global_policy_name,
    "KubernetesService": parse_dns_label,
}
_SINGLETONS = frozenset(("ClusterInformation", "IPAMConfiguration", "KubeControllersConfiguration"))


def check_metadata(findings: Findings, kind: Kind, metadata: Metadata) -> None:
    """Everything that holds for the metadata of `kind`."""
    name = ("metadata", "name")
    if kind.kind == "WorkloadEndpoint":
        pass  # computed from the spec, and checked with it
    elif not metadata.name:
        hint = "; generateName is not supported" if metadata.generate_name else ""
        findings.refuse(name, None, f"is required{hint}")
    elif kind.kind in _SINGLETONS:
        findings.require(metadata.name == "default", name, value=metadata.name, reason="the only name allowed is default")
    else:
        findings.parsed(name, metadata.name, _NAME_SYNTAX.get(kind.kind, parse_dns_subdomain))
    _check_namespace(findings, kind, metadata.namespace)
    check_labels(findings, ("metadata", "labels"), metadata.labels)
    check_annotations(findings, ("metadata", "annotations"), metadata.annotations)


def check_labels(findings: Findings, path: Path, labels: Mapping[str, str]) -> None:
    """Keys and values of labels."""
    for key, value in labels.items():
        findings.parsed((*path, key), key, parse_label_key)
        findings.parsed((*path, key), value, parse_label_value)


def check_annotations(findings: Findings, path: Path, annotations: Mapping[str, str]) -> None:
    """Keys of annotations, and their size taken together."""
    for key in annotations:
        findings.parsed((*path, key), key, lambda text: parse_label_key(text.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    findings.require(size <= MAX_ANNOTATION_BYTES, path, reason=f"{size} bytes, at most {MAX_ANNOTATION_BYTES} are allowed")


def _check_namespace(findings: Findings, kind: Kind, namespace: str) -> None:
    path = ("metadata", "namespace")
    if not kind.namespaced:
        reason = f"namespace should not be specified: {kind.document_kind} is not a namespaced resource"
        findings.require(not namespace, path, value=namespace, reason=reason)
    elif not namespace:
        findings.refuse(path, None, f"is required: {kind.document_kind} is a namespaced resource")
    else:
        findings.parsed(path, namespace, parse_dns_label)
