"""BGPConfiguration and BGPPeer (api.md, section 5)."""

from typing import Literal

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value

DEFAULT_AS_NUMBER = 64512
DEFAULT_LISTEN_PORT = 179


class SecretKeyRef(Value, frozen=True, kw_only=True):
    """Where a password lies."""

    key: str
    name: str = ""
    optional: bool | None = None


class BGPPassword(Value, frozen=True, kw_only=True):
    """A password, by reference only."""

    secret_key_ref: SecretKeyRef | None = None


class Community(Value, frozen=True, kw_only=True):
    """A named community value: a:b or a:b:c."""

    name: str = ""
    value: str = ""


class PrefixAdvertisement(Value, frozen=True, kw_only=True):
    """Communities for routes inside `cidr`."""

    cidr: str = ""
    communities: tuple[str, ...] = ()


class ServiceCIDR(Value, frozen=True, kw_only=True):
    """One block of service addresses."""

    cidr: str = ""


class BGPConfigurationSpec(Value, frozen=True, kw_only=True):
    """Unset means: mesh on, AS 64512, port 179, bind mode None."""

    as_number: int | str | None = None
    bind_mode: Literal["None", "NodeIP"] | None = None
    communities: tuple[Community, ...] = ()
    ignored_interfaces: tuple[str, ...] = ()
    ipv4_normal_route_priority: int | None = None
    ipv6_normal_route_priority: int | None = None
    listen_port: int | None = None
    local_workload_peering_ipv4: str = msgspec.field(default="", name="localWorkloadPeeringIPV4")
    local_workload_peering_ipv6: str = msgspec.field(default="", name="localWorkloadPeeringIPV6")
    log_severity_screen: str = "Info"
    node_mesh_max_restart_time: str | None = None
    node_mesh_password: BGPPassword | None = None
    node_to_node_mesh_enabled: bool | None = None
    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    program_cluster_routes: Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None = None
    service_cluster_ips: tuple[ServiceCIDR, ...] = msgspec.field(default=(), name="serviceClusterIPs")
    service_external_ips: tuple[ServiceCIDR, ...] = msgspec.field(default=(), name="serviceExternalIPs")
    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] | None = None
    service_load_balancer_ips: tuple[ServiceCIDR, ...] = msgspec.field(default=(), name="serviceLoadBalancerIPs")


class BGPConfiguration(Resource, frozen=True, kw_only=True):
    """`default` for the cluster, `node.<name>` for one node."""

    api_version: str = V3
    kind: str = "BGPConfiguration"
    metadata: Metadata = Metadata()
    spec: BGPConfigurationSpec = BGPConfigurationSpec()


class BGPPeerSpec(Value, frozen=True, kw_only=True):
    """Who peers (`node`, `node_selector`, all when both empty) with whom (`peer_ip` or `peer_selector`)."""

    as_number: int | str | None = None
    filters: tuple[str, ...] = ()
    keep_original_next_hop: bool = False
    keepalive_time: str | None = None
    local_as_number: int | str | None = msgspec.field(default=None, name="localASNumber")
    local_workload_selector: str = ""
    max_restart_time: str | None = None
    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None
    node: str = ""
    node_selector: str = ""
    num_allowed_local_as_numbers: int | None = msgspec.field(default=None, name="numAllowedLocalASNumbers")
    password: BGPPassword | None = None
    peer_ip: str = msgspec.field(default="", name="peerIP")
    peer_selector: str = ""
    reachable_by: str = ""
    reverse_peering: Literal["Auto", "Manual"] | None = None
    source_address: Literal["UseNodeIP", "None"] | None = None
    ttl_security: int | None = None


class BGPPeer(Resource, frozen=True, kw_only=True):
    """A peering."""

    api_version: str = V3
    kind: str = "BGPPeer"
    metadata: Metadata = Metadata()
    spec: BGPPeerSpec = BGPPeerSpec()
