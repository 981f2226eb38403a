"""VXLAN in a lab of two racks that know nothing of pods: between racks alone, then between all nodes, in both families."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bgp_stage import eventually
from tests.lab.tunnel_stage import PODS, TunnelLab, Ways, covers, tunnel_lab

from tortie.base.net import Family, parse_address

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

FAMILIES = (Family.V4, Family.V6)
DEVICES = {Family.V4: "vxlan.calico", Family.V6: "vxlan-v6.calico"}
VXLAN: Ways = {("vxlan", 4096)}
PLAIN: Ways = {("plain", None)}


class VxlanLab(TunnelLab):
    """The lab, which remembers its mode."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._mode = "CrossSubnet"

    def be(self, mode: str) -> None:
        """Both pools in this mode, and every way between pods as it asks, before this returns."""
        if mode != self._mode:
            self.apply(vxlanMode=mode)
            self._mode = mode
        eventually(lambda: self.leads("default/a", "default/c", "tunnel"), "the racks use VXLAN")
        within = "tunnel" if mode == "Always" else "eth0"
        eventually(lambda: self.leads("default/a", "default/b", within), f"{within} is used within the rack")

    def leads(self, one: str, other: str, device: str) -> bool:
        """Whether this device leads from one to the other and back, in both families."""
        return all(
            f"dev {DEVICES[family] if device == 'tunnel' else device} "
            in self.run(PODS[source], "ip", f"-{family.value}", "route", "get", str(self.addresses[target, family]))
            for source, target in ((one, other), (other, one))
            for family in FAMILIES
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VxlanLab]:
    with tunnel_lab(tmp_path_factory.mktemp("vxlan"), VxlanLab, backend="vxlan", vxlanMode="CrossSubnet") as running:
        yield running


def reach_each_other(lab: VxlanLab, one: str, other: str, *, expected: Ways) -> None:
    """Both ways in both families, and that is how it crosses."""
    for family in FAMILIES:
        with lab.captured(PODS[one], PODS[other]) as crossings:
            for source, target in ((one, other), (other, one)):
                assert parse_address(lab.sends(source, target, family)) == lab.addresses[source, family], "as it is"
        assert covers(crossings, lab.addresses[one, family], lab.addresses[other, family]) == expected


def test_between_racks_everything_crosses_in_vxlan_and_within_a_rack_nothing(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    reach_each_other(lab, "default/a", "default/c", expected=VXLAN)
    reach_each_other(lab, "default/a", "default/b", expected=PLAIN)


def test_there_is_no_bird_and_every_node_knows_the_others_ends_alone(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    for node in PODS.values():
        pids = subprocess.run(["ip", "netns", "pids", lab.space(node)], capture_output=True, text=True, check=True).stdout
        programs = set()
        for pid in pids.split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                programs.add(Path(f"/proc/{pid}/comm").read_text().strip())
        assert "bird" not in programs, programs
        for device in DEVICES.values():
            entries = json.loads(lab.run(node, "bridge", "-j", "fdb", "show", "dev", device))
            assert len(entries) == 2
            assert {each["mac"][:2] for each in entries} == {"66"}, "no entry for everybody, and Calico's MACs"
        assert lab.status(node)["problems"] == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_node_itself_sends_has_the_tunnels_address_whatever_it_was_bound_to(lab: VxlanLab, family: Family) -> None:
    lab.be("CrossSubnet")
    bgp = lab.node("n1")["bgp"]
    own = str(bgp["ipv4Address" if family is Family.V4 else "ipv6Address"]).partition("/")[0]
    tunnel = str(lab.node("n1")["ipv4VXLANTunnelAddr" if family is Family.V4 else "ipv6VXLANTunnelAddr"])
    target = lab.addresses["default/c", family]
    with lab.captured("n1", "n3") as crossings:
        for bind in ("", own):
            assert lab.sends("n1", "default/c", family, bind=bind) == tunnel
    assert covers(crossings, parse_address(tunnel), target) == VXLAN
    assert covers(crossings, parse_address(own), target) == set()
    assert lab.sends("n1", "default/b", family) == own, "the neighbour is reached without a tunnel"


def test_a_killed_agent_loses_no_packet_and_the_next_one_takes_over_what_is_there(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    before = {device: lab.run("n1", "ip", "-o", "link", "show", device) for device in DEVICES.values()}
    specs = {node: lab.node(node) for node in PODS.values()}
    flows = [
        ("default/a", "default/c", Family.V4),
        ("default/c", "default/a", Family.V6),
        ("default/c", "default/a", Family.V4),
    ]
    with lab.streams(*flows) as counts:
        lab.replace_agent("n1")
    for count in counts:
        assert count.sent > 300, count
        assert count.lost == 0, count
    assert {device: lab.run("n1", "ip", "-o", "link", "show", device) for device in DEVICES.values()} == before
    assert {node: lab.node(node) for node in PODS.values()} == specs


def test_a_device_that_somebody_deletes_is_back_with_its_routes(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    lab.run("n3", "ip", "link", "del", "vxlan.calico")

    lab.be("CrossSubnet")
    reach_each_other(lab, "default/c", "default/a", expected=VXLAN)


def test_what_somebody_teaches_a_device_or_makes_it_forget_is_undone_at_once(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    for device in DEVICES.values():

        def known() -> list[str]:
            entries = lab.run("n3", "bridge", "fdb", "show", "dev", device)  # noqa: B023
            neighbours = lab.run("n3", "ip", "neigh", "show", "dev", device, "nud", "permanent")  # noqa: B023
            return sorted([*entries.splitlines(), *neighbours.splitlines()])

        before = known()
        outer = "192.0.2.1" if device == "vxlan.calico" else "2001:db8::1"
        lab.run("n3", "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", device, "dst", outer)
        mac = next(line for line in before if line.startswith("66:")).split()[0]
        lab.run("n3", "bridge", "fdb", "del", mac, "dev", device)
        lab.run("n3", "ip", "neigh", "flush", "dev", device, "nud", "permanent")
        eventually(lambda: known() == before, "its entries are back")  # noqa: B023


def test_with_always_neighbours_use_it_too_and_no_pod_notices_the_change(lab: VxlanLab) -> None:
    lab.be("CrossSubnet")
    specs = {node: lab.node(node) for node in PODS.values()}
    with lab.streams(("default/a", "default/b", Family.V4), ("default/b", "default/a", Family.V6)) as counts:
        lab.be("Always")
    assert [count.lost for count in counts] == [0, 0]
    reach_each_other(lab, "default/a", "default/b", expected=VXLAN)
    reach_each_other(lab, "default/a", "default/c", expected=VXLAN)
    assert {node: lab.node(node) for node in PODS.values()} == specs, "the same tunnel addresses"


def test_ipam_knows_whose_the_tunnel_addresses_are_and_gets_them_back(lab: VxlanLab) -> None:
    lab.be("Always")
    checked = lab.tortie("ipam", "check")
    assert "found 0 problems" in checked.ok().out.lower(), checked.out
    lab.apply(vxlanMode="Never")
    fields = ("ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr")
    eventually(lambda: not any(field in lab.node(node) for node in PODS.values() for field in fields), "they are given back")
    for node in PODS.values():
        eventually(lambda: "vxlan" not in lab.run(node, "ip", "-o", "link"), "the devices are gone")  # noqa: B023
    assert "found 0 problems" in lab.tortie("ipam", "check").ok().out.lower()
    assert "tunnel" not in lab.tortie("get", "ipamhandles", "-o", "json").out
    lab.apply(vxlanMode="Always")
    lab.be("Always")
    reach_each_other(lab, "default/a", "default/c", expected=VXLAN)
