"""Registration of this node, where the datastore may not be ours to add nodes to."""

import asyncio
from typing import Any, cast

import pytest

from tortie.agent.node import register
from tortie.api.resource import Key, Resource
from tortie.base.net import Family, parse_interface
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, NotSupported, Unavailable

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
