"""VXLAN devices, whom they send to, and their checksum offload: made as asked, read back as `ip` sees them."""

import asyncio
import itertools
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.spaces import named_space

from tortie.base.net import Address, Family, parse_address
from tortie.kernel import netns
from tortie.kernel.errors import AlreadyExists, NotFound
from tortie.kernel.ethtool import Offload, checksum_offload_is_broken
from tortie.kernel.link import Links
from tortie.kernel.remotes import EVERYBODY, EntryMonitor, Remote, Remotes
from tortie.kernel.vxlan import Vxlan, Vxlans

pytestmark = pytest.mark.kernel
MAC = "66:00:00:00:00:01"


class Ground:
    """A namespace with an uplink."""

    def __init__(self, name: str, fd: int) -> None:
        self.name, self.fd = name, fd
        self.links, self.vxlans, self.remotes = Links(fd), Vxlans(fd), Remotes(fd)
        self.uplink = self.links.create_veth("up0", "up1").index

    def device(self, local: str = "192.0.2.1", **changes: Any) -> Vxlan:
        wanted: dict[str, Any] = {"vni": 4096, "port": 4789, "local": parse_address(local), "parent": self.uplink}
        return Vxlan(**wanted | changes)

    def run(self, *words: str) -> str:
        done = subprocess.run(["ip", "netns", "exec", self.name, *words], check=True, capture_output=True, text=True)
        return done.stdout

    def details(self, device: str) -> dict[str, Any]:
        (found,) = json.loads(self.run("ip", "-d", "-j", "link", "show", device))
        return dict(found)


@pytest.fixture
def ground() -> Iterator[Ground]:
    with named_space("h3vx") as name, netns.opened(name) as fd:
        made = Ground(name, fd)
        yield made
        made.links.close()
        made.vxlans.close()
        made.remotes.close()


@pytest.mark.parametrize("local", ["192.0.2.1", "2001:db8::1"])
def test_a_device_is_made_as_asked_and_read_back_so(ground: Ground, local: str) -> None:
    wanted = ground.device(local)
    ground.vxlans.create("vxlan.calico", wanted, mac=MAC, mtu=1430)
    assert ground.vxlans.find("vxlan.calico") == wanted
    seen = ground.details("vxlan.calico")
    data = seen["linkinfo"]["info_data"]
    assert (seen["mtu"], seen["address"], data["link"], data["id"], data["port"]) == (1430, MAC, "up0", 4096, 4789)
    assert data["learning"] is False
    assert local in (data.get("local"), data.get("local6"))
    assert not data.keys() & {"group", "group6", "remote", "remote6"}
    with pytest.raises(AlreadyExists, match=r"create vxlan vxlan\.calico"):
        ground.vxlans.create("vxlan.calico", wanted, mac=MAC, mtu=1430)


def test_what_somebody_else_made_is_told_from_ours(ground: Ground) -> None:
    ground.run("ip", "link", "add", "vxlan.calico", "type", "vxlan", "id", "7", "dstport", "8472", "group", "239.0.0.1", "dev",
               "up0", "gbp", "l2miss")  # fmt: skip
    found = ground.vxlans.find("vxlan.calico")
    assert found is not None
    assert (found.vni, found.port, found.local, found.group) == (7, 8472, None, parse_address("239.0.0.1"))
    assert found.extras == {"learning", "gbp", "l2miss"}
    assert ground.vxlans.find("up0") is None, "of another kind"
    assert ground.vxlans.find("none") is None
    with pytest.raises(NotFound):
        ground.vxlans.create("vxlan2", ground.device(parent=999), mac=MAC, mtu=1400)


def remotes(family: Family, count: int, *, underlay: str = "192.0.2.0") -> list[Remote]:
    inside = parse_address("10.65.0.0" if family is Family.V4 else "fd00:65::")
    outside = parse_address(underlay)
    return [
        Remote(
            Address(inside.family, inside.value + number),
            (0x660000000000 + number).to_bytes(6, "big").hex(":"),
            Address(outside.family, outside.value + number),
        )
        for number in range(1, count + 1)
    ]


def told(ground: Ground) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Forwarding entries and permanent neighbours, as the tools list them."""
    entries = json.loads(ground.run("bridge", "-j", "fdb", "show", "dev", "vxlan.calico"))
    neighbours = json.loads(ground.run("ip", "-j", "neigh", "show", "dev", "vxlan.calico", "nud", "permanent"))
    return {(each["mac"], each["dst"]) for each in entries}, {(each["dst"], each["lladdr"]) for each in neighbours}


def expected(wanted: list[Remote]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    return {(each.mac, str(each.underlay)) for each in wanted}, {(str(each.address), each.mac) for each in wanted}


def up(ground: Ground, local: str = "192.0.2.1") -> None:
    ground.vxlans.create("vxlan.calico", ground.device(local), mac=MAC, mtu=1400)
    ground.links.set_up("vxlan.calico")


@pytest.mark.parametrize(("family", "local", "underlay"), [(4, "192.0.2.1", "192.0.2.0"), (6, "2001:db8::1", "2001:db8::")])
def test_a_device_knows_exactly_the_remotes_that_are_wanted(ground: Ground, family: int, local: str, underlay: str) -> None:
    up(ground, local)
    first = remotes(Family(family), 900, underlay=underlay)
    asyncio.run(ground.remotes.apply("vxlan.calico", first))
    assert told(ground) == expected(first)
    moved = [*first[10:500], *[Remote(each.address, each.mac, first[-1].underlay) for each in first[500:600]]]
    asyncio.run(ground.remotes.apply("vxlan.calico", moved))
    assert told(ground) == expected(moved)
    asyncio.run(ground.remotes.apply("vxlan.calico", []))
    assert told(ground) == (set(), set())


def test_what_others_did_is_undone_after_distrust_by_whoever_comes(ground: Ground) -> None:
    up(ground)
    wanted = remotes(Family.V4, 3)
    asyncio.run(ground.remotes.apply("vxlan.calico", wanted))
    bridge = ("bridge", "fdb", "append"), ("bridge", "fdb", "del"), ("bridge", "fdb", "replace")
    ground.run(*bridge[0], EVERYBODY, "dev", "vxlan.calico", "dst", "192.0.2.77")
    ground.run(*bridge[0], EVERYBODY, "dev", "vxlan.calico", "dst", "192.0.2.78")
    ground.run(*bridge[1], wanted[0].mac, "dev", "vxlan.calico", "dst", "192.0.2.1")
    ground.run(*bridge[2], wanted[1].mac, "dev", "vxlan.calico", "dst", "192.0.2.99")
    ground.run(*bridge[2], wanted[2].mac, "dev", "vxlan.calico", "dst", "192.0.2.3", "port", "99")
    ground.run("ip", "neigh", "replace", "10.65.0.1", "lladdr", "66:00:00:00:00:09", "dev", "vxlan.calico")
    ground.run("ip", "neigh", "del", "10.65.0.2", "dev", "vxlan.calico")
    ground.run("ip", "neigh", "add", "10.65.0.9", "lladdr", MAC, "dev", "vxlan.calico")
    later = Remotes(ground.fd)  # another life
    asyncio.run(later.apply("vxlan.calico", wanted))
    later.close()
    assert told(ground) == expected(wanted)
    assert "99" not in ground.run("bridge", "fdb", "show", "dev", "vxlan.calico"), "on the port of the device"


@pytest.mark.parametrize(
    ("command", "tells"),
    [
        ("bridge fdb del 66:00:00:00:00:01 dev vxlan.calico dst 192.0.2.1", True),
        ("bridge fdb append 00:00:00:00:00:00 dev vxlan.calico dst 192.0.2.9", True),
        ("bridge fdb replace 66:00:00:00:00:02 dev vxlan.calico dst 192.0.2.9", True),
        ("ip neigh del 10.65.0.1 dev vxlan.calico", True),
        ("ip neigh replace 10.65.0.2 lladdr 66:00:00:00:00:09 dev vxlan.calico nud permanent", True),
        ("ip neigh add 10.65.0.9 lladdr 66:00:00:00:00:01 dev vxlan.calico nud permanent", True),
        ("ip neigh replace 10.65.0.2 lladdr 66:00:00:00:00:02 dev vxlan.calico nud reachable", True),
        ("ip neigh add 10.65.0.9 lladdr 66:00:00:00:00:01 dev vxlan.calico nud reachable", False),
        ("ip neigh add 10.65.0.1 lladdr 66:00:00:00:00:07 dev up0 nud permanent", False),
        ("bridge fdb append 00:00:00:00:00:00 dev other dst 192.0.2.9", False),
    ],
)
def test_what_others_change_is_noticed_and_what_we_do_is_not(ground: Ground, command: str, tells: bool) -> None:
    up(ground)
    ground.links.set_up("up0")
    ground.run("ip", "link", "add", "other", "type", "vxlan", "id", "9", "dstport", "4790")
    monitor = EntryMonitor(ground.fd)

    def noticed() -> bool:
        return any(ground.remotes.contradicts("vxlan.calico", change) for change in monitor.read())

    for wanted in (remotes(Family.V4, 5), remotes(Family.V4, 4, underlay="192.0.3.0"), remotes(Family.V4, 3)):
        asyncio.run(ground.remotes.apply("vxlan.calico", wanted))
        assert not noticed(), "our own doing"
    ground.run(*command.split())
    assert noticed() is tells
    ground.remotes.distrust("vxlan.calico")
    assert not noticed()
    monitor.close()


def test_what_cannot_be_is_told_and_the_rest_is_done(ground: Ground) -> None:
    up(ground)
    good = remotes(Family.V4, 2)
    bad = Remote(parse_address("10.65.0.7"), "66:00:00:00:00:07", parse_address("2001:db8::7"))  # IPv6 from an IPv4 device
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(ground.remotes.apply("vxlan.calico", [*good, bad]))
    assert "66:00:00:00:00:07 to 2001:db8::7 of vxlan.calico" in str(caught.value.exceptions[0])
    assert expected(good)[0] <= told(ground)[0]
    with pytest.raises(ExceptionGroup, match="absent"):
        asyncio.run(ground.remotes.apply("absent", good))


def test_checksum_offload_is_read_and_switched(ground: Ground) -> None:
    up(ground)
    offload = Offload(ground.fd)
    assert offload.transmits_checksums("vxlan.calico")
    for on in (False, False, True):
        offload.set_transmits_checksums("vxlan.calico", on)
        assert offload.transmits_checksums("vxlan.calico") is on
    with pytest.raises(NotFound, match="none"):
        offload.transmits_checksums("none")
    offload.close()


def test_which_kernels_spoil_checksums() -> None:
    broken = dict(itertools.product(["4.19.0-27-amd64", "5.4.0", "5.7.19"], [True]))
    fine = dict(itertools.product(["5.8.0", "5.10.0-32-amd64", "6.1", "unreadable"], [False]))
    assert {release: checksum_offload_is_broken(release) for release in broken | fine} == broken | fine
