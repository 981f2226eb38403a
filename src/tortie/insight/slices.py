"""Endpoint slices for services that have none in the input, as kube-controller-manager would make them."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tortie.api.kubernetes import Pod
from tortie.api.resource import Metadata, Resource
from tortie.api.services import EndpointConditions, EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort
from tortie.base.net import FAMILIES, Family, parse_address
from tortie.insight.question import is_number

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_FINISHED = ("Failed", "Succeeded")
_ADDRESS_TYPES = {Family.V4: "IPv4", Family.V6: "IPv6"}


def derive_slices(resources: Sequence[Resource], pods: Iterable[Pod]) -> list[EndpointSlice]:
    """Slices for every service among `resources` that has a selector and no slice. `pods` have their addresses already.

    Which pod is ready is not known from files: all that are not finished count.
    """
    given = {
        (each.metadata.namespace, each.metadata.labels.get(SERVICE_NAME_LABEL, ""))
        for each in resources
        if isinstance(each, EndpointSlice)
    }
    running = [pod for pod in pods if pod.status.phase not in _FINISHED]
    derived: list[EndpointSlice] = []
    for service in resources:
        if not isinstance(service, Service) or not service.spec.selector:
            continue
        if (service.metadata.namespace, service.metadata.name) not in given:
            derived += _slices(service, [pod for pod in running if _selects(service, pod)])
    return derived


def _selects(service: Service, pod: Pod) -> bool:
    if (pod.metadata.namespace or "default") != (service.metadata.namespace or "default"):
        return False
    return all(pod.metadata.labels.get(name) == value for name, value in service.spec.selector.items())


def _slices(service: Service, pods: Sequence[Pod]) -> Iterator[EndpointSlice]:
    """One for each family and each set of port numbers: pods may give one name to different numbers."""
    for family in FAMILIES:
        by_ports: dict[tuple[SlicePort, ...], list[SliceEndpoint]] = {}
        for pod in pods:
            address = _address(pod, family)
            ports = tuple(port for each in service.spec.ports if (port := _port(each, pod)) is not None)
            if address:
                endpoint = SliceEndpoint(
                    addresses=(address,), conditions=EndpointConditions(ready=True), node_name=pod.spec.node_name
                )
                by_ports.setdefault(ports, []).append(endpoint)
        for index, (ports, endpoints) in enumerate(by_ports.items()):
            meta = service.metadata
            yield EndpointSlice(
                metadata=Metadata(
                    name=f"{meta.name}-ipv{family.value}-{index}",
                    namespace=meta.namespace,
                    labels={SERVICE_NAME_LABEL: meta.name},
                ),
                address_type=_ADDRESS_TYPES[family],
                endpoints=tuple(endpoints),
                ports=ports,
            )


def _address(pod: Pod, family: Family) -> str:
    """The pod's address of a family, "" if it has none."""
    for text in (*(each.ip for each in pod.status.pod_ips), pod.status.pod_ip):
        try:
            if text and parse_address(text).family is family:
                return text
        except ValueError:
            continue  # conversion refuses it
    return ""


def _port(port: ServicePort, pod: Pod) -> SlicePort | None:
    """The port at the pod; None if the service means it by a name that the pod does not have."""
    target = port.target_port
    if isinstance(target, str) and target and not is_number(target):
        for container in pod.spec.containers:
            for declared in container.ports:
                if declared.name == target and declared.protocol == port.protocol:
                    return SlicePort(name=port.name, protocol=port.protocol, port=declared.container_port)
        return None
    return SlicePort(name=port.name, protocol=port.protocol, port=int(target) if target else port.port)


def with_namespace(resource: Resource) -> Resource:
    """Services and slices without a namespace lie in `default`."""
    if not isinstance(resource, Service | EndpointSlice) or resource.metadata.namespace:
        return resource
    metadata = msgspec.structs.replace(resource.metadata, namespace="default")
    return msgspec.structs.replace(resource, metadata=metadata)
