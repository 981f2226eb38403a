"""VXLAN between two machines behind a router, by their managers: what crosses, what does not, what is repaired."""

import asyncio
import contextlib
import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.kernel.spaces import named_space

from tortie.base.net import Address, Family, Interface, parse_address, parse_interface, parse_prefix, single
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.vxlan_manager import VxlanManager
from tortie.intent.messages import OverlayUpdate, VtepUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, TunnelEnd, Vtep, Way
from tortie.kernel import netns
from tortie.kernel.ethtool import Offload
from tortie.kernel.link import Links
from tortie.kernel.remotes import Remotes
from tortie.kernel.route import Route, Routes
from tortie.kernel.vxlan import Vxlans

pytestmark = pytest.mark.kernel
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _ALWAYS = 10, 23, 2
FAMILIES = (Family.V4, Family.V6)
NAMES = {Family.V4: "vxlan.calico", Family.V6: "vxlan-v6.calico"}
POOLS = {Family.V4: parse_prefix("10.65.0.0/16"), Family.V6: parse_prefix("fd00:65::/48")}


class Machine:
    """A node: an uplink to the router, an address of a workload on its loopback device, and a manager."""

    def __init__(self, number: int, space: str, *, stack: contextlib.ExitStack) -> None:
        self.number, self.space, self.name = number, space, f"n{number}"
        self.fd = stack.enter_context(netns.opened(space))
        self.links, self.routes = Links(self.fd), Routes(self.fd)
        self.parts = (Vxlans(self.fd), Remotes(self.fd), Offload(self.fd))
        self.uplinks = {
            Family.V4: parse_interface(f"192.0.{number}.2/24"),
            Family.V6: parse_interface(f"2001:db8:{number}::2/64"),
        }
        self.tunnels = {
            Family.V4: parse_address(f"10.65.{number}.0"),
            Family.V6: parse_address(f"fd00:65:0:{number}::"),
        }
        self.workloads = {
            Family.V4: parse_address(f"10.65.{number}.5"),
            Family.V6: parse_address(f"fd00:65:0:{number}::5"),
        }
        self.blocks = {
            Family.V4: parse_prefix(f"10.65.{number}.0/26"),
            Family.V6: parse_prefix(f"fd00:65:0:{number}::/122"),
        }
        self.manager = self.new_life()
        for each in (self.links, self.routes, *self.parts):
            stack.callback(each.close)

    def new_life(self, config: Config | None = None) -> VxlanManager:
        vxlans, remotes, offload = self.parts
        self.manager = VxlanManager(self.links, vxlans=vxlans, remotes=remotes, offload=offload)
        for name in NAMES.values():
            remotes.distrust(name)
        self.manager.configure(config or Config())
        return self.manager

    def mac(self, family: Family) -> str:
        return f"66:00:00:00:0{family.value}:0{self.number}"

    def overlay(self, *families: Family, **changes: Any) -> Overlay:
        ends = tuple(
            replace(TunnelEnd(Way.VXLAN, family, self.tunnels[family], (POOLS[family],), self.mac(family)), **changes)
            for family in families or FAMILIES
        )
        return Overlay(self.name, self.uplinks[Family.V4], self.uplinks[Family.V6], ends)

    def vtep(self, family: Family) -> Vtep:
        return Vtep(self.name, family, self.tunnels[family], self.mac(family), self.uplinks[family].address)

    def apply(self) -> None:
        asyncio.run(self.manager.apply())
        asyncio.run(self.manager.retire())

    def tell(self, *others: "Machine") -> None:
        """What calc says of a cluster of these machines."""
        self.manager.on_update(OverlayUpdate(self.overlay()))
        for other in others:
            for family in FAMILIES:
                self.manager.on_update(VtepUpdate(other.name, family, other.vtep(family)))
        self.apply()

    def way_to(self, other: "Machine", family: Family) -> ClusterRoute:
        return ClusterRoute(other.blocks[family], Way.VXLAN, Owner.AGENT, other.name, other.tunnels[family])

    def lead(self, *others: "Machine") -> None:
        wanted = [self.manager.route(self.way_to(other, family)) for other in others for family in FAMILIES]
        assert None not in wanted
        assert self.routes.replace(each for each in wanted if each is not None) == ()

    def run(self, *words: str, check: bool = True) -> str:
        command = ["ip", "netns", "exec", self.space, *words]
        return subprocess.run(command, check=check, capture_output=True, text=True).stdout

    def reaches(self, other: "Machine", family: Family, *, address: Address | None = None, size: int = 56) -> bool:
        """A datagram of so many bytes, which may not be taken apart, comes from our workload to theirs, and another back."""
        with self.udp(self.workloads[family]) as here, other.udp(address or other.workloads[family]) as there:
            try:
                here.sendto(bytes(size), there.getsockname())
                received, sender = there.recvfrom(65536)
                there.sendto(received, sender)
                return here.recv(65536) == bytes(size)
            except TimeoutError:
                return False
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                return False

    def udp(self, address: Address) -> socket.socket:
        is_v4 = address.family is Family.V4
        opened = netns.in_netns(self.fd, lambda: socket.socket(socket.AF_INET if is_v4 else socket.AF_INET6, socket.SOCK_DGRAM))
        level, option = (socket.IPPROTO_IP, _IP_MTU_DISCOVER) if is_v4 else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
        opened.setsockopt(level, option, _ALWAYS)
        opened.settimeout(0.5)
        opened.bind((str(address), 0))
        return opened

    def index(self, family: Family = Family.V4) -> int:
        return self.links.get(NAMES[family]).index

    def entries(self, family: Family = Family.V4) -> set[tuple[str, str]]:
        found = json.loads(self.run("bridge", "-j", "fdb", "show", "dev", NAMES[family]))
        return {(each["mac"], each["dst"]) for each in found}

    def neighbours(self, family: Family = Family.V4) -> set[tuple[str, str]]:
        found = json.loads(self.run("ip", "-j", "neigh", "show", "dev", NAMES[family], "nud", "permanent"))
        return {(each["dst"], each["lladdr"]) for each in found}


class World:
    """Two machines and the router between them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        router = stack.enter_context(named_space("h3r"))
        self.router_fd = stack.enter_context(netns.opened(router))
        self.machines = [Machine(number, stack.enter_context(named_space("h3n")), stack=stack) for number in (1, 2)]
        for space in (router, *(each.space for each in self.machines)):
            sysctls = "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0"
            subprocess.run(["ip", "netns", "exec", space, "sysctl", "-qw", *sysctls], check=True)
        with Links(self.router_fd) as links:
            for machine in self.machines:
                port = f"to{machine.number}"
                links.create_veth(port, "up0", peer_netns=machine.fd)
                links.set_up(port)
                machine.links.set_up("up0")
                machine.links.set_up("lo")
                for family in FAMILIES:
                    uplink = machine.uplinks[family]
                    gateway = Address(family, uplink.address.value - 1)
                    links.add_address(port, Interface(gateway, uplink.length))
                    machine.links.add_address("up0", uplink)
                    machine.links.add_address("lo", Interface(machine.workloads[family], family.bits))
                    machine.run("ip", f"-{family.value}", "route", "add", "default", "via", str(gateway))

    @contextlib.contextmanager
    def captured(self) -> Iterator[list[bytes]]:
        """Frames that come from the first machine to the router, once the context has ended."""
        frames: list[bytes] = []
        with netns.in_netns(self.router_fd, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) as raw:
            raw.bind(("to1", 3))
            raw.setblocking(False)
            yield frames
            with contextlib.suppress(BlockingIOError):
                while True:
                    frames.append(raw.recv(65536))


@pytest.fixture
def world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(stack)


@pytest.fixture
def pair(world: World) -> tuple[Machine, Machine]:
    one, other = world.machines
    one.tell(other)
    other.tell(one)
    one.lead(other)
    other.lead(one)
    return one, other


def vnis(frames: list[bytes]) -> set[int]:
    """Of what is sent to UDP port 4789, over either family."""
    found = set()
    for frame in frames:
        v4 = frame[12:14] == b"\x08\x00"
        udp = 14 + (20 if v4 else 40)
        if frame[23 if v4 else 20] == 17 and int.from_bytes(frame[udp + 2 : udp + 4], "big") == 4789:
            found.add(int.from_bytes(frame[udp + 12 : udp + 15], "big"))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_what_fits_crosses_in_vxlan_and_nothing_crosses_beside_it(
    world: World, pair: tuple[Machine, Machine], family: Family
) -> None:
    one, other = pair
    headers = 28 if family is Family.V4 else 48
    room = 1500 - (50 if family is Family.V4 else 70)
    with world.captured() as frames:
        assert one.reaches(other, family)
        assert one.reaches(other, family, size=room - headers)
        assert not one.reaches(other, family, size=room - headers + 1), "the path's MTU is told"
    assert vnis(frames) == {4096}
    plain = [each for each in frames if one.workloads[family].packed in each[:54]]
    assert plain == []
    assert one.reaches(other, family, address=other.tunnels[family]), "the end itself"


def test_a_device_is_as_it_should_be_and_knows_nobody_else(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    for family in FAMILIES:
        link = one.links.get(NAMES[family])
        assert (link.up, link.mac, link.mtu) == (True, one.mac(family), 1450 if family is Family.V4 else 1430)
        addresses = [entry.interface for entry in one.links.addresses(NAMES[family]) if entry.is_global]
        assert addresses == [Interface(one.tunnels[family], family.bits)]
        assert one.entries(family) == {(other.mac(family), str(other.uplinks[family].address))}
        expected = [str(other.tunnels[family]), *(["fe80::6400:ff:fe00:602"] if family is Family.V6 else [])]
        assert one.neighbours(family) == {(address, other.mac(family)) for address in expected}
    assert one.manager.problems == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_sent_for_who_is_not_known(world: World, pair: tuple[Machine, Machine], family: Family) -> None:
    one, _ = pair
    stranger = Address(family, POOLS[family].value + 9 * 256 + 9)
    one.run("ip", f"-{family.value}", "route", "add", str(single(stranger)), "dev", NAMES[family])
    with world.captured() as frames:
        with one.udp(one.workloads[family]) as here:
            here.sendto(b"anybody?", (str(stranger), 7))
        time.sleep(0.1)
    assert vnis(frames) == set(), "no question of who has it"


def test_who_goes_is_forgotten_and_there_is_no_route_to_them(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.manager.on_update(VtepUpdate(other.name, Family.V4, None))
    one.apply()
    assert (one.entries(), one.neighbours()) == (set(), set())
    assert one.manager.route(one.way_to(other, Family.V4)) is None
    assert one.manager.route(one.way_to(other, Family.V6)) is not None
    moved = replace(one.way_to(other, Family.V6), next_hop=parse_address("fd00:65:0:9::"))
    assert one.manager.route(moved) is None, "its end has another address as yet"


def repair(machine: Machine, other: Machine, damage: str) -> None:
    """Somebody does something, and the agent hears of it, or reads back."""
    heard = True
    match damage:
        case "device deleted":
            machine.links.delete("vxlan.calico")
        case "device switched off":
            machine.links.set_down("vxlan.calico")
        case "device switched off and on":
            machine.links.set_down("vxlan.calico")
            machine.links.set_up("vxlan.calico")
        case "MAC and MTU changed":
            machine.run("ip", "link", "set", "vxlan.calico", "address", "66:00:00:00:00:99", "mtu", "1300")
        case "address changed":
            machine.run("ip", "addr", "add", "10.65.1.9/24", "dev", "vxlan.calico")
            machine.run("ip", "addr", "del", "10.65.1.0/32", "dev", "vxlan.calico")
            heard = machine.manager.addresses_changed()
        case "another device in its place":
            machine.links.delete("vxlan.calico")
            machine.run("ip", "link", "add", "vxlan.calico", "type", "vxlan", "id", "7", "dstport", "8472")
        case "something else in its place":
            machine.links.delete("vxlan.calico")
            machine.links.create_bridge("vxlan.calico")
        case "entries lost and added":
            machine.run("bridge", "fdb", "del", other.mac(Family.V4), "dev", "vxlan.calico", "dst", "192.0.2.2")
            machine.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vxlan.calico", "dst", "192.0.2.77")
            machine.run("ip", "neigh", "flush", "dev", "vxlan.calico", "nud", "permanent")
            machine.manager.invalidate()
    if "address" not in damage and "entries" not in damage:
        heard = machine.manager.links_changed({"vxlan.calico"})
    assert heard


DAMAGES = (
    "device deleted",
    "device switched off",
    "device switched off and on",
    "MAC and MTU changed",
    "address changed",
    "another device in its place",
    "something else in its place",
    "entries lost and added",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired(pair: tuple[Machine, Machine], damage: str) -> None:
    one, other = pair
    repair(one, other, damage)
    one.apply()
    one.lead(other)
    test_a_device_is_as_it_should_be_and_knows_nobody_else(pair)
    assert one.reaches(other, Family.V4)


def test_a_new_life_takes_over_what_it_finds_and_removes_what_is_not_told_of(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    before = one.index()
    one.run("bridge", "fdb", "append", "66:00:00:00:04:77", "dev", "vxlan.calico", "dst", "192.0.2.77")
    one.run("ip", "neigh", "add", "10.65.77.0", "lladdr", "66:00:00:00:04:77", "dev", "vxlan.calico")
    one.new_life()
    one.tell(other)
    test_a_device_is_as_it_should_be_and_knows_nobody_else(pair)
    assert one.index() == before, "the same device"
    one.new_life()
    one.manager.on_update(OverlayUpdate(one.overlay(Family.V6)))
    one.apply()
    assert one.links.find("vxlan.calico") is None
    assert one.links.find("vxlan-v6.calico") is not None
    assert one.manager.route(one.way_to(other, Family.V4)) is None
    one.manager.on_update(OverlayUpdate(None))
    one.apply()
    assert one.links.find("vxlan-v6.calico") is None


def test_an_end_without_an_address_makes_no_device_and_removes_none(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    before = one.index()
    one.manager.on_update(OverlayUpdate(one.overlay(address=None)))
    one.apply()
    assert one.index() == before
    assert one.manager.route(one.way_to(other, Family.V4)) is None
    one.links.delete("vxlan.calico")
    one.manager.links_changed({"vxlan.calico"})
    one.apply()
    assert one.links.find("vxlan.calico") is None


@pytest.mark.parametrize(
    ("values", "same", "expected"),
    [
        ({"VXLANMTU": "1300"}, True, (1300, 4096, 4789)),
        ({"VXLANVNI": "77"}, False, (1450, 77, 4789)),
        ({"VXLANPort": "8472"}, False, (1450, 4096, 8472)),
    ],
)
def test_configuration_changes_while_the_agent_runs(
    pair: tuple[Machine, Machine], values: dict[str, str], same: bool, expected: tuple[int, int, int]
) -> None:
    one, other = pair
    before = one.index()
    for machine, far in (pair, pair[::-1]):
        machine.manager.configure(parse(values))
        machine.apply()
        machine.lead(far)
    assert (one.index() == before) is same
    found = one.parts[0].find("vxlan.calico")
    assert found is not None
    assert (one.links.get("vxlan.calico").mtu, found.vni, found.port) == expected
    assert "mtu 1300" in one.run("ip", "route", "show", "10.65.2.0/26") or expected[0] != 1300
    assert one.reaches(other, Family.V4)


def test_an_mtu_that_does_not_fit_is_told_and_becomes_what_fits(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.manager.configure(parse({"VXLANMTU": "9000"}))
    one.apply()
    assert one.links.get("vxlan.calico").mtu == 1450
    assert "up0 has room for 1450" in one.manager.problems["vxlan.calico"]
    one.manager.configure(parse({}))
    one.apply()
    assert one.manager.problems == {}


def test_the_device_follows_the_nodes_address_to_another_uplink(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    before = one.index()
    uplink = one.uplinks[Family.V4]
    one.links.delete_address("up0", uplink)
    assert one.manager.addresses_changed()
    one.apply()
    assert one.index() == before, "kept while the address is nowhere"
    assert "no interface of this node has its address 192.0.1.2" in one.manager.problems["vxlan.calico"]
    one.links.create_veth("other0", "other1")
    one.links.add_address("other0", uplink)
    assert one.manager.addresses_changed()
    one.apply()
    found = one.parts[0].find("vxlan.calico")
    assert found is not None
    assert found.parent == one.links.get("other0").index
    assert one.entries() == {(other.mac(Family.V4), str(other.uplinks[Family.V4].address))}
    assert one.manager.problems == {}
    assert one.manager.links_changed({"other0"})
    assert not one.manager.links_changed({"cali1"})


def test_an_address_on_the_loopback_device_leaves_the_way_to_the_routes(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    anycast = parse_interface("192.0.1.77/32")
    one.links.add_address("lo", anycast)
    one.manager.on_update(OverlayUpdate(replace(one.overlay(), ipv4=anycast)))
    one.apply()
    one.lead(other)
    found = one.parts[0].find("vxlan.calico")
    assert found is not None
    assert (found.parent, found.local) == (0, anycast.address)
    other.manager.on_update(VtepUpdate("n1", Family.V4, replace(one.vtep(Family.V4), underlay=anycast.address)))
    other.apply()
    assert other.entries() == {(one.mac(Family.V4), "192.0.1.77")}


def test_a_destination_changes_to_vxlan_in_place_though_its_end_lies_inside(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    for family in FAMILIES:
        wanted = one.manager.route(one.way_to(other, family))
        assert wanted is not None
        gateway = Address(family, one.uplinks[family].address.value - 1)
        before = Route(dst=wanted.dst, via=gateway, device="up0", metric=wanted.metric, onlink=True)
        assert one.routes.replace([before]) == ()
        assert one.routes.replace([wanted]) == ()
        assert one.reaches(other, family)


def test_a_mac_of_our_own_that_no_device_can_have_is_told_and_the_device_stays(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    before = one.links.get(NAMES[Family.V4])
    one.manager.on_update(OverlayUpdate(one.overlay(Family.V4, mac="01:00:5e:00:00:01")))
    one.apply()
    assert "01:00:5e:00:00:01 is not that of one device" in one.manager.problems["vxlan.calico"]
    assert one.links.get(before.name) == before
    assert one.reaches(other, Family.V4)


def test_of_two_nodes_with_one_mac_or_address_only_the_first_is_reached(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    good = other.vtep(Family.V4)
    third = replace(good, node="n3", mac="66:00:00:00:04:03", address=parse_address("10.65.3.0"))
    wrong = {
        "n3": replace(third, mac=good.mac.upper()),
        "n4": replace(third, node="n4", address=good.address),
        "n5": replace(third, node="n5", mac=one.mac(Family.V4)),
        "n6": replace(third, node="n6", mac="00:00:00:00:00:00"),
        "n7": replace(third, node="n7", mac="nonsense"),
    }
    for node, vtep in wrong.items():
        one.manager.on_update(VtepUpdate(node, Family.V4, vtep))
    one.apply()
    assert one.entries() == {(good.mac, str(good.underlay))}
    assert {name: text.partition(":")[0] for name, text in one.manager.problems.items()}.keys() == {
        f"vxlan.calico {node}" for node in wrong
    }
    assert "of node n2: it gets nothing" in one.manager.problems["vxlan.calico n3"]
    assert "of this node" in one.manager.problems["vxlan.calico n5"]
    route = ClusterRoute(parse_prefix("10.65.3.0/26"), Way.VXLAN, Owner.AGENT, "n3", third.address)
    assert one.manager.route(route) is None
    one.manager.on_update(VtepUpdate("n2", Family.V4, None))
    one.apply()
    assert one.manager.route(route) is not None, "the MAC is free now"


def test_one_family_that_fails_does_not_stop_the_other(world: World) -> None:
    one, other = world.machines
    overlay = one.overlay()
    bad = replace(overlay.tunnels[0], mac="01:00:00:00:00:01")  # of a group: no device takes it
    one.manager.on_update(OverlayUpdate(replace(overlay, tunnels=(bad, overlay.tunnels[1]))))
    one.manager.on_update(VtepUpdate(other.name, Family.V6, other.vtep(Family.V6)))
    for _ in range(2):
        one.apply()
        assert "is not that of one device" in "; ".join(one.manager.problems.values())
    assert one.entries(Family.V6) == {(other.mac(Family.V6), str(other.uplinks[Family.V6].address))}
    assert one.manager.route(one.way_to(other, Family.V4)) is None
    one.tell(other)
    assert one.manager.route(one.way_to(other, Family.V4)) is not None


@pytest.mark.parametrize("broken", [True, False])
def test_checksums_are_filled_in_before_a_kernel_that_spoils_them(pair: tuple[Machine, Machine], broken: bool) -> None:
    one, other = pair
    one.manager.configure(parse({"FeatureDetectOverride": f"ChecksumOffloadBroken={str(broken).lower()}"}))
    one.apply()
    assert one.parts[2].transmits_checksums("vxlan.calico") is not broken
    assert one.reaches(other, Family.V4)


def test_this_kernel_is_not_thought_to_spoil_checksums(pair: tuple[Machine, Machine]) -> None:
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    assert pair[0].parts[2].transmits_checksums("vxlan.calico") is (release > (5, 7))
