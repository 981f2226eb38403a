"""ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 (conversions.md, section 7).

`tortie.convert` makes a GlobalNetworkPolicy of it. Of several fields of which exactly one must be set, none may turn out to be
set when a later version of the API wrote the document: conversion then fails closed.
"""

from typing import Any

import msgspec

from tortie.api.kubernetes import LabelSelector
from tortie.api.resource import Metadata, Resource, Value


class NamespacedPods(Value, frozen=True, kw_only=True):
    """Pods by their own and their namespaces' labels; empty selectors select all."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(Value, frozen=True, kw_only=True):
    """Whom the policy is for; exactly one is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class PortSpan(Value, frozen=True, kw_only=True):
    """Inclusive."""

    start: int
    end: int


class DestinationPort(Value, frozen=True, kw_only=True):
    """Exactly one is set."""

    number: int | None = None
    range: PortSpan | None = None


class PortMatch(Value, frozen=True, kw_only=True):
    """What of one protocol: without a port all of it."""

    destination_port: DestinationPort | None = None


class ProtocolMatch(Value, frozen=True, kw_only=True):
    """Exactly one is set. A named port is one that the destination's pod declares, of whatever protocol."""

    tcp: PortMatch | None = None
    udp: PortMatch | None = None
    sctp: PortMatch | None = None
    destination_named_port: str = ""


class IngressPeer(Value, frozen=True, kw_only=True):
    """Who sends; exactly one is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class EgressPeer(Value, frozen=True, kw_only=True):
    """Who receives; exactly one is set. Rules with `nodes` or `domain_names` cannot be converted."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()


class ClusterIngressRule(Value, frozen=True, kw_only=True):
    """`action` is Accept, Deny or Pass. Empty `protocols` mean any."""

    action: str
    name: str = ""
    from_: tuple[IngressPeer, ...] = msgspec.field(default=(), name="from")
    protocols: tuple[ProtocolMatch, ...] = ()


class ClusterEgressRule(Value, frozen=True, kw_only=True):
    """`action` is Accept, Deny or Pass. Empty `protocols` mean any."""

    action: str
    name: str = ""
    to: tuple[EgressPeer, ...] = ()
    protocols: tuple[ProtocolMatch, ...] = ()


class ClusterNetworkPolicySpec(Value, frozen=True, kw_only=True):
    """`tier` is Admin or Baseline; `priority` 0 to 1000, the smallest first."""

    tier: str
    priority: int
    subject: Subject = Subject()
    ingress: tuple[ClusterIngressRule, ...] = ()
    egress: tuple[ClusterEgressRule, ...] = ()


class ClusterNetworkPolicy(Resource, frozen=True, kw_only=True):
    """Its *document* kind is ClusterNetworkPolicy; `key.kind` is KubernetesClusterNetworkPolicy, also after conversion."""

    api_version: str = "policy.networking.k8s.io/v1alpha2"
    kind: str = "KubernetesClusterNetworkPolicy"
    metadata: Metadata = Metadata()
    # The default only makes the struct like all others; a document without spec is refused.
    spec: ClusterNetworkPolicySpec = ClusterNetworkPolicySpec(tier="", priority=0)
    status: Any = None
