"""The graph's mouth: changes are coalesced and handed over in dependency order (intent/messages.py).

It remembers what it has sent, so a value that comes back to what it was within one flush is not sent at all.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tortie.base.net import Address, Family, Prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId, SetId
from tortie.intent.messages import (
    BalancerUpdate,
    ClusterRouteUpdate,
    ConfigUpdate,
    EndpointUpdate,
    HostEndpointUpdate,
    HostUpdate,
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
from tortie.intent.routing import Balancer, Host, Pool
from tortie.intent.sets import IPSet, Member

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Pending(Generic[_K, _V]):
    """Values by key: what was sent, and what is to be sent (None: gone)."""

    def __init__(self) -> None:
        self._sent: dict[_K, _V] = {}
        self._new: dict[_K, _V | None] = {}

    def put(self, key: _K, value: _V | None) -> None:
        self._new[key] = value

    def updates(self) -> Iterator[tuple[_K, _V]]:
        """What is new or differs, by key; from now on it counts as sent."""
        for key in sorted(self._new):  # type: ignore[type-var]
            value = self._new[key]
            if value is not None and self._sent.get(key) != value:
                self._sent[key] = value
                yield key, value

    def removals(self) -> Iterator[_K]:
        """What is gone, in reverse order. Ends the flush."""
        for key in sorted(self._new, reverse=True):  # type: ignore[type-var]
            if self._new[key] is None and self._sent.pop(key, None) is not None:
                yield key
        self._new.clear()

    def is_empty(self) -> bool:
        return not (self._sent or self._new)


@dataclass(slots=True)
class _Delta:
    added: set[Member] = field(default_factory=set)
    removed: set[Member] = field(default_factory=set)


class Sequencer:
    """Takes changes in any order. `members(set id)` is asked for the whole of a new set when it is sent."""

    def __init__(self, members: Callable[[SetId], frozenset[Member]]) -> None:
        self._members = members
        self._sent_sets: set[SetId] = set()
        self._new_sets: dict[SetId, IPSet] = {}
        self._gone_sets: set[SetId] = set()
        self._deltas: dict[SetId, _Delta] = {}
        self._policies: _Pending[PolicyId, Policy] = _Pending()
        self._profiles: _Pending[ProfileId, Profile] = _Pending()
        self._endpoints: _Pending[EndpointId, Endpoint] = _Pending()
        self._host_endpoints: _Pending[HostEndpointId, HostEndpoint] = _Pending()
        self._pools: _Pending[Prefix, Pool] = _Pending()
        self._hosts: _Pending[str, Host] = _Pending()
        self._balancers: _Pending[Address, Balancer] = _Pending()
        self._vteps: _Pending[tuple[str, Family], Vtep] = _Pending()
        self._wireguard_peers: _Pending[tuple[str, Family], WireguardPeer] = _Pending()
        self._cluster_routes: _Pending[Prefix, ClusterRoute] = _Pending()
        self._overlay: Overlay | None = None
        self._sent_overlay: Overlay | None = None
        self._config: tuple[tuple[str, str], ...] | None = None
        self._sent_config: tuple[tuple[str, str], ...] | None = None
        self._service_nets: tuple[Prefix, ...] = ()
        self._sent_service_nets: tuple[Prefix, ...] = ()

    def set_needed(self, ipset: IPSet) -> None:
        """A set must stand. One that was to go within this flush is sent anew, whole."""
        self._new_sets[ipset.id] = ipset
        self._gone_sets.discard(ipset.id)

    def set_gone(self, set_id: SetId) -> None:
        """A set is not needed any more."""
        self._new_sets.pop(set_id, None)
        self._deltas.pop(set_id, None)
        if set_id in self._sent_sets:
            self._gone_sets.add(set_id)

    def member(self, set_id: SetId, member: Member, present: bool) -> None:
        """A member came or went. Of a set that is to be sent whole nothing needs to be noted."""
        if set_id in self._new_sets:
            return
        delta = self._deltas.setdefault(set_id, _Delta())
        to, back = (delta.added, delta.removed) if present else (delta.removed, delta.added)
        if member in back:
            back.discard(member)
        else:
            to.add(member)

    def policy(self, policy_id: PolicyId, policy: Policy | None) -> None:
        """A policy's value."""
        self._policies.put(policy_id, policy)

    def profile(self, profile_id: ProfileId, profile: Profile | None) -> None:
        """A profile's value."""
        self._profiles.put(profile_id, profile)

    def endpoint(self, endpoint_id: EndpointId, endpoint: Endpoint | None) -> None:
        """An endpoint's value."""
        self._endpoints.put(endpoint_id, endpoint)

    def host_endpoint(self, endpoint_id: HostEndpointId, endpoint: HostEndpoint | None) -> None:
        """A local host endpoint's value."""
        self._host_endpoints.put(endpoint_id, endpoint)

    def pool(self, cidr: Prefix, pool: Pool | None) -> None:
        """A pool's value."""
        self._pools.put(cidr, pool)

    def host(self, name: str, host: Host | None) -> None:
        """A host's value."""
        self._hosts.put(name, host)

    def overlay(self, value: Overlay | None) -> None:
        """This node's ends of tunnels."""
        self._overlay = value

    def vtep(self, node: str, family: Family, value: Vtep | None) -> None:
        """Another node's end of a VXLAN."""
        self._vteps.put((node, family), value)

    def wireguard_peer(self, node: str, family: Family, value: WireguardPeer | None) -> None:
        """Another node in WireGuard."""
        self._wireguard_peers.put((node, family), value)

    def cluster_route(self, dst: Prefix, value: ClusterRoute | None) -> None:
        """The way to a destination."""
        self._cluster_routes.put(dst, value)

    def balancer(self, address: Address, value: Balancer | None) -> None:
        """An address of a service of type LoadBalancer."""
        self._balancers.put(address, value)

    def service_nets(self, nets: tuple[Prefix, ...]) -> None:
        """The networks of service addresses, sorted; at first there are none, and nothing is said of it."""
        self._service_nets = nets

    def config(self, values: tuple[tuple[str, str], ...]) -> None:
        """The effective configuration."""
        self._config = values

    def flush(self) -> list[Message]:
        """All that changed since the last flush, in order."""
        messages: list[Message] = []
        if self._config is not None and self._config != self._sent_config:
            messages.append(ConfigUpdate(self._config))
            self._sent_config = self._config
        messages += self._set_updates()
        messages += [PolicyUpdate(key, value) for key, value in self._policies.updates()]
        messages += [ProfileUpdate(key, value) for key, value in self._profiles.updates()]
        messages += [EndpointUpdate(key, value) for key, value in self._endpoints.updates()]
        messages += [HostEndpointUpdate(key, value) for key, value in self._host_endpoints.updates()]
        messages += [HostEndpointUpdate(key, None) for key in self._host_endpoints.removals()]
        messages += [EndpointUpdate(key, None) for key in self._endpoints.removals()]
        messages += [ProfileUpdate(key, None) for key in self._profiles.removals()]
        messages += [PolicyUpdate(key, None) for key in self._policies.removals()]
        messages += [SetUpdate(set_id, None) for set_id in sorted(self._gone_sets, reverse=True)]
        messages += [HostUpdate(key, value) for key, value in self._hosts.updates()]
        messages += [HostUpdate(key, None) for key in self._hosts.removals()]
        messages += [PoolUpdate(key, value) for key, value in self._pools.updates()]
        messages += [PoolUpdate(key, None) for key in self._pools.removals()]
        if self._service_nets != self._sent_service_nets:
            messages.append(ServiceNetsUpdate(self._service_nets))
            self._sent_service_nets = self._service_nets
        messages += [BalancerUpdate(key, value) for key, value in self._balancers.updates()]
        messages += [BalancerUpdate(key, None) for key in self._balancers.removals()]
        messages += self._routing()
        self._sent_sets -= self._gone_sets
        self._gone_sets.clear()
        return messages

    def _routing(self) -> Iterator[Message]:
        """Our ends, then theirs, then the routes through them; all that goes in reverse."""
        if self._overlay is not None and self._overlay != self._sent_overlay:
            yield OverlayUpdate(self._overlay)
        yield from (VtepUpdate(*key, value) for key, value in self._vteps.updates())
        yield from (WireguardPeerUpdate(*key, value) for key, value in self._wireguard_peers.updates())
        yield from (ClusterRouteUpdate(key, value) for key, value in self._cluster_routes.updates())
        yield from (ClusterRouteUpdate(key, None) for key in self._cluster_routes.removals())
        yield from (WireguardPeerUpdate(*key, None) for key in self._wireguard_peers.removals())
        yield from (VtepUpdate(*key, None) for key in self._vteps.removals())
        if self._overlay is None and self._sent_overlay is not None:
            yield OverlayUpdate(None)
        self._sent_overlay = self._overlay

    def is_empty(self) -> bool:
        """True if nothing is sent and nothing is to be sent (configuration apart: a node always has one)."""
        pending = (self._policies, self._profiles, self._endpoints, self._host_endpoints, self._pools, self._hosts)
        routing = (self._balancers, self._vteps, self._wireguard_peers, self._cluster_routes)
        sets = self._sent_sets or self._new_sets or self._gone_sets or self._deltas
        values = (self._service_nets, self._sent_service_nets, self._overlay, self._sent_overlay)
        return not (sets or any(values)) and all(each.is_empty() for each in (*pending, *routing))

    def _set_updates(self) -> list[Message]:
        messages: list[Message] = []
        for set_id in sorted(self._new_sets):
            messages.append(SetUpdate(set_id, self._new_sets[set_id], self._members(set_id)))
            self._sent_sets.add(set_id)
        for set_id in sorted(self._deltas):
            delta = self._deltas[set_id]
            if delta.added or delta.removed:
                messages.append(SetDelta(set_id, frozenset(delta.added), frozenset(delta.removed)))
        self._new_sets.clear()
        self._deltas.clear()
        return messages
