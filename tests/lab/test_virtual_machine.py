"""A workload that is no pod: a virtual machine on a TAP device, described by a WorkloadEndpoint that somebody applied."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.lab.bgp_stage import eventually
from tests.lab.stage import RunningLab, tortie, unique_name
from tests.lab.virtual_machine import VirtualMachine, virtual_machine

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

ADDRESSES = ("10.250.0.5", "fd00:250::5")
NAME = "n1-openstack-vm--1-eth0"
API = "projectcalico.org/v3"
FAMILIES = pytest.mark.parametrize("version", [4, 6])

CLUSTER = f"""
apiVersion: {API}
kind: FelixConfiguration
metadata: {{name: default}}
spec: {{interfacePrefix: "cali,tap"}}
---
apiVersion: {API}
kind: IPPool
metadata: {{name: machines}}
spec: {{cidr: 10.250.0.0/24, disabled: true}}
---
apiVersion: {API}
kind: IPPool
metadata: {{name: machines-v6}}
spec: {{cidr: "fd00:250::/64", disabled: true}}
---
apiVersion: {API}
kind: GlobalNetworkPolicy
metadata: {{name: machines}}
spec:
  selector: role == 'machine'
  types: [Ingress, Egress]
  ingress:
  - {{action: Allow, protocol: TCP, source: {{selector: app == 'friend'}}, destination: {{ports: [80]}}}}
  egress:
  - {{action: Allow, protocol: TCP, destination: {{selector: app == 'friend', ports: [80]}}}}
"""

MACHINE = f"""
apiVersion: {API}
kind: WorkloadEndpoint
metadata: {{name: {NAME}, namespace: default, labels: {{role: machine}}}}
spec:
  node: n1
  orchestrator: openstack
  workload: vm-1
  endpoint: eth0
  interfaceName: tapvm1
  ipNetworks: [{ADDRESSES[0]}/32, "{ADDRESSES[1]}/128"]
"""

CONNECT = """
import socket, sys
target, port, source = sys.argv[1:4]
try:
    socket.create_connection((target, int(port)), timeout=1.5, source_address=(source, 0) if source else None).close()
except OSError as error:
    sys.exit(type(error).__name__)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    running = RunningLab(f"tq{unique_name()[1:]}")
    try:
        tortie("lab", "up", "--name", running.name, "--nodes", "2").ok()
        for pod, node in (("friend", "n1"), ("friend-far", "n2"), ("stranger", "n1"), ("stranger-far", "n2")):
            running.lab(
                "pod add", f"default/{pod}", "--node", node, "--labels", f"app={pod.partition('-')[0]}", "--serve", "tcp:80"
            ).ok()
        running.tortie("apply", "-f", "-", stdin=CLUSTER).ok()
        yield running
    finally:
        tortie("lab", "down", "--name", running.name).ok()


@pytest.fixture(scope="module")
def machine(lab: RunningLab) -> Iterator[VirtualMachine]:
    with virtual_machine(lab.name, "vm1", node="n1", addresses=ADDRESSES) as made:
        start(lab, made)
        yield made


def start(lab: RunningLab, machine: VirtualMachine) -> None:
    """Its servers, and its endpoint; return when the endpoint is in force on both nodes."""
    machine.serve(lab.folder / "vm.log", "tcp:80", "tcp:81")
    lab.tortie("apply", "-f", "-", stdin=MACHINE).ok()
    for version in (4, 6):
        in_force(lab, version)


def in_force(lab: RunningLab, version: int) -> None:
    address = ADDRESSES[version == 6]
    eventually(lambda: "tapvm1" in route(lab, "n1", address), lambda: (route(lab, "n1", address), lab.status("n1")))
    eventually(lambda: "proto bird" in route(lab, "n2", address), lambda: route(lab, "n2", address))


def route(lab: RunningLab, node: str, address: str) -> str:
    return lab.on(f"node/{node}", "ip", "route", "get", "fibmatch", address).out


def pod_address(lab: RunningLab, pod: str, version: int) -> str:
    found: list[dict[str, Any]] = lab.lab("status", "-o", "json").ok().json()["pods"]
    addresses: list[str] = next(item["addresses"] for item in found if item["name"] == f"default/{pod}")
    return next(address for address in addresses if (":" in address) == (version == 6))


def pod_reaches(lab: RunningLab, pod: str, version: int, port: int = 80) -> bool:
    """True if a pod's connection to the machine is made."""
    done = lab.on(f"default/{pod}", sys.executable, "-c", CONNECT, ADDRESSES[version == 6], str(port), "")
    assert done.code == 0 or "TimeoutError" in done.err, done.err
    return done.code == 0


def machine_reaches(lab: RunningLab, machine: VirtualMachine, pod: str, *, version: int, source: str = "") -> bool:
    """True if the machine's connection to a pod is made."""
    done = machine.run(sys.executable, "-c", CONNECT, pod_address(lab, pod, version), "80", source)
    assert done.returncode == 0 or "TimeoutError" in done.stderr, done.stderr
    return done.returncode == 0


@FAMILIES
def test_policy_decides_who_reaches_a_virtual_machine(lab: RunningLab, machine: VirtualMachine, version: int) -> None:
    eventually(lambda: pod_reaches(lab, "friend", version), "a friend on the same node")
    eventually(lambda: pod_reaches(lab, "friend-far", version), "a friend on the other node")
    assert not pod_reaches(lab, "stranger", version)
    assert not pod_reaches(lab, "stranger-far", version)
    assert not pod_reaches(lab, "friend", version, 81)


@FAMILIES
def test_policy_decides_whom_a_virtual_machine_reaches(lab: RunningLab, machine: VirtualMachine, version: int) -> None:
    eventually(lambda: machine_reaches(lab, machine, "friend", version=version), "a friend on the same node")
    assert machine_reaches(lab, machine, "friend-far", version=version)
    assert not machine_reaches(lab, machine, "stranger", version=version)
    assert not machine_reaches(lab, machine, "stranger-far", version=version)


@FAMILIES
def test_a_virtual_machine_cannot_speak_from_an_address_that_is_not_its_own(
    lab: RunningLab, machine: VirtualMachine, version: int
) -> None:
    false = ("10.250.0.66", "fd00:250::66")[version == 6]
    eventually(lambda: machine_reaches(lab, machine, "friend", version=version), "with its own address")
    before = spoofed(lab)
    machine.run("ip", "addr", "add", false, "dev", "eth0").check_returncode()
    try:
        assert not machine_reaches(lab, machine, "friend", version=version, source=false)
        assert machine_reaches(lab, machine, "friend", version=version, source=ADDRESSES[version == 6])
    finally:
        machine.run("ip", "addr", "del", false, "dev", "eth0").check_returncode()
    assert spoofed(lab) > before


def spoofed(lab: RunningLab) -> int:
    """Packets that the node dropped for their source."""
    chain = lab.on("node/n1", "nft", "list", "chain", "inet", "tortie", "raw-cali-rpf").ok().out
    found = re.search(r"counter packets (\d+).*source address is not the workload's", chain)
    assert found is not None, chain
    return int(found[1])


def test_a_virtual_machine_that_was_off_is_reached_again(lab: RunningLab, machine: VirtualMachine) -> None:
    machine.power_off()
    eventually(lambda: "tapvm1" not in route(lab, "n1", ADDRESSES[0]), "the route went with the TAP")
    machine.power_on()
    start(lab, machine)
    for version in (4, 6):
        eventually(lambda version=version: pod_reaches(lab, "friend-far", version), f"IPv{version}")  # type: ignore[misc]
    assert not pod_reaches(lab, "stranger", 4)


def test_without_its_endpoint_a_tap_is_closed(lab: RunningLab, machine: VirtualMachine) -> None:
    eventually(lambda: machine_reaches(lab, machine, "friend", version=4), "with the endpoint")
    lab.tortie("delete", "-f", "-", stdin=MACHINE).ok()
    try:
        eventually(lambda: "tapvm1" not in route(lab, "n1", ADDRESSES[0]), "the route went with the endpoint")
        assert not machine_reaches(lab, machine, "friend", version=4)
    finally:
        lab.tortie("apply", "-f", "-", stdin=MACHINE).ok()
        in_force(lab, 4)
        in_force(lab, 6)


def test_a_tap_without_a_configured_prefix_gets_no_route_and_is_named(lab: RunningLab, machine: VirtualMachine) -> None:
    """Without the prefix no packet of that device would ever be led to policy."""
    configuration = yaml.safe_load(CLUSTER.split("---", maxsplit=1)[0])
    configuration["spec"]["interfacePrefix"] = "cali"
    lab.tortie("apply", "-f", "-", stdin=yaml.safe_dump(configuration)).ok()
    try:
        eventually(
            lambda: "no InterfacePrefix (cali)" in str(lab.status("n1")["problems"].get(f"WorkloadEndpoint(default/{NAME})")),
            lambda: lab.status("n1")["problems"],
        )
        eventually(lambda: "tapvm1" not in route(lab, "n1", ADDRESSES[0]), "no route", seconds=60)
        assert not pod_reaches(lab, "friend", 4)
    finally:
        lab.tortie("apply", "-f", "-", stdin=CLUSTER).ok()
        in_force(lab, 4)
        in_force(lab, 6)
