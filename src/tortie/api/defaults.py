"""What a resource means where it is silent: the values that are filled in before it is checked and stored (api.md, 1.5).

Also brings values that have several spellings into one: a port "80" becomes 80, protocol "6" becomes 6, 0.10 becomes AS 10.
Values that cannot be read are left as they are, for validation to report.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.controllers import KubeControllersConfiguration
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.felix import FelixConfiguration
from tortie.api.formats import parse_as_number
from tortie.api.ippool import IPPool
from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace
from tortie.api.names import workload_endpoint_name
from tortie.api.node import Node
from tortie.api.policy import (
    DEFAULT_TIER,
    Direction,
    EntityRule,
    GlobalNetworkPolicy,
    NetworkPolicy,
    PortText,
    ProtocolText,
    Rule,
)
from tortie.api.profile import Profile
from tortie.api.resource import Metadata, Resource
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import Tier
from tortie.base.net import Family, parse_prefix

TIER_LABEL = "projectcalico.org/tier"
NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
DEFAULT_TIER_ORDER = 1_000_000.0
DEFAULT_BLOCK_SIZE = {Family.V4: 26, Family.V6: 122}

DEFAULT_CONTROLLERS_METRICS_PORT = 9094

_R = TypeVar("_R", bound=Resource)


def with_defaults(resource: _R) -> _R:
    """`resource` with everything filled in. Applying it twice changes nothing more."""
    fill = _FILL.get(type(resource))
    if fill is None:
        return resource
    filled: _R = fill(resource)
    return filled


def _policy(policy: NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy) -> Resource:
    spec = policy.spec
    tier = spec.tier or DEFAULT_TIER
    types: tuple[Direction, ...] = spec.types
    # A staged deletion says nothing but which policy it means.
    if not types and not _deletes(policy):
        types = ("Ingress",) if spec.ingress or not spec.egress else ()
        types += ("Egress",) if spec.egress else ()
    return replace(
        policy,
        metadata=_labelled(policy.metadata, {TIER_LABEL: tier}),
        spec=replace(spec, tier=tier, types=types, ingress=_rules(spec.ingress), egress=_rules(spec.egress)),
    )


def _deletes(policy: Resource) -> bool:
    staged = (StagedNetworkPolicy, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy)
    return isinstance(policy, staged) and policy.spec.staged_action == "Delete"


def _profile(profile: Profile) -> Resource:
    spec = profile.spec
    return replace(profile, spec=replace(spec, ingress=_rules(spec.ingress), egress=_rules(spec.egress)))


def _rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(
        replace(
            rule,
            protocol=_protocol(rule.protocol),
            not_protocol=_protocol(rule.not_protocol),
            source=_entity(rule.source),
            destination=_entity(rule.destination),
        )
        for rule in rules
    )


def _entity(entity: EntityRule) -> EntityRule:
    if not entity.ports and not entity.not_ports:
        return entity
    return replace(entity, ports=tuple(map(_port, entity.ports)), not_ports=tuple(map(_port, entity.not_ports)))


def _port(port: PortText) -> PortText:
    return int(port) if isinstance(port, str) and _is_decimal(port) else port


def _protocol(protocol: ProtocolText | None) -> ProtocolText | None:
    return int(protocol) if isinstance(protocol, str) and _is_decimal(protocol) else protocol


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _tier(tier: Tier) -> Resource:
    return replace(tier, spec=replace(tier.spec, order=DEFAULT_TIER_ORDER)) if tier.spec.order is None else tier


def _ip_pool(pool: IPPool) -> Resource:
    spec = pool.spec
    cidr, block_size = spec.cidr, spec.block_size
    try:
        prefix = parse_prefix(cidr)
    except ValueError:
        pass
    else:
        cidr, block_size = str(prefix), block_size or DEFAULT_BLOCK_SIZE[prefix.family]
    filled = replace(
        spec,
        cidr=cidr,
        block_size=block_size,
        node_selector=spec.node_selector or "all()",
        allowed_uses=spec.allowed_uses or ("Workload", "Tunnel"),
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
    )
    return replace(pool, spec=filled)


def _felix(configuration: FelixConfiguration) -> Resource:
    spec = configuration.spec
    balancing = spec.bpf_connect_time_load_balancing or "TCP"
    host_nat = spec.bpf_host_networked_nat_without_ctlb or "Enabled"
    if spec.bpf_connect_time_load_balancing_enabled is not None:
        # The older switch, where someone still sets it, decides both.
        balancing = "Enabled" if spec.bpf_connect_time_load_balancing_enabled else "Disabled"
        host_nat = "Disabled"
    filled = replace(
        spec,
        nftables_mode=spec.nftables_mode or "Auto",
        nftables_flow_table_offload=spec.nftables_flow_table_offload or "Disabled",
        floating_ips=spec.floating_ips or "Disabled",
        bpf_connect_time_load_balancing=balancing,
        bpf_host_networked_nat_without_ctlb=host_nat,
    )
    return replace(configuration, spec=filled)


def _workload_endpoint(endpoint: WorkloadEndpoint) -> Resource:
    name = endpoint.metadata.name
    if not name:
        try:
            name = workload_endpoint_name(endpoint.spec)
        except ValueError:
            return endpoint
    labels = {NAMESPACE_LABEL: endpoint.metadata.namespace, ORCHESTRATOR_LABEL: endpoint.spec.orchestrator}
    return replace(endpoint, metadata=replace(_labelled(endpoint.metadata, labels), name=name))


def _node(node: Node) -> Resource:
    bgp = node.spec.bgp
    if bgp is None:
        return node
    return replace(node, spec=replace(node.spec, bgp=replace(bgp, as_number=_as_number(bgp.as_number))))


def _bgp_configuration(configuration: BGPConfiguration) -> Resource:
    spec = configuration.spec
    aggregation = spec.service_load_balancer_aggregation or "Enabled"
    filled = replace(spec, as_number=_as_number(spec.as_number), service_load_balancer_aggregation=aggregation)
    return replace(configuration, spec=filled)


def _bgp_peer(peer: BGPPeer) -> Resource:
    spec = peer.spec
    numbers = {"as_number": _as_number(spec.as_number), "local_as_number": _as_number(spec.local_as_number)}
    return replace(peer, spec=replace(spec, **numbers))


def _as_number(number: int | str | None) -> int | str | None:
    try:
        return None if number is None else parse_as_number(number)
    except ValueError:
        return number


def _controllers(configuration: KubeControllersConfiguration) -> Resource:
    spec = configuration.spec
    node, balancer, migration = spec.controllers.node, spec.controllers.load_balancer, spec.controllers.migration
    if node is not None:
        node = replace(node, leak_grace_period=node.leak_grace_period or "15m0s")
    if balancer is not None:
        balancer = replace(balancer, assign_ips=balancer.assign_ips or "AllServices")
    if migration is not None:
        migration = replace(migration, policy_name_migrator=migration.policy_name_migrator or "Enabled")
    port = spec.prometheus_metrics_port
    filled = replace(
        spec,
        controllers=replace(spec.controllers, node=node, load_balancer=balancer, migration=migration),
        health_checks=spec.health_checks or "Enabled",
        prometheus_metrics_port=DEFAULT_CONTROLLERS_METRICS_PORT if port is None else port,
    )
    return replace(configuration, spec=filled)


def _kubernetes_policy(policy: KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy) -> Resource:
    if policy.spec.policy_types or _deletes(policy):
        return policy
    types = ("Ingress", "Egress") if policy.spec.egress else ("Ingress",)
    return replace(policy, spec=replace(policy.spec, policy_types=types))


def _namespace(namespace: Namespace) -> Resource:
    """Policies select namespaces by this label everywhere, because every API server of Kubernetes writes it."""
    name = namespace.metadata.name
    return replace(namespace, metadata=_labelled(namespace.metadata, {NAMESPACE_NAME_LABEL: name}))


def _labelled(metadata: Metadata, labels: dict[str, str]) -> Metadata:
    return replace(metadata, labels=metadata.labels | labels)


_FILL: dict[type[Resource], Callable[..., Any]] = {
    NetworkPolicy: _policy,
    GlobalNetworkPolicy: _policy,
    StagedNetworkPolicy: _policy,
    StagedGlobalNetworkPolicy: _policy,
    StagedKubernetesNetworkPolicy: _kubernetes_policy,
    Profile: _profile,
    Tier: _tier,
    IPPool: _ip_pool,
    FelixConfiguration: _felix,
    WorkloadEndpoint: _workload_endpoint,
    Node: _node,
    BGPConfiguration: _bgp_configuration,
    BGPPeer: _bgp_peer,
    KubeControllersConfiguration: _controllers,
    KubernetesNetworkPolicy: _kubernetes_policy,
    Namespace: _namespace,
}
