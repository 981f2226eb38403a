"""Services as a person means them: an address and a port that stand for backends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tortie.api.resource import Update
from tortie.api.services import EndpointSlice, ServicePort
from tortie.api.services import Service as ApiService
from tortie.base.net import Address, Family, parse_address
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
    """Its own: cluster addresses first. Empty for a headless service."""
    ports: tuple[ServicePort, ...]
    backends: tuple[Backend, ...]
    synthetic: bool = False
    """True if the backends were worked out from its selector."""

    def behind(self, protocol: int, port: int | str | None, *, family: Family) -> tuple[int, tuple[Backend, ...]]:
        """The number of the service's port and the backends of one family behind it. Raises InsightError."""
        found = self._port(protocol, port)
        name = f"svc/{self.namespace}/{self.name}"
        backends = tuple(
            backend
            for backend in self.backends
            if (backend.port_name, backend.protocol, backend.address.family) == (found.name, protocol, family)
        )
        if not backends:
            raise InsightError(f"{name} has no ready IPv{family.value} backend for port {found.port}: nothing answers there")
        return found.port, backends

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
        )
    return found


def by_address(services: Mapping[tuple[str, str], Service], address: Address) -> Service | None:
    """The service that an address belongs to."""
    return next((service for service in services.values() if address in service.addresses), None)


def _addresses(service: ApiService) -> tuple[Address, ...]:
    spec = service.spec
    texts = dict.fromkeys((*spec.cluster_ips, spec.cluster_ip, *spec.external_ips, spec.load_balancer_ip))
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
