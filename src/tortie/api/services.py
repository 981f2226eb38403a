"""Kubernetes Service and EndpointSlice, the parts that policy looks at; what else they say is not read.

They reach the calculation as they are, under the kinds KubernetesService and KubernetesEndpointSlice.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from tortie.api.resource import Metadata, Resource, Value

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the service of its namespace that it belongs to."""


class ServicePort(Value, frozen=True, kw_only=True):
    """One port of a service."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None
    node_port: int = 0


class ServiceSpec(Value, frozen=True, kw_only=True):
    """The part of a service that networking looks at. `cluster_ip` may be None (as text: headless) or empty."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ip_families: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""


class Service(Resource, frozen=True, kw_only=True):
    """core/v1 Service, a projection. Its document kind is Service."""

    api_version: str = "v1"
    kind: str = "KubernetesService"
    metadata: Metadata = Metadata()
    spec: ServiceSpec = ServiceSpec()
    status: Any = None


def ingress_texts(service: Service) -> Iterator[str]:
    """The addresses that a load balancer was assigned (status.loadBalancer.ingress), as they are written."""
    status = service.status if isinstance(service.status, dict) else {}
    balancer = status.get("loadBalancer")
    ingress = balancer.get("ingress") if isinstance(balancer, dict) else None
    for entry in ingress if isinstance(ingress, list | tuple) else ():
        text = entry.get("ip") if isinstance(entry, dict) else None
        if isinstance(text, str):
            yield text


class EndpointConditions(Value, frozen=True, kw_only=True):
    """None is unknown. Policy does not ask for readiness."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Value, frozen=True, kw_only=True):
    """One backend: its addresses, all of the slice's type."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""


class SlicePort(Value, frozen=True, kw_only=True):
    """A port that every endpoint of the slice has. Without a number it matches nothing."""

    name: str = ""
    protocol: str = "TCP"
    port: int | None = None


class EndpointSlice(Resource, frozen=True, kw_only=True):
    """discovery.k8s.io/v1 EndpointSlice, a projection. `metadata.labels[SERVICE_NAME_LABEL]` names its service."""

    api_version: str = "discovery.k8s.io/v1"
    kind: str = "KubernetesEndpointSlice"
    metadata: Metadata = Metadata()
    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
