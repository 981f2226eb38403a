"""Whom a request is about: a pod of Kubernetes, or a container of a runtime that knows none.

A pod's endpoint is what conversion makes of the pod. A container's is named by its id and its device, is in the namespace
`default`, and has the profile that is named as the network: members of one network reach each other (kube-controllers.md,
section 9).
"""

from dataclasses import dataclass

import msgspec

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.kubernetes import Pod
from tortie.api.names import parse_label_key, workload_endpoint_name
from tortie.api.policy import EntityRule, Rule
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Key, Metadata
from tortie.base.net import single
from tortie.cni import errors
from tortie.cni.config import Config, Request
from tortie.cni.errors import CniError
from tortie.cni.result import Wired
from tortie.convert.names import KUBERNETES, NAMESPACE_LABEL, ORCHESTRATOR_LABEL, veth_name
from tortie.convert.pods import workload_endpoint

CONTAINERS = "cni"
"""Orchestrator of endpoints that no pod stands behind."""
CONTAINERS_NAMESPACE = "default"
NETWORK_ANNOTATION = "cni.tortie.io/network"
"""On our endpoints: the network configuration that made them, so that GC of another one leaves them alone."""
_POD_ENDPOINT = "eth0"
"""Names of pods' endpoints carry this whatever the device in the pod is called (conversions.md, section 2)."""
_REMARK = "tortie"
_LONGEST_REMARK = 255


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod or container as the request names it."""

    key: Key
    host_device: str
    words: str
    is_pod: bool

    @property
    def orchestrator(self) -> str:
        """As in the endpoint's name."""
        return KUBERNETES if self.is_pod else CONTAINERS


def identify(request: Request, *, node: str, prefix: str) -> Subject:
    """Read it from the request. Raises CniError 4 for half a pod, or a name that no endpoint can have."""
    is_pod = bool(request.pod or request.namespace)
    if is_pod:
        for name, value in (("K8S_POD_NAMESPACE", request.namespace), ("K8S_POD_NAME", request.pod)):
            if not value:
                raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_ARGS: {name} is needed and missing")
        spec = WorkloadEndpointSpec(orchestrator=KUBERNETES, node=node, pod=request.pod, endpoint=_POD_ENDPOINT)
        device = veth_name(request.namespace, request.pod, prefix)
        where, words = request.namespace, f"pod {request.namespace}/{request.pod}"
    else:
        spec = _container_spec(request, node)
        # The whole id counts: Calico takes its first 11 characters, which ids like `default-web-1` have in common.
        device = veth_name(f"{CONTAINERS}.{request.container_id}", request.interface, prefix)
        where, words = CONTAINERS_NAMESPACE, f"container {request.container_id}"
    try:
        return Subject(Key("WorkloadEndpoint", where, workload_endpoint_name(spec)), device, words, is_pod)
    except ValueError as error:
        raise CniError(errors.INVALID_ENVIRONMENT, f"{words} can have no WorkloadEndpoint", str(error)) from error


def pod_endpoint(pod: Pod, request: Request, config: Config, *, wired: Wired, prefix: str) -> WorkloadEndpoint:
    """What is stored for a pod. Raises ConversionError."""
    converted = workload_endpoint(pod, addresses=wired.addresses, prefix=prefix)
    spec = msgspec.structs.replace(converted.spec, container_id=request.container_id, mac=wired.mac)
    annotations = {**converted.metadata.annotations, NETWORK_ANNOTATION: config.name}
    metadata = msgspec.structs.replace(converted.metadata, annotations=annotations)
    return msgspec.structs.replace(converted, metadata=metadata, spec=spec)


def container_endpoint(subject: Subject, request: Request, config: Config, *, wired: Wired, node: str) -> WorkloadEndpoint:
    """What is stored for a container."""
    metadata = Metadata(
        name=subject.key.name,
        namespace=subject.key.namespace,
        labels={NAMESPACE_LABEL: subject.key.namespace, ORCHESTRATOR_LABEL: CONTAINERS},
        annotations={NETWORK_ANNOTATION: config.name},
    )
    spec = msgspec.structs.replace(
        _container_spec(request, node),
        mac=wired.mac,
        interface_name=subject.host_device,
        ip_networks=tuple(str(single(address)) for address in wired.addresses),
        profiles=(config.name,),
    )
    return WorkloadEndpoint(metadata=metadata, spec=spec)


def network_profile(network: str) -> Profile:
    """The profile of containers of one network: anything out, and in what comes from the same network.

    Raises CniError 7 for a network whose name cannot be a label's.
    """
    try:
        parse_label_key(network)
    except ValueError as error:
        text = f"network configuration: name {network!r} cannot name a profile, which containers without a pod need"
        raise CniError(errors.INVALID_CONFIG, text, str(error)) from error
    members = EntityRule(selector=f"has({network})")
    spec = ProfileSpec(
        ingress=(Rule(action="Allow", source=members),), egress=(Rule(action="Allow"),), labels_to_apply={network: ""}
    )
    return Profile(metadata=Metadata(name=network), spec=spec)


def remark(request: Request, config: Config) -> str:
    """What the node's end of a cable carries, so that it is recognised when nothing else is left of its pod."""
    text = f"{_REMARK} {config.name} {request.container_id} {request.interface}"
    return text if len(text) <= _LONGEST_REMARK else ""


def read_remark(text: str) -> tuple[str, str, str] | None:
    """Network, container and device in a remark of ours."""
    parts = text.split(" ")
    return (parts[1], parts[2], parts[3]) if len(parts) == 4 and parts[0] == _REMARK else None


def _container_spec(request: Request, node: str) -> WorkloadEndpointSpec:
    return WorkloadEndpointSpec(
        orchestrator=CONTAINERS, node=node, container_id=request.container_id, endpoint=request.interface
    )
