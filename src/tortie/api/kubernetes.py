"""The Kubernetes objects that we read, as far as we read them. They are converted to Calico's by `tortie.convert`.

Unlike our own kinds these tolerate unknown fields: their owner is the Kubernetes API, and Pod is a projection.
"""

from typing import Any

import msgspec

from tortie.api.resource import Metadata, Resource, Value


class LabelSelectorRequirement(Value, frozen=True, kw_only=True):
    """One expression; operator is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Value, frozen=True, kw_only=True):
    """metav1.LabelSelector: all terms are ANDed; an empty one selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Namespace(Resource, frozen=True, kw_only=True):
    """core/v1 Namespace."""

    api_version: str = "v1"
    kind: str = "Namespace"
    metadata: Metadata = Metadata()
    spec: Any = None
    status: Any = None


class ServiceAccount(Resource, frozen=True, kw_only=True):
    """core/v1 ServiceAccount."""

    api_version: str = "v1"
    kind: str = "ServiceAccount"
    metadata: Metadata = Metadata()
    automount_service_account_token: bool | None = None


class ContainerPort(Value, frozen=True, kw_only=True):
    """One declared port."""

    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class Container(Value, frozen=True, kw_only=True):
    """The part of a container that networking looks at."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Value, frozen=True, kw_only=True):
    """The part of a pod's spec that networking looks at."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodIP(Value, frozen=True, kw_only=True):
    """One address of a pod."""

    ip: str = ""


class PodStatus(Value, frozen=True, kw_only=True):
    """The part of a pod's status that networking looks at."""

    phase: str = ""
    reason: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")


class Pod(Resource, frozen=True, kw_only=True):
    """core/v1 Pod, a projection."""

    api_version: str = "v1"
    kind: str = "Pod"
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class IPBlock(Value, frozen=True, kw_only=True):
    """networking.k8s.io/v1 IPBlock; `except_` is carved out of `cidr`."""

    cidr: str
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")


class NetworkPolicyPeer(Value, frozen=True, kw_only=True):
    """Who: an IPBlock alone, or pods and namespaces ANDed. None means absent, which differs from empty."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Value, frozen=True, kw_only=True):
    """Which port: protocol defaults to TCP; a missing port means all ports of the protocol."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class NetworkPolicyIngressRule(Value, frozen=True, kw_only=True):
    """Empty `from_` or `ports` mean any."""

    from_: tuple[NetworkPolicyPeer, ...] = msgspec.field(default=(), name="from")
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicyEgressRule(Value, frozen=True, kw_only=True):
    """Empty `to` or `ports` mean any."""

    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class KubernetesNetworkPolicySpec(Value, frozen=True, kw_only=True):
    """networking.k8s.io/v1 NetworkPolicySpec."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()


class KubernetesNetworkPolicy(Resource, frozen=True, kw_only=True):
    """networking.k8s.io/v1 NetworkPolicy. Its *document* kind is NetworkPolicy; `key.kind` is KubernetesNetworkPolicy."""

    api_version: str = "networking.k8s.io/v1"
    kind: str = "KubernetesNetworkPolicy"
    metadata: Metadata = Metadata()
    spec: KubernetesNetworkPolicySpec = KubernetesNetworkPolicySpec()
