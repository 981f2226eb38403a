"""Local endpoints, of workloads and of hosts, with the tiers and policies that apply to them, in order.

Of several endpoints of one node that claim one interface only the one with the smallest id is real; the others wait.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tortie.api.resource import Key
from tortie.api.tier import PREDEFINED, TierSpec
from tortie.base.net import Address, Prefix
from tortie.calc.multimap import discard
from tortie.calc.policy_sorter import HostTiers, Placement, host_tiers, sorted_tiers
from tortie.calc.problems import Problems
from tortie.intent.endpoint import Bandwidth, Endpoint, FloatingAddress, HostEndpoint, PacketRate, Tier
from tortie.intent.host_endpoints import EVERY_INTERFACE
from tortie.intent.keys import AnyEndpointId, EndpointId, HostEndpointId, PolicyId, ProfileId


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """A local endpoint before its policies are known."""

    id: EndpointId
    workload: str
    interface: str
    addresses: tuple[Prefix, ...]
    profiles: tuple[str, ...]
    mac: str
    allowed_source_prefixes: tuple[Prefix, ...]
    ingress_bandwidth: Bandwidth | None = None
    egress_bandwidth: Bandwidth | None = None
    ingress_packet_rate: PacketRate | None = None
    egress_packet_rate: PacketRate | None = None
    ingress_max_connections: int | None = None
    egress_max_connections: int | None = None
    dscp: int | None = None
    floating: tuple[FloatingAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalHostEndpoint:
    """A local host endpoint before its policies are known. Of several for one interface all are handed over."""

    id: HostEndpointId
    interface: str
    expected_addresses: tuple[Address, ...]
    profiles: tuple[str, ...]
    dscp: int | None


_Device = tuple[str, str]
"""Node and interface name."""


class EndpointResolver:
    """Collects changes; `flush` tells `emit` or `emit_host` (id, endpoint or None) of every endpoint that may have changed."""

    def __init__(
        self,
        emit: Callable[[EndpointId, Endpoint | None], None],
        *,
        emit_host: Callable[[HostEndpointId, HostEndpoint | None], None],
        problems: Problems,
    ) -> None:
        self._emit = emit
        self._emit_host = emit_host
        self._problems = problems
        self._endpoints: dict[EndpointId, LocalEndpoint] = {}
        self._host_endpoints: dict[HostEndpointId, LocalHostEndpoint] = {}
        self._by_device: dict[_Device, list[EndpointId]] = {}
        self._policies_of: dict[AnyEndpointId, set[PolicyId]] = {}
        self._endpoints_of: dict[PolicyId, set[AnyEndpointId]] = {}
        self._placements: dict[PolicyId, Placement] = {}
        self._by_tier: dict[str, set[PolicyId]] = {}
        self._tiers: dict[str, TierSpec] = dict(PREDEFINED)
        self._dirty: set[AnyEndpointId] = set()

    def on_endpoint(self, endpoint_id: EndpointId, endpoint: LocalEndpoint | None) -> None:
        """A local endpoint came, changed or went."""
        old = self._endpoints.get(endpoint_id)
        if old == endpoint:
            return
        if old is not None and (endpoint is None or endpoint.interface != old.interface):
            self._release(endpoint_id, old.interface)
        if endpoint is None:
            del self._endpoints[endpoint_id]
        else:
            self._endpoints[endpoint_id] = endpoint
            if old is None or old.interface != endpoint.interface:
                self._claim(endpoint_id, endpoint.interface)
        self._dirty.add(endpoint_id)

    def on_host_endpoint(self, endpoint_id: HostEndpointId, endpoint: LocalHostEndpoint | None) -> None:
        """A local host endpoint came, changed or went."""
        if self._host_endpoints.get(endpoint_id) == endpoint:
            return
        if endpoint is None:
            del self._host_endpoints[endpoint_id]
        else:
            self._host_endpoints[endpoint_id] = endpoint
        self._dirty.add(endpoint_id)

    def on_match(self, policy: PolicyId, endpoint: AnyEndpointId, selected: bool) -> None:
        """A policy begins or ceases to select an endpoint."""
        self._dirty.add(endpoint)
        if selected:
            self._policies_of.setdefault(endpoint, set()).add(policy)
            self._endpoints_of.setdefault(policy, set()).add(endpoint)
            return
        discard(self._policies_of, endpoint, policy)
        discard(self._endpoints_of, policy, endpoint)

    def on_policy(self, policy: PolicyId, placement: Placement | None) -> None:
        """An active policy came, moved or went."""
        old = self._placements.get(policy)
        if old == placement:
            return
        if old is not None:
            discard(self._by_tier, old.tier, policy)
        if placement is None:
            del self._placements[policy]
        else:
            self._placements[policy] = placement
            self._by_tier.setdefault(placement.tier, set()).add(policy)
        self._dirty.update(self._endpoints_of.get(policy, ()))

    def on_tier(self, name: str, tier: TierSpec | None) -> None:
        """A tier came, changed or went. The predefined ones exist, with their own values, whatever is stored."""
        tier = PREDEFINED.get(name, tier)
        if self._tiers.get(name) == tier:
            return
        if tier is None:
            del self._tiers[name]
        else:
            self._tiers[name] = tier
        for policy in self._by_tier.get(name, ()):
            self._dirty.update(self._endpoints_of.get(policy, ()))

    def flush(self) -> None:
        """Resolve what changed. Endpoints with the same policies share one tuple of tiers."""
        resolved: dict[frozenset[PolicyId], tuple[Tier, ...]] = {}
        for endpoint_id in self._dirty:
            if isinstance(endpoint_id, HostEndpointId):
                self._flush_host(endpoint_id)
                continue
            endpoint = self._endpoints.get(endpoint_id)
            if endpoint is None or not self._is_real(endpoint):
                self._emit(endpoint_id, None)
                continue
            policies = frozenset(self._policies_of.get(endpoint_id, ()))
            tiers = resolved.get(policies)
            if tiers is None:
                tiers = sorted_tiers({each: self._placements[each] for each in policies}, self._tiers)
                resolved[policies] = tiers
            self._emit(endpoint_id, _endpoint(endpoint, tiers))
        self._dirty.clear()

    def _flush_host(self, endpoint_id: HostEndpointId) -> None:
        endpoint = self._host_endpoints.get(endpoint_id)
        problems: list[str] = []
        resolved: HostEndpoint | None = None
        if endpoint is not None:
            placements = {each: self._placements[each] for each in self._policies_of.get(endpoint_id, ())}
            tiers = host_tiers(placements, self._tiers)
            if endpoint.interface == EVERY_INTERFACE and tiers.untracked:
                tiers = tiers._replace(untracked=())
                problems = ['spec.interfaceName: doNotTrack policies do not apply to "*"; name the interface']
            resolved = _host_endpoint(endpoint, tiers)
        self._problems.report(Key("HostEndpoint", "", endpoint_id.name), "untracked", problems)
        self._emit_host(endpoint_id, resolved)

    def is_empty(self) -> bool:
        """True if nothing is known but the predefined tiers."""
        return self._tiers == PREDEFINED and not (
            self._endpoints
            or self._host_endpoints
            or self._by_device
            or self._policies_of
            or self._endpoints_of
            or self._placements
            or self._by_tier
            or self._dirty
        )

    def _is_real(self, endpoint: LocalEndpoint) -> bool:
        return self._by_device[endpoint.id.node, endpoint.interface][0] == endpoint.id

    def _claim(self, endpoint_id: EndpointId, interface: str) -> None:
        claimants = self._by_device.setdefault((endpoint_id.node, interface), [])
        self._dirty.update(claimants[:1])
        insort(claimants, endpoint_id)

    def _release(self, endpoint_id: EndpointId, interface: str) -> None:
        device = (endpoint_id.node, interface)
        claimants = self._by_device[device]
        claimants.remove(endpoint_id)
        self._dirty.update(claimants[:1])
        if not claimants:
            del self._by_device[device]


def _endpoint(endpoint: LocalEndpoint, tiers: Iterable[Tier]) -> Endpoint:
    return Endpoint(
        id=endpoint.id,
        workload=endpoint.workload,
        interface=endpoint.interface,
        addresses=endpoint.addresses,
        tiers=tuple(tiers),
        profiles=tuple(ProfileId(name) for name in endpoint.profiles),
        mac=endpoint.mac,
        allowed_source_prefixes=endpoint.allowed_source_prefixes,
        ingress_bandwidth=endpoint.ingress_bandwidth,
        egress_bandwidth=endpoint.egress_bandwidth,
        ingress_packet_rate=endpoint.ingress_packet_rate,
        egress_packet_rate=endpoint.egress_packet_rate,
        ingress_max_connections=endpoint.ingress_max_connections,
        egress_max_connections=endpoint.egress_max_connections,
        dscp=endpoint.dscp,
        floating=endpoint.floating,
    )


def _host_endpoint(endpoint: LocalHostEndpoint, tiers: HostTiers) -> HostEndpoint:
    return HostEndpoint(
        id=endpoint.id,
        interface=endpoint.interface,
        expected_addresses=endpoint.expected_addresses,
        untracked=tiers.untracked,
        pre_dnat=tiers.pre_dnat,
        forward=tiers.forward,
        normal=tiers.normal,
        profiles=tuple(ProfileId(name) for name in endpoint.profiles),
        dscp=endpoint.dscp,
    )
