"""WireGuard of a kernel that has it: the same manager, with no wireguard-go anywhere."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel.wireguard_stage import BLOCKS, DEVICES, MARK, Node, exchange, introduce, meet, settle, two_nodes

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.dataplane import wireguard_manager
from tortie.dataplane.render.config import parse
from tortie.kernel import mount
from tortie.kernel.errors import NotFound
from tortie.kernel.wireguard.device import Change, Peer
from tortie.kernel.wireguard.keys import encode, generate

pytestmark = pytest.mark.vm
V4, V6 = Family.V4, Family.V6


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Node, Node]]:
    monkeypatch.setattr("tortie.kernel.wireguard.userspace._PROGRAM", "no-such-wireguard-go")
    with two_nodes(tmp_path) as found:
        yield found


def test_pods_and_hosts_speak_through_the_kernels_devices(nodes: tuple[Node, Node]) -> None:
    meet(nodes, host=True)
    for family in (V4, V6):
        settle(nodes, family)
        assert nodes[0].links.get(DEVICES[family]).kind == "wireguard"
        exchange(nodes, family)
        device = nodes[0].wireguard.read(DEVICES[family])
        assert device.mark == MARK
        (state,) = device.peers.values()
        assert state.last_handshake > 1.6e9
        assert min(state.received_bytes, state.sent_bytes) > 0
        assert state.peer.keepalive_seconds == 0
    assert all(each["inKernel"] for each in nodes[0].manager.describe())


def test_a_new_agent_takes_over_and_a_new_key_replaces_the_old(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one, two = nodes
    before = one.wireguard.read(DEVICES[V4])
    one.agent()
    one.tell(one.own(), *(two.as_peer(family, two.manager.public_keys[family]) for family in (V4, V6)))
    after = one.wireguard.read(DEVICES[V4])
    assert after.private_key == before.private_key
    assert {key: each.last_handshake for key, each in after.peers.items()} == {
        key: each.last_handshake for key, each in before.peers.items()
    }
    assert one.table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}
    one.manager.rotate()
    one.apply()
    one.publish()
    introduce(nodes)
    assert set(two.wireguard.read(DEVICES[V4]).peers) == {one.manager.public_keys[V4]}
    assert one.manager.public_keys[V4] != before.public_key
    exchange(nodes, V4)


def test_a_device_that_somebody_deletes_comes_back_with_its_key(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V6)
    one = nodes[0]
    key = one.manager.public_keys[V6]
    one.links.delete(DEVICES[V6])
    assert one.manager.links_changed({DEVICES[V6]})
    one.apply()
    assert one.manager.public_keys[V6] == key
    exchange(nodes, V6)


def test_switched_off_nothing_is_left(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguard_manager, "LINGER_SECONDS", 0.0)
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    one.tell(one.own(families=()))
    for family in (V4, V6):
        assert one.links.find(DEVICES[family]) is None
        assert not one.has_rule(family)
        assert one.table(family) == {}
    assert list((one.folder / "keys").iterdir()) == []


def test_a_thousand_peers_and_a_peer_with_a_thousand_networks_are_read_as_they_were_set(nodes: tuple[Node, Node]) -> None:
    one = nodes[0]
    asyncio.run(one.wireguard.create(DEVICES[V4]))
    many = {encode(number.to_bytes(32, "big")): number for number in range(1, 1000)}
    peers = {
        key: Peer(
            key,
            (parse_address(f"172.30.{number >> 8}.{number & 255}"), 51820),
            allowed=frozenset({parse_prefix(f"10.{number >> 8}.{number & 255}.0/26"), parse_prefix(f"fd00:{number:x}::/64")}),
        )
        for key, number in many.items()
    }
    wide = frozenset(parse_prefix(f"11.{high}.{low}.0/24") for high in range(5) for low in range(250))
    big = Peer(generate().public, (parse_address("fd00:30::2"), 51821), allowed=wide, keepalive_seconds=25)
    one.wireguard.write(DEVICES[V4], Change(private_key=generate(), port=4711, peers=(*peers.values(), big)))
    found = {key: state.peer for key, state in one.wireguard.read(DEVICES[V4]).peers.items()}
    assert found == {**peers, big.public_key: big}
    more = frozenset(parse_prefix(f"12.{high}.{low}.0/24") for high in range(3) for low in range(250))
    one.wireguard.write(DEVICES[V4], Change(extended=(Peer(big.public_key, allowed=more, keepalive_seconds=25),)))
    big = replace(big, allowed=wide | more)
    one.wireguard.write(DEVICES[V4], Change(removed=tuple(peers)))
    assert {key: state.peer for key, state in one.wireguard.read(DEVICES[V4]).peers.items()} == {big.public_key: big}
    with pytest.raises(NotFound):
        one.wireguard.write("wg-absent", Change(port=1))


def test_packets_are_worked_off_in_threads_where_that_is_asked_for(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    one = nodes[0]

    def threaded() -> str:
        path = Path(f"/sys/class/net/{DEVICES[V4]}/threaded")
        return mount.with_sysfs(one.fd, lambda: path.read_text().strip())

    assert threaded() == "0"
    one.manager.configure(
        parse({"WireguardEnabled": "true", "WireguardEnabledV6": "true", "WireguardThreadingEnabled": "true"})
    )
    one.apply()
    assert threaded() == "1"
