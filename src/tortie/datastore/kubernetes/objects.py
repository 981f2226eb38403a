"""What an object that was read stands for: one custom resource, a pod and its endpoint, a namespace and its profile."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from tortie.api.endpoint import WorkloadEndpointSpec
from tortie.api.errors import ApiError
from tortie.api.kubernetes import Namespace, Pod, ServiceAccount
from tortie.api.names import workload_endpoint_name
from tortie.api.resource import Key, Resource
from tortie.convert.errors import ConversionError
from tortie.convert.names import DEFAULT_INTERFACE_PREFIX, KUBERNETES, namespace_profile, service_account_profile
from tortie.convert.namespaces import namespace_to_profile
from tortie.convert.nodes import calico_node
from tortie.convert.pods import is_networked, workload_endpoint
from tortie.convert.serviceaccounts import service_account_to_profile
from tortie.datastore.kubernetes import stored
from tortie.datastore.kubernetes.places import Source
from tortie.datastore.unreadable import Unreadable

ENDPOINT = "eth0"


class Found(NamedTuple):
    """What is at a key: None for nothing."""

    key: Key
    value: Resource | Unreadable | None


class View(NamedTuple):
    """How this cluster's objects are to be read."""

    group: str
    use_pod_cidr: bool = False
    interface_prefix: str = DEFAULT_INTERFACE_PREFIX


class _Address(msgspec.Struct, frozen=True):
    type: str = ""
    address: str = ""


class _NodeSpec(msgspec.Struct, frozen=True):
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")


class _NodeStatus(msgspec.Struct, frozen=True):
    addresses: tuple[_Address, ...] | None = None


class NodeObject(msgspec.Struct, frozen=True):
    """core/v1 Node, a projection."""

    metadata: stored.Meta = stored.Meta()
    spec: _NodeSpec = _NodeSpec()
    status: _NodeStatus = _NodeStatus()


class Reader:
    """Reads the objects of one source."""

    def __init__(self, source: Source, view: View) -> None:
        self._kinds = source.kinds
        self._view = view
        self._origin = _ORIGINS.get(source.place.kind if source.place.api_version == "v1" else "", source.kinds[0])

    def read(self, raw: bytes | msgspec.Raw) -> Iterator[Found]:
        """What an object says of each wanted kind. An endpoint is there while its pod has an address."""
        if self._origin == "Node":
            yield self._node(raw)
            return
        value = stored.read(self._origin, raw, self._view.group)
        if isinstance(value, Unreadable):
            # What only derives from it cannot be read either, and closes by being absent (`unreadable.stand_in`).
            yield from (Found(value.key._replace(kind=kind), value) for kind in self._kinds if kind == self._origin)
            return
        for kind in self._kinds:
            match kind, value:
                case "WorkloadEndpoint", Pod():
                    found = pod_endpoint(value, self._view)
                    if found is not None:
                        yield found
                case "Profile", Namespace():
                    yield Found(Key("Profile", "", namespace_profile(value.metadata.name)), namespace_to_profile(value))
                case "Profile", ServiceAccount():
                    name = service_account_profile(value.metadata.namespace, value.metadata.name)
                    yield Found(Key("Profile", "", name), service_account_to_profile(value))
                case _:
                    yield Found(value.key, None if stored.is_deleted(value) else value)

    def add(self, raw: msgspec.Raw, items: dict[Key, Resource], unreadable: dict[Key, Unreadable]) -> None:
        """Put what an object stands for where it belongs."""
        for key, value in self.read(raw):
            if isinstance(value, Unreadable):
                unreadable[key] = value
            elif value is not None and (key not in items or not self._is_old(raw, key)):
                items[key] = value

    def is_old(self, name: str, key: Key) -> bool:
        """Whether an object carries the name that an earlier release of Calico gave it."""
        return key.kind in stored.TIERED and name != key.name

    def _is_old(self, raw: msgspec.Raw, key: Key) -> bool:
        return key.kind in stored.TIERED and self.is_old(msgspec.json.decode(raw, type=stored.Head).metadata.name, key)

    def _node(self, raw: bytes | msgspec.Raw) -> Found:
        try:
            node = msgspec.json.decode(raw, type=NodeObject)
        except msgspec.ValidationError as error:
            meta = msgspec.json.decode(raw, type=stored.Head).metadata
            key = Key("Node", "", meta.name)
            return Found(key, Unreadable(key, meta.resource_version, f"stored {key} cannot be read: {error}", bytes(raw)))
        value = calico_node(
            stored.meta_of(node.metadata),
            addresses=[(each.type, each.address) for each in node.status.addresses or ()],
            pod_cidrs=node.spec.pod_cidrs or (),
            use_pod_cidr=self._view.use_pod_cidr,
        )
        return Found(value.key, value)


_ORIGINS = {"Pod": "Pod", "Namespace": "Namespace", "ServiceAccount": "ServiceAccount", "Node": "Node"}


def pod_endpoint(pod: Pod, view: View) -> Found | None:
    """The endpoint of a pod; None for a pod that can have none (yet)."""
    if not is_networked(pod):
        return None
    meta = pod.metadata
    spec = WorkloadEndpointSpec(orchestrator=KUBERNETES, node=pod.spec.node_name, pod=meta.name, endpoint=ENDPOINT)
    try:
        key = Key("WorkloadEndpoint", meta.namespace, workload_endpoint_name(spec))
    except ValueError:
        return None
    try:
        endpoint = workload_endpoint(pod, prefix=view.interface_prefix)
    except (ApiError, ConversionError) as error:
        return Found(key, Unreadable(key, meta.resource_version, f"{key}: {error}", b"{}"))
    return Found(key, endpoint if endpoint.spec.ip_networks else None)
