"""Stored values that cannot be read: named, kept apart from the others, and replaced by what denies.

One broken value must neither stop the rest nor simply vanish: a policy that is not there allows what it denied.
"""

import contextlib
import sys
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from tortie.api.cluster_policy import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterNetworkPolicySpec,
    Subject,
)
from tortie.api.hostendpoint import HostEndpoint, HostEndpointSpec
from tortie.api.kubernetes import KubernetesNetworkPolicy, KubernetesNetworkPolicySpec, LabelSelector
from tortie.api.networkset import GlobalNetworkSet, NetworkSet, NetworkSetSpec
from tortie.api.policy import (
    DEFAULT_TIER,
    Direction,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
    Rule,
)
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.services import EndpointSlice, SliceEndpoint, SlicePort

_FIRST = -sys.float_info.max
"""The order of a policy whose own is not known: what it denies must not be allowed before it is asked."""
_FIRST_PRIORITY = -(2**31)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored value that is none of its kind. `reason` is for people; `data` is what is stored."""

    key: Key
    revision: str
    reason: str
    data: bytes


def stand_in(stored: Unreadable) -> Resource | None:
    """What to believe of a value that was never readable; None: as if it were not there.

    A policy denies in its directions, before the others of its tier, for all that its selectors, as far as they can be read,
    select. A host endpoint without profiles denies too, if it can be read whose it is. A network set keeps the labels and nets
    that can be read, an endpoint slice its endpoints and ports. Every other kind closes by being absent: a workload without
    endpoint is dropped, a profile that is missing denies, a tier that is missing denies, a parameter has its default; and a
    staged policy decides nothing anyway.
    """
    raw = _object(stored.data)
    metadata = Metadata(name=stored.key.name, namespace=stored.key.namespace, resource_version=stored.revision)
    spec = _part(raw, "spec", dict[str, Any], {})
    match stored.key.kind:
        case "NetworkPolicy":
            return NetworkPolicy(metadata=metadata, spec=NetworkPolicySpec(**_denying(spec)))
        case "GlobalNetworkPolicy":
            return GlobalNetworkPolicy(
                metadata=metadata,
                spec=GlobalNetworkPolicySpec(
                    **_denying(spec),
                    namespace_selector=_part(spec, "namespaceSelector", str, ""),
                    do_not_track=_part(spec, "doNotTrack", bool, False),
                    pre_dnat=_part(spec, "preDNAT", bool, False),
                    apply_on_forward=_part(spec, "applyOnForward", bool, not spec or "applyOnForward" in spec),
                ),
            )
        case "KubernetesNetworkPolicy":
            selector = _part(spec, "podSelector", LabelSelector, LabelSelector())
            types = _part(spec, "policyTypes", tuple[Direction, ...], ()) or ("Ingress", "Egress")
            return KubernetesNetworkPolicy(
                metadata=metadata, spec=KubernetesNetworkPolicySpec(pod_selector=selector, policy_types=types)
            )
        case "KubernetesClusterNetworkPolicy":
            return ClusterNetworkPolicy(metadata=metadata, spec=_cluster_spec(spec))
        case "HostEndpoint":
            return _host_endpoint(metadata, raw, spec)
        case "KubernetesEndpointSlice":
            return EndpointSlice(
                metadata=_with_labels(metadata, raw),
                address_type=_part(raw, "addressType", str, ""),
                endpoints=_items(raw.get("endpoints"), SliceEndpoint),
                ports=_items(raw.get("ports"), SlicePort),
            )
        case "NetworkSet":
            return NetworkSet(metadata=_with_labels(metadata, raw), spec=NetworkSetSpec(nets=_texts(spec.get("nets"))))
        case "GlobalNetworkSet":
            return GlobalNetworkSet(metadata=_with_labels(metadata, raw), spec=NetworkSetSpec(nets=_texts(spec.get("nets"))))
        case _:
            return None


def _denying(spec: dict[str, Any]) -> dict[str, Any]:
    types = _part(spec, "types", tuple[Direction, ...], ()) or ("Ingress", "Egress")
    deny = (Rule(action="Deny"),)
    return {
        "tier": _part(spec, "tier", str, "") or DEFAULT_TIER,
        "order": _part(spec, "order", float, _FIRST),
        "selector": _part(spec, "selector", str, ""),
        "service_account_selector": _part(spec, "serviceAccountSelector", str, ""),
        "types": types,
        "ingress": deny if "Ingress" in types else (),
        "egress": deny if "Egress" in types else (),
    }


def _cluster_spec(spec: dict[str, Any]) -> ClusterNetworkPolicySpec:
    """Rules without peers: conversion makes a Deny of everything of them."""
    directions = [name for name in ("ingress", "egress") if spec.get(name)] or ["ingress", "egress"]
    subject = _part(spec, "subject", Subject, Subject())
    return ClusterNetworkPolicySpec(
        tier=_part(spec, "tier", str, "Admin"),
        priority=_part(spec, "priority", int, _FIRST_PRIORITY),
        subject=Subject(namespaces=LabelSelector()) if subject == Subject() else subject,
        ingress=(ClusterIngressRule(action="Deny"),) if "ingress" in directions else (),
        egress=(ClusterEgressRule(action="Deny"),) if "egress" in directions else (),
    )


def _host_endpoint(metadata: Metadata, raw: dict[str, Any], spec: dict[str, Any]) -> HostEndpoint | None:
    node = _part(spec, "node", str, "")
    interface, addresses = _part(spec, "interfaceName", str, ""), _texts(spec.get("expectedIPs"))
    if not node or not (interface or addresses):
        return None
    return HostEndpoint(
        metadata=_with_labels(metadata, raw),
        spec=HostEndpointSpec(node=node, interface_name=interface, expected_ips=addresses),
    )


def _items(value: Any, kind: type[_T]) -> tuple[_T, ...]:
    """The items of a list that can be read."""
    found: list[_T] = []
    for item in value if isinstance(value, list) else ():
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(item, type=kind))
    return tuple(found)


def _object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def _part(raw: dict[str, Any], name: str, kind: type[_T], default: _T) -> _T:
    """A field if it is there and of its type."""
    try:
        return msgspec.convert(raw[name], type=kind)
    except (KeyError, msgspec.ValidationError):
        return default


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _with_labels(metadata: Metadata, raw: dict[str, Any]) -> Metadata:
    labels = _part(_part(raw, "metadata", dict[str, Any], {}), "labels", dict[str, Any], {})
    return msgspec.structs.replace(metadata, labels={name: text for name, text in labels.items() if isinstance(text, str)})
