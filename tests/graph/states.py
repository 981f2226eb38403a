"""Builders of cluster states: immutable mappings from key to resource, put together from small pieces."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from tortie.api.bgp import BGPConfiguration
from tortie.api.endpoint import EndpointPort, QoSControls, WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.ipam import BlockAffinity, BlockAffinitySpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kubernetes import Namespace, ServiceAccount
from tortie.api.networkset import GlobalNetworkSet, NetworkSet, NetworkSetSpec
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy, Rule
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.api.services import SERVICE_NAME_LABEL, EndpointSlice
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import Tier, TierSpec
from tortie.convert.feed import convert_update

NODE = "node-a"
OTHER = "node-b"

State = Mapping[Key, Resource]
EMPTY: State = MappingProxyType({})


def state(*resources: Resource) -> State:
    """A state that holds these resources, converted as the feed does."""
    held: dict[Key, Resource] = {}
    for resource in resources:
        key, value = convert_update(Update(resource.key, resource))
        assert value is not None
        held[key] = value
    return MappingProxyType(held)


def updates(before: State, after: State) -> list[Update]:
    """What leads from one state to another, by key."""
    gone = [Update(key, None) for key in before if key not in after]
    changed = [Update(key, value) for key, value in after.items() if before.get(key) != value]
    return sorted(gone + changed, key=lambda update: update.key)


def namespace(name: str, **labels: str) -> Namespace:
    return Namespace(metadata=Metadata(name=name, labels=labels))


def account(ns: str, name: str, **labels: str) -> ServiceAccount:
    return ServiceAccount(metadata=Metadata(name=name, namespace=ns, labels=labels))


def pod(
    name: str,
    *nets: str,
    ns: str = "ns",
    node: str = NODE,
    labels: Mapping[str, str] | None = None,
    ports: Iterable[EndpointPort] = (),
    sa: str = "",
    interface: str = "",
    profiles: tuple[str, ...] | None = None,
    qos: QoSControls | None = None,
) -> WorkloadEndpoint:
    if profiles is None:
        profiles = (f"kns.{ns}", f"ksa.{ns}.{sa}") if sa else (f"kns.{ns}",)
    return WorkloadEndpoint(
        metadata=Metadata(name=f"{node}-k8s-{name}-eth0", namespace=ns, labels=dict(labels or {})),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=node,
            pod=name,
            endpoint="eth0",
            ip_networks=nets,
            profiles=profiles,
            interface_name=interface or f"cali{ns}{name}"[:15],
            ports=tuple(ports),
            service_account_name=sa,
            qos_controls=qos,
        ),
    )


def rules(*documents: dict[str, Any]) -> tuple[Rule, ...]:
    """Rules as they stand in YAML."""
    return msgspec.convert(documents, tuple[Rule, ...])


def policy(name: str, ns: str = "ns", **spec: Any) -> NetworkPolicy:
    """A NetworkPolicy; `spec` as in YAML."""
    return msgspec.convert({"metadata": {"name": name, "namespace": ns}, "spec": spec}, NetworkPolicy)


def global_policy(name: str, **spec: Any) -> GlobalNetworkPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, GlobalNetworkPolicy)


def cluster_policy(name: str, **spec: Any) -> GlobalNetworkPolicy:
    """A ClusterNetworkPolicy as conversion leaves it."""
    document = {"kind": "KubernetesClusterNetworkPolicy", "metadata": {"name": name}, "spec": {"tier": "kube-admin"} | spec}
    return msgspec.convert(document, GlobalNetworkPolicy)


def staged_policy(name: str, ns: str = "ns", kind: str = "StagedNetworkPolicy", **spec: Any) -> StagedNetworkPolicy:
    """A StagedNetworkPolicy, or a StagedKubernetesNetworkPolicy as conversion leaves it."""
    return msgspec.convert({"kind": kind, "metadata": {"name": name, "namespace": ns}, "spec": spec}, StagedNetworkPolicy)


def staged_global_policy(name: str, **spec: Any) -> StagedGlobalNetworkPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, StagedGlobalNetworkPolicy)


def host_endpoint(
    name: str, node: str = NODE, labels: Mapping[str, str] | None = None, dscp: str = "", **spec: Any
) -> HostEndpoint:
    annotations = {"qos.projectcalico.org/dscp": dscp} if dscp else {}
    metadata = {"name": name, "labels": dict(labels or {}), "annotations": annotations}
    return msgspec.convert({"metadata": metadata, "spec": {"node": node} | spec}, HostEndpoint)


def endpoint_slice(name: str, service: str, *addresses: str, ports: Iterable[Any] = (80,), ns: str = "ns") -> EndpointSlice:
    """`ports` are numbers, or maps as in YAML; each address is an endpoint of its own."""
    document = {
        "metadata": {"name": name, "namespace": ns, "labels": {SERVICE_NAME_LABEL: service} if service else {}},
        "endpoints": [{"addresses": [each]} for each in addresses],
        "ports": [each if isinstance(each, dict) else {"port": each} for each in ports],
    }
    return msgspec.convert(document, EndpointSlice)


def bgp_configuration(name: str = "default", **spec: Any) -> BGPConfiguration:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, BGPConfiguration)


def tier(name: str, order: float | None = None, default: str = "Deny") -> Tier:
    spec = msgspec.convert({"order": order, "defaultAction": default}, TierSpec)
    return Tier(metadata=Metadata(name=name), spec=spec)


def profile(name: str, *, allow: bool = False, labels: Mapping[str, str] | None = None) -> Profile:
    allowed = (Rule(action="Allow"),) if allow else ()
    spec = ProfileSpec(ingress=allowed, egress=allowed, labels_to_apply=dict(labels or {}))
    return Profile(metadata=Metadata(name=name), spec=spec)


def network_set(name: str, *nets: str, ns: str = "", labels: Mapping[str, str] | None = None) -> Resource:
    metadata = Metadata(name=name, namespace=ns, labels=dict(labels or {}))
    kind = NetworkSet if ns else GlobalNetworkSet
    return kind(metadata=metadata, spec=NetworkSetSpec(nets=nets))


def pool(name: str, cidr: str, **spec: Any) -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **spec))


def node(name: str, ipv4: str = "", labels: Mapping[str, str] | None = None) -> Node:
    bgp = NodeBGP(ipv4_address=ipv4) if ipv4 else None
    return Node(metadata=Metadata(name=name, labels=dict(labels or {})), spec=NodeSpec(bgp=bgp))


def tunnel_node(name: str, *addresses: str, vxlan: str = "", vxlan6: str = "", ipip: str = "", key: str = "") -> Node:
    """A node with ends of tunnels; its own addresses are an IPv4 one and, where there is a second, an IPv6 one."""
    four, six = (*addresses, "")[:2]
    bgp = {"ipv4Address": four, "ipv6Address": six, "ipv4IPIPTunnelAddr": ipip}
    spec = {"bgp": bgp, "ipv4VXLANTunnelAddr": vxlan, "ipv6VXLANTunnelAddr": vxlan6}
    return msgspec.convert({"metadata": {"name": name}, "spec": spec, "status": {"wireguardPublicKey": key}}, Node)


def affinity(node: str, cidr: str, state: Any = "confirmed") -> BlockAffinity:
    return BlockAffinity(metadata=Metadata(name=f"{node}-{cidr}"), spec=BlockAffinitySpec(state=state, node=node, cidr=cidr))


def felix(name: str, **spec: Any) -> FelixConfiguration:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, FelixConfiguration)
