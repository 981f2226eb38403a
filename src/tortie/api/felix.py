"""FelixConfiguration: what operators set for the agents (api.md, section 6; the meaning of each field: `felix_params`).

A field that is None is unset: the agent's own default holds. An empty tuple is not unset (`failsafeInboundHostPorts: []`
means no ports at all).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tortie.api.resource import V3, Metadata, Resource, Value

Duration = Annotated[str, Meta(pattern=r"^([0-9]+(ms|s|m|h))*$")]
"""Whole numbers with units, joined: `90s`, `1m30s`. No fractions."""

FractionalDuration = Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))*$")]
ConntrackTimeout = Annotated[str, Meta(pattern=r"^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$")]
Mask = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Switch = Literal["Enabled", "Disabled"]
Severity = Annotated[str, Meta(pattern=r"(?i)^(Trace|Debug|Info|Warning|Error|Fatal)?$")]
AllowAction = Annotated[str, Meta(pattern=r"(?i)^(Accept|Return)?$")]
DenyAction = Annotated[str, Meta(pattern=r"(?i)^(Drop|Reject)?$")]


class ProtoPort(Value, frozen=True, kw_only=True):
    """One failsafe port; protocol TCP when empty, any address when `net` is."""

    port: int
    protocol: str = ""
    net: str = ""


class RouteTableRange(Value, frozen=True, kw_only=True):
    """Kernel routing tables, both ends inclusive."""

    min: int
    max: int


class HealthTimeoutOverride(Value, frozen=True, kw_only=True):
    """Watchdog time of one component."""

    name: str
    timeout: str


class BPFConntrackTimeouts(Value, frozen=True, kw_only=True):
    """Time that an idle connection is remembered, by state; `Auto` follows the kernel's own."""

    creation_grace_period: ConntrackTimeout | None = None
    generic_timeout: ConntrackTimeout | None = None
    icmp_timeout: ConntrackTimeout | None = None
    tcp_established: ConntrackTimeout | None = None
    tcp_fins_seen: ConntrackTimeout | None = None
    tcp_reset_seen: ConntrackTimeout | None = None
    tcp_syn_sent: ConntrackTimeout | None = None
    udp_timeout: ConntrackTimeout | None = None


class FelixConfigurationSpec(Value, frozen=True, kw_only=True):
    """Every field that Calico's schema has, grouped as in its documentation."""

    # AWS integration
    aws_src_dst_check: Literal["DoNothing", "Enable", "Disable"] | None = None
    # Dataplane: Common
    allow_ipip_packets_from_workloads: bool | None = msgspec.field(default=None, name="allowIPIPPacketsFromWorkloads")
    allow_vxlan_packets_from_workloads: bool | None = msgspec.field(default=None, name="allowVXLANPacketsFromWorkloads")
    cgroup_v2_path: str | None = None
    chain_insert_mode: Annotated[str, Meta(pattern=r"(?i)^(Insert|Append)?$")] | None = None
    dataplane_driver: str | None = None
    dataplane_watchdog_timeout: str | None = None
    default_endpoint_to_host_action: Annotated[str, Meta(pattern=r"(?i)^(Drop|Accept|Return)?$")] | None = None
    device_route_protocol: int | None = None
    device_route_source_address: str | None = None
    device_route_source_address_ipv6: str | None = msgspec.field(default=None, name="deviceRouteSourceAddressIPv6")
    disable_conntrack_invalid_check: bool | None = None
    endpoint_status_path_prefix: str | None = None
    external_nodes_list: tuple[str, ...] | None = None
    failsafe_inbound_host_ports: tuple[ProtoPort, ...] | None = None
    failsafe_outbound_host_ports: tuple[ProtoPort, ...] | None = None
    floating_ips: Switch | None = msgspec.field(default=None, name="floatingIPs")
    interface_exclude: str | None = None
    interface_prefix: str | None = None
    interface_refresh_interval: Duration | None = None
    ip_forwarding: Switch | None = None
    ipv4_elevated_route_priority: int | None = None
    ipv4_normal_route_priority: int | None = None
    ipv6_elevated_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None
    ipv6_support: bool | None = None
    istio_ambient_mode: Switch | None = None
    istio_dscp_mark: int | str | None = msgspec.field(default=None, name="istioDSCPMark")
    live_migration_route_convergence_time: FractionalDuration | None = None
    local_subnet_l2_reachability: Literal["Disabled", "PodsAndLoadBalancers"] | None = None
    local_subnet_l2_reachability_refresh_interval: str | None = None
    mtu_iface_pattern: str | None = None
    nat_outgoing_address: str | None = None
    nat_outgoing_exclusions: Literal["IPPoolsOnly", "IPPoolsAndHostIPs"] | None = None
    nat_port_range: int | str | None = None
    netlink_timeout: Duration | None = None
    nftables_flow_table_data_iface_pattern: str | None = None
    nftables_flow_table_offload: Literal["All", "Disabled"] | None = None
    nftables_mode: Literal["Disabled", "Enabled", "Auto"] | None = None
    policy_sync_path_prefix: str | None = None
    program_cluster_routes: Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None = None
    remove_external_routes: bool | None = None
    require_mtu_file: bool | None = msgspec.field(default=None, name="requireMTUFile")
    route_refresh_interval: Duration | None = None
    route_source: Annotated[str, Meta(pattern=r"(?i)^(WorkloadIPs|CalicoIPAM)?$")] | None = None
    route_sync_disabled: bool | None = None
    route_table_range: RouteTableRange | None = None
    route_table_ranges: tuple[RouteTableRange, ...] | None = None
    service_loop_prevention: Annotated[str, Meta(pattern=r"(?i)^(Drop|Reject|Disabled)?$")] | None = None
    sidecar_acceleration_enabled: bool | None = None
    use_internal_dataplane_driver: bool | None = None
    workload_source_spoofing: Annotated[str, Meta(pattern=r"(?i)^(Disabled|Any)?$")] | None = None
    # Dataplane: OpenStack support
    endpoint_reporting_delay: Duration | None = None
    endpoint_reporting_enabled: bool | None = None
    metadata_addr: str | None = None
    metadata_port: int | None = None
    openstack_region: str | None = None
    reporting_interval: Duration | None = None
    reporting_ttl: Duration | None = msgspec.field(default=None, name="reportingTTL")
    # Dataplane: Windows
    windows_manage_firewall_rules: Switch | None = None
    # Dataplane: XDP acceleration for iptables dataplane
    generic_xdp_enabled: bool | None = msgspec.field(default=None, name="genericXDPEnabled")
    xdp_enabled: bool | None = None
    xdp_refresh_interval: Duration | None = None
    # Dataplane: eBPF
    bpf_attach_type: Literal["TC", "TCX", "Netkit"] | None = None
    bpf_ctlb_log_filter: str | None = msgspec.field(default=None, name="bpfCTLBLogFilter")
    bpf_connect_time_load_balancing: Literal["TCP", "Enabled", "Disabled"] | None = None
    bpf_connect_time_load_balancing_enabled: bool | None = None
    bpf_conntrack_log_level: Literal["Off", "Debug"] | None = None
    bpf_conntrack_mode: Literal["Auto", "Userspace", "BPFProgram"] | None = None
    bpf_conntrack_timeouts: BPFConntrackTimeouts | None = None
    bpf_dsr_optout_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="bpfDSROptoutCIDRs")
    bpf_data_iface_pattern: str | None = None
    bpf_disable_gro_for_ifaces: str | None = msgspec.field(default=None, name="bpfDisableGROForIfaces")
    bpf_disable_unprivileged: bool | None = None
    bpf_enabled: bool | None = None
    bpf_enforce_rpf: Annotated[str, Meta(pattern=r"(?i)^(Disabled|Strict|Loose)?$")] | None = msgspec.field(
        default=None, name="bpfEnforceRPF"
    )
    bpf_exclude_cidrs_from_nat: tuple[str, ...] | None = msgspec.field(default=None, name="bpfExcludeCIDRsFromNAT")
    bpf_export_buffer_size_mb: int | None = msgspec.field(default=None, name="bpfExportBufferSizeMB")
    bpf_ext_to_service_connmark: int | None = None
    bpf_external_service_mode: Annotated[str, Meta(pattern=r"(?i)^(Tunnel|DSR)?$")] | None = None
    bpf_force_track_packets_from_ifaces: tuple[str, ...] | None = None
    bpf_host_conntrack_bypass: bool | None = None
    bpf_host_networked_nat_without_ctlb: Switch | None = msgspec.field(default=None, name="bpfHostNetworkedNATWithoutCTLB")
    bpf_ip_frag_timeout: Duration | None = msgspec.field(default=None, name="bpfIPFragTimeout")
    bpf_ip_fragment_reassembly_enabled: bool | None = msgspec.field(default=None, name="bpfIPFragmentReassemblyEnabled")
    bpf_jit_hardening: Literal["Auto", "Strict"] | None = msgspec.field(default=None, name="bpfJITHardening")
    bpf_kube_proxy_healthz_port: int | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_kube_proxy_min_sync_period: Duration | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_log_filters: dict[str, str] | None = None
    bpf_log_level: Annotated[str, Meta(pattern=r"(?i)^(Off|Info|Debug)?$")] | None = None
    bpf_maglev_max_endpoints_per_service: int | None = None
    bpf_maglev_max_services: int | None = None
    bpf_map_size_conntrack: int | None = None
    bpf_map_size_conntrack_cleanup_queue: Annotated[int, Meta(ge=1)] | None = None
    bpf_map_size_conntrack_scaling: Annotated[str, Meta(pattern=r"(?i)^(Disabled|DoubleIfFull)?$")] | None = None
    bpf_map_size_ipsets: int | None = msgspec.field(default=None, name="bpfMapSizeIPSets")
    bpf_map_size_if_state: int | None = None
    bpf_map_size_nat_affinity: int | None = msgspec.field(default=None, name="bpfMapSizeNATAffinity")
    bpf_map_size_nat_backend: int | None = msgspec.field(default=None, name="bpfMapSizeNATBackend")
    bpf_map_size_nat_frontend: int | None = msgspec.field(default=None, name="bpfMapSizeNATFrontend")
    bpf_map_size_per_cpu_conntrack: int | None = None
    bpf_map_size_route: int | None = None
    bpf_overlay_host_source_ip: Literal["TunnelAddress", "HostAddress"] | None = msgspec.field(
        default=None, name="bpfOverlayHostSourceIP"
    )
    bpf_psnat_ports: int | str | None = msgspec.field(default=None, name="bpfPSNATPorts")
    bpf_policy_debug_enabled: bool | None = None
    bpf_profiling: Switch | None = None
    bpf_redirect_to_peer: Switch | None = None
    # Dataplane: iptables
    ipsets_refresh_interval: Duration | None = None
    iptables_backend: Annotated[str, Meta(pattern=r"(?i)^(Auto|Legacy|NFT)?$")] | None = None
    iptables_filter_allow_action: AllowAction | None = None
    iptables_filter_deny_action: DenyAction | None = None
    iptables_lock_probe_interval: Duration | None = None
    iptables_mangle_allow_action: AllowAction | None = None
    iptables_mark_mask: Mask | None = None
    iptables_nat_outgoing_interface_filter: str | None = msgspec.field(default=None, name="iptablesNATOutgoingInterfaceFilter")
    iptables_post_write_check_interval: Duration | None = None
    iptables_refresh_interval: Duration | None = None
    kube_node_port_ranges: tuple[int | str, ...] | None = None
    max_ipset_size: int | None = None
    # Dataplane: nftables
    nftables_filter_allow_action: AllowAction | None = None
    nftables_filter_deny_action: DenyAction | None = None
    nftables_mangle_allow_action: AllowAction | None = None
    nftables_mark_mask: Mask | None = None
    nftables_refresh_interval: str | None = None
    # Debug/test-only (generally unsupported)
    debug_disable_log_dropping: bool | None = None
    debug_host: str | None = None
    debug_memory_profile_path: str | None = None
    debug_port: int | None = None
    debug_simulate_calc_graph_hang_after: Duration | None = None
    debug_simulate_dataplane_apply_delay: Duration | None = None
    debug_simulate_dataplane_hang_after: Duration | None = None
    # Flow logs: file reports
    flow_logs_collector_debug_trace: bool | None = None
    flow_logs_flush_interval: Duration | None = None
    flow_logs_goldmane_server: str | None = None
    flow_logs_local_reporter: Switch | None = None
    flow_logs_policy_evaluation_mode: Literal["None", "Continuous"] | None = None
    # Overlay: IP-in-IP
    ipip_enabled: bool | None = None
    ipip_mtu: int | None = msgspec.field(default=None, name="ipipMTU")
    # Overlay: VXLAN overlay
    vxlan_enabled: bool | None = None
    vxlan_mtu: int | None = msgspec.field(default=None, name="vxlanMTU")
    vxlan_mtuv6: int | None = msgspec.field(default=None, name="vxlanMTUV6")
    vxlan_port: int | None = None
    vxlan_vni: int | None = msgspec.field(default=None, name="vxlanVNI")
    # Overlay: Wireguard
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    wireguard_host_encryption_enabled: bool | None = None
    wireguard_interface_name: str | None = None
    wireguard_interface_name_v6: str | None = None
    wireguard_keep_alive: Duration | None = None
    wireguard_listening_port: int | None = None
    wireguard_listening_port_v6: int | None = None
    wireguard_mtu: int | None = msgspec.field(default=None, name="wireguardMTU")
    wireguard_mtuv6: int | None = msgspec.field(default=None, name="wireguardMTUV6")
    wireguard_routing_rule_priority: int | None = None
    wireguard_threading_enabled: bool | None = None
    # Process: Feature detection/overrides
    feature_detect_override: (
        Annotated[str, Meta(pattern=r"^([a-zA-Z0-9-_]+=(true|false|),)*([a-zA-Z0-9-_]+=(true|false|))?$")] | None
    ) = None
    feature_gates: Annotated[str, Meta(pattern=r"^([a-zA-Z0-9-_]+=([^=]+),)*([a-zA-Z0-9-_]+=([^=]+))?$")] | None = None
    # Process: Go runtime
    go_gc_threshold: int | None = msgspec.field(default=None, name="goGCThreshold")
    go_max_procs: int | None = None
    go_memory_limit_mb: int | None = msgspec.field(default=None, name="goMemoryLimitMB")
    # Process: Health port and timeouts
    health_enabled: bool | None = None
    health_host: str | None = None
    health_port: int | None = None
    health_timeout_overrides: tuple[HealthTimeoutOverride, ...] | None = None
    # Process: Logging
    log_action_rate_limit: Annotated[str, Meta(pattern=r"^[1-9]\d{0,3}/(?:second|minute|hour|day)$")] | None = None
    log_action_rate_limit_burst: Annotated[int, Meta(ge=0, le=9999)] | None = None
    log_debug_filename_regex: str | None = None
    log_file_path: str | None = None
    log_prefix: Annotated[str, Meta(pattern=r"^([a-zA-Z0-9%: /_-])*$")] | None = None
    log_severity_file: Severity | None = None
    log_severity_screen: Severity | None = None
    log_severity_sys: Severity | None = None
    # Process: Prometheus metrics
    prometheus_go_metrics_enabled: bool | None = None
    prometheus_metrics_ca_file: str | None = msgspec.field(default=None, name="prometheusMetricsCAFile")
    prometheus_metrics_cert_file: str | None = None
    prometheus_metrics_client_auth: (
        Literal["RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "NoClientCert"] | None
    ) = None
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_host: str | None = None
    prometheus_metrics_key_file: str | None = None
    prometheus_metrics_port: int | None = None
    prometheus_process_metrics_enabled: bool | None = None
    prometheus_wire_guard_metrics_enabled: bool | None = None
    # Scope
    node_selector: str | None = None
    # Usage reporting
    usage_reporting_enabled: bool | None = None
    usage_reporting_initial_delay: Duration | None = None
    usage_reporting_interval: Duration | None = None


class FelixConfiguration(Resource, frozen=True, kw_only=True):
    """`default` for all nodes, `node.<name>` for one, any other name for the nodes of `spec.node_selector`."""

    api_version: str = V3
    kind: str = "FelixConfiguration"
    metadata: Metadata = Metadata()
    spec: FelixConfigurationSpec = FelixConfigurationSpec()
