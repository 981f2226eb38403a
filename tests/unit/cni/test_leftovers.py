"""What GC takes for left over where endpoints are read from pods, which do not say the network that they are on."""

import asyncio
import json
from pathlib import Path

import pytest

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.names import workload_endpoint_name
from tortie.api.resource import Metadata
from tortie.cni.config import Config, parse_config
from tortie.cni.leftovers import find_leftovers
from tortie.datastore.sqlite.client import SqliteClient
from tortie.kernel.link import Link


def network(name: str) -> Config:
    document = {"cniVersion": "1.1.0", "name": name, "type": "tortie-cni", "cni.dev/valid-attachments": []}
    return parse_config(json.dumps(document | {"ipam": {"type": "calico-ipam"}}).encode())


def endpoint(pod: str, container: str) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="k8s", node="n1", pod=pod, endpoint="eth0", container_id=container, ip_networks=("10.0.0.1/32",)
    )
    return WorkloadEndpoint(metadata=Metadata(name=workload_endpoint_name(spec), namespace="default"), spec=spec)


def device(network: str, container: str) -> Link:
    return Link(7, "cali7", "veth", True, True, False, "ee:ee:ee:ee:ee:ee", 1500, None, 3, f"tortie {network} {container} eth0")


@pytest.mark.parametrize(
    ("asked", "links", "found"),
    [
        ("main", (device("main", "abc"),), ["abc"]),
        ("other", (device("main", "abc"),), []),
        ("main", (), ["abc"]),
    ],
    ids=["its own network", "another network", "nothing but the endpoint is left"],
)
def test_a_pods_device_tells_whose_it_is(tmp_path: Path, asked: str, links: tuple[Link, ...], found: list[str]) -> None:
    async def scenario() -> list[str]:
        client = SqliteClient(str(tmp_path / "test.db"))
        try:
            await client.create(endpoint("web", "abc"))
            leftovers = await find_leftovers(client, network(asked), node="n1", path="", links=links)
        finally:
            await client.close()
        return [leftover.request.container_id for leftover in leftovers]

    assert asyncio.run(scenario()) == found
