"""Our way to an API server through kubectl, held to a real one."""

import asyncio
from typing import Any

import pytest
from tests.kubernetes.control_plane import Cluster

from tortie.lab.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.kubernetes


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def test_a_watch_from_a_lists_version_brings_every_later_change(cluster: Cluster) -> None:
    kubectl = Kubectl(cluster.plane.binaries.kubectl, cluster.admin)

    async def scenario(namespace: str) -> list[tuple[str, str]]:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        listing = await kubectl.get(path)
        seen: list[tuple[str, str]] = []
        async with kubectl.watching(path, listing["metadata"]["resourceVersion"]) as events:
            await kubectl.apply([config_map(namespace, "one", key="a"), config_map(namespace, "two")])
            await kubectl.apply([config_map(namespace, "one", key="b")])
            await kubectl.delete(f"{path}/two", {"apiVersion": "v1", "kind": "DeleteOptions"})
            async for event in events:
                if event["object"]["metadata"]["name"] in ("one", "two"):
                    seen.append((event["type"], event["object"]["metadata"]["name"]))
                if event["type"] == "DELETED":
                    return seen
        return seen

    with cluster.namespace() as namespace:
        seen = asyncio.run(scenario(namespace))
    assert seen == [("ADDED", "one"), ("ADDED", "two"), ("MODIFIED", "one"), ("DELETED", "two")]


def test_a_refusal_is_an_error_in_the_servers_words(cluster: Cluster) -> None:
    stranger = Kubectl(cluster.plane.binaries.kubectl, cluster.kubeconfig("stranger"))

    async def watch() -> None:
        async with stranger.watching("/api/v1/pods", "1") as events:
            async for _ in events:
                raise AssertionError("a stranger sees something")

    with pytest.raises(KubectlError, match="forbidden"):
        asyncio.run(watch())
    with pytest.raises(KubectlError, match="forbidden"):
        asyncio.run(stranger.get("/api/v1/pods"))
