"""Pools, blocks, hosts and BGP: what one node must know to route."""

from dataclasses import dataclass
from typing import NamedTuple

from tortie.base.net import Address, Interface, Prefix
from tortie.intent.route_filter import Community, RouteFilter

AGENT_PROTOCOL = 80
"""The kernel's mark of the agent's routes (route protocol), unless DeviceRouteProtocol says otherwise."""


@dataclass(frozen=True, slots=True)
class Pool:
    """An IP pool. Encapsulation modes are "Never", "Always" or "CrossSubnet"."""

    cidr: Prefix
    nat_outgoing: bool
    ipip_mode: str
    vxlan_mode: str
    disabled: bool
    disable_bgp_export: bool


@dataclass(frozen=True, slots=True)
class Host:
    """A node's addresses, None where it lacks the family."""

    name: str
    ipv4: Interface | None
    ipv6: Interface | None


@dataclass(frozen=True, slots=True)
class Balancer:
    """The address of a service of type LoadBalancer, for which one node has to answer on its link."""

    address: Address
    nodes: frozenset[str] | None
    """Those that have an endpoint, where only they may take the traffic; None for any."""


class Block(NamedTuple):
    """A block that this node holds. `confirmed` False: listed (blackhole) but not exported."""

    cidr: Prefix
    confirmed: bool


class Bfd(NamedTuple):
    """How fast a dead path is noticed: after `multiplier` packets missing that are `interval_ms` apart."""

    interval_ms: int
    multiplier: int


class Advertisement(NamedTuple):
    """Routes inside `prefix` are told with these communities."""

    prefix: Prefix
    communities: tuple[Community, ...]


@dataclass(frozen=True, slots=True)
class ServiceRoutes:
    """Service addresses that this node tells its peers of, and all that belong to services."""

    advertised: tuple[Prefix, ...] = ()
    """Ranges and single addresses that lead to this node."""
    ranges: tuple[Prefix, ...] = ()
    """Every range of service addresses: the kernel gets no route to one from BIRD, services are not routed there."""
    reflected: tuple[Prefix, ...] = ()
    """Ranges from which a route reflector passes on what others advertise."""


class LocalWorkload(NamedTuple):
    """A workload of this node that is a peer: behind `interface`, where it finds the node at the address `virtual`."""

    interface: str
    virtual: Address


class WorkloadEnd(NamedTuple):
    """Where a workload that is a peer reaches this node: through `interface`, at this address and TCP port."""

    interface: str
    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """One BGP session, one family (the family of `address`)."""

    name: str
    """Protocol name without suffix, e.g. Mesh_172_18_0_2."""
    address: Interface
    as_number: int
    port: int
    description: str
    passive: bool = False
    is_mesh: bool = True
    next_hop_mode: str = "Auto"
    ttl_security: int = 0
    source_node_ip: bool = True
    restart_seconds: int | None = None
    keepalive_seconds: int | None = None
    rr_client: bool = False
    password_ref: tuple[str, str] | None = None
    """Secret name and key; the password itself never enters intent."""
    password_optional: bool = False
    """Where there is no such secret: True a session without a password, False no session."""
    local_as_number: int | None = None
    """The AS number that we claim towards this peer, where it is not the node's own."""
    allowed_local_as: int = 0
    """How often our own AS number may stand in a path from this peer."""
    reachable_by: Address | None = None
    """The gateway to the peer: a static route."""
    filters: tuple[str, ...] = ()
    """Names of the route filters of this session, in order."""
    bfd: Bfd | None = None
    workload: LocalWorkload | None = None
    """Set for a peer that is a workload of this node: it opens the session."""
    refused: str = ""
    """Why there is no such session although it is wanted; "" for one that there is."""


@dataclass(frozen=True, slots=True)
class Bgp:
    """All that BIRD on this node must do. One whole value: BIRD's configuration is rendered from it alone."""

    node: str
    as_number: int
    router_id: str
    ipv4: Interface | None
    ipv6: Interface | None
    listen_port: int
    bind_node_ip: bool
    log_level: str
    blocks: tuple[Block, ...]
    pools: tuple[Pool, ...]
    peers: tuple[BgpPeer, ...]
    ignored_interfaces: tuple[str, ...]
    cluster_id: str
    ipv4_priority: int
    ipv6_priority: int
    programs_no_encap: bool
    """BIRD writes routes of pools without encapsulation into the kernel; those of other pools never, with `exceptions`."""
    filters: tuple[RouteFilter, ...] = ()
    """Those that a peer names, by name."""
    advertisements: tuple[Advertisement, ...] = ()
    services: ServiceRoutes = ServiceRoutes()
    exceptions: tuple[Prefix, ...] = ()
    """Destinations in pools of the agent that BIRD programs for the time being: the tunnel to them is not complete yet."""
    agent_protocol: int = AGENT_PROTOCOL
    """The kernel's mark of the agent's routes to other nodes."""

    @property
    def workload_ends(self) -> tuple[WorkloadEnd, ...]:
        """Of all sessions with workloads, sorted."""
        live = [peer.workload for peer in self.peers if peer.workload is not None and not peer.refused]
        return tuple(sorted({WorkloadEnd(each.interface, each.virtual, self.listen_port) for each in live}))
