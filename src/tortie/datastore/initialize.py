"""What every datastore holds from its first use on: the cluster's identity and the three tiers (api.md, section 1.5)."""

import uuid
from typing import Protocol, runtime_checkable

import msgspec

from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.resource import Metadata
from tortie.api.tier import PREDEFINED, Tier
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict

KUBERNETES_TYPE = "kdd"
"""What Calico adds to the types of a cluster whose datastore is Kubernetes."""
CLUSTER_INFORMATION = ClusterInformation(metadata=Metadata(name="default"))


@runtime_checkable
class _OfType(Protocol):
    """A client whose datastore is a type of cluster in itself, which `clusterType` then names."""

    cluster_type: str


async def ensure_initialized(client: Client) -> None:
    """Create what is missing, complete a ClusterInformation without identity, change nothing else. Safe to run anywhere,
    any time, several at once."""
    await ensure_cluster_information(client)
    for name, spec in PREDEFINED.items():
        tier = Tier(metadata=Metadata(name=name), spec=spec)
        try:
            await client.get(tier.key)
        except DoesNotExist:
            try:
                await client.create(tier)
            except AlreadyExists:
                pass


async def ensure_cluster_information(client: Client) -> None:
    """Create the cluster's identity where there is none, complete one without a GUID. What an agent may do of it."""
    type_ = client.cluster_type if isinstance(client, _OfType) else ""
    while True:
        try:
            found = await client.get(CLUSTER_INFORMATION.key)
        except DoesNotExist:
            try:
                await client.create(
                    msgspec.structs.replace(CLUSTER_INFORMATION, spec=_completed(CLUSTER_INFORMATION.spec, type_))
                )
            except AlreadyExists:
                continue
            return
        assert isinstance(found, ClusterInformation)
        completed = _completed(found.spec, type_)
        if completed == found.spec:
            return
        try:
            await client.update(msgspec.structs.replace(found, spec=completed))
        except (UpdateConflict, DoesNotExist):
            continue
        return


def _completed(spec: ClusterInformationSpec, type_: str) -> ClusterInformationSpec:
    types = [each for each in spec.cluster_type.split(",") if each]
    return msgspec.structs.replace(
        spec,
        cluster_type=spec.cluster_type if not type_ or type_ in types else ",".join((*types, type_)),
        cluster_guid=spec.cluster_guid or uuid.uuid4().hex,
        datastore_ready=True if spec.datastore_ready is None else spec.datastore_ready,
    )
