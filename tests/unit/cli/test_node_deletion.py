"""`delete node`: what goes with a node, what stays, and that the same command finishes what a dead one began."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.ipam.cluster import affinity, blocks, fill, in_use, node, pool
from tests.unit.ipam.memory_client import MemoryClient

from tortie.api.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint, HostEndpointSpec
from tortie.api.ipam import BlockAffinity
from tortie.api.node import Node, NodeBGP, NodeSpec, NodeWireguard
from tortie.api.resource import Key, Metadata, Resource
from tortie.base.net import Address, Prefix, parse_prefix
from tortie.cli.node_deletion import delete_with_node
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.allocator import AssignRequest, Ipam
from tortie.ipam.check import check_data, check_use, read_snapshot

V4 = "10.0.0.0/26"
GONE, STAYS = "n1", "n1-long"


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def endpoint(owner: str, name: str, *addresses: str) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node=owner,
        pod=name,
        endpoint="eth0",
        container_id=f"id-{name}",
        interface_name=f"cali{name}",
        ip_networks=tuple(f"{each}/32" for each in addresses),
    )
    return WorkloadEndpoint(metadata=Metadata(name=f"{owner.replace('-', '--')}-k8s-{name}-eth0", namespace="shop"), spec=spec)


async def a_pod(client: Client, owner: str, name: str, *, pools: Sequence[Prefix] = ()) -> str:
    given = await Ipam(client).auto_assign(
        AssignRequest(owner, f"k8s-pod-network.id-{name}", 1, 0, {"node": owner, "pod": name}, pools_v4=pools)
    )
    address = str(given.v4[0].address)
    await client.create(endpoint(owner, name, address))
    return address


async def a_tunnel(client: Client, owner: str, kind: str) -> str:
    attributes = {"node": owner, "type": kind}
    given = await Ipam(client).auto_assign(AssignRequest(owner, f"{kind}-tunnel-addr-{owner}", 1, 0, attributes, use="Tunnel"))
    return str(given.v4[0].address)


def of_node(name: str) -> list[Resource]:
    own = Metadata(name=f"node.{name}")
    return [
        BGPPeer(metadata=Metadata(name=f"peer-{name}"), spec=BGPPeerSpec(node=name, peer_ip="192.0.2.9", as_number=64512)),
        FelixConfiguration(metadata=own),
        BGPConfiguration(metadata=own),
        HostEndpoint(metadata=Metadata(name=f"uplink-{name}"), spec=HostEndpointSpec(node=name, interface_name="eth0")),
    ]


async def cluster(client: Client) -> None:
    """Two nodes with pods, tunnels and things of their own; each has a pod in a block of the other."""
    await fill(client, pool("p", V4))
    for name in (GONE, STAYS):
        vxlan, ipip, wireguard = [await a_tunnel(client, name, kind) for kind in ("vxlan", "ipip", "wireguard")]
        spec = NodeSpec(
            bgp=NodeBGP(ipv4_ipip_tunnel_addr=ipip),
            ipv4_vxlan_tunnel_addr=vxlan,
            wireguard=NodeWireguard(interface_ipv4_address=wireguard),
        )
        await fill(client, Node(metadata=Metadata(name=name), spec=spec), *of_node(name))
        await a_pod(client, name, f"{name}a")
        await a_pod(client, name, f"{name}b")
    for name, other in ((GONE, STAYS), (STAYS, GONE)):
        listing = await client.list("BlockAffinity")
        theirs = next(item for item in listing.items if isinstance(item, BlockAffinity) and item.spec.node == other)
        cidr = parse_prefix(theirs.spec.cidr)
        address = Address(cidr.family, cidr.value + cidr.size - 1)
        attributes = {"node": name, "pod": "borrowed"}
        await Ipam(client).assign_ip(address, handle=f"k8s-pod-network.id-{name}c", node=name, attributes=attributes)
        await client.create(endpoint(name, f"{name}c", str(address)))
    await fill(
        client,
        BGPPeer(metadata=Metadata(name="everywhere"), spec=BGPPeerSpec(peer_ip="192.0.2.9", as_number=64512)),
        FelixConfiguration(metadata=Metadata(name="default")),
    )


async def delete(client: Client, name: str) -> None:
    await delete_with_node(client, name, lambda key: None)
    await operations.delete(client, Key("Node", "", name))


async def keys(client: Client) -> set[Key]:
    kinds = ("Node", "IPPool", "BlockAffinity", *operations.NODE_KINDS)
    return {item.key for item in (await client.list_many(kinds)).items}


async def what_is_wrong(client: Client) -> list[str]:
    snapshot = await read_snapshot(client)
    return [finding.text for finding in (*check_data(snapshot, now=4e9), *check_use(snapshot))]


async def is_gone_alone(client: Client) -> None:
    """All of the one node is gone; nothing of the other is."""
    assert await what_is_wrong(client) == []
    assert all(STAYS in handle for handle in (await in_use(client)).values())
    assert len(await in_use(client)) == 6
    left = await keys(client)
    assert {key.name for key in left if key.kind == "Node"} == {STAYS}
    assert {key.name for key in left if key.kind == "BGPPeer"} == {f"peer-{STAYS}", "everywhere"}
    assert {key.name for key in left if key.kind == "FelixConfiguration"} == {f"node.{STAYS}", "default"}
    assert {key.name for key in left if key.kind == "BGPConfiguration"} == {f"node.{STAYS}"}
    assert {key.name for key in left if key.kind == "HostEndpoint"} == {f"uplink-{STAYS}"}
    assert {key.name.partition("-k8s-")[0] for key in left if key.kind == "WorkloadEndpoint"} == {"n1--long"}
    owners = await blocks(client)
    assert sorted(map(str, owners.values())) == ["None", f"host:{STAYS}"], (
        "the other's pod keeps its block alive, without owner"
    )


def test_a_node_takes_its_own_along_and_leaves_what_others_have() -> None:
    async def main() -> None:
        client = MemoryClient()
        await cluster(client)
        assert await what_is_wrong(client) == []
        await delete(client, GONE)
        await is_gone_alone(client)

    asyncio.run(main())


class Died(Exception):
    """The process is no more."""


def test_a_run_that_dies_at_any_write_is_finished_by_the_same_command() -> None:
    async def life(fatal: int) -> bool:
        client, writes = MemoryClient(), 0
        await cluster(client)

        def count(verb: str, key: Key) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise Died

        client.before_write = count
        died = False
        try:
            await delete(client, GONE)
        except Died:
            died = True
            assert Key("Node", "", GONE) in await keys(client), "the Node goes last"
        client.before_write = lambda verb, key: None
        if died:
            await delete(client, GONE)
        await is_gone_alone(client)
        return died

    async def every_life() -> int:
        fatal = 1
        while await life(fatal):
            fatal += 1
        return fatal

    assert asyncio.run(every_life()) == 20, "writes of the whole command, and one more"


def test_what_ipam_booked_for_another_node_or_another_node_uses_is_not_released() -> None:
    async def main() -> None:
        client = MemoryClient()
        await fill(client, pool("p", V4), node(GONE), node(STAYS))
        moved = await a_pod(client, STAYS, "moved")
        await client.create(endpoint(GONE, "stale", moved))
        unnamed = await Ipam(client).auto_assign(AssignRequest(STAYS, "somebody", 2, 0))
        shared, loose = (str(each.address) for each in unnamed.v4)
        await client.create(endpoint(GONE, "one", shared, loose))
        await client.create(endpoint(STAYS, "other", shared))
        await Ipam(client).auto_assign(AssignRequest(GONE, "k8s-pod-network.nobody", 1, 0, {"node": GONE, "pod": "lost"}))
        await delete(client, GONE)
        assert {str(each) for each in await in_use(client)} == {moved, shared}

    asyncio.run(main())


def test_a_claim_that_was_being_given_up_when_the_last_run_died_is_finished() -> None:
    async def main() -> None:
        client = MemoryClient()
        await fill(client, pool("p", V4), node(GONE))
        await a_pod(client, GONE, "a")
        (cidr,) = await blocks(client)

        def die(verb: str, key: Key) -> None:
            if key.kind == "IPAMBlock" and verb == "delete":
                raise Died

        client.before_write = die
        with pytest.raises(Died):
            await delete(client, GONE)
        name = f"{GONE}-{cidr.replace('.', '-').replace('/', '-')}"
        assert (await affinity(client, name)).spec.state == "pendingDeletion"
        client.before_write = lambda verb, key: None
        await delete(client, GONE)
        assert await blocks(client) == {}
        with pytest.raises(DoesNotExist):
            await affinity(client, name)

    asyncio.run(main())


def test_the_command_says_what_went_along(tortie: Tortie) -> None:
    async def prepare() -> None:
        client = open_client({"TORTIE_SQLITE_PATH": "store/t.sqlite"}, None)
        await cluster(client)
        await client.close()

    asyncio.run(prepare())
    assert tortie("delete", "node", GONE).out == (
        f"Released of node {GONE}: 6 IP addresses, 1 block\n"
        f"Deleted with node {GONE}: 3 WorkloadEndpoints, 1 BGPPeer, 1 FelixConfiguration, 1 BGPConfiguration, 1 HostEndpoint\n"
        "Successfully deleted 1 'Node' resource(s)\n"
    )
    again = tortie("delete", "node", GONE)
    assert (again.out, again.err) == ("", f"Failed to delete 'Node' resource: resource does not exist: Node({GONE})\n")


def test_what_a_file_names_and_the_node_took_along_is_deleted_too(tortie: Tortie) -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: rack}
spec: {node: n1, peerIP: 192.0.2.9, asNumber: 64512}
"""
    assert tortie("apply", "-f", "-", stdin=text).code == 0
    answer = tortie("delete", "-f", "-", stdin=text)
    assert (answer.out, answer.err) == ("Deleted with node n1: 1 BGPPeer\nSuccessfully deleted 2 resource(s)\n", "")
