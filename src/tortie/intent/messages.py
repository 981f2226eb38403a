"""What calc hands over, in this order within one flush: sets, policies and profiles, endpoints; removals in reverse.

A consumer that applies the messages of one flush one after the other never sees a policy that names an unknown set, nor an
endpoint that names an unknown policy (a missing profile stays missing, and denies). `InSync` follows the first complete
flush: all messages before it together are a complete state. Every message but `SetDelta` is a key and a whole value.
"""

from dataclasses import dataclass

from tortie.base.net import Address, Family, Prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId, SetId
from tortie.intent.policy import Policy, Profile
from tortie.intent.routes import ClusterRoute, Overlay, Vtep, WireguardPeer
from tortie.intent.routing import Balancer, Bgp, Host, Pool
from tortie.intent.sets import IPSet, Member


@dataclass(frozen=True, slots=True)
class SetUpdate:
    """A set as a whole: new, or replaced. `ipset` None removes it."""

    id: SetId
    ipset: IPSet | None
    members: frozenset[Member] = frozenset()


@dataclass(frozen=True, slots=True)
class SetDelta:
    """Members that came and went since the set's last message."""

    id: SetId
    added: frozenset[Member]
    removed: frozenset[Member]


@dataclass(frozen=True, slots=True)
class PolicyUpdate:
    """A policy, or None when no local endpoint needs it any more."""

    id: PolicyId
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """A profile, or None when it is gone or unused."""

    id: ProfileId
    profile: Profile | None


@dataclass(frozen=True, slots=True)
class EndpointUpdate:
    """A local endpoint, or None."""

    id: EndpointId
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class HostEndpointUpdate:
    """A host endpoint of this node, or None."""

    id: HostEndpointId
    endpoint: HostEndpoint | None


@dataclass(frozen=True, slots=True)
class ServiceNetsUpdate:
    """Networks of service addresses (BGPConfiguration serviceClusterIPs, -ExternalIPs, -LoadBalancerIPs), sorted.

    What the node would forward to one of them belongs to no service, and would come back (ServiceLoopPrevention).
    """

    nets: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class BalancerUpdate:
    """An address of a service of type LoadBalancer, or None."""

    address: Address
    balancer: Balancer | None


@dataclass(frozen=True, slots=True)
class PoolUpdate:
    """An IP pool, or None. Keyed by CIDR: of two pools with one CIDR the lowest name wins."""

    cidr: Prefix
    pool: Pool | None


@dataclass(frozen=True, slots=True)
class HostUpdate:
    """A node of the cluster, this one included, or None."""

    name: str
    host: Host | None


@dataclass(frozen=True, slots=True)
class ClusterRouteUpdate:
    """The way to a destination of the cluster, or None when nobody has it any more."""

    dst: Prefix
    route: ClusterRoute | None


@dataclass(frozen=True, slots=True)
class VtepUpdate:
    """Another node's end of the VXLAN of one family, or None."""

    node: str
    family: Family
    vtep: Vtep | None


@dataclass(frozen=True, slots=True)
class WireguardPeerUpdate:
    """Another node in the WireGuard of one family, or None."""

    node: str
    family: Family
    peer: WireguardPeer | None


@dataclass(frozen=True, slots=True)
class OverlayUpdate:
    """This node's own ends; None while it has no address."""

    overlay: Overlay | None


@dataclass(frozen=True, slots=True)
class BgpUpdate:
    """What BIRD must do; None while this node has no address."""

    bgp: Bgp | None


@dataclass(frozen=True, slots=True)
class ConfigUpdate:
    """Effective FelixConfiguration of this node: Calico's parameter name (e.g. DefaultEndpointToHostAction) to raw text."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class InSync:
    """The state so far is complete."""


Message = (
    SetUpdate
    | SetDelta
    | PolicyUpdate
    | ProfileUpdate
    | EndpointUpdate
    | HostEndpointUpdate
    | ServiceNetsUpdate
    | BalancerUpdate
    | PoolUpdate
    | HostUpdate
    | OverlayUpdate
    | VtepUpdate
    | WireguardPeerUpdate
    | ClusterRouteUpdate
    | BgpUpdate
    | ConfigUpdate
    | InSync
)
