"""The plugin's side of the datastore: is it open, the pod, its WorkloadEndpoint."""

import contextlib
from collections.abc import Mapping

import msgspec

from tortie.api.cluster import ClusterInformation
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.felix import FelixConfiguration
from tortie.api.kubernetes import Namespace, Pod
from tortie.api.profile import Profile
from tortie.api.resource import Key
from tortie.cni import errors
from tortie.cni.errors import CniError
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict

_ATTEMPTS = 6
CLUSTER_INFORMATION = Key("ClusterInformation", "", "default")


async def require_ready(client: Client, *, code: int = errors.TRY_AGAIN_LATER) -> None:
    """Raise CniError unless ClusterInformation says that the datastore may be used."""
    try:
        found = await client.get(CLUSTER_INFORMATION)
    except DoesNotExist:
        raise CniError(code, "the datastore has no ClusterInformation yet: it is not initialised") from None
    assert isinstance(found, ClusterInformation)
    if not found.spec.datastore_ready:
        text = "the datastore is locked: spec.datastoreReady of ClusterInformation default is not true"
        raise CniError(code, text, "unlock it with `tortie datastore migrate unlock` when the migration is over")


async def read_pod(client: Client, namespace: str, name: str, *, node: str) -> Pod:
    """The pod, which must be one of this node's. Raises CniError 11: it may not have arrived here yet."""
    try:
        pod = await client.get(Key("Pod", namespace, name))
    except DoesNotExist:
        raise CniError(errors.TRY_AGAIN_LATER, f"pod {namespace}/{name} is not in the datastore") from None
    assert isinstance(pod, Pod)
    if pod.spec.host_network:
        raise CniError(errors.INVALID_CONFIG, f"pod {namespace}/{name} is on the node's network and needs no plugin")
    if pod.spec.node_name != node:
        text = f"pod {namespace}/{name} is scheduled to node {pod.spec.node_name or '(none)'}, this is node {node}"
        raise CniError(errors.TRY_AGAIN_LATER, text)
    return pod


async def namespace_annotations(client: Client, name: str) -> Mapping[str, str]:
    """Annotations of a namespace; none if it is unknown."""
    try:
        found = await client.get(Key("Namespace", "", name))
    except DoesNotExist:
        return {}
    return found.metadata.annotations if isinstance(found, Namespace) else {}


async def ensure_profile(client: Client, profile: Profile) -> None:
    """Create a profile unless there is one of its name, which is left as it is."""
    try:
        await client.get(profile.key)
    except DoesNotExist:
        with contextlib.suppress(AlreadyExists):
            await client.create(profile)


async def source_spoofing_allowed(client: Client, node: str) -> bool:
    """True if FelixConfiguration lets endpoints of the node name further sources (workloadSourceSpoofing: Any)."""
    for name in (f"node.{node}", "default"):
        try:
            found = await client.get(Key("FelixConfiguration", "", name))
        except DoesNotExist:
            continue
        assert isinstance(found, FelixConfiguration)
        if found.spec.workload_source_spoofing is not None:
            return found.spec.workload_source_spoofing.lower() == "any"
    return False


async def find(client: Client, key: Key) -> WorkloadEndpoint | None:
    """The stored endpoint, or None."""
    try:
        found = await client.get(key)
    except DoesNotExist:
        return None
    assert isinstance(found, WorkloadEndpoint)
    return found


async def store(client: Client, endpoint: WorkloadEndpoint) -> WorkloadEndpoint:
    """Create, or replace whatever is there under the name. Raises CniError 11 when others keep writing too."""
    for _ in range(_ATTEMPTS):
        stored = await find(client, endpoint.key)
        try:
            if stored is None:
                written = await client.create(_with_identity_of(endpoint, None))
            else:
                written = await client.update(_with_identity_of(endpoint, stored))
        except (AlreadyExists, DoesNotExist, UpdateConflict):
            continue
        assert isinstance(written, WorkloadEndpoint)
        return written
    raise CniError(errors.TRY_AGAIN_LATER, f"{endpoint.key}: others changed it {_ATTEMPTS} times meanwhile")


async def remove(client: Client, key: Key, *, container_id: str) -> bool:
    """Delete the endpoint if it is this container's (or nobody's); True if none is left. Raises CniError 11."""
    for _ in range(_ATTEMPTS):
        stored = await find(client, key)
        if stored is None:
            return True
        if stored.spec.container_id not in ("", container_id):
            return False
        try:
            await client.delete(key, revision=stored.metadata.resource_version)
        except (DoesNotExist, UpdateConflict):
            continue
        return True
    raise CniError(errors.TRY_AGAIN_LATER, f"{key}: others changed it {_ATTEMPTS} times meanwhile")


def _with_identity_of(endpoint: WorkloadEndpoint, stored: WorkloadEndpoint | None) -> WorkloadEndpoint:
    """A conversion gives the endpoint the pod's identity; in the datastore it has one of its own."""
    metadata = msgspec.structs.replace(
        endpoint.metadata,
        uid=stored.metadata.uid if stored else "",
        resource_version=stored.metadata.resource_version if stored else "",
        creation_timestamp=stored.metadata.creation_timestamp if stored else None,
    )
    return msgspec.structs.replace(endpoint, metadata=metadata)
