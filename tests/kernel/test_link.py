"""Links, addresses, neighbours, and notice of changes."""

import select
from collections.abc import Iterator

import pytest
from tests.kernel.spaces import spaces

from tortie.base.net import parse_address, parse_interface
from tortie.kernel.errors import AlreadyExists, Invalid, NotFound
from tortie.kernel.link import AddressMonitor, LinkMonitor, Links

pytestmark = pytest.mark.kernel

HOST_MAC = "ee:ee:ee:ee:ee:ee"


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    with spaces("tc", 2) as (one, other):
        yield one, other


def test_a_veth_is_made_with_its_peer_in_another_namespace(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as node, Links(pair[1]) as pod:
        made = node.create_veth("cali1", "eth0", peer_netns=pair[1], mtu=1400, mac=HOST_MAC, peer_mac="02:00:00:00:00:01")
        inside = pod.get("eth0")
        assert (made.kind, made.mac, made.mtu, made.up) == ("veth", HOST_MAC, 1400, False)
        assert (inside.mac, inside.mtu, inside.peer) == ("02:00:00:00:00:01", 1400, made.index)
        assert node.find("eth0") is None
        for links, name in ((node, "cali1"), (pod, "eth0")):
            links.set_up(name)
            assert links.get(name).up
        assert node.get("cali1").running


def test_a_taken_name_leaves_nothing_on_either_side(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as node, Links(pair[1]) as pod:
        node.create_veth("cali1", "eth0", peer_netns=pair[1])
        with pytest.raises(AlreadyExists, match="create veth cali2"):
            node.create_veth("cali2", "eth0", peer_netns=pair[1])
        assert node.find("cali2") is None
        with pytest.raises(AlreadyExists):
            node.create_veth("cali1", "eth1", peer_netns=pair[1])
        assert pod.find("eth1") is None


def test_deleting_one_end_takes_the_other_and_may_be_repeated(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as node, Links(pair[1]) as pod:
        node.create_veth("cali1", "eth0", peer_netns=pair[1])
        assert pod.delete("eth0") is True
        assert node.find("cali1") is None
        assert node.delete("cali1") is False


def test_settings_of_a_link_are_what_was_asked_for(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as links, Links(pair[1]) as other:
        bridge = links.create_bridge("br0", mac="02:00:00:00:00:02")
        links.create_veth("a", "b")
        links.set_master("a", "br0")
        links.set_mtu("a", 1300)
        links.set_mac("a", HOST_MAC)
        found = links.get("a")
        assert (found.master, found.mtu, found.mac) == (bridge.index, 1300, HOST_MAC)
        links.set_master("a", None)
        assert links.get("a").master is None
        links.rename("a", "c")
        links.move("b", pair[1], new_name="d")
        assert [link.name for link in links.list() if link.kind == "veth"] == ["c"]
        assert other.get("d").peer == links.get("c").index
        links.set_up("c")
        links.set_down("c")
        assert not links.get("c").up


def test_addresses_come_and_go_and_repeating_is_fine(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as links:
        links.create_veth("a", "b")
        links.set_up("a")
        wanted = {parse_interface("10.0.0.7/24"), parse_interface("fd00::7/128")}
        for _ in range(2):
            for address in wanted:
                links.add_address("a", address)
        assert {entry.interface for entry in links.addresses("a") if entry.is_global} == wanted
        assert links.addresses("b") == ()
        for address in wanted:
            assert links.delete_address("a", address) is True
            assert links.delete_address("a", address) is False
        assert links.delete_address("gone", parse_interface("10.0.0.7/24")) is False


def test_a_permanent_neighbour_replaces_another(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as links:
        links.create_veth("a", "b")
        links.set_up("a")
        for text in ("10.0.0.1", "fd00::1"):
            address = parse_address(text)
            links.add_neighbour("a", address, "02:00:00:00:00:01")
            links.add_neighbour("a", address, "02:00:00:00:00:02")
            found = [entry for entry in links.neighbours("a") if entry.address == address]
            assert [(entry.mac, entry.permanent) for entry in found] == [("02:00:00:00:00:02", True)]
            assert links.delete_neighbour("a", address) is True
            assert links.delete_neighbour("a", address) is False


def test_what_cannot_be_is_refused_with_the_name_in_the_text(pair: tuple[int, int]) -> None:
    with Links(pair[0]) as links:
        links.create_veth("a", "b")
        for call in (
            lambda: links.set_up("none"),
            lambda: links.get("none"),
            lambda: links.set_mtu("none", 1400),
            lambda: links.add_address("none", parse_interface("10.0.0.1/32")),
        ):
            with pytest.raises(NotFound, match="none"):
                call()
        with pytest.raises(Invalid, match="six pairs"):
            links.set_mac("a", "ee:ee:ee")
        for name in ("", "a" * 16, "a/b", "a b", "%d", "."):
            with pytest.raises(Invalid, match="device name"):
                links.create_bridge(name)
        with pytest.raises(Invalid):
            links.set_mtu("a", 10_000_000)


def test_a_monitor_tells_of_links_that_come_change_and_go(pair: tuple[int, int]) -> None:
    monitor = LinkMonitor(pair[0])
    try:
        with Links(pair[0]) as links:
            assert monitor.read() == []
            links.create_veth("a", "b")
            assert select.select([monitor], [], [], 5)[0]
            assert {change.link.name for change in monitor.read() if change.present} == {"a", "b"}
            links.set_up("a")
            assert any(change.link.name == "a" and change.link.up for change in monitor.read())
            links.delete("a")
            last = {change.link.name: change.present for change in monitor.read()}
            assert last == {"a": False, "b": False}
    finally:
        monitor.close()


def test_a_monitor_hears_only_its_own_namespace(pair: tuple[int, int]) -> None:
    monitor = LinkMonitor(pair[0])
    try:
        with Links(pair[1]) as links:
            links.create_veth("a", "b")
        assert monitor.read() == []
    finally:
        monitor.close()


def test_addresses_that_come_and_go_are_noticed(pair: tuple[int, int]) -> None:
    monitor = AddressMonitor(pair[0])
    try:
        with Links(pair[0]) as links, Links(pair[1]) as other:
            index = links.create_bridge("br0").index
            other.create_bridge("br1")
            for text in ("192.0.2.1/24", "2001:db8::1/64"):
                address = parse_interface(text)
                other.add_address("br1", address)
                links.add_address("br0", address)
                links.delete_address("br0", address)
                assert select.select([monitor], [], [], 2)[0]
                # A device that is down gets no notice of a new IPv6 address, which it cannot use yet.
                assert {(entry.index, entry.interface) for entry in monitor.read()} == {(index, address)}
    finally:
        monitor.close()
