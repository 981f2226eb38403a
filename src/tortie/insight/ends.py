"""What a person calls an end of a connection: `namespace/pod`, `node/NAME`, `svc/namespace/NAME` or an address."""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from tortie.api.hostendpoint import HostEndpoint
from tortie.base.net import Address, Family, parse_address
from tortie.insight.errors import NoAddress, UnknownEnd
from tortie.insight.floating import Floating, floating_at
from tortie.insight.services import Service, by_address, service_nowhere
from tortie.insight.world import NamedPort, Workload, World
from tortie.intent.routing import Host
from tortie.verdict.packet import protocol_number


@dataclass(frozen=True, slots=True)
class End:
    """One end, resolved. At most one of `workload`, `node` and `service` is set; none for a stranger's address.

    The addresses of a service are its own, not its backends'; so is a floating address, whose `workload` is the one that it
    leads to.
    """

    text: str
    """As a person would call it."""
    addresses: tuple[Address, ...]
    workload: Workload | None = None
    node: str = ""
    service: Service | None = None
    synthetic_address: bool = False
    """True for a node whose addresses are made up."""
    node_ports: tuple[NamedPort, ...] = ()
    """What a node's host endpoints call its ports."""
    floating: Floating | None = None
    """Set for a floating address that is in force."""
    virtual: bool = False
    """True for the address at which workloads that are BGP peers find their own node."""
    nowhere: str = ""
    """Of an address that the cluster knows and that leads nowhere: why."""

    def address(self, family: Family) -> Address:
        """Its first address of a family. Raises NoAddress."""
        for address in self.addresses:
            if address.family is family:
                return address
        if not self.addresses:
            raise NoAddress(f"{self.text} has no address: the pod has finished, or is not wired yet")
        raise NoAddress(f"{self.text} has no IPv{family.value} address: ask with --family {10 - family.value}")


def find(world: World, text: str) -> End:
    """Resolve what a person wrote. Raises UnknownEnd with the nearest names there are."""
    kind, slash, name = text.partition("/")
    if not slash:
        return _by_address(world, text)
    if kind == "node":
        return of_node(world, name)
    if kind == "svc":
        return _by_service(world, name)
    workload = world.workloads.get((kind, name))
    if workload is None and (kind, name) in world.host_pods:
        return replace(of_node(world, world.host_pods[kind, name]), text=text)
    if workload is None:
        known = [f"{namespace}/{pod}" for namespace, pod in world.workloads]
        raise UnknownEnd(f"pod {text} is not in the input, or has no endpoint{_nearest(text, known)}")
    return of_workload(workload)


def of_workload(workload: Workload) -> End:
    """A workload as an end."""
    return End(f"{workload.namespace}/{workload.name}", workload.addresses, workload=workload)


def of_node(world: World, name: str) -> End:
    """A node as an end; one that only host endpoints tell of has the addresses that they expect. Raises UnknownEnd."""
    host, ports = world.state.hosts.get(name), _node_ports(world, name)
    if host is not None:
        made_up = name in world.synthetic_nodes
        return End(f"node/{name}", _host_addresses(host), node=name, synthetic_address=made_up, node_ports=ports)
    endpoints = [each for each in world.state.host_endpoints.values() if each.id.node == name]
    if not endpoints:
        raise UnknownEnd(f"node {name} is not in the input{_nearest(name, world.state.hosts)}")
    expected = tuple(address for each in endpoints for address in each.expected_addresses)
    return End(f"node/{name}", expected, node=name, node_ports=ports)


def _node_ports(world: World, name: str) -> tuple[NamedPort, ...]:
    return tuple(
        NamedPort(port.name, number, port.port)
        for update in world.updates
        if isinstance(update.value, HostEndpoint) and update.value.spec.node == name
        for port in update.value.spec.ports
        if (number := protocol_number(port.protocol)) is not None
    )


def of_service(service: Service) -> End:
    """A service as an end."""
    return End(f"svc/{service.namespace}/{service.name}", service.addresses, service=service)


def at_address(world: World, address: Address) -> End:
    """Who has an address."""
    return _by_address(world, str(address))


def node_of(end: End) -> str:
    """The node that an end is, or is on; "" outside the cluster."""
    return end.node if end.workload is None else end.workload.node


def common_family(source: End, destination: End) -> Family:
    """IPv4 if both ends have it, else IPv6. Raises NoAddress when they share none."""
    for family in (Family.V4, Family.V6):
        if family in _families(source) and family in _families(destination):
            return family
    for end in (source, destination):
        if end.service is not None:
            if not end.service.backends:
                raise NoAddress(f"{end.text} has no ready backend: nothing answers there")
            continue
        end.address(end.addresses[0].family if end.addresses else Family.V4)  # has it any at all?
    raise NoAddress(f"{source.text} and {destination.text} have no address of the same family")


def _families(end: End) -> set[Family]:
    return {address.family for address in end.addresses} if end.service is None else end.service.families()


def _by_service(world: World, text: str) -> End:
    namespace, _, name = text.partition("/")
    service = world.services.get((namespace, name))
    if service is None:
        known = [f"svc/{space}/{each}" for space, each in world.services]
        raise UnknownEnd(f"service {text} is not in the input{_nearest(f'svc/{text}', known)}")
    return of_service(service)


def _by_address(world: World, text: str) -> End:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise UnknownEnd(f"{text!r} is neither NAMESPACE/POD, node/NAME, svc/NAMESPACE/NAME nor an IP address") from error
    for workload in world.workloads.values():
        if address in workload.addresses:
            return End(f"{workload.namespace}/{workload.name}", (address,), workload=workload)
    # A node translates a floating address even if it is its own. What is a service's is translated before.
    service, floating = by_address(world.services, address), floating_at(world, address)
    if floating is not None and floating.owners and service is None:
        return End(text, (address,), workload=floating.leads_to("")[0], floating=floating)
    for name, host in world.state.hosts.items():
        if address in _host_addresses(host):
            return replace(of_node(world, name), addresses=(address,))
    for endpoint in world.state.host_endpoints.values():
        if address in endpoint.expected_addresses:
            return replace(of_node(world, endpoint.id.node), addresses=(address,))
    if service is not None:
        return replace(of_service(service), addresses=(address,))
    if address in world.virtual:
        return End(text, (address,), virtual=True)
    return End(text, (address,), nowhere=floating.refused if floating is not None else service_nowhere(world.updates, address))


def _host_addresses(host: Host) -> tuple[Address, ...]:
    return tuple(found.address for found in (host.ipv4, host.ipv6) if found is not None)


def _nearest(text: str, known: Collection[str] | Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if not names:
        return ""
    shown = ", ".join(sorted(names)[:8])
    return f"; there are {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
