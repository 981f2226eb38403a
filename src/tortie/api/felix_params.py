"""The agent's parameters: name, field of FelixConfiguration, default, type; and a FelixConfiguration as raw texts.

Environment and files hold raw texts by parameter name (`FELIX_INTERFACEPREFIX=cali`); the datastore holds typed fields
(`interfacePrefix: cali`). `raw_values` brings the latter into the form of the former, so that one parser reads all sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.api.felix import FelixConfigurationSpec, HealthTimeoutOverride, ProtoPort, RouteTableRange
from tortie.api.formats import parse_duration

OVERRIDE_ANNOTATION = "config.projectcalico.org/"
"""Annotation `config.projectcalico.org/<ParameterName>` on a FelixConfiguration sets that raw value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    `field` is its field in FelixConfiguration ("" where there is none). `type` says how raw text is read. `local`: never
    taken from the datastore. `fatal`: bad text stops the agent, else the default is used. `non_zero`: `none` is refused.
    """

    name: str
    field: str
    default: str
    type: str
    local: bool = False
    fatal: bool = False
    non_zero: bool = False


def raw_values(spec: FelixConfigurationSpec, annotations: Mapping[str, str] | None = None) -> dict[str, str]:
    """The fields that are set, as raw text by parameter name; overrides among `annotations` win.

    Parameters that are local to a node are left out, whatever the datastore says of them. A duration that is none stays as it
    is written: whoever parses the text says so, and all other parameters are not held up.
    """
    raw: dict[str, str] = {}
    for field in msgspec.structs.fields(spec):
        value = getattr(spec, field.name)
        parameter = BY_FIELD.get(field.encode_name)
        if value is not None and parameter is not None and not parameter.local:
            raw[parameter.name] = _raw(value, parameter.type)
    for annotation, text in (annotations or {}).items():
        name = annotation.removeprefix(OVERRIDE_ANNOTATION)
        parameter = BY_NAME.get(name)
        if name != annotation and parameter is not None and not parameter.local:
            raw[name] = text
    return raw


def _raw(value: Any, type_: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() if type_ in ("seconds", "millis") and value:
            try:
                return f"{parse_duration(value) * (1000 if type_ == 'millis' else 1):g}"
            except ValueError:
                return value
        case int() if type_ == "mark-bitmask":
            return f"{value:#x}"
        case str() | int():
            return str(value)
        case RouteTableRange():
            return f"{value.min}-{value.max}"
        case dict():
            return ",".join(f"{key}={text}" for key, text in sorted(value.items()))
        case tuple():
            # A list that is set but empty means "nothing at all", which differs from unset.
            return ",".join(map(_raw_item, value)) or ("none" if type_ == "port-list" else "")
        case _:
            return _raw_timeouts(value)


def _raw_item(item: Any) -> str:
    match item:
        case ProtoPort():
            net = f"[{item.net}]" if ":" in item.net else item.net
            return ":".join(part for part in (item.protocol.lower() or "tcp", net, str(item.port)) if part)
        case RouteTableRange():
            return f"{item.min}-{item.max}"
        case HealthTimeoutOverride():
            return f"{item.name}={item.timeout}"
        case _:
            return str(item)


_TIMEOUT_NAMES = {
    "creation_grace_period": "CreationGracePeriod",
    "tcp_syn_sent": "TCPSynSent",
    "tcp_established": "TCPEstablished",
    "tcp_fins_seen": "TCPFinsSeen",
    "tcp_reset_seen": "TCPResetSeen",
    "udp_timeout": "UDPTimeout",
    "generic_timeout": "GenericTimeout",
    "icmp_timeout": "ICMPTimeout",
}


def _raw_timeouts(timeouts: Any) -> str:
    parts = ((name, getattr(timeouts, field)) for field, name in _TIMEOUT_NAMES.items())
    return ",".join(f"{name}={text}" for name, text in parts if text is not None)


PARAMETERS: tuple[Parameter, ...] = (
    # Datastore connection
    Parameter("DatastoreType", "", "etcdv3", "oneof(kubernetes,etcdv3)", local=True, fatal=True, non_zero=True),
    Parameter("EtcdAddr", "", "127.0.0.1:2379", "authority", local=True),
    Parameter("EtcdCaFile", "", "", "file(must-exist)", local=True),
    Parameter("EtcdCertFile", "", "", "file(must-exist)", local=True),
    Parameter("EtcdEndpoints", "", "", "endpoint-list", local=True),
    Parameter("EtcdKeyFile", "", "", "file(must-exist)", local=True),
    Parameter("EtcdScheme", "", "http", "oneof(http,https)", local=True),
    Parameter("FelixHostname", "", "", "hostname", local=True, non_zero=True),
    Parameter("TyphaAddr", "", "", "authority", local=True),
    Parameter("TyphaCAFile", "", "", "file(must-exist)", local=True),
    Parameter("TyphaCN", "", "", "string", local=True),
    Parameter("TyphaCertFile", "", "", "file(must-exist)", local=True),
    Parameter("TyphaK8sNamespace", "", "kube-system", "string", local=True, non_zero=True),
    Parameter("TyphaK8sServiceName", "", "", "string", local=True),
    Parameter("TyphaKeyFile", "", "", "file(must-exist)", local=True),
    Parameter("TyphaReadTimeout", "", "30", "seconds", local=True),
    Parameter("TyphaURISAN", "", "", "string", local=True),
    Parameter("TyphaWriteTimeout", "", "10", "seconds", local=True),
    # Process: Feature detection/overrides
    Parameter("FeatureDetectOverride", "featureDetectOverride", "", "keyvaluelist"),
    Parameter("FeatureGates", "featureGates", "", "keyvaluelist"),
    # Process: Go runtime
    Parameter("GoGCThreshold", "goGCThreshold", "40", "int(-1)"),
    Parameter("GoMaxProcs", "goMaxProcs", "-1", "int(-1)"),
    Parameter("GoMemoryLimitMB", "goMemoryLimitMB", "-1", "int(-1)"),
    # Process: Health port and timeouts
    Parameter("HealthEnabled", "healthEnabled", "false", "bool"),
    Parameter("HealthHost", "healthHost", "localhost", "host-address"),
    Parameter("HealthPort", "healthPort", "9099", "int(0:65535)"),
    Parameter("HealthTimeoutOverrides", "healthTimeoutOverrides", "", "keydurationlist"),
    # Process: Logging
    Parameter("LogActionRateLimit", "logActionRateLimit", "", "log-rate"),
    Parameter("LogActionRateLimitBurst", "logActionRateLimitBurst", "5", "int(0,9999)"),
    Parameter("LogDebugFilenameRegex", "logDebugFilenameRegex", "", "regexp(nil-on-empty)"),
    Parameter("LogFilePath", "logFilePath", "/var/log/calico/felix.log", "file", fatal=True),
    Parameter("LogPrefix", "logPrefix", "calico-packet", "string"),
    Parameter("LogSeverityFile", "logSeverityFile", "INFO", "oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)"),
    Parameter("LogSeverityScreen", "logSeverityScreen", "INFO", "oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)"),
    Parameter("LogSeveritySys", "logSeveritySys", "INFO", "oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)"),
    # Process: Prometheus metrics
    Parameter("PrometheusGoMetricsEnabled", "prometheusGoMetricsEnabled", "true", "bool"),
    Parameter("PrometheusMetricsCAFile", "prometheusMetricsCAFile", "", "string"),
    Parameter("PrometheusMetricsCertFile", "prometheusMetricsCertFile", "", "string"),
    Parameter(
        "PrometheusMetricsClientAuth",
        "prometheusMetricsClientAuth",
        "NoClientCert",
        "oneof(RequireAndVerifyClientCert,RequireAnyClientCert,VerifyClientCertIfGiven,NoClientCert)",
    ),
    Parameter("PrometheusMetricsEnabled", "prometheusMetricsEnabled", "false", "bool"),
    Parameter("PrometheusMetricsHost", "prometheusMetricsHost", "", "host-address"),
    Parameter("PrometheusMetricsKeyFile", "prometheusMetricsKeyFile", "", "string"),
    Parameter("PrometheusMetricsPort", "prometheusMetricsPort", "9091", "int(0:65535)"),
    Parameter("PrometheusProcessMetricsEnabled", "prometheusProcessMetricsEnabled", "true", "bool"),
    Parameter("PrometheusWireGuardMetricsEnabled", "prometheusWireGuardMetricsEnabled", "true", "bool"),
    # Dataplane: Common
    Parameter("AllowIPIPPacketsFromWorkloads", "allowIPIPPacketsFromWorkloads", "false", "bool"),
    Parameter("AllowVXLANPacketsFromWorkloads", "allowVXLANPacketsFromWorkloads", "false", "bool"),
    Parameter("CgroupV2Path", "cgroupV2Path", "", "string"),
    Parameter("ChainInsertMode", "chainInsertMode", "insert", "oneof(insert,append)", fatal=True, non_zero=True),
    Parameter(
        "DataplaneDriver", "dataplaneDriver", "calico-iptables-plugin", "file(must-exist,executable)", fatal=True, non_zero=True
    ),
    Parameter("DataplaneWatchdogTimeout", "dataplaneWatchdogTimeout", "90", "seconds"),
    Parameter(
        "DefaultEndpointToHostAction",
        "defaultEndpointToHostAction",
        "DROP",
        "oneof(DROP,RETURN,ACCEPT)",
        fatal=True,
        non_zero=True,
    ),
    Parameter("DeviceRouteProtocol", "deviceRouteProtocol", "3", "int"),
    Parameter("DeviceRouteSourceAddress", "deviceRouteSourceAddress", "", "ipv4"),
    Parameter("DeviceRouteSourceAddressIPv6", "deviceRouteSourceAddressIPv6", "", "ipv6"),
    Parameter("DisableConntrackInvalidCheck", "disableConntrackInvalidCheck", "false", "bool"),
    Parameter("EndpointStatusPathPrefix", "endpointStatusPathPrefix", "/var/run/calico", "file"),
    Parameter("ExternalNodesCIDRList", "externalNodesList", "", "cidr-list", fatal=True),
    Parameter(
        "FailsafeInboundHostPorts",
        "failsafeInboundHostPorts",
        "tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
        "port-list",
        fatal=True,
    ),
    Parameter(
        "FailsafeOutboundHostPorts",
        "failsafeOutboundHostPorts",
        "udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
        "port-list",
        fatal=True,
    ),
    Parameter("FloatingIPs", "floatingIPs", "Disabled", "oneof(Enabled,Disabled)"),
    Parameter("IPForwarding", "ipForwarding", "Enabled", "oneof(Enabled,Disabled)"),
    Parameter("IPv4ElevatedRoutePriority", "ipv4ElevatedRoutePriority", "512", "int(1:2147483646)"),
    Parameter("IPv4NormalRoutePriority", "ipv4NormalRoutePriority", "1024", "int(1:2147483646)"),
    Parameter("IPv6ElevatedRoutePriority", "ipv6ElevatedRoutePriority", "512", "int(1:2147483646)"),
    Parameter("IPv6NormalRoutePriority", "ipv6NormalRoutePriority", "1024", "int(1:2147483646)"),
    Parameter("InterfaceExclude", "interfaceExclude", "kube-ipvs0", "iface-list-regexp"),
    Parameter("InterfacePrefix", "interfacePrefix", "cali", "iface-list", fatal=True, non_zero=True),
    Parameter("InterfaceRefreshInterval", "interfaceRefreshInterval", "90", "seconds"),
    Parameter("Ipv6Support", "ipv6Support", "true", "bool"),
    Parameter("IstioAmbientMode", "istioAmbientMode", "Disabled", "oneof(Disabled,Enabled)"),
    Parameter("IstioDSCPMark", "istioDSCPMark", "23", "dscp"),
    Parameter("LiveMigrationRouteConvergenceTime", "liveMigrationRouteConvergenceTime", "30", "seconds"),
    Parameter("LocalSubnetL2Reachability", "localSubnetL2Reachability", "Disabled", "oneof(Disabled,PodsAndLoadBalancers)"),
    Parameter("LocalSubnetL2ReachabilityRefreshInterval", "localSubnetL2ReachabilityRefreshInterval", "120", "seconds"),
    Parameter("MTUIfacePattern", "mtuIfacePattern", "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)", "regexp"),
    Parameter("NATOutgoingAddress", "natOutgoingAddress", "", "ipv4"),
    Parameter("NATOutgoingExclusions", "natOutgoingExclusions", "IPPoolsOnly", "oneof(IPPoolsOnly,IPPoolsAndHostIPs)"),
    Parameter("NATPortRange", "natPortRange", "", "portrange"),
    Parameter("NFTablesFlowTableDataIfacePattern", "nftablesFlowTableDataIfacePattern", "", "regexp(nil-on-empty)"),
    Parameter("NFTablesFlowTableOffload", "nftablesFlowTableOffload", "Disabled", "oneof(All,Disabled)"),
    Parameter("NFTablesMode", "nftablesMode", "Auto", "oneof(Enabled,Disabled,Auto)"),
    Parameter("NetlinkTimeoutSecs", "netlinkTimeout", "10", "seconds"),
    Parameter("PolicySyncPathPrefix", "policySyncPathPrefix", "", "file"),
    Parameter(
        "ProgramClusterRoutes",
        "programClusterRoutes",
        "EnabledIPIPOnly",
        "oneof(Enabled,Disabled,EnabledIPIPOnly,EnabledNoEncapOnly)",
    ),
    Parameter("RemoveExternalRoutes", "removeExternalRoutes", "true", "bool"),
    Parameter("RequireMTUFile", "requireMTUFile", "false", "bool"),
    Parameter("RouteRefreshInterval", "routeRefreshInterval", "90", "seconds"),
    Parameter("RouteSource", "routeSource", "CalicoIPAM", "oneof(WorkloadIPs,CalicoIPAM)"),
    Parameter("RouteSyncDisabled", "routeSyncDisabled", "false", "bool"),
    Parameter("RouteTableRange", "routeTableRange", "", "route-table-range", fatal=True),
    Parameter("RouteTableRanges", "routeTableRanges", "", "route-table-ranges", fatal=True),
    Parameter("ServiceLoopPrevention", "serviceLoopPrevention", "Drop", "oneof(Drop,Reject,Disabled)"),
    Parameter("SidecarAccelerationEnabled", "sidecarAccelerationEnabled", "false", "bool"),
    Parameter("UseInternalDataplaneDriver", "useInternalDataplaneDriver", "true", "bool"),
    Parameter("WorkloadSourceSpoofing", "workloadSourceSpoofing", "Disabled", "oneof(Disabled,Any)"),
    # Dataplane: iptables
    Parameter("IpsetsRefreshInterval", "ipsetsRefreshInterval", "90", "seconds"),
    Parameter("IptablesBackend", "iptablesBackend", "auto", "oneof(legacy,nft,auto)"),
    Parameter(
        "IptablesFilterAllowAction", "iptablesFilterAllowAction", "ACCEPT", "oneof(ACCEPT,RETURN)", fatal=True, non_zero=True
    ),
    Parameter("IptablesFilterDenyAction", "iptablesFilterDenyAction", "DROP", "oneof(DROP,REJECT)", fatal=True, non_zero=True),
    Parameter("IptablesLockProbeIntervalMillis", "iptablesLockProbeInterval", "50", "millis"),
    Parameter(
        "IptablesMangleAllowAction", "iptablesMangleAllowAction", "ACCEPT", "oneof(ACCEPT,RETURN)", fatal=True, non_zero=True
    ),
    Parameter("IptablesMarkMask", "iptablesMarkMask", "0xffff0000", "mark-bitmask", fatal=True, non_zero=True),
    Parameter("IptablesNATOutgoingInterfaceFilter", "iptablesNATOutgoingInterfaceFilter", "", "iface-param"),
    Parameter("IptablesPostWriteCheckIntervalSecs", "iptablesPostWriteCheckInterval", "5", "seconds"),
    Parameter("IptablesRefreshInterval", "iptablesRefreshInterval", "180", "seconds"),
    Parameter("KubeNodePortRanges", "kubeNodePortRanges", "30000:32767", "portrange-list"),
    Parameter("MaxIpsetSize", "maxIpsetSize", "1048576", "int", non_zero=True),
    # Dataplane: nftables
    Parameter(
        "NftablesFilterAllowAction", "nftablesFilterAllowAction", "ACCEPT", "oneof(ACCEPT,RETURN)", fatal=True, non_zero=True
    ),
    Parameter("NftablesFilterDenyAction", "nftablesFilterDenyAction", "DROP", "oneof(DROP,REJECT)", fatal=True, non_zero=True),
    Parameter(
        "NftablesMangleAllowAction", "nftablesMangleAllowAction", "ACCEPT", "oneof(ACCEPT,RETURN)", fatal=True, non_zero=True
    ),
    Parameter("NftablesMarkMask", "nftablesMarkMask", "0xffff0000", "mark-bitmask", fatal=True, non_zero=True),
    Parameter("NftablesRefreshInterval", "nftablesRefreshInterval", "180", "seconds"),
    # Dataplane: eBPF
    Parameter("BPFAttachType", "bpfAttachType", "Netkit", "oneof(Netkit,TCX,TC)", non_zero=True),
    Parameter("BPFCTLBLogFilter", "bpfCTLBLogFilter", "", "oneof(all)"),
    Parameter(
        "BPFConnectTimeLoadBalancing", "bpfConnectTimeLoadBalancing", "TCP", "oneof(TCP,Enabled,Disabled)", non_zero=True
    ),
    Parameter("BPFConnectTimeLoadBalancingEnabled", "bpfConnectTimeLoadBalancingEnabled", "", "bool"),
    Parameter("BPFConntrackCleanupMode", "bpfConntrackMode", "Auto", "oneof(Auto,Userspace,BPFProgram)"),
    Parameter("BPFConntrackLogLevel", "bpfConntrackLogLevel", "off", "oneof(off,debug)", non_zero=True),
    Parameter(
        "BPFConntrackTimeouts",
        "bpfConntrackTimeouts",
        "CreationGracePeriod=10s,TCPSynSent=20s,TCPEstablished=1h,TCPFinsSeen=Auto,TCPResetSeen=40s,UDPTimeout=60s,GenericTimeout=10m,ICMPTimeout=5s",
        "keyvaluelist",
    ),
    Parameter("BPFDSROptoutCIDRs", "bpfDSROptoutCIDRs", "", "cidr-list"),
    Parameter("BPFDataIfacePattern", "bpfDataIfacePattern", "^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*)", "regexp"),
    Parameter("BPFDisableGROForIfaces", "bpfDisableGROForIfaces", "", "regexp"),
    Parameter("BPFDisableUnprivileged", "bpfDisableUnprivileged", "true", "bool"),
    Parameter("BPFEnabled", "bpfEnabled", "false", "bool"),
    Parameter("BPFEnforceRPF", "bpfEnforceRPF", "Loose", "oneof(Disabled,Strict,Loose)", non_zero=True),
    Parameter("BPFExcludeCIDRsFromNAT", "bpfExcludeCIDRsFromNAT", "", "cidr-list"),
    Parameter("BPFExportBufferSizeMB", "bpfExportBufferSizeMB", "1", "int", non_zero=True),
    Parameter("BPFExtToServiceConnmark", "bpfExtToServiceConnmark", "0", "int"),
    Parameter("BPFExternalServiceMode", "bpfExternalServiceMode", "tunnel", "oneof(tunnel,dsr)", non_zero=True),
    Parameter("BPFForceTrackPacketsFromIfaces", "bpfForceTrackPacketsFromIfaces", "docker+", "iface-filter-slice"),
    Parameter("BPFHostConntrackBypass", "bpfHostConntrackBypass", "false", "bool"),
    Parameter(
        "BPFHostNetworkedNATWithoutCTLB", "bpfHostNetworkedNATWithoutCTLB", "Enabled", "oneof(Enabled,Disabled)", non_zero=True
    ),
    Parameter("BPFIPFragTimeout", "bpfIPFragTimeout", "0", "seconds"),
    Parameter("BPFIPFragmentReassemblyEnabled", "bpfIPFragmentReassemblyEnabled", "true", "bool"),
    Parameter("BPFJITHardening", "bpfJITHardening", "Auto", "oneof(Auto,Strict)", non_zero=True),
    Parameter("BPFKubeProxyHealthzPort", "bpfKubeProxyHealthzPort", "10256", "int"),
    Parameter("BPFKubeProxyIptablesCleanupEnabled", "bpfKubeProxyIptablesCleanupEnabled", "true", "bool"),
    Parameter("BPFKubeProxyMinSyncPeriod", "bpfKubeProxyMinSyncPeriod", "1", "seconds"),
    Parameter("BPFL3IfacePattern", "bpfL3IfacePattern", "", "regexp"),
    Parameter("BPFLogFilters", "bpfLogFilters", "", "keyvaluelist"),
    Parameter("BPFLogLevel", "bpfLogLevel", "off", "oneof(off,info,debug)", non_zero=True),
    Parameter("BPFMaglevMaxEndpointsPerService", "bpfMaglevMaxEndpointsPerService", "100", "int(1:3000)"),
    Parameter("BPFMaglevMaxServices", "bpfMaglevMaxServices", "100", "int(1:3000)"),
    Parameter("BPFMapSizeConntrack", "bpfMapSizeConntrack", "512000", "int", non_zero=True),
    Parameter("BPFMapSizeConntrackCleanupQueue", "bpfMapSizeConntrackCleanupQueue", "100000", "int", non_zero=True),
    Parameter(
        "BPFMapSizeConntrackScaling",
        "bpfMapSizeConntrackScaling",
        "DoubleIfFull",
        "oneof(Disabled,DoubleIfFull)",
        non_zero=True,
    ),
    Parameter("BPFMapSizeIPSets", "bpfMapSizeIPSets", "1048576", "int", non_zero=True),
    Parameter("BPFMapSizeIfState", "bpfMapSizeIfState", "1000", "int", non_zero=True),
    Parameter("BPFMapSizeNATAffinity", "bpfMapSizeNATAffinity", "65536", "int", non_zero=True),
    Parameter("BPFMapSizeNATBackend", "bpfMapSizeNATBackend", "262144", "int", non_zero=True),
    Parameter("BPFMapSizeNATFrontend", "bpfMapSizeNATFrontend", "65536", "int", non_zero=True),
    Parameter("BPFMapSizePerCPUConntrack", "bpfMapSizePerCpuConntrack", "0", "int"),
    Parameter("BPFMapSizeRoute", "bpfMapSizeRoute", "262144", "int", non_zero=True),
    Parameter(
        "BPFOverlayHostSourceIP", "bpfOverlayHostSourceIP", "TunnelAddress", "oneof(TunnelAddress,HostAddress)", non_zero=True
    ),
    Parameter("BPFPSNATPorts", "bpfPSNATPorts", "20000:29999", "portrange"),
    Parameter("BPFPolicyDebugEnabled", "bpfPolicyDebugEnabled", "true", "bool"),
    Parameter("BPFProfiling", "bpfProfiling", "Disabled", "oneof(Disabled,Enabled)", non_zero=True),
    Parameter("BPFRedirectToPeer", "bpfRedirectToPeer", "Enabled", "oneof(Disabled,Enabled,L2Only)", non_zero=True),
    # Dataplane: Windows
    Parameter("WindowsManageFirewallRules", "windowsManageFirewallRules", "Disabled", "oneof(Enabled,Disabled)"),
    # Dataplane: OpenStack support
    Parameter("EndpointReportingDelaySecs", "endpointReportingDelay", "1", "seconds"),
    Parameter("EndpointReportingEnabled", "endpointReportingEnabled", "false", "bool"),
    Parameter("MetadataAddr", "metadataAddr", "127.0.0.1", "hostname", fatal=True),
    Parameter("MetadataPort", "metadataPort", "8775", "int(0:65535)", fatal=True),
    Parameter("OpenstackRegion", "openstackRegion", "", "region", fatal=True),
    Parameter("ReportingIntervalSecs", "reportingInterval", "30", "seconds"),
    Parameter("ReportingTTLSecs", "reportingTTL", "90", "seconds"),
    # Dataplane: XDP acceleration for iptables dataplane
    Parameter("GenericXDPEnabled", "genericXDPEnabled", "false", "bool"),
    Parameter("XDPEnabled", "xdpEnabled", "true", "bool"),
    Parameter("XDPRefreshInterval", "xdpRefreshInterval", "90", "seconds"),
    # Overlay: VXLAN overlay
    Parameter("VXLANEnabled", "vxlanEnabled", "", "*bool"),
    Parameter("VXLANMTU", "vxlanMTU", "0", "int"),
    Parameter("VXLANMTUV6", "vxlanMTUV6", "0", "int"),
    Parameter("VXLANPort", "vxlanPort", "4789", "int"),
    Parameter("VXLANVNI", "vxlanVNI", "4096", "int"),
    # Overlay: IP-in-IP
    Parameter("IpInIpEnabled", "ipipEnabled", "", "*bool"),
    Parameter("IpInIpMtu", "ipipMTU", "0", "int"),
    # Overlay: Wireguard
    Parameter("WireguardEnabled", "wireguardEnabled", "false", "bool"),
    Parameter("WireguardEnabledV6", "wireguardEnabledV6", "false", "bool"),
    Parameter("WireguardHostEncryptionEnabled", "wireguardHostEncryptionEnabled", "false", "bool"),
    Parameter("WireguardInterfaceName", "wireguardInterfaceName", "wireguard.cali", "iface-param", non_zero=True),
    Parameter("WireguardInterfaceNameV6", "wireguardInterfaceNameV6", "wg-v6.cali", "iface-param", non_zero=True),
    Parameter("WireguardListeningPort", "wireguardListeningPort", "51820", "int"),
    Parameter("WireguardListeningPortV6", "wireguardListeningPortV6", "51821", "int"),
    Parameter("WireguardMTU", "wireguardMTU", "0", "int"),
    Parameter("WireguardMTUV6", "wireguardMTUV6", "0", "int"),
    Parameter("WireguardPersistentKeepAlive", "wireguardKeepAlive", "0", "seconds"),
    Parameter("WireguardRoutingRulePriority", "wireguardRoutingRulePriority", "99", "int"),
    Parameter("WireguardThreadingEnabled", "wireguardThreadingEnabled", "false", "bool"),
    # Flow logs: file reports
    Parameter("FlowLogsCollectorDebugTrace", "flowLogsCollectorDebugTrace", "false", "bool"),
    Parameter("FlowLogsFlushInterval", "flowLogsFlushInterval", "300", "seconds"),
    Parameter("FlowLogsGoldmaneServer", "flowLogsGoldmaneServer", "", "string"),
    Parameter("FlowLogsLocalReporter", "flowLogsLocalReporter", "Disabled", "oneof(Enabled,Disabled)"),
    Parameter("FlowLogsPolicyEvaluationMode", "flowLogsPolicyEvaluationMode", "Continuous", "oneof(None,Continuous)"),
    # AWS integration
    Parameter("AWSSrcDstCheck", "awsSrcDstCheck", "DoNothing", "oneof(DoNothing,Enable,Disable)", non_zero=True),
    # Debug/test-only (generally unsupported)
    Parameter("DebugBPFCgroupV2", "", "", "string", local=True),
    Parameter("DebugCPUProfilePath", "", "/tmp/felix-cpu-<timestamp>.pprof", "file"),  # noqa: S108 (Calico's default)
    Parameter("DebugDisableLogDropping", "debugDisableLogDropping", "false", "bool"),
    Parameter("DebugHost", "debugHost", "localhost", "host-address"),
    Parameter("DebugMemoryProfilePath", "debugMemoryProfilePath", "", "file"),
    Parameter("DebugPanicAfter", "", "0", "seconds"),
    Parameter("DebugPort", "debugPort", "", "int(0:65535)"),
    Parameter("DebugSimulateCalcGraphHangAfter", "debugSimulateCalcGraphHangAfter", "0", "seconds"),
    Parameter("DebugSimulateDataRace", "", "false", "bool"),
    Parameter("DebugSimulateDataplaneApplyDelay", "debugSimulateDataplaneApplyDelay", "0", "seconds"),
    Parameter("DebugSimulateDataplaneHangAfter", "debugSimulateDataplaneHangAfter", "0", "seconds"),
    # Usage reporting
    Parameter("UsageReportingEnabled", "usageReportingEnabled", "true", "bool"),
    Parameter("UsageReportingInitialDelaySecs", "usageReportingInitialDelay", "300", "seconds"),
    Parameter("UsageReportingIntervalSecs", "usageReportingInterval", "86400", "seconds"),
)
"""All parameters; the groups and defaults are those of Calico's reference, durations in seconds."""

BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
BY_FIELD = {parameter.field: parameter for parameter in PARAMETERS if parameter.field}
