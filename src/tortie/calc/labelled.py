"""What carries labels: workload endpoints, host endpoints and network sets, parsed once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tortie.api.endpoint import EndpointPort, WorkloadEndpoint
from tortie.api.hostendpoint import HostEndpoint, HostEndpointPort
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.base.net import Prefix, parse_prefix
from tortie.calc.label_index import Labels
from tortie.calc.protocols import WITH_PORTS, protocol_number
from tortie.calc.selectors import (
    NAMESPACE,
    NAMESPACE_PREFIX,
    ORCHESTRATOR,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_PREFIX,
)


class NamedPort(NamedTuple):
    """A port that rules can name."""

    name: str
    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """What an endpoint or a network set brings: labels, profiles to inherit from, addresses, named ports."""

    labels: Labels
    profiles: tuple[str, ...]
    nets: tuple[Prefix, ...]
    ports: tuple[NamedPort, ...] = ()


def labelled_endpoint(endpoint: WorkloadEndpoint) -> tuple[Labelled, list[str]]:
    """An endpoint as rules see it, and what is wrong with it. What is wrong is left out."""
    meta, spec = endpoint.metadata, endpoint.spec
    # Labels with these prefixes are inherited from profiles only: a pod must not be able to claim them.
    labels = {
        key: value for key, value in meta.labels.items() if not key.startswith((NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX))
    }
    labels[NAMESPACE] = meta.namespace
    if spec.orchestrator:
        labels[ORCHESTRATOR] = spec.orchestrator
    if spec.service_account_name:
        labels[SERVICE_ACCOUNT] = spec.service_account_name
    nets, problems = parse_nets(spec.ip_networks, "spec.ipNetworks")
    ports, bad_ports = _named_ports(spec.ports)
    return Labelled(frozenset(labels.items()), spec.profiles, nets, ports), problems + bad_ports


def labelled_host_endpoint(endpoint: HostEndpoint) -> tuple[Labelled, list[str]]:
    """A host endpoint as rules see it, and what is wrong with it. It has no namespace: `global()` selects it."""
    spec = endpoint.spec
    nets, problems = parse_nets(spec.expected_ips, "spec.expectedIPs")
    problems += [f"spec.expectedIPs: {net} is more than one address and is left out" for net in nets if not net.is_single]
    nets = tuple(net for net in nets if net.is_single)
    ports, bad_ports = _named_ports(spec.ports)
    return Labelled(frozenset(endpoint.metadata.labels.items()), spec.profiles, nets, ports), problems + bad_ports


def labelled_network_set(network_set: NetworkSet | GlobalNetworkSet) -> tuple[Labelled, list[str]]:
    """A network set as rules see it, and what is wrong with it."""
    labels = dict(network_set.metadata.labels)
    profiles: tuple[str, ...] = ()
    if isinstance(network_set, NetworkSet):
        namespace = network_set.metadata.namespace
        labels[NAMESPACE] = namespace
        profiles = (f"kns.{namespace}",)
    nets, problems = parse_nets(network_set.spec.nets, "spec.nets")
    return Labelled(frozenset(labels.items()), profiles, nets), problems


def _named_ports(ports: Iterable[EndpointPort | HostEndpointPort]) -> tuple[tuple[NamedPort, ...], list[str]]:
    named: list[NamedPort] = []
    problems: list[str] = []
    for each in ports:
        if not each.name:
            continue
        try:
            protocol = protocol_number(each.protocol)
        except ValueError as error:
            problems.append(f"spec.ports: {error}")
            continue
        if protocol in WITH_PORTS and 0 < each.port < 65536:
            named.append(NamedPort(each.name, protocol, each.port))
    return tuple(named), problems


def parse_nets(texts: tuple[str, ...], field: str) -> tuple[tuple[Prefix, ...], list[str]]:
    """CIDRs or addresses; what cannot be parsed is left out and reported."""
    nets: list[Prefix] = []
    problems: list[str] = []
    for text in texts:
        try:
            nets.append(parse_prefix(text, strict=False))
        except ValueError:
            problems.append(f"{field}: {text!r} is not a CIDR and is left out")
    return tuple(nets), problems
