"""Which datastore is believed."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.unit.ipam.memory_client import MemoryClient

from tortie.api.cluster import ClusterInformationSpec
from tortie.datastore.errors import Replaced
from tortie.datastore.identity import Identity, guid_of
from tortie.datastore.initialize import CLUSTER_INFORMATION


def test_the_first_cluster_is_believed_and_no_other_one_after_it() -> None:
    identity = Identity()
    identity.admit("")
    identity.admit("one")
    with pytest.raises(Replaced, match="it has cluster GUID two, the state in force is from one"):
        identity.admit("two")
    with pytest.raises(Replaced, match=r"no cluster GUID \(it is empty"):
        identity.admit("")
    assert identity.refusal
    identity.admit("one")
    assert identity.refusal == ""


def test_a_restart_remembers_and_accept_forgets(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cluster-guid"
    Identity(path).admit("one")
    with pytest.raises(Replaced, match="--accept-datastore"):
        Identity(path).admit("")
    Identity(path, accept=True).admit("two")
    Identity(path).admit("two")
    with pytest.raises(Replaced):
        Identity(path).admit("one")


def test_what_cannot_be_kept_is_known_until_the_end_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    identity = Identity(tmp_path / "file" / "cluster-guid")
    identity.admit("one")
    with pytest.raises(Replaced):
        identity.admit("two")


def test_a_client_is_asked_for_its_cluster_information() -> None:
    async def scenario() -> None:
        client, identity = MemoryClient(), Identity()
        await identity.admit_client(client)
        assert identity.guid == ""
        spec = ClusterInformationSpec(cluster_guid="one")
        await client.create(msgspec.structs.replace(CLUSTER_INFORMATION, spec=spec))
        await identity.admit_client(client)
        assert identity.guid == "one"
        with pytest.raises(Replaced):
            await identity.admit_client(MemoryClient())

    asyncio.run(scenario())


def test_only_a_cluster_information_has_a_guid() -> None:
    assert guid_of(None) == guid_of(CLUSTER_INFORMATION) == ""
