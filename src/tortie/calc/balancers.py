"""Addresses of services of type LoadBalancer, and which nodes may answer for each on their links."""

from collections.abc import Callable, Iterator

from tortie.api.resource import Key
from tortie.api.services import SERVICE_NAME_LABEL, EndpointSlice, Service, ingress_texts
from tortie.base.net import Address, parse_address
from tortie.calc.multimap import discard
from tortie.calc.services import ServiceName
from tortie.intent.routing import Balancer

_LOCAL = "Local"


class Balancers:
    """`emit(address, balancer or None)` whenever an address comes, changes or goes."""

    def __init__(self, emit: Callable[[Address, Balancer | None], None]) -> None:
        self._emit = emit
        self._services: dict[ServiceName, Service] = {}
        self._slices: dict[Key, tuple[ServiceName, frozenset[str]]] = {}
        self._slices_of: dict[ServiceName, set[Key]] = {}
        self._users: dict[Address, set[ServiceName]] = {}
        self._addresses: dict[ServiceName, frozenset[Address]] = {}

    def on_service(self, key: Key, value: Service | None) -> None:
        """A Service came, changed or went."""
        name = ServiceName(key.namespace, key.name)
        before = self._addresses.pop(name, frozenset())
        self._services.pop(name, None)
        after = frozenset(_addresses(value)) if value is not None and value.spec.type == "LoadBalancer" else frozenset()
        if value is not None and after:
            self._services[name] = value
            self._addresses[name] = after
        for address in before - after:
            discard(self._users, address, name)
        for address in after - before:
            self._users.setdefault(address, set()).add(name)
        for address in before | after:
            self._tell(address)

    def on_slice(self, key: Key, value: EndpointSlice | None) -> None:
        """An EndpointSlice came, changed or went: nodes of ready endpoints matter, unknown counting as ready."""
        old = self._slices.pop(key, None)
        if old is not None:
            discard(self._slices_of, old[0], key)
        name = value.metadata.labels.get(SERVICE_NAME_LABEL, "") if value is not None else ""
        new = None
        if value is not None and name:
            ready = frozenset(each.node_name for each in value.endpoints if each.conditions.ready is not False)
            new = self._slices[key] = ServiceName(value.metadata.namespace, name), ready
            self._slices_of.setdefault(new[0], set()).add(key)
        if old != new:
            for service in {each[0] for each in (old, new) if each is not None}:
                for address in self._addresses.get(service, ()):
                    self._tell(address)

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._services or self._slices or self._slices_of or self._users or self._addresses)

    def _tell(self, address: Address) -> None:
        users = self._users.get(address, ())
        if not users:
            self._emit(address, None)
            return
        if any(self._services[name].spec.external_traffic_policy != _LOCAL for name in users):
            self._emit(address, Balancer(address, None))
            return
        slices = [key for name in users for key in self._slices_of.get(name, ())]
        self._emit(address, Balancer(address, frozenset().union(*(self._slices[key][1] for key in slices))))


def _addresses(service: Service) -> Iterator[Address]:
    """What was assigned (status.loadBalancer.ingress, kept as it was stored), and what is asked for."""
    for text in (*ingress_texts(service), service.spec.load_balancer_ip):
        try:
            if text:
                yield parse_address(text)
        except ValueError:
            continue
