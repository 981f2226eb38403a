"""A node's whole intent, kept by applying messages: what the evaluator judges by and what tests compare."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from tortie.base.net import Address, Family, Prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId, SetId
from tortie.intent.messages import (
    BalancerUpdate,
    BgpUpdate,
    ClusterRouteUpdate,
    ConfigUpdate,
    EndpointUpdate,
    HostEndpointUpdate,
    HostUpdate,
    InSync,
    Message,
    OverlayUpdate,
    PolicyUpdate,
    PoolUpdate,
    ProfileUpdate,
    ServiceNetsUpdate,
    SetDelta,
    SetUpdate,
    VtepUpdate,
    WireguardPeerUpdate,
)
from tortie.intent.policy import Policy, Profile
from tortie.intent.routes import ClusterRoute, Overlay, Vtep, WireguardPeer
from tortie.intent.routing import Balancer, Bgp, Host, Pool
from tortie.intent.sets import IPSet, Member

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class State:
    """Everything by key. Mutable on purpose: `apply` is its only writer."""

    sets: dict[SetId, IPSet] = field(default_factory=dict)
    members: dict[SetId, set[Member]] = field(default_factory=dict)
    policies: dict[PolicyId, Policy] = field(default_factory=dict)
    profiles: dict[ProfileId, Profile] = field(default_factory=dict)
    endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    host_endpoints: dict[HostEndpointId, HostEndpoint] = field(default_factory=dict)
    service_nets: tuple[Prefix, ...] = ()
    balancers: dict[Address, Balancer] = field(default_factory=dict)
    pools: dict[Prefix, Pool] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    overlay: Overlay | None = None
    vteps: dict[tuple[str, Family], Vtep] = field(default_factory=dict)
    wireguard_peers: dict[tuple[str, Family], WireguardPeer] = field(default_factory=dict)
    cluster_routes: dict[Prefix, ClusterRoute] = field(default_factory=dict)
    bgp: Bgp | None = None
    config: dict[str, str] = field(default_factory=dict)
    in_sync: bool = False

    def apply_all(self, messages: Iterable[Message]) -> None:
        """Apply one flush."""
        for message in messages:
            self.apply(message)

    def apply(self, message: Message) -> None:
        """Apply one message. A delta for an unknown set raises KeyError: the sequencer broke its promise."""
        match message:
            case SetUpdate(id=set_id, ipset=None):
                self.sets.pop(set_id, None)
                self.members.pop(set_id, None)
            case SetUpdate(id=set_id, ipset=ipset, members=members):
                assert ipset is not None
                self.sets[set_id] = ipset
                self.members[set_id] = set(members)
            case SetDelta(id=set_id, added=added, removed=removed):
                self.members[set_id] -= removed
                self.members[set_id] |= added
            case PolicyUpdate(id=policy_id, policy=policy):
                _put(self.policies, policy_id, policy)
            case ProfileUpdate(id=profile_id, profile=profile):
                _put(self.profiles, profile_id, profile)
            case EndpointUpdate(id=endpoint_id, endpoint=endpoint):
                _put(self.endpoints, endpoint_id, endpoint)
            case HostEndpointUpdate(id=host_endpoint_id, endpoint=host_endpoint):
                _put(self.host_endpoints, host_endpoint_id, host_endpoint)
            case ServiceNetsUpdate(nets=nets):
                self.service_nets = nets
            case BalancerUpdate(address=address, balancer=balancer):
                _put(self.balancers, address, balancer)
            case PoolUpdate(cidr=cidr, pool=pool):
                _put(self.pools, cidr, pool)
            case HostUpdate(name=name, host=host):
                _put(self.hosts, name, host)
            case OverlayUpdate(overlay=overlay):
                self.overlay = overlay
            case VtepUpdate(node=node, family=family, vtep=vtep):
                _put(self.vteps, (node, family), vtep)
            case WireguardPeerUpdate(node=node, family=family, peer=peer):
                _put(self.wireguard_peers, (node, family), peer)
            case ClusterRouteUpdate(dst=dst, route=route):
                _put(self.cluster_routes, dst, route)
            case BgpUpdate(bgp=bgp):
                self.bgp = bgp
            case ConfigUpdate(values=values):
                self.config = dict(values)
            case InSync():
                self.in_sync = True
            case _:
                assert_never(message)


def _put(mapping: dict[_K, _V], key: _K, value: _V | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value
