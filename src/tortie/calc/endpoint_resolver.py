"""Local endpoints with the tiers and policies that apply to them, in order.

Of several endpoints of one node that claim one interface only the one with the smallest id is real; the others wait.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tortie.api.tier import PREDEFINED, TierSpec
from tortie.base.net import Prefix
from tortie.calc.multimap import discard
from tortie.calc.policy_sorter import Placement, sorted_tiers
from tortie.intent.endpoint import Bandwidth, Endpoint, Tier
from tortie.intent.keys import EndpointId, PolicyId, ProfileId


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


_Device = tuple[str, str]
"""Node and interface name."""


class EndpointResolver:
    """Collects changes; `flush` tells `emit(id, endpoint or None)` of every endpoint that may have changed."""

    def __init__(self, emit: Callable[[EndpointId, Endpoint | None], None]) -> None:
        self._emit = emit
        self._endpoints: dict[EndpointId, LocalEndpoint] = {}
        self._by_device: dict[_Device, list[EndpointId]] = {}
        self._policies_of: dict[EndpointId, set[PolicyId]] = {}
        self._endpoints_of: dict[PolicyId, set[EndpointId]] = {}
        self._placements: dict[PolicyId, Placement] = {}
        self._by_tier: dict[str, set[PolicyId]] = {}
        self._tiers: dict[str, TierSpec] = dict(PREDEFINED)
        self._dirty: set[EndpointId] = set()

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

    def on_match(self, policy: PolicyId, endpoint: EndpointId, selected: bool) -> None:
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
        """A tier came, changed or went. The predefined ones exist even if nobody stored them."""
        if tier is None:
            tier = PREDEFINED.get(name)
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

    def is_empty(self) -> bool:
        """True if nothing is known but the predefined tiers."""
        return self._tiers == PREDEFINED and not (
            self._endpoints
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
    )
