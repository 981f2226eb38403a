"""Services as a person means them: an address and a port that stand for backends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tortie.api.bgp import BGPConfiguration
from tortie.api.resource import Update
from tortie.api.services import EndpointSlice, ServicePort, ingress_texts
from tortie.api.services import Service as ApiService
from tortie.base.net import Address, Family, parse_address, parse_prefix
from tortie.calc.config import DEFAULT
from tortie.insight.errors import InsightError
from tortie.insight.slices import SERVICE_NAME_LABEL
from tortie.verdict.packet import protocol_name, protocol_number


class Backend(NamedTuple):
    """One address and port that a service's port leads to."""

    port_name: str
    protocol: int
    address: Address
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """A service with its backends that are ready."""

    namespace: str
    name: str
    addresses: tuple[Address, ...]
    """Its own: cluster addresses first, then external ones, then its load balancer's. Empty for a headless service."""
    ports: tuple[ServicePort, ...]
    backends: tuple[Backend, ...]
    synthetic: bool = False
    """True if the backends were worked out from its selector."""
    keeps_inside: bool = False
    """internalTrafficPolicy Local: senders of a node are led to backends of that node only."""
    keeps_outside: bool = False
    """externalTrafficPolicy Local: so are senders outside, by the node that they come in by, under their own address."""

    def behind(self, protocol: int, port: int | str | None, *, family: Family) -> tuple[ServicePort, tuple[Backend, ...]]:
        """The service's port and the backends of one family behind it. Raises InsightError."""
        found = self._port(protocol, port)
        name = f"svc/{self.namespace}/{self.name}"
        backends = tuple(
            backend
            for backend in self.backends
            if (backend.port_name, backend.protocol, backend.address.family) == (found.name, protocol, family)
        )
        if not backends:
            raise InsightError(f"{name} has no ready IPv{family.value} backend for port {found.port}: nothing answers there")
        return found, backends

    def takes_of_nodes(self, protocol: int, port: int | None, *, address: Address) -> tuple[ServicePort | None, str]:
        """Which of its ports takes a port of a node that has `address`, and as what; None if none does."""
        for each in self.ports:
            if protocol_number(each.protocol) == protocol and port:
                if each.node_port == port:
                    return each, "node port"
                if each.port == port and address in self.addresses:
                    return each, "external address"
        return None, ""

    def families(self) -> set[Family]:
        """The families of its backends."""
        return {backend.address.family for backend in self.backends}

    def _port(self, protocol: int, port: int | str | None) -> ServicePort:
        for each in self.ports:
            if protocol_number(each.protocol) == protocol and port in (each.port, each.name):
                return each
        known = ", ".join(f"{each.protocol.lower()}/{each.port}" for each in self.ports) or "none"
        asked = protocol_name(protocol) + ("" if port is None else f" port {port}")
        raise InsightError(f"svc/{self.namespace}/{self.name} has no {asked}; its ports: {known}")


def services_of(updates: Iterable[Update], *, synthetic: Iterable[EndpointSlice] = ()) -> dict[tuple[str, str], Service]:
    """All services by namespace and name. `synthetic`: which of the slices were worked out."""
    services: list[ApiService] = []
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for update in updates:
        if isinstance(update.value, ApiService):
            services.append(update.value)
        elif isinstance(update.value, EndpointSlice):
            meta = update.value.metadata
            slices.setdefault((meta.namespace, meta.labels.get(SERVICE_NAME_LABEL, "")), []).append(update.value)
    made_up = {(each.metadata.namespace, each.metadata.labels.get(SERVICE_NAME_LABEL, "")) for each in synthetic}
    found = {}
    for service in services:
        key = (service.metadata.namespace, service.metadata.name)
        found[key] = Service(
            *key,
            addresses=_addresses(service),
            ports=service.spec.ports,
            backends=tuple(backend for each in slices.get(key, ()) for backend in _backends(each)),
            synthetic=key in made_up,
            keeps_inside=service.spec.internal_traffic_policy == "Local",
            keeps_outside=service.spec.external_traffic_policy == "Local",
        )
    return found


def service_nowhere(updates: Iterable[Update], address: Address) -> str:
    """Why an address that no service has leads nowhere; "" if it is none that the cluster keeps for services.

    Of external addresses and of those of load balancers others may have some.
    """
    for update in updates:
        if isinstance(update.value, BGPConfiguration) and update.key.name == DEFAULT:
            for each in update.value.spec.service_cluster_ips:
                try:
                    inside = parse_prefix(each.cidr, strict=False).contains(address)
                except ValueError:
                    continue  # conversion tells of it
                if inside:
                    return f"{address} lies in serviceClusterIPs {each.cidr} and no service of the input has it"
    return ""


def by_address(services: Mapping[tuple[str, str], Service], address: Address) -> Service | None:
    """The service that an address belongs to."""
    return next((service for service in services.values() if address in service.addresses), None)


def _addresses(service: ApiService) -> tuple[Address, ...]:
    spec = service.spec
    texts = dict.fromkeys(
        (*spec.cluster_ips, spec.cluster_ip, *spec.external_ips, *ingress_texts(service), spec.load_balancer_ip)
    )
    return tuple(address for text in texts if (address := _address(text)) is not None)


def _backends(each: EndpointSlice) -> Iterable[Backend]:
    for endpoint in each.endpoints:
        if endpoint.conditions.ready is False:
            continue
        for text in endpoint.addresses:
            address = _address(text)
            for port in each.ports:
                number = protocol_number(port.protocol)
                if address is not None and number is not None and port.port is not None:
                    yield Backend(port.name, number, address, port.port)


def _address(text: str) -> Address | None:
    """None for what is no address, such as the cluster address `None` of a headless service."""
    try:
        return parse_address(text)
    except ValueError:
        return None
