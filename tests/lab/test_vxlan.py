"""VXLAN in a lab of two racks that know nothing of pods: between racks alone, then between all nodes, in both families."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.bgp_stage import API, eventually
from tests.lab.stage import RunningLab, tortie, unique_name

from tortie.base.net import Address, Family, parse_address
from tortie.kernel import netns
from tortie.lab.capture import Capture, Crossing
from tortie.lab.names import LabNames
from tortie.lab.stream import Count, Stream

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

CIDRS = {"pool-0": "10.244.0.0/16", "pool-1": "fd00:10:244::/56"}
PODS = {"default/a": "n1", "default/b": "n2", "default/c": "n3"}
"""n1 and n2 stand in one rack, n3 in another."""
FAMILIES = (Family.V4, Family.V6)
DEVICES = {Family.V4: "vxlan.calico", Family.V6: "vxlan-v6.calico"}
MEGABYTES = 3 << 20
Ways = set[tuple[str, int | None]]
"""How packets crossed, and in which VXLAN."""
VXLAN: Ways = {("vxlan", 4096)}
PLAIN: Ways = {("plain", None)}


class VxlanLab(RunningLab):
    """The lab, with sockets of the test's own in its namespaces."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.names = LabNames(name)
        self._agents: list[subprocess.Popen[bytes]] = []
        self._mode = "CrossSubnet"
        report = self.lab("status", "-o", "json").ok().json()
        self.addresses = {
            (pod["name"], address.family): address for pod in report["pods"] for address in map(parse_address, pod["addresses"])
        }

    def close(self) -> None:
        for agent in self._agents:
            agent.terminate()
            agent.wait(timeout=20)

    def space(self, where: str) -> str:
        """The network namespace of a pod or node."""
        namespace, _, pod = where.partition("/")
        return self.names.pod(namespace, pod) if pod else self.names.node(where)

    def run(self, node: str, *command: str) -> str:
        words = ["nsenter", f"--net=/run/netns/{self.space(node)}", "--", *command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def apply(self, mode: str) -> None:
        """Both pools in this mode."""
        pools = [
            {
                "apiVersion": API,
                "kind": "IPPool",
                "metadata": {"name": name},
                "spec": {"cidr": cidr, "vxlanMode": mode, "natOutgoing": True},
            }
            for name, cidr in CIDRS.items()
        ]
        self.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pools})).ok()

    def be(self, mode: str) -> None:
        """Both pools in this mode, and every way between pods as it asks, before this returns."""
        if mode != self._mode:
            self.apply(mode)
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

    def node(self, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.tortie("get", "node", name, "-o", "json").ok().json()["spec"]
        return spec

    def socket(self, where: str, family: Family, kind: int) -> socket.socket:
        number = socket.AF_INET if family is Family.V4 else socket.AF_INET6
        opened = netns.run_in_named(self.space(where), lambda: socket.socket(number, kind))
        opened.settimeout(5)
        return opened

    def sends(self, source: str, target: str, family: Family, *, bind: str = "") -> str:
        """Some megabytes by TCP and a datagram of UDP arrive whole; returns whom the target saw."""
        address = str(self.addresses[target, family])
        with self.socket(target, family, socket.SOCK_STREAM) as server:
            server.bind((address, 7001))
            server.listen()
            seen: list[str] = []
            sender = threading.Thread(target=_receive, args=(server, seen))
            sender.start()
            with self.socket(source, family, socket.SOCK_STREAM) as client:
                if bind:
                    client.bind((bind, 0))
                client.connect((address, 7001))
                client.sendall(bytes(MEGABYTES))
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == str(MEGABYTES).encode()
            sender.join()
        with self.socket(target, family, socket.SOCK_DGRAM) as there, self.socket(source, family, socket.SOCK_DGRAM) as here:
            there.bind((address, 7002))
            if bind:
                here.bind((bind, 0))
            here.sendto(bytes(8000), (address, 7002))  # larger than any MTU
            there.settimeout(1)
            try:
                data, sender_address = there.recvfrom(9000)
            except TimeoutError:  # no router takes IPv6 apart: the first one finds out how much fits
                here.sendto(bytes(8000), (address, 7002))
                data, sender_address = there.recvfrom(9000)
            there.sendto(data[:1], sender_address)
            assert (len(data), here.recv(9)) == (8000, b"\0")
            assert sender_address[0] == seen[0]
        return seen[0]

    @contextlib.contextmanager
    def captured(self, *nodes: str) -> Iterator[list[Crossing]]:
        """What has come to the uplinks of these nodes, once the context has ended."""
        captures = [Capture(self.space(node), "eth0") for node in nodes]
        found: list[Crossing] = []
        for each in captures:
            each.start()
        try:
            yield found
        finally:
            for each in captures:
                found += each.stop()

    @contextlib.contextmanager
    def streams(self, *flows: tuple[str, str, Family]) -> Iterator[list[Count]]:
        """Counted packets; their counts, once the context has ended."""
        running = [
            Stream(
                f"{source} > {target} IPv{family.value}",
                source_netns=self.space(source), source=self.addresses[source, family],
                target_netns=self.space(target), target=self.addresses[target, family], port=80, rate=500,
            )
            for source, target, family in flows
        ]  # fmt: skip
        counts: list[Count] = []
        for stream in running:
            stream.start()
        try:
            yield counts
        finally:
            counts += [stream.stop() for stream in running]

    def replace_agent(self, node: str) -> None:
        """Kill a node's agent and start another just like it; returns when that one is ready."""
        pid = int(self.status(node)["pid"])
        proc = Path(f"/proc/{pid}")
        command = proc.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
        variables = [each.split(b"=", 1) for each in proc.joinpath("environ").read_bytes().split(b"\0") if b"=" in each]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not proc.exists() or "Z" in proc.joinpath("stat").read_text(), "the agent is dead")
        enter = [b"nsenter", f"--net=/run/netns/{self.space(node)}".encode(), b"--"]
        environment = dict[bytes, bytes](variables)
        self._agents.append(subprocess.Popen([*enter, *command], env=environment, stderr=subprocess.DEVNULL))
        eventually(lambda: self.status(node)["pid"] != pid and self.status(node)["ready"], "another agent is ready")


def _receive(server: socket.socket, seen: list[str]) -> None:
    accepted, peer = server.accept()
    with accepted:
        accepted.settimeout(5)
        count = 0
        while data := accepted.recv(1 << 16):
            count += len(data)
        seen.append(peer[0])
        accepted.sendall(str(count).encode())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VxlanLab]:
    name = unique_name()
    path = tmp_path_factory.mktemp("vxlan") / "lab.yaml"
    nodes = [{"name": "n1"}, {"name": "n2"}, {"name": "n3", "rack": 1}]
    document = {
        "apiVersion": "tortie.io/v1",
        "kind": "Lab",
        "name": name,
        "backend": "vxlan",
        "nodes": nodes,
        "pools": [{"cidr": cidr, "natOutgoing": True, "vxlanMode": "CrossSubnet"} for cidr in CIDRS.values()],
        "pods": [{"name": pod, "node": node} for pod, node in PODS.items()],
    }
    path.write_text(json.dumps(document))
    running: VxlanLab | None = None
    try:
        tortie("lab", "up", "-f", str(path), timeout=90).ok()
        running = VxlanLab(name)
        yield running
    finally:
        if running is not None:
            running.close()
        tortie("lab", "down", "--name", name)


def covers(crossings: list[Crossing], *addresses: Address) -> Ways:
    """How what was sent between two of these crossed."""
    ends = set(addresses)
    return {(each.cover, each.vni) for each in crossings if {each.innermost.source, each.innermost.destination} <= ends}


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
        programs = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids.split()}
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
    lab.apply("Never")
    fields = ("ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr")
    eventually(lambda: not any(field in lab.node(node) for node in PODS.values() for field in fields), "they are given back")
    for node in PODS.values():
        eventually(lambda: "vxlan" not in lab.run(node, "ip", "-o", "link"), "the devices are gone")  # noqa: B023
    assert "found 0 problems" in lab.tortie("ipam", "check").ok().out.lower()
    assert "tunnel" not in lab.tortie("get", "ipamhandles", "-o", "json").out
    lab.apply("Always")
    lab.be("Always")
    reach_each_other(lab, "default/a", "default/c", expected=VXLAN)
