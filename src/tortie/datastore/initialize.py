"""What every datastore holds from its first use on: the cluster's identity and the three tiers (api.md, section 1.5)."""

import uuid

import msgspec

from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.resource import Metadata
from tortie.api.tier import PREDEFINED, Tier
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict

CLUSTER_INFORMATION = ClusterInformation(metadata=Metadata(name="default"))


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
    while True:
        try:
            found = await client.get(CLUSTER_INFORMATION.key)
        except DoesNotExist:
            try:
                await client.create(msgspec.structs.replace(CLUSTER_INFORMATION, spec=_completed(CLUSTER_INFORMATION.spec)))
            except AlreadyExists:
                continue
            return
        assert isinstance(found, ClusterInformation)
        completed = _completed(found.spec)
        if completed == found.spec:
            return
        try:
            await client.update(msgspec.structs.replace(found, spec=completed))
        except (UpdateConflict, DoesNotExist):
            continue
        return


def _completed(spec: ClusterInformationSpec) -> ClusterInformationSpec:
    return msgspec.structs.replace(
        spec,
        cluster_guid=spec.cluster_guid or uuid.uuid4().hex,
        datastore_ready=True if spec.datastore_ready is None else spec.datastore_ready,
    )
