"""Pod to WorkloadEndpoint (conversions.md, section 2)."""

from collections.abc import Iterable, Sequence

import msgspec

from tortie.api.endpoint import IPNAT, EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.kubernetes import Pod
from tortie.api.names import workload_endpoint_name
from tortie.api.resource import Metadata
from tortie.base.net import Address, parse_address, parse_interface, parse_prefix, single
from tortie.convert.errors import ConversionError
from tortie.convert.names import (
    DEFAULT_INTERFACE_PREFIX,
    KUBERNETES,
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    namespace_profile,
    service_account_profile,
    veth_name,
)
from tortie.convert.ports import PROTOCOLS
from tortie.convert.qos import qos_controls

_CNI = "cni.projectcalico.org/"
_AWS_IPS = "vpc.amazonaws.com/pod-ips"
_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
_FINISHED = frozenset({"Failed", "Succeeded", "Completed"})
_ENDPOINT = "eth0"
_LONGEST_LABEL_VALUE = 62


def is_networked(pod: Pod) -> bool:
    """True if the pod has an endpoint at all: scheduled, and not on the host's network."""
    return not pod.spec.host_network and bool(pod.spec.node_name)


def workload_endpoint(
    pod: Pod, *, addresses: Sequence[Address] | None = None, prefix: str = DEFAULT_INTERFACE_PREFIX
) -> WorkloadEndpoint:
    """The endpoint of a pod for which `is_networked` holds; it may have no address yet, or none any more.

    `addresses`, when given, stand in for what the pod says. `prefix` is InterfacePrefix. Raises ConversionError.
    """
    meta, spec = pod.metadata, pod.spec
    account = spec.service_account_name
    labels = {**meta.labels, NAMESPACE_LABEL: meta.namespace, ORCHESTRATOR_LABEL: KUBERNETES}
    if 0 < len(account) <= _LONGEST_LABEL_VALUE:
        labels[SERVICE_ACCOUNT_LABEL] = account
    profiles = [namespace_profile(meta.namespace)]
    if account:
        profiles.append(service_account_profile(meta.namespace, account))
    found = pod_addresses(pod) if addresses is None else tuple(addresses)
    endpoint = WorkloadEndpointSpec(
        orchestrator=KUBERNETES,
        node=spec.node_name,
        container_id=meta.annotations.get(_CNI + "containerID", ""),
        pod=meta.name,
        endpoint=_ENDPOINT,
        service_account_name=account,
        ip_networks=tuple(str(single(address)) for address in found),
        ip_nats=_floating_addresses(pod, found),
        profiles=tuple(profiles),
        interface_name=veth_name(meta.namespace, meta.name, prefix),
        ports=_ports(pod),
        allow_spoofed_source_prefixes=_source_prefixes(pod),
        qos_controls=qos_controls(meta.annotations),
    )
    metadata = Metadata(
        name=_name(endpoint),
        generate_name=meta.generate_name,
        namespace=meta.namespace,
        labels=labels,
        annotations={key: value for key, value in meta.annotations.items() if key == _NETWORK_STATUS},
        uid=meta.uid,
        resource_version=meta.resource_version,
        creation_timestamp=meta.creation_timestamp,
    )
    return WorkloadEndpoint(metadata=metadata, spec=endpoint)


def _name(endpoint: WorkloadEndpointSpec) -> str:
    try:
        return workload_endpoint_name(endpoint)
    except ValueError as error:
        raise ConversionError(f"pod {endpoint.pod!r}: {error}") from None


def pod_addresses(pod: Pod) -> tuple[Address, ...]:
    """Addresses of the pod, none once it has finished. Raises ConversionError."""
    annotations, status = pod.metadata.annotations, pod.status
    if _is_finished(pod):
        return ()
    sources: tuple[tuple[str, list[str]], ...] = (
        ("status.podIPs", [each.ip for each in status.pod_ips]),
        ("status.podIP", [status.pod_ip]),
        (f"annotation {_CNI}podIPs", annotations.get(_CNI + "podIPs", "").split(",")),
        (f"annotation {_CNI}podIP", [annotations.get(_CNI + "podIP", "")]),
        (f"annotation {_AWS_IPS}", annotations.get(_AWS_IPS, "").split(",")),
    )
    for field, texts in sources:
        present = [text.strip() for text in texts if text.strip()]
        if present:
            return tuple(_address(text, field) for text in present)
    return ()


def _is_finished(pod: Pod) -> bool:
    if pod.status.phase in _FINISHED:
        return True
    # The CNI plugin blanks its annotation when it has taken the network down; without that a terminating pod still talks.
    blanked = any(pod.metadata.annotations.get(name) == "" for name in (_CNI + "podIP", _AWS_IPS))
    return pod.metadata.deletion_timestamp is not None and blanked


def _address(text: str, field: str) -> Address:
    try:
        return parse_interface(text).address
    except ValueError:
        raise ConversionError(f"pod {field}: {text!r} is not an IP address") from None


def _ports(pod: Pod) -> tuple[EndpointPort, ...]:
    ports = (port for container in (*pod.spec.containers, *pod.spec.init_containers) for port in container.ports)
    return tuple(
        EndpointPort(
            name=port.name,
            protocol=protocol,
            port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for port in ports
        if port.container_port and (port.host_port or port.name)
        for protocol in ((port.protocol or "TCP").upper(),)
        if protocol in PROTOCOLS
    )


def _floating_addresses(pod: Pod, addresses: Iterable[Address]) -> tuple[IPNAT, ...]:
    name = _CNI + "floatingIPs"
    internal = {address.family: address for address in reversed(tuple(addresses))}
    if not internal:
        return ()
    nats: list[IPNAT] = []
    for text in _json_list(pod, name):
        try:
            external = parse_address(text)
        except ValueError:
            raise ConversionError(f"pod annotation {name}: {text!r} is not an IP address") from None
        if external.family in internal:
            nats.append(IPNAT(internal_ip=str(internal[external.family]), external_ip=str(external)))
    return tuple(nats)


def _source_prefixes(pod: Pod) -> tuple[str, ...]:
    name = _CNI + "allowedSourcePrefixes"
    prefixes: list[str] = []
    for text in _json_list(pod, name):
        try:
            if "/" not in text:
                raise ValueError
            prefixes.append(str(parse_prefix(text, strict=False)))
        except ValueError:
            raise ConversionError(f"pod annotation {name}: {text!r} is not a CIDR") from None
    return tuple(prefixes)


def _json_list(pod: Pod, name: str) -> list[str]:
    text = pod.metadata.annotations.get(name, "")
    if not text:
        return []
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        raise ConversionError(f"pod annotation {name}: not a JSON list of texts ({error})") from None
