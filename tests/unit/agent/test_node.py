"""Registration of this node, where the datastore may not be ours to add nodes to."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from tortie.agent.node import refuse_duplicates, register, stored_addresses, stored_node
from tortie.agent.options import AgentError
from tortie.api.resource import Key, Resource
from tortie.base.net import Family, parse_interface
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, NotSupported, Unavailable
from tortie.datastore.sqlite.client import SqliteClient

ADDRESSES = {Family.V4: parse_interface("192.0.2.1/24")}


class Kubernetes:
    """A cluster without nodes, to which only kubelets add some."""

    async def get(self, key: Key) -> Resource:
        raise DoesNotExist(key)

    async def create(self, resource: Resource) -> Resource:
        raise NotSupported("create", resource.key, "nodes come and go with their kubelets")


def test_a_node_whose_kubelet_has_not_registered_it_is_waited_for() -> None:
    with pytest.raises(Unavailable, match=r"no Node 'n1' yet.*kubelet"):
        asyncio.run(register(cast(Client, cast(Any, Kubernetes())), "n1", ADDRESSES))


def test_two_nodes_with_one_address_are_refused_and_both_are_named(tmp_path: Path) -> None:
    async def work() -> None:
        client = SqliteClient(str(tmp_path / "store"))
        try:
            await register(client, "n1", ADDRESSES)
            await refuse_duplicates(client, "n1", ADDRESSES)
            await refuse_duplicates(client, "n2", {Family.V4: parse_interface("192.0.2.2/24")})
            with pytest.raises(AgentError, match=r"node n2: .*192\.0\.2\.1 is that of node n1.*IP_AUTODETECTION_METHOD"):
                await refuse_duplicates(client, "n2", {Family.V4: parse_interface("192.0.2.1/30")})
            await register(client, "n1", {Family.V6: parse_interface("2001:db8::1/64")})
            await refuse_duplicates(client, "n2", ADDRESSES)
            assert stored_addresses(await stored_node(client, "n1")) == {Family.V6: parse_interface("2001:db8::1/64")}
        finally:
            await client.close()

    asyncio.run(work())
