"""WorkloadEndpoint: one interface of one workload (api.md, section 3)."""

import msgspec

from tortie.api.policy import ProtocolText
from tortie.api.resource import V3, Metadata, Resource, Value


class EndpointPort(Value, frozen=True, kw_only=True):
    """A port that rules can name."""

    name: str = ""
    protocol: ProtocolText = "TCP"
    port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class IPNAT(Value, frozen=True, kw_only=True):
    """A floating address: `external_ip` is translated to `internal_ip`."""

    internal_ip: str = msgspec.field(default="", name="internalIP")
    external_ip: str = msgspec.field(default="", name="externalIP")


class QoSControls(Value, frozen=True, kw_only=True):
    """Limits of one endpoint (conversions.md, section 2.1): bit/s, bits, bytes, packets/s, packets, connections."""

    ingress_bandwidth: int = 0
    egress_bandwidth: int = 0
    ingress_burst: int = 0
    egress_burst: int = 0
    ingress_peakrate: int = 0
    egress_peakrate: int = 0
    ingress_minburst: int = 0
    egress_minburst: int = 0
    ingress_packet_rate: int = 0
    egress_packet_rate: int = 0
    ingress_packet_burst: int = 0
    egress_packet_burst: int = 0
    ingress_max_connections: int = 0
    egress_max_connections: int = 0
    dscp: int | str | None = None


class WorkloadEndpointSpec(Value, frozen=True, kw_only=True):
    """`ip_networks` are single addresses written as /32 or /128."""

    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = msgspec.field(default="", name="containerID")
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: tuple[str, ...] = ()
    ip_nats: tuple[IPNAT, ...] = msgspec.field(default=(), name="ipNATs")
    ipv4_gateway: str = ""
    ipv6_gateway: str = ""
    profiles: tuple[str, ...] = ()
    interface_name: str = ""
    mac: str = ""
    ports: tuple[EndpointPort, ...] = ()
    allow_spoofed_source_prefixes: tuple[str, ...] = ()
    qos_controls: QoSControls | None = None


class WorkloadEndpoint(Resource, frozen=True, kw_only=True):
    """The endpoint of a pod, a container or a virtual machine."""

    api_version: str = V3
    kind: str = "WorkloadEndpoint"
    metadata: Metadata = Metadata()
    spec: WorkloadEndpointSpec = WorkloadEndpointSpec()
