"""Every kind that policy is made of passes through every backend as it is, and the syncer hands on what calc expects."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backends import Backend
from tests.conformance.test_syncer import Consumer

from tortie.api.documents import from_json
from tortie.api.policy import GlobalNetworkPolicy
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.services import EndpointSlice, Service
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.convert.feed import convert_update
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, NotSupported
from tortie.datastore.syncer import Syncer

GOLDEN = Path("tests/golden/datastore")
KINDS = (
    "HostEndpoint",
    "StagedNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "KubernetesNetworkPolicy",
    "KubernetesClusterNetworkPolicy",
    "KubernetesService",
    "KubernetesEndpointSlice",
)


def golden(kind: str) -> Resource:
    """As a person would write it: without identity, and without what the store adds to the annotations."""
    stored = from_json(kind, json.dumps(json.loads((GOLDEN / f"{kind}.json").read_text())["value"]).encode())
    old = stored.metadata
    annotations = {name: text for name, text in old.annotations.items() if name != "projectcalico.org/metadata"}
    metadata = Metadata(name=old.name, namespace=old.namespace, labels=old.labels, annotations=annotations)
    return msgspec.structs.replace(stored, metadata=metadata)


def bare(resource: Resource) -> Resource:
    metadata = msgspec.structs.replace(resource.metadata, uid="", resource_version="", creation_timestamp=None)
    return msgspec.structs.replace(resource, metadata=metadata)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_policy_is_stored_found_and_gone_again(backend: Backend, kind: str) -> None:
    async def scenario(client: Client) -> None:
        given = golden(kind)
        if kind in backend.read_only:
            with pytest.raises(NotSupported, match="kubectl"):
                await client.create(given)
            return
        created = await client.create(given)
        assert bare(created) == given
        assert await client.get(given.key) == created
        assert (await client.list(kind)).items == (created,)
        relabelled = msgspec.structs.replace(created.metadata, labels={"changed": "yes"})
        updated = await client.update(msgspec.structs.replace(created, metadata=relabelled))
        assert (await client.get(given.key)).metadata.labels == {"changed": "yes"}
        await client.delete(given.key, revision=updated.metadata.resource_version)
        with pytest.raises(DoesNotExist):
            await client.get(given.key)

    backend.run(scenario)


def test_the_syncer_delivers_each_kind_under_its_own_key_in_the_form_that_calc_reads(backend: Backend) -> None:
    wanted: dict[str, type[Resource]] = {
        "StagedNetworkPolicy": StagedNetworkPolicy,
        "StagedGlobalNetworkPolicy": StagedGlobalNetworkPolicy,
        "StagedKubernetesNetworkPolicy": StagedNetworkPolicy,
        "KubernetesClusterNetworkPolicy": GlobalNetworkPolicy,
        "KubernetesService": Service,
        "KubernetesEndpointSlice": EndpointSlice,
    }

    async def scenario(client: Client) -> None:
        keys = {kind: (await client.create(golden(kind))).key for kind in wanted if kind not in backend.read_only}
        consumer = Consumer()
        following = asyncio.ensure_future(Syncer(client, list(wanted), convert=convert_update).run(consumer))
        try:
            await consumer.until(lambda: consumer.in_sync)
            state = {key: type(value) for key, value in consumer.state.items() if key.namespace in ("", "shop")}
            assert state == {Key(kind, keys[kind].namespace, keys[kind].name): wanted[kind] for kind in keys}
            for key in keys.values():
                await client.delete(key)
            await consumer.until(lambda: not consumer.state.keys() & set(keys.values()))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    backend.run(scenario)
