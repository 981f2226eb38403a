"""WorkloadEndpoints are read from pods; of what is written to them pods keep addresses and container (datastore.md, 3.6)."""

from typing import Any

import msgspec

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.names import parse_workload_endpoint_name
from tortie.api.resource import Key
from tortie.convert.names import KUBERNETES
from tortie.datastore.errors import NotSupported

_CNI = "cni.projectcalico.org/"
CONTENT_TYPE = "application/strategic-merge-patch+json"


def pod_of(key: Key, operation: str) -> Key:
    """The pod behind an endpoint's name. Raises NotSupported for an endpoint that is no pod's."""
    try:
        parts = parse_workload_endpoint_name(key.name)
    except ValueError as error:
        raise NotSupported(operation, key, f"only endpoints of pods are kept in Kubernetes ({error})") from None
    if parts.orchestrator != KUBERNETES or not parts.workload:
        raise NotSupported(operation, key, "only endpoints of pods are kept in Kubernetes")
    return Key("Pod", key.namespace, parts.workload)


def patch(endpoint: WorkloadEndpoint) -> bytes:
    """What the pod's annotations are to say of its endpoint."""
    networks = endpoint.spec.ip_networks
    notes = {"podIP": networks[0] if networks else "", "podIPs": ",".join(networks)}
    if endpoint.spec.container_id:
        notes["containerID"] = endpoint.spec.container_id
    return _patch(notes, uid=endpoint.metadata.uid, revision=endpoint.metadata.resource_version)


def removal(*, uid: str, revision: str) -> bytes:
    """What says that the pod has no network any more."""
    return _patch({"podIP": "", "podIPs": ""}, uid=uid, revision=revision)


def _patch(notes: dict[str, str], *, uid: str, revision: str) -> bytes:
    metadata: dict[str, Any] = {"annotations": {_CNI + name: text for name, text in notes.items()}}
    if uid:
        metadata["uid"] = uid
    if revision:
        metadata["resourceVersion"] = revision
    return msgspec.json.encode({"metadata": metadata})
