"""Sets of services' endpoints, for rules that name a Service: what its EndpointSlices list, ready or not.

Of slices nothing but the service's name is looked at until a rule asks for the service. Members are counted: an endpoint that
stands in several slices, or twice in one, goes with its last mention.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tortie.api.resource import Key
from tortie.api.selector import unique_id
from tortie.api.services import SERVICE_NAME_LABEL, EndpointSlice
from tortie.base.net import Prefix, parse_prefix
from tortie.calc.ip_sets import MemberListener
from tortie.calc.multimap import discard
from tortie.calc.protocols import WITH_PORTS, protocol_number
from tortie.intent.keys import SetId
from tortie.intent.sets import IPSet, Member, PortMember, SetKind

_HIGHEST_PORT = 65535


class ServiceName(NamedTuple):
    """Which service."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a set stands for: a service's endpoints with their ports, or their addresses alone."""

    service: ServiceName
    with_ports: bool

    @property
    def ipset(self) -> IPSet:
        """The set as intent sees it."""
        text = f"{self.service.namespace}/{self.service.name}"
        prefix, kind = ("svc", SetKind.IP_PORT) if self.with_ports else ("svcnoport", SetKind.NET)
        return IPSet(unique_id(prefix, text), kind, f"service {text}")


@dataclass(slots=True)
class _Set:
    spec: ServiceSpec
    members: Counter[Member] = field(default_factory=Counter)


class ServiceSets:
    """Members of every set of a service in use. `listener(set, member, present)` hears changes of those that already stand."""

    def __init__(self, listener: MemberListener) -> None:
        self._listener = listener
        self._slices: dict[Key, EndpointSlice] = {}
        self._by_service: dict[ServiceName, set[Key]] = {}
        self._sets: dict[SetId, _Set] = {}
        self._sets_of: dict[ServiceName, set[SetId]] = {}

    def on_slice(self, key: Key, value: EndpointSlice | None) -> None:
        """An EndpointSlice came, changed, perhaps its service too, or went. One without a service does not count."""
        new = value if value is not None and _service(value) is not None else None
        old = self._slices.get(key)
        before, after = None if old is None else _service(old), None if new is None else _service(new)
        if before is not None and before != after:
            discard(self._by_service, before, key)
        if new is None:
            self._slices.pop(key, None)
        else:
            self._slices[key] = new
        if after is not None:
            self._by_service.setdefault(after, set()).add(key)
        if before == after:
            self._change(after, gained=new, lost=old)
        else:
            self._change(after, gained=new, lost=None)
            self._change(before, gained=None, lost=old)

    def add(self, set_id: SetId, spec: ServiceSpec) -> None:
        """Begin to keep a set. It is silent about its first members: ask `members`."""
        kept = _Set(spec)
        self._sets[set_id] = kept
        self._sets_of.setdefault(spec.service, set()).add(set_id)
        for key in self._by_service.get(spec.service, ()):
            kept.members.update(_members(self._slices[key], with_ports=spec.with_ports))

    def remove(self, set_id: SetId) -> None:
        """Stop keeping a set, silently."""
        discard(self._sets_of, self._sets.pop(set_id).spec.service, set_id)

    def members(self, set_id: SetId) -> frozenset[Member]:
        """Members of a kept set."""
        return frozenset(self._sets[set_id].members)

    def __contains__(self, set_id: object) -> bool:
        return set_id in self._sets

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._slices or self._by_service or self._sets or self._sets_of)

    def _change(self, service: ServiceName | None, *, gained: EndpointSlice | None, lost: EndpointSlice | None) -> None:
        for set_id in self._sets_of.get(service, ()) if service is not None else ():
            self._count(set_id, gained=gained, lost=lost)

    def _count(self, set_id: SetId, *, gained: EndpointSlice | None, lost: EndpointSlice | None) -> None:
        """Gains first, so that a member which only moves to another slice is never reported as gone."""
        kept = self._sets[set_id]
        for member in () if gained is None else _members(gained, with_ports=kept.spec.with_ports):
            kept.members[member] += 1
            if kept.members[member] == 1:
                self._listener(set_id, member, True)
        for member in () if lost is None else _members(lost, with_ports=kept.spec.with_ports):
            kept.members[member] -= 1
            if not kept.members[member]:
                del kept.members[member]
                self._listener(set_id, member, False)


def _service(value: EndpointSlice) -> ServiceName | None:
    name = value.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return ServiceName(value.metadata.namespace, name) if name else None


def _members(value: EndpointSlice, *, with_ports: bool) -> list[Member]:
    """What a slice lists, as often as it does. Names instead of addresses, and ports without a number, are no members."""
    nets = list(_addresses(value))
    if not with_ports:
        return list(nets)
    found: list[Member] = []
    for port in value.ports:
        try:
            protocol = protocol_number(port.protocol or "TCP")
        except ValueError:
            continue
        if port.port is not None and 0 < port.port <= _HIGHEST_PORT and protocol in WITH_PORTS:
            found += [PortMember(net.network, protocol, port.port) for net in nets]
    return found


def _addresses(value: EndpointSlice) -> Iterable[Prefix]:
    for endpoint in value.endpoints:
        for text in endpoint.addresses:
            try:
                net = parse_prefix(text)
            except ValueError:
                continue
            if net.is_single:
                yield net
