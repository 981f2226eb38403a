"""Which service addresses this node tells its BGP peers of: ranges as a whole, and single addresses that need it.

Services are looked at one by one, and only while BGPConfiguration lists ranges of them: a change of one service or of its
endpoints costs that service's addresses, not the cluster's.
"""

from collections.abc import Iterable, Mapping

from tortie.api.bgp import BGPConfigurationSpec, ServiceCIDR
from tortie.api.resource import Key
from tortie.api.services import SERVICE_NAME_LABEL, EndpointSlice, Service
from tortie.base.net import Prefix, parse_address, parse_prefix, single
from tortie.calc.multimap import discard
from tortie.calc.services import ServiceName
from tortie.intent.routing import ServiceRoutes

EXCLUSION_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A node that has it ("true") advertises no service."""

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


class ServiceAdvertisements:
    """Every `on_...` returns True if `routes` may have changed."""

    def __init__(self, node: str, *, cluster_ips: str = "") -> None:
        """`cluster_ips`: one range in the place of all that BGPConfiguration has as serviceClusterIPs."""
        self._node = node
        self._cluster_override = _prefixes([ServiceCIDR(cidr=cluster_ips)])
        self._services: dict[ServiceName, Service] = {}
        self._slices: dict[Key, EndpointSlice] = {}
        self._slices_of: dict[ServiceName, set[Key]] = {}
        self._advertised: dict[ServiceName, frozenset[Prefix]] = {}
        self._cluster: tuple[Prefix, ...] = self._cluster_override
        self._external: tuple[Prefix, ...] = ()
        self._balancer: tuple[Prefix, ...] = ()
        self._aggregates = True

    def on_configuration(self, spec: BGPConfigurationSpec | None) -> bool:
        """BGPConfiguration `default` came, changed or went."""
        before = (self._cluster, self._external, self._balancer, self._aggregates)
        spec = spec if spec is not None else BGPConfigurationSpec()
        self._cluster = self._cluster_override or _prefixes(spec.service_cluster_ips)
        self._external = _prefixes(spec.service_external_ips)
        self._balancer = _prefixes(spec.service_load_balancer_ips)
        self._aggregates = spec.service_load_balancer_aggregation != "Disabled"
        if before == (self._cluster, self._external, self._balancer, self._aggregates):
            return False
        self._advertised.clear()
        for name in self._services:
            self._calculate(name)
        return True

    def on_service(self, key: Key, value: Service | None) -> bool:
        """A Service came, changed or went."""
        name = ServiceName(key.namespace, key.name)
        if value is None:
            self._services.pop(name, None)
        else:
            self._services[name] = value
        return self._calculate(name)

    def on_slice(self, key: Key, value: EndpointSlice | None) -> bool:
        """An EndpointSlice came, changed, perhaps its service too, or went."""
        changed = False
        old = self._slices.pop(key, None)
        before = _service_of(old)
        after = _service_of(value)
        if before is not None and before != after:
            discard(self._slices_of, before, key)
            changed = self._calculate(before)
        if value is not None and after is not None:
            self._slices[key] = value
            self._slices_of.setdefault(after, set()).add(key)
        return (after is not None and self._calculate(after)) or changed

    def routes(self, labels: Mapping[str, str]) -> ServiceRoutes:
        """Everything, for a node with these labels."""
        ranges = tuple(sorted({*self._cluster, *self._external, *self._balancer}))
        if not ranges:
            return ServiceRoutes()
        advertised: set[Prefix] = set()
        if labels.get(EXCLUSION_LABEL) != "true":
            advertised.update(self._cluster)
            advertised.update(prefix for prefix in self._external if not prefix.is_single)
            if self._aggregates:
                advertised.update(prefix for prefix in self._balancer if not prefix.is_single)
            for addresses in self._advertised.values():
                advertised |= addresses
        return ServiceRoutes(tuple(sorted(advertised)), ranges, (*self._balancer, *self._external))

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._services or self._slices or self._slices_of or self._advertised or self._active)

    @property
    def _active(self) -> bool:
        return bool(self._cluster or self._external or self._balancer)

    def _calculate(self, name: ServiceName) -> bool:
        """Work out one service's single addresses; True if they changed."""
        service = self._services.get(name)
        addresses = self._addresses(name, service) if service is not None and self._active else frozenset()
        if addresses == self._advertised.get(name, frozenset()):
            return False
        if addresses:
            self._advertised[name] = addresses
        else:
            del self._advertised[name]
        return True

    def _addresses(self, name: ServiceName, service: Service) -> frozenset[Prefix]:
        spec = service.spec
        if spec.type not in _TYPES or spec.cluster_ip in ("", "None"):
            return frozenset()
        cluster = _singles(spec.cluster_ips or (spec.cluster_ip,)) if self._cluster else set()
        external = _inside(_singles(spec.external_ips), self._external)
        balancer = _inside(_singles(_ingress(service)), self._balancer)
        found = frozenset(cluster | external | balancer)
        if spec.external_traffic_policy == "Local":
            return found if self._has_endpoint(name, service, here=True) else frozenset()
        alone = any(prefix.is_single and prefix in external for prefix in self._external) or (
            spec.type == "LoadBalancer" and any(prefix.is_single and prefix in balancer for prefix in self._balancer)
        )
        if alone or (not self._aggregates and self._has_endpoint(name, service, here=False)):
            return found
        return frozenset()

    def _has_endpoint(self, name: ServiceName, service: Service, *, here: bool) -> bool:
        """Whether the service has a ready endpoint on this node, or anywhere. Unknown counts as ready."""
        families = service.spec.ip_families
        for key in self._slices_of.get(name, ()):
            found = self._slices[key]
            if families and found.address_type not in families:
                continue
            for endpoint in found.endpoints:
                if endpoint.conditions.ready is not False and (not here or endpoint.node_name == self._node):
                    return True
        return False


def _service_of(value: EndpointSlice | None) -> ServiceName | None:
    name = "" if value is None else value.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return ServiceName(value.metadata.namespace, name) if value is not None and name else None


def _prefixes(listed: Iterable[ServiceCIDR]) -> tuple[Prefix, ...]:
    """Those that can be read; `service_nets` says which cannot."""
    found = set()
    for each in listed:
        try:
            found.add(parse_prefix(each.cidr, strict=False))
        except ValueError:
            continue
    return tuple(sorted(found))


def _singles(texts: Iterable[str]) -> set[Prefix]:
    found = set()
    for text in texts:
        try:
            found.add(single(parse_address(text)))
        except ValueError:
            continue
    return found


def _inside(addresses: set[Prefix], ranges: tuple[Prefix, ...]) -> set[Prefix]:
    return {address for address in addresses if any(prefix.contains(address) for prefix in ranges)}


def _ingress(service: Service) -> list[str]:
    """Addresses in status.loadBalancer.ingress, which is kept as it was stored."""
    status = service.status if isinstance(service.status, dict) else {}
    balancer = status.get("loadBalancer")
    ingress = balancer.get("ingress") if isinstance(balancer, dict) else None
    entries = ingress if isinstance(ingress, (list, tuple)) else ()
    return [entry["ip"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("ip"), str)]
