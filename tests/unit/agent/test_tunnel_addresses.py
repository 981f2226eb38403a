"""Tunnel addresses: one each from IPAM, by Calico's handles, in the node's resource, whatever breaks off in between."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.unit.ipam.cluster import fill, findings, in_use, pool
from tests.unit.ipam.memory_client import MemoryClient

from tortie.agent.tunnel_addresses import KINDS, NoAddress, TunnelAddresses
from tortie.api.node import Node, NodeBGP, NodeSpec, NodeWireguard
from tortie.api.resource import Key, Metadata
from tortie.base.net import Address, Family, Prefix, parse_address, parse_interface, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import Unavailable
from tortie.datastore.sqlite.client import SqliteClient
from tortie.intent.messages import InSync, OverlayUpdate
from tortie.intent.routes import Overlay, TunnelEnd, Way, WireguardEnd
from tortie.ipam.allocator import Ipam
from tortie.ipam.check import check_use, read_snapshot

POOLS = (pool("old", "10.0.0.0/28"), pool("new", "10.1.0.0/28"), pool("six", "fd00::/120"))
OLD, NEW, SIX = (parse_prefix(each.spec.cidr) for each in POOLS)
OWN = parse_interface("192.0.2.1/24")


def overlay(*tunnels: TunnelEnd, wireguard: tuple[WireguardEnd, ...] = ()) -> Overlay:
    return Overlay("n1", OWN, None, tunnels, wireguard)


def vxlan(*pools: Prefix, family: Family = Family.V4) -> TunnelEnd:
    return TunnelEnd(Way.VXLAN, family, None, pools, "66:00:00:00:00:01")


def everything(pools: Prefix = OLD) -> Overlay:
    return overlay(
        vxlan(pools),
        vxlan(SIX, family=Family.V6),
        TunnelEnd(Way.IPIP, Family.V4, None, (pools,)),
        wireguard=(WireguardEnd(Family.V4, None, 51820, (pools,)), WireguardEnd(Family.V6, None, 51821, (SIX,))),
    )


NOTHING = overlay()


async def reconcile(client: Client, wanted: Overlay | None) -> None:
    """One life of an agent."""
    tunnels = TunnelAddresses(client, "n1")
    tunnels.on_messages([OverlayUpdate(wanted), InSync()])
    await tunnels.reconcile()


async def spec_of(client: Client) -> NodeSpec:
    found = await client.get(Key("Node", "", "n1"))
    assert isinstance(found, Node)
    return found.spec


async def told(client: Client) -> dict[str, Address]:
    """The handles that the resource's addresses should have."""
    spec = await spec_of(client)
    return {kind.handle("n1"): parse_address(kind.read(spec)) for kind in KINDS if kind.read(spec)}


async def agree(client: Client) -> dict[str, Address]:
    """What the resource says is what IPAM has, and nothing else is in use; returns it."""
    said = await told(client)
    assert {handle: address for address, handle in (await in_use(client)).items()} == said
    assert await findings(client) == ()
    assert check_use(await read_snapshot(client)) == ()
    return said


def play(scenario: Callable[[Client], Awaitable[None]], *, spec: NodeSpec | None = None) -> None:
    async def run() -> None:
        client = MemoryClient()
        await fill(client, *POOLS, Node(metadata=Metadata(name="n1"), spec=spec or NodeSpec()))
        await scenario(client)

    asyncio.run(run())


def test_each_kind_has_an_address_of_its_own_by_calicos_handle_and_attributes(tmp_path: Path) -> None:
    async def scenario() -> None:
        client = SqliteClient(str(tmp_path / "store.sqlite"))
        try:
            await fill(client, *POOLS, Node(metadata=Metadata(name="n1"), spec=NodeSpec(bgp=NodeBGP(ipv4_address=str(OWN)))))
            await reconcile(client, everything())
            said = await agree(client)
            assert set(said) == {
                "wireguard-tunnel-addr-n1",
                "wireguard-v6-tunnel-addr-n1",
                "ipip-tunnel-addr-n1",
                "vxlan-tunnel-addr-n1",
                "vxlan-v6-tunnel-addr-n1",
            }
            assert len(set(said.values())) == 5
            spec = await spec_of(client)
            assert spec.bgp is not None
            assert (spec.bgp.ipv4_address, spec.bgp.ipv4_ipip_tunnel_addr) == (str(OWN), str(said["ipip-tunnel-addr-n1"]))
            assert spec.ipv4_vxlan_tunnel_addr == str(said["vxlan-tunnel-addr-n1"])
            assert spec.ipv6_vxlan_tunnel_addr == str(said["vxlan-v6-tunnel-addr-n1"])
            assert spec.wireguard == NodeWireguard(
                interface_ipv4_address=str(said["wireguard-tunnel-addr-n1"]),
                interface_ipv6_address=str(said["wireguard-v6-tunnel-addr-n1"]),
            )
            owner = await Ipam(client).assignment(said["vxlan-v6-tunnel-addr-n1"])
            assert owner is not None
            assert owner.secondary == {"node": "n1", "type": "vxlanV6TunnelAddress"}
            await reconcile(client, everything())
            assert await agree(client) == said, "another life keeps them"
            await reconcile(client, NOTHING)
            assert await agree(client) == {}
            assert await spec_of(client) == NodeSpec(bgp=NodeBGP(ipv4_address=str(OWN)))
        finally:
            await client.close()

    asyncio.run(scenario())


def test_nothing_is_done_before_the_cluster_is_known_nor_while_the_node_has_no_address() -> None:
    async def scenario(client: Client) -> None:
        await reconcile(client, overlay(vxlan(OLD)))
        before = await agree(client)
        half_known = TunnelAddresses(client, "n1")
        half_known.on_messages([OverlayUpdate(NOTHING)])
        await half_known.reconcile()
        await reconcile(client, None)
        assert await agree(client) == before

    play(scenario)


def test_an_address_outside_the_pools_is_exchanged_for_one_inside() -> None:
    async def scenario(client: Client) -> None:
        await reconcile(client, overlay(vxlan(OLD)))
        assert OLD.contains((await agree(client))["vxlan-tunnel-addr-n1"])
        await reconcile(client, overlay(vxlan(NEW)))
        assert NEW.contains((await agree(client))["vxlan-tunnel-addr-n1"])
        await reconcile(client, overlay(vxlan()))
        assert await agree(client) == {}, "no pool: no address"

    play(scenario)


def test_a_pool_that_gives_no_addresses_any_more_keeps_the_one_it_gave_until_another_pool_gives_one() -> None:
    disabled = replace(vxlan(), keeps=(OLD,))

    async def scenario(client: Client) -> None:
        await reconcile(client, overlay(disabled))
        assert await agree(client) == {}, "who has none gets none"
        await reconcile(client, overlay(vxlan(OLD)))
        before = await agree(client)
        await reconcile(client, overlay(disabled))
        assert await agree(client) == before
        await reconcile(client, overlay(replace(vxlan(NEW), keeps=(OLD, NEW))))
        assert NEW.contains((await agree(client))["vxlan-tunnel-addr-n1"]), "so that the old pool can be deleted"
        await reconcile(client, overlay(disabled))
        assert await agree(client) == {}, "it is of no pool that is left"

    play(scenario)


def test_an_address_that_was_released_under_us_is_taken_again() -> None:
    async def scenario(client: Client) -> None:
        await reconcile(client, overlay(vxlan(OLD)))
        before = await agree(client)
        await Ipam(client).release(list(before.values()))
        await reconcile(client, overlay(vxlan(OLD)))
        assert await agree(client) == before

    play(scenario)


def test_an_address_that_somebody_else_has_is_left_to_them() -> None:
    taken = parse_address("10.0.0.1")

    async def scenario(client: Client) -> None:
        await Ipam(client).assign_ip(taken, "pod", attributes={"pod": "web"}, node="n2")
        await reconcile(client, overlay(vxlan(OLD)))
        said = await told(client)
        assert said["vxlan-tunnel-addr-n1"] != taken
        assert await in_use(client) == {taken: "pod", said["vxlan-tunnel-addr-n1"]: "vxlan-tunnel-addr-n1"}

    play(scenario, spec=NodeSpec(ipv4_vxlan_tunnel_addr=str(taken)))


@pytest.mark.parametrize("attributes", [{}, {"node": "n1", "type": "vxlanTunnelAddress"}])
def test_what_older_releases_assigned_without_a_handle_is_kept_and_goes_with_the_tunnel(attributes: dict[str, str]) -> None:
    kept = parse_address("10.0.0.1")

    async def scenario(client: Client) -> None:
        await Ipam(client).assign_ip(kept, "", attributes=attributes, node="n1")
        await reconcile(client, overlay(vxlan(OLD)))
        assert (await told(client), list(await in_use(client))) == ({"vxlan-tunnel-addr-n1": kept}, [kept])
        await reconcile(client, NOTHING)
        assert await agree(client) == {}

    play(scenario, spec=NodeSpec(ipv4_vxlan_tunnel_addr=str(kept)))


def test_a_pool_without_room_is_told_by_the_kind_of_tunnel_and_the_others_have_theirs() -> None:
    async def scenario(client: Client) -> None:
        for ordinal in range(16):
            address = Address(Family.V4, OLD.value + ordinal)
            await Ipam(client).assign_ip(address, "pod", attributes={}, node="n2")
        with pytest.raises(NoAddress, match="VXLAN of IPv4 has no tunnel address"):
            await reconcile(client, overlay(vxlan(OLD), vxlan(SIX, family=Family.V6)))
        assert set(await told(client)) == {"vxlan-v6-tunnel-addr-n1"}
        with pytest.raises(NoAddress, match=r"10\.9\.0\.0/24"):  # calc is ahead of what IPAM has read
            await reconcile(client, overlay(vxlan(parse_prefix("10.9.0.0/24"))))

    play(scenario)


class Died(Exception):
    """The process, at one of its writes."""


CHANGES = {
    "the first": (NOTHING, everything()),
    "another pool": (everything(), everything(NEW)),
    "not in use": (everything(), NOTHING),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_crash_at_any_write_leaves_nothing_that_the_next_life_does_not_mend(change: str) -> None:
    before, after = CHANGES[change]

    async def crash_at(write: int) -> bool:
        """True if there was such a write."""
        client = MemoryClient()
        await fill(client, *POOLS, Node(metadata=Metadata(name="n1")))
        await reconcile(client, before)
        count = 0

        def before_write(verb: str, key: Key) -> None:
            nonlocal count
            count += 1
            if count == write:
                raise Died(f"{verb} {key}")

        client.before_write = before_write
        try:
            await reconcile(client, after)
            return False
        except Died:
            client.before_write = lambda verb, key: None
            said, owners = await told(client), await in_use(client)
            assert all(owners.get(address) == handle for handle, address in said.items()), "never one that is not ours"
        await reconcile(client, after)
        said = await agree(client)
        assert len(said) == (0 if after is NOTHING else 5)
        return True

    async def every_write() -> int:
        write = 1
        while await crash_at(write):
            write += 1
        return write - 1

    assert asyncio.run(every_write()) >= 15


def test_another_writer_of_the_node_loses_nothing() -> None:
    async def scenario(client: Client) -> None:
        assert isinstance(client, MemoryClient)
        rivals = 3

        def before_write(verb: str, key: Key) -> None:
            nonlocal rivals
            if key.kind == "Node" and rivals:
                rivals -= 1
                stored = client._resources[key]
                labels = stored.metadata.labels | {f"rival{rivals}": "true"}
                client._store(msgspec.structs.replace(stored, metadata=msgspec.structs.replace(stored.metadata, labels=labels)))

        client.before_write = before_write
        await reconcile(client, overlay(vxlan(OLD)))
        client.before_write = lambda verb, key: None
        assert len(await agree(client)) == 1
        assert set((await client.get(Key("Node", "", "n1"))).metadata.labels) == {"rival0", "rival1", "rival2"}

    play(scenario)


def test_a_tunnel_that_is_switched_off_and_on_again_has_its_old_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tortie.agent.tunnel_addresses.LINGER_SECONDS", 1.0)

    async def scenario(client: Client) -> None:
        tunnels = TunnelAddresses(client, "n1")
        tunnels.on_messages([OverlayUpdate(overlay(vxlan(OLD))), InSync()])
        running = asyncio.ensure_future(tunnels.run())
        while not await told(client):
            await asyncio.sleep(0.01)
        before = await agree(client)
        tunnels.on_messages([OverlayUpdate(NOTHING)])
        await asyncio.sleep(0.05)
        assert await agree(client) == before
        tunnels.on_messages([OverlayUpdate(overlay(vxlan(OLD)))])
        await asyncio.sleep(1.2)
        assert await agree(client) == before
        tunnels.on_messages([OverlayUpdate(NOTHING)])
        async with asyncio.timeout(30):
            while await told(client) or await in_use(client):
                await asyncio.sleep(0.01)
        running.cancel()

    play(scenario)


def test_what_failed_is_tried_again_and_told_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tortie.agent.tunnel_addresses.LINGER_SECONDS", 0.0)

    async def scenario(client: Client) -> None:
        assert isinstance(client, MemoryClient)

        def away(verb: str, key: Key) -> None:
            raise Unavailable("the datastore is away")

        client.before_write = away
        tunnels = TunnelAddresses(client, "n1")
        tunnels.on_messages([OverlayUpdate(overlay(vxlan(OLD))), InSync()])
        running = asyncio.ensure_future(tunnels.run())
        while not tunnels.problem:
            await asyncio.sleep(0)
        assert "away" in tunnels.problem
        client.before_write = lambda verb, key: None
        while tunnels.problem:
            await asyncio.sleep(0.01)
        assert len(await agree(client)) == 1
        tunnels.on_messages([OverlayUpdate(NOTHING)])
        while await told(client):
            await asyncio.sleep(0)
        running.cancel()

    play(scenario)
