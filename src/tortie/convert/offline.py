"""Files instead of an API server: what the server would have filled in, then conversion."""

from collections.abc import Iterable, Iterator

import msgspec

from tortie.api.defaults import with_defaults
from tortie.api.kinds import KINDS
from tortie.api.kubernetes import Namespace, Pod, ServiceAccount
from tortie.api.resource import Metadata, Resource, Update
from tortie.convert.feed import convert_update
from tortie.convert.pods import is_networked, workload_endpoint

DEFAULT_NAMESPACE = "default"
DEFAULT_SERVICE_ACCOUNT = "default"


def convert_offline(resources: Iterable[Resource]) -> list[Update]:
    """Updates for the graph: `complete` the resources, then convert them, pods to WorkloadEndpoints.

    A pod without node or on its host's network has no endpoint and is left out: give it a node first if it should count.
    Raises ConversionError.
    """
    updates: list[Update] = []
    for resource in complete(resources):
        if not isinstance(resource, Pod):
            updates.append(convert_update(Update(resource.key, resource)))
        elif is_networked(resource):
            endpoint = workload_endpoint(resource)
            updates.append(Update(endpoint.key, endpoint))
    return updates


def complete(resources: Iterable[Resource]) -> Iterator[Resource]:
    """The resources as an API server would hold them.

    Namespaced objects without namespace go to `default`, pods without service account get `default`, every namespace that an
    object lies in exists (its service account `default` too) and carries its name as a label.
    """
    named: set[str] = set()
    known: set[str] = set()
    accounts: set[tuple[str, str]] = set()
    wanted: set[tuple[str, str]] = set()
    for given in resources:
        resource = _with_namespace(given)
        if isinstance(resource, Pod) and not resource.spec.service_account_name:
            spec = msgspec.structs.replace(resource.spec, service_account_name=DEFAULT_SERVICE_ACCOUNT)
            resource = msgspec.structs.replace(resource, spec=spec)
        meta = resource.metadata
        if isinstance(resource, Namespace):
            known.add(meta.name)
            yield with_defaults(resource)
            continue
        if isinstance(resource, ServiceAccount):
            accounts.add((meta.namespace, meta.name))
        if isinstance(resource, Pod):
            wanted.add((meta.namespace, resource.spec.service_account_name))
        if meta.namespace:
            named.add(meta.namespace)
        yield resource
    for name in sorted(named - known):
        yield with_defaults(Namespace(metadata=Metadata(name=name)))
    for namespace, name in sorted(wanted - accounts):
        yield ServiceAccount(metadata=Metadata(namespace=namespace, name=name))


def _with_namespace(resource: Resource) -> Resource:
    if resource.metadata.namespace or not KINDS[resource.kind].namespaced:
        return resource
    metadata = msgspec.structs.replace(resource.metadata, namespace=DEFAULT_NAMESPACE)
    return msgspec.structs.replace(resource, metadata=metadata)
