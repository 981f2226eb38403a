"""Node: a host that runs workloads (api.md, section 3)."""

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value


class NodeBGP(Value, frozen=True, kw_only=True):
    """Addresses are interfaces: host bits and the length of the subnet are kept, e.g. 172.18.0.2/24."""

    as_number: int | str | None = None
    ipv4_address: str = ""
    ipv6_address: str = ""
    ipv4_ipip_tunnel_addr: str = msgspec.field(default="", name="ipv4IPIPTunnelAddr")
    route_reflector_cluster_id: str = msgspec.field(default="", name="routeReflectorClusterID")


class OrchRef(Value, frozen=True, kw_only=True):
    """How an orchestrator calls this node."""

    node_name: str = ""
    orchestrator: str = ""


class NodeWireguard(Value, frozen=True, kw_only=True):
    """WireGuard addresses."""

    interface_ipv4_address: str = msgspec.field(default="", name="interfaceIPv4Address")
    interface_ipv6_address: str = msgspec.field(default="", name="interfaceIPv6Address")


class NodeAddress(Value, frozen=True, kw_only=True):
    """One address; type is CalicoNodeIP, InternalIP or ExternalIP."""

    address: str = ""
    type: str = ""


class NodeInterface(Value, frozen=True, kw_only=True):
    """One interface and its addresses."""

    name: str = ""
    addresses: tuple[str, ...] = ()


class NodeSpec(Value, frozen=True, kw_only=True):
    """What other nodes need to know of this one."""

    bgp: NodeBGP | None = None
    ipv4_vxlan_tunnel_addr: str = msgspec.field(default="", name="ipv4VXLANTunnelAddr")
    ipv6_vxlan_tunnel_addr: str = msgspec.field(default="", name="ipv6VXLANTunnelAddr")
    vxlan_tunnel_mac_addr: str = msgspec.field(default="", name="vxlanTunnelMACAddr")
    vxlan_tunnel_mac_addr_v6: str = msgspec.field(default="", name="vxlanTunnelMACAddrV6")
    orch_refs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguard | None = None
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()


class NodeStatus(Value, frozen=True, kw_only=True):
    """What the node reports."""

    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = msgspec.field(default="", name="wireguardPublicKeyV6")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")


class Node(Resource, frozen=True, kw_only=True):
    """A node."""

    api_version: str = V3
    kind: str = "Node"
    metadata: Metadata = Metadata()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None
