"""The one table of which fields this release enforces and which it does not.

A field that nobody acts on must not be stored as if it worked: the clients refuse it by name (`unenforced`) unless told to
store it anyway. The table is by struct, because structs such as Rule are shared by several kinds; every field of every struct
of the api stands in it exactly once, which a test checks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.api import (
    agent,
    bgp,
    bgp_filter,
    cluster,
    cluster_policy,
    controllers,
    endpoint,
    felix,
    felix_params,
    hostendpoint,
    ipam,
    ippool,
    kubernetes,
    networkset,
    node,
    node_status,
    policy,
    profile,
    services,
    staged,
    tier,
)
from tortie.api.defaults import DEFAULT_CONTROLLERS_METRICS_PORT
from tortie.api.errors import FieldError, Path, field_path
from tortie.api.resource import Metadata, Resource
from tortie.dataplane.render.config import ConfigError, parse

RELEASE = "0.1"
_STORE = "pass --allow-unenforced to store it anyway"
REASON = f"not enforced by this release of Tortie ({RELEASE}); {_STORE}"


_WIREGUARD_ON = {"WireguardEnabled": "true", "WireguardEnabledV6": "true"}
"""Its other parameters are read only then."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """One struct's fields, by their Python names.

    `refused` maps a field to the values that ask nothing of us besides its default. All others are enforced, or state facts
    that nobody has to act on.
    """

    enforced: frozenset[str]
    refused: Mapping[str, tuple[Any, ...]]


def unenforced(resource: Resource) -> list[FieldError]:
    """Every field of `resource` that is set and that this release does not act on, or cannot."""
    return list(_walk(resource, ()))


def _walk(value: Any, path: Path) -> Iterator[FieldError]:
    match value:
        case Metadata():
            return
        case felix.FelixConfigurationSpec():
            yield from _felix(value, path)
        case msgspec.Struct():
            yield from _walk_struct(value, path)
        case tuple():
            for index, item in enumerate(value):
                yield from _walk(item, (*path, index))
        case _:
            return


def _walk_struct(value: msgspec.Struct, path: Path) -> Iterator[FieldError]:
    coverage = TABLE.get(type(value))
    for known in msgspec.structs.fields(value):
        content = getattr(value, known.name)
        where = (*path, known.encode_name)
        if where == ("status",):
            continue  # a report, which asks nothing
        if coverage is not None and known.name in coverage.refused:
            if content != _default(known) and content not in coverage.refused[known.name]:
                yield FieldError(field_path(where), _shown(content), _REASONS.get((type(value), known.name), REASON))
        else:
            yield from _walk(content, where)


def _felix(spec: felix.FelixConfigurationSpec, path: Path) -> Iterator[FieldError]:
    """A parameter set to the value that it has anyway asks nothing of us."""
    raw = felix_params.raw_values(spec)
    for known in msgspec.structs.fields(spec):
        content = getattr(spec, known.name)
        parameter = felix_params.BY_FIELD.get(known.encode_name)
        if content is None or parameter is None:
            continue
        if known.name in _FELIX_ENFORCED:
            reason = _impossible(parameter.name, raw.get(parameter.name, ""))
            if reason:
                yield FieldError(field_path((*path, known.encode_name)), _shown(content), reason)
        elif raw.get(parameter.name, "").lower() != parameter.default.lower():
            yield FieldError(field_path((*path, known.encode_name)), _shown(content), REASON)


def _impossible(name: str, text: str) -> str:
    """Why no agent could act on a value that Calico's API takes; all of them would keep what they had, and not be ready."""
    in_use = _WIREGUARD_ON if name.startswith("Wireguard") else {}
    try:
        parse({**in_use, name: text})
    except ConfigError as error:
        return f"nothing that an agent can do: {error.__cause__ or error}; {_STORE}"
    return ""


def _default(known: msgspec.structs.FieldInfo) -> Any:
    return known.default_factory() if known.default_factory is not msgspec.NODEFAULT else known.default


def _shown(content: Any) -> Any:
    """Passwords are references only, but a map says nothing to a reader either."""
    return content if isinstance(content, (str, int, float)) else None


def _covers(struct: type[msgspec.Struct], enforced: str, **refused: tuple[Any, ...]) -> tuple[type[msgspec.Struct], Coverage]:
    return struct, Coverage(frozenset(enforced.split()), refused)


_NO: tuple[Any, ...] = ()
"""No value but the default is harmless."""


def _refuses(struct: type[msgspec.Struct]) -> tuple[type[msgspec.Struct], Coverage]:
    """A struct that stands only in fields that are refused themselves."""
    return struct, Coverage(frozenset(), dict.fromkeys(struct.__struct_fields__, _NO))


_FELIX_ENFORCED = frozenset(
    (
        "node_selector",
        "interface_prefix",
        "log_severity_screen",
        "nftables_mark_mask",
        "nftables_filter_deny_action",
        "default_endpoint_to_host_action",
        "disable_conntrack_invalid_check",
        "nftables_filter_allow_action",
        "nftables_mangle_allow_action",
        "failsafe_inbound_host_ports",
        "failsafe_outbound_host_ports",
        "service_loop_prevention",
        "workload_source_spoofing",
        # Whose tunnels to this node are let in, and what a workload may not send.
        "external_nodes_list",
        "vxlan_port",
        "vxlan_enabled",
        "program_cluster_routes",
        "vxlan_vni",
        "feature_detect_override",
        # How large packets may be.
        "mtu_iface_pattern",
        "require_mtu_file",
        "vxlan_mtu",
        "vxlan_mtuv6",
        "ipip_enabled",
        "ipip_mtu",
        "wireguard_enabled",
        "wireguard_enabled_v6",
        "wireguard_host_encryption_enabled",
        "wireguard_interface_name",
        "wireguard_interface_name_v6",
        "wireguard_keep_alive",
        "wireguard_listening_port",
        "wireguard_listening_port_v6",
        "wireguard_mtu",
        "wireguard_mtuv6",
        "wireguard_routing_rule_priority",
        "wireguard_threading_enabled",
        "route_table_range",
        "route_table_ranges",
        "log_prefix",
        "log_action_rate_limit",
        "log_action_rate_limit_burst",
        "ipv4_normal_route_priority",
        "ipv6_normal_route_priority",
        "device_route_protocol",
        "device_route_source_address",
        "device_route_source_address_ipv6",
        "remove_external_routes",
        "route_sync_disabled",
        "nat_outgoing_address",
        "nat_outgoing_exclusions",
        "nat_port_range",
        "floating_ips",
        "local_subnet_l2_reachability",
        "local_subnet_l2_reachability_refresh_interval",
        "iptables_nat_outgoing_interface_filter",
        "allow_vxlan_packets_from_workloads",
        "allow_ipip_packets_from_workloads",
        # What the agent itself acts on.
        "dataplane_watchdog_timeout",
        "endpoint_reporting_delay",
        "endpoint_reporting_enabled",
        "endpoint_status_path_prefix",
        "health_enabled",
        "health_host",
        "health_port",
        "health_timeout_overrides",
        "interface_refresh_interval",
        "ip_forwarding",
        "ipsets_refresh_interval",
        "nftables_refresh_interval",
        "prometheus_go_metrics_enabled",
        "prometheus_metrics_enabled",
        "prometheus_metrics_host",
        "prometheus_metrics_port",
        "prometheus_process_metrics_enabled",
        "prometheus_wire_guard_metrics_enabled",
        "reporting_interval",
        "reporting_ttl",
        "route_refresh_interval",
    )
)

_FELIX_FIELDS = frozenset(felix.FelixConfigurationSpec.__struct_fields__)

_NOT_CONVERTED = (
    f"not understood by this release of Tortie ({RELEASE}), the rule denies everything or, if it accepts, nothing; {_STORE}"
)

_REASONS: Mapping[tuple[type[msgspec.Struct], str], str] = {
    (cluster_policy.EgressPeer, "nodes"): _NOT_CONVERTED,
    (cluster_policy.EgressPeer, "domain_names"): _NOT_CONVERTED,
}
"""Why, for refused fields that do have an effect when they are stored."""

_FILTER_RULE = (
    "action as_path_prefix cidr communities interface match_operator operations peer_type priority source prefix_length"
)

TABLE: Mapping[type[msgspec.Struct], Coverage] = dict(
    (
        # Policies and profiles
        _covers(
            policy.NetworkPolicySpec,
            "tier order selector service_account_selector types ingress egress performance_hints",
        ),
        _covers(
            policy.GlobalNetworkPolicySpec,
            "tier order selector namespace_selector service_account_selector types ingress egress performance_hints"
            " do_not_track pre_dnat apply_on_forward",
        ),
        # A staged policy changes no verdict: what it says is enforced by being left alone.
        _covers(
            staged.StagedNetworkPolicySpec,
            "tier order selector service_account_selector types ingress egress performance_hints staged_action",
        ),
        _covers(
            staged.StagedGlobalNetworkPolicySpec,
            "tier order selector namespace_selector service_account_selector types ingress egress performance_hints"
            " do_not_track pre_dnat apply_on_forward staged_action",
        ),
        _covers(staged.StagedKubernetesNetworkPolicySpec, "pod_selector policy_types ingress egress staged_action"),
        _covers(
            policy.Rule,
            "action ip_version protocol not_protocol icmp not_icmp source destination metadata",
            http=_NO,
        ),
        _covers(
            policy.EntityRule,
            "nets not_nets selector not_selector namespace_selector ports not_ports service_accounts services",
        ),
        _covers(policy.ServiceAccountMatch, "names selector"),
        _covers(policy.ServiceMatch, "name namespace"),
        _covers(policy.ICMPFields, "type code"),
        _refuses(policy.HTTPMatch),
        _refuses(policy.HTTPPath),
        _covers(policy.RuleMetadata, "annotations"),
        _covers(tier.TierSpec, "order default_action"),
        _covers(profile.ProfileSpec, "ingress egress labels_to_apply"),
        _covers(networkset.NetworkSetSpec, "nets"),
        # Endpoints and nodes
        _covers(
            endpoint.WorkloadEndpointSpec,
            "orchestrator workload node container_id pod endpoint service_account_name ip_networks profiles interface_name mac"
            " ports ipv4_gateway ipv6_gateway qos_controls allow_spoofed_source_prefixes ip_nats",
        ),
        _covers(hostendpoint.HostEndpointSpec, "node interface_name expected_ips profiles ports"),
        _covers(hostendpoint.HostEndpointPort, "name protocol port"),
        # Host ports belong to the CNI portmap plugin; here they are facts.
        _covers(endpoint.EndpointPort, "name protocol port host_port host_ip"),
        _covers(endpoint.IPNAT, "internal_ip external_ip"),
        _covers(
            endpoint.QoSControls,
            "ingress_bandwidth egress_bandwidth ingress_burst egress_burst ingress_peakrate egress_peakrate ingress_minburst"
            " egress_minburst ingress_packet_rate egress_packet_rate ingress_packet_burst egress_packet_burst"
            " ingress_max_connections egress_max_connections dscp",
        ),
        # What a node reports of itself asks nothing: tunnel addresses without tunnels, orchestrators' names, interfaces.
        _covers(
            node.NodeSpec,
            "bgp ipv4_vxlan_tunnel_addr ipv6_vxlan_tunnel_addr vxlan_tunnel_mac_addr vxlan_tunnel_mac_addr_v6 orch_refs"
            " addresses interfaces wireguard",
        ),
        _covers(node.NodeBGP, "as_number ipv4_address ipv6_address ipv4_ipip_tunnel_addr route_reflector_cluster_id"),
        _covers(node.OrchRef, "node_name orchestrator"),
        _covers(node.NodeWireguard, "interface_ipv4_address interface_ipv6_address"),
        _covers(node.NodeAddress, "address type"),
        _covers(node.NodeInterface, "name addresses"),
        # Addresses
        _covers(
            ippool.IPPoolSpec,
            "cidr block_size node_selector namespace_selector allowed_uses assignment_mode nat_outgoing disabled"
            " disable_bgp_export vxlan_mode ipip_mode",
        ),
        _covers(ippool.IPReservationSpec, "reserved_cidrs"),
        _covers(
            ipam.IPAMBlockSpec,
            "cidr affinity affinity_claim_time allocations unallocated attributes sequence_number"
            " sequence_number_for_allocation strict_affinity deleted",
        ),
        _covers(ipam.AllocationAttribute, "handle_id secondary alternate_owner_attrs released_at"),
        _covers(ipam.IPAMHandleSpec, "handle_id block deleted"),
        _covers(ipam.BlockAffinitySpec, "state node cidr type deleted"),
        _covers(
            ipam.IPAMConfigurationSpec,
            "strict_affinity auto_allocate_blocks max_blocks_per_host ip_cooldown_seconds",
            kube_virt_vm_address_persistence=_NO,
        ),
        # BGP
        _covers(
            bgp.BGPConfigurationSpec,
            "as_number node_to_node_mesh_enabled listen_port log_severity_screen ignored_interfaces node_mesh_max_restart_time"
            " ipv4_normal_route_priority ipv6_normal_route_priority bind_mode node_mesh_password communities"
            " prefix_advertisements service_cluster_ips service_external_ips service_load_balancer_ips"
            " service_load_balancer_aggregation local_workload_peering_ipv4 local_workload_peering_ipv6"
            " program_cluster_routes",
        ),
        _covers(bgp.Community, "name value"),
        _covers(bgp.PrefixAdvertisement, "cidr communities"),
        _covers(bgp.ServiceCIDR, "cidr"),
        _covers(bgp.BGPPassword, "secret_key_ref"),
        _covers(bgp.SecretKeyRef, "name key optional"),
        _covers(
            bgp.BGPPeerSpec,
            "as_number keep_original_next_hop keepalive_time max_restart_time next_hop_mode node node_selector peer_ip"
            " peer_selector reverse_peering source_address ttl_security password local_as_number num_allowed_local_as_numbers"
            " reachable_by filters local_workload_selector",
        ),
        _covers(bgp_filter.BGPFilterSpec, "export_v4 import_v4 export_v6 import_v6"),
        _covers(bgp_filter.BGPFilterRuleV4, _FILTER_RULE),
        _covers(bgp_filter.BGPFilterRuleV6, _FILTER_RULE),
        _covers(bgp_filter.CommunityMatch, "values"),
        _covers(bgp_filter.PrefixLengthV4, "min max"),
        _covers(bgp_filter.PrefixLengthV6, "min max"),
        _covers(bgp_filter.FilterOperation, "add_community prepend_as_path set_priority"),
        _covers(bgp_filter.AddCommunity, "value"),
        _covers(bgp_filter.PrependASPath, "prefix"),
        _covers(bgp_filter.SetPriority, "value"),
        _covers(node_status.CalicoNodeStatusSpec, "node classes update_period_seconds"),
        # Nothing controls a cluster yet: who migrates can store this, and is told so.
        _covers(
            controllers.KubeControllersConfigurationSpec,
            "",
            controllers=_NO,
            log_severity_screen=("Info",),
            health_checks=("Enabled",),
            prometheus_metrics_port=(DEFAULT_CONTROLLERS_METRICS_PORT,),
            etcd_v3_compaction_period=_NO,
            debug_profile_port=_NO,
        ),
        _refuses(controllers.Controllers),
        _refuses(controllers.NodeController),
        _refuses(controllers.AutoHostEndpoints),
        _refuses(controllers.HostEndpointTemplate),
        _refuses(controllers.ReconciledController),
        _refuses(controllers.LoadBalancerController),
        _refuses(controllers.MigrationController),
        # Configuration
        (
            felix.FelixConfigurationSpec,
            Coverage(_FELIX_ENFORCED, dict.fromkeys(_FELIX_FIELDS - _FELIX_ENFORCED, _NO)),
        ),
        _refuses(felix.ProtoPort),
        _covers(felix.RouteTableRange, "min max"),
        _covers(felix.HealthTimeoutOverride, "name timeout"),
        _refuses(felix.BPFConntrackTimeouts),
        _covers(cluster.ClusterInformationSpec, "calico_version cluster_guid cluster_type datastore_ready variant"),
        _covers(
            agent.AgentStatusSpec,
            "node ready in_sync reported_at uptime_seconds ttl_seconds reasons problems local_endpoints endpoints",
        ),
        # Kubernetes
        _covers(kubernetes.ServiceAccount, "automount_service_account_token"),
        _covers(kubernetes.KubernetesNetworkPolicySpec, "pod_selector policy_types ingress egress"),
        _covers(kubernetes.NetworkPolicyIngressRule, "from_ ports"),
        _covers(kubernetes.NetworkPolicyEgressRule, "to ports"),
        _covers(kubernetes.NetworkPolicyPeer, "pod_selector namespace_selector ip_block"),
        _covers(kubernetes.NetworkPolicyPort, "protocol port end_port"),
        _covers(kubernetes.IPBlock, "cidr except_"),
        _covers(kubernetes.LabelSelector, "match_labels match_expressions"),
        _covers(kubernetes.LabelSelectorRequirement, "key operator values"),
        _covers(cluster_policy.ClusterNetworkPolicySpec, "tier priority subject ingress egress"),
        _covers(cluster_policy.Subject, "namespaces pods"),
        _covers(cluster_policy.NamespacedPods, "namespace_selector pod_selector"),
        _covers(cluster_policy.ClusterIngressRule, "name action from_ protocols"),
        _covers(cluster_policy.ClusterEgressRule, "name action to protocols"),
        _covers(cluster_policy.IngressPeer, "namespaces pods"),
        _covers(cluster_policy.EgressPeer, "namespaces pods networks", nodes=_NO, domain_names=_NO),
        _covers(cluster_policy.ProtocolMatch, "tcp udp sctp destination_named_port"),
        _covers(cluster_policy.PortMatch, "destination_port"),
        _covers(cluster_policy.DestinationPort, "number range"),
        _covers(cluster_policy.PortSpan, "start end"),
        # What a service or a slice says is read for policies that name the service, and for BGP; it asks nothing by itself.
        _covers(
            services.ServiceSpec,
            "type cluster_ip cluster_ips ip_families external_ips load_balancer_ip selector ports external_traffic_policy"
            " internal_traffic_policy",
        ),
        _covers(services.ServicePort, "name protocol port target_port node_port"),
        _covers(services.SliceEndpoint, "addresses conditions node_name"),
        _covers(services.EndpointConditions, "ready serving terminating"),
        _covers(services.SlicePort, "name protocol port"),
        # A pod is a projection: what networking does not look at is not read in the first place.
        _covers(kubernetes.PodSpec, "node_name service_account_name host_network containers init_containers"),
        _covers(kubernetes.Container, "name image ports"),
        _covers(kubernetes.ContainerPort, "container_port name protocol host_port host_ip"),
    )
)
"""Every struct of the api and what this release does with each of its fields."""
