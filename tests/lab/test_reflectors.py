"""Twelve nodes in two racks: an AS and two route reflectors in each, and between them a switch that is FRR.

The lab begins as a mesh and is moved to reflectors under traffic; what that cost is what the first test asks. In the mesh a
packet stays in its rack: the fabric learns of pods from BGP alone.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.own_time import OwnTime
from tests.lab.bgp_stage import API, BgpLab, bfd_is_fast, eventually
from tests.lab.foreign_stage import RACK_AS, Frr, frr, missing
from tests.lab.stage import tortie, unique_name

from tortie.kernel import netns
from tortie.kernel.route import Routes
from tortie.lab.stream import Count

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(150),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]

PER_RACK = 6
RACKS = {0: 65001, 1: 65002}
NODES = {f"n{number}": (number - 1) // PER_RACK for number in range(1, len(RACKS) * PER_RACK + 1)}
"""Each node's rack."""
REFLECTORS = {"n1": "10.0.0.1", "n2": "10.0.0.1", "n7": "10.0.0.2", "n8": "10.0.0.2"}
"""Each reflector's cluster."""
PODS = {"default/a": "n3", "default/b": "n4", "default/c": "n9", "default/d": "n10"}
WITHIN = (("default/a", "default/b", 4), ("default/d", "default/c", 4))
ACROSS = (("default/a", "default/c", 4), ("default/d", "default/b", 4))
RATE = 500
PROTOCOL_BIRD = 12


def address(node: str) -> str:
    return f"172.18.{NODES[node]}.{1 + int(node[1:])}"


def neighbours() -> list[str]:
    what = ("timers connect 1", "ebgp-multihop 255", "bfd 4 150 150")
    return [f"neighbor {address(node)} {each}" for node in REFLECTORS for each in (f"remote-as {RACKS[NODES[node]]}", *what)]


def lab_file() -> dict[str, Any]:
    nodes = [
        {"name": node, "rack": rack, "asNumber": RACKS[rack], "labels": {"rack": f"r{rack}"}} for node, rack in NODES.items()
    ]
    return {
        "families": [4],
        "nodes": nodes,
        "pools": [{"cidr": "10.244.0.0/16"}],
        "pods": [{"name": pod, "node": node, "serve": ["tcp:80"]} for pod, node in PODS.items()],
    }


def peers_document() -> list[dict[str, Any]]:
    """In every rack: everybody with the rack's reflectors, and those with the switch."""
    peers: dict[str, dict[str, Any]] = {}
    for rack in RACKS:
        reflector = f"role == 'reflector' && rack == 'r{rack}'"
        peers[f"reflectors-{rack}"] = {"nodeSelector": f"rack == 'r{rack}'", "peerSelector": reflector}
        peers[f"switch-{rack}"] = {"nodeSelector": reflector, "peerIP": f"172.18.{rack}.1", "asNumber": RACK_AS}
    bfd = {"annotations": {"tortie.io/bfd": "Enabled"}}
    return [
        {"apiVersion": API, "kind": "BGPPeer", "metadata": {"name": name, **(bfd if "peerIP" in spec else {})}, "spec": spec}
        for name, spec in peers.items()
    ]


def reflector_documents() -> list[dict[str, Any]]:
    found = []
    for node, cluster in REFLECTORS.items():
        rack = NODES[node]
        bgp = {"ipv4Address": f"{address(node)}/24", "asNumber": RACKS[rack], "routeReflectorClusterID": cluster}
        labels = {"rack": f"r{rack}", "role": "reflector"}
        found.append({"apiVersion": API, "kind": "Node", "metadata": {"name": node, "labels": labels}, "spec": {"bgp": bgp}})
    return found


class ReflectorLab(BgpLab):
    """Twelve nodes."""

    def apply(self, *documents: dict[str, Any]) -> None:
        self.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})).ok()

    def subnets(self, node: str) -> tuple[str, str]:
        return f"{address(node)}/24", "none"

    def sessions(self, node: str) -> dict[str, bool]:
        """A node's sessions by the other's address: is it established?"""
        return {peer["address"]: peer["established"] for peer in self.status(node)["bgpPeers"]}

    def blocks(self) -> dict[str, str]:
        """Every block and its node."""
        items = self.tortie("get", "blockaffinities", "-o", "json").ok().json()["items"]
        return {item["spec"]["cidr"]: item["spec"]["node"] for item in items}

    def learned(self, node: str) -> set[str]:
        """What a node's kernel has of its BIRD."""
        with netns.opened(f"tortie-{self.name}.node.{node}") as descriptor, Routes(netns_fd=descriptor) as routes:
            return {str(route.dst) for route in routes.list(protocol=PROTOCOL_BIRD)}

    def unknown(self, nodes: dict[str, int] = NODES) -> list[str]:
        """Who does not know the way to which block."""
        blocks = self.blocks()
        return [
            f"{node}: {block} of {owner}"
            for node in nodes
            for known in [self.learned(node)]
            for block, owner in blocks.items()
            if owner != node and block not in known
        ]


@dataclass(frozen=True, slots=True)
class Stage:
    """The lab behind its switch, and what the move to reflectors cost."""

    lab: ReflectorLab
    switch: Frr
    moved: list[Count]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    lab = ReflectorLab(unique_name())
    file = tmp_path_factory.mktemp("f") / "lab.json"
    file.write_text(json.dumps(lab_file()))
    try:
        tortie("lab", "up", "-f", str(file), "--name", lab.name, timeout=90).ok()
        with frr(lab.name, *neighbours()) as switch:
            yield Stage(lab, switch, move_to_reflectors(lab))
    finally:
        tortie("lab", "down", "--name", lab.name).ok()
        lab.reap()


def move_to_reflectors(lab: ReflectorLab) -> list[Count]:
    """First the new sessions beside the mesh, then the mesh goes: as docs/bgp.md tells operators to."""
    with lab.traffic(*WITHIN, rate=RATE) as counts:
        lab.apply(*reflector_documents(), *peers_document())
        wanted = {
            node: {address(other) for other in REFLECTORS if NODES[other] == rack and other != node}
            | ({f"172.18.{rack}.1"} if node in REFLECTORS else set())
            for node, rack in NODES.items()
        }
        eventually(
            lambda: all(all(lab.sessions(node).get(each) for each in wanted[node]) for node in NODES),
            lambda: {node: lab.sessions(node) for node in NODES},
        )
        spec = {"nodeToNodeMeshEnabled": False, "asNumber": 64512}
        lab.apply({"apiVersion": API, "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec})
        clients = [node for node in NODES if node not in REFLECTORS]
        eventually(lambda: all(set(lab.sessions(node)) == wanted[node] for node in clients), "the mesh is gone")
        eventually(lambda: not lab.unknown(), lab.unknown)
    return counts


def lost(counts: list[Count]) -> dict[str, int]:
    return {count.name: count.lost for count in counts if count.lost}


def test_a_mesh_becomes_reflectors_without_losing_a_packet(stage: Stage) -> None:
    assert all(count.sent > RATE for count in stage.moved)
    assert lost(stage.moved) == {}


def test_everybody_knows_every_block_and_only_reflectors_speak_to_the_switch(stage: Stage) -> None:
    eventually(lambda: not stage.lab.unknown(), stage.lab.unknown)
    for node, rack in NODES.items():
        mine = stage.lab.sessions(node)
        assert (f"172.18.{rack}.1" in mine) == (node in REFLECTORS)
        assert all(each.startswith(f"172.18.{rack}.") for each in mine), f"{node} speaks to another rack: {mine}"
    (there,) = [block for block, owner in stage.lab.blocks().items() if owner == "n9"]
    assert stage.switch.route(there)["aspath"]["string"] == "65002"
    with stage.lab.traffic(*ACROSS, rate=RATE) as counts:
        time.sleep(0.5)
    assert lost(counts) == {}


def test_a_reflector_that_dies_and_comes_back_costs_no_packet(stage: Stage) -> None:
    """SIGKILL of its BIRD and of its agent."""
    lab = stage.lab
    eventually(lambda: not lab.unknown(), lab.unknown)
    others = {node: rack for node, rack in NODES.items() if node != "n1"}
    with lab.traffic(*WITHIN[:1], *ACROSS, rate=RATE) as counts:
        kill(lab, "n1", agent=True)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert lab.unknown(others) == []
        lab.start_agent("n1")
        eventually(lambda: len(lab.sessions("n1")) == PER_RACK and all(lab.sessions("n1").values()), lambda: lab.sessions("n1"))
        eventually(lambda: not lab.unknown(), lab.unknown)
    assert lost(counts) == {}


def test_birds_that_die_and_are_restarted_by_their_agents_cost_no_packet(stage: Stage) -> None:
    """On a node with a pod and on a reflector, at once. The others keep its routes, the kernel keeps what it had."""
    lab, nodes = stage.lab, ("n4", "n2")
    eventually(lambda: not lab.unknown(), lab.unknown)
    old = {node: lab.bird_pid(node) for node in nodes}
    with lab.traffic(*WITHIN[:1], *ACROSS, rate=RATE) as counts:
        for node in nodes:
            kill(lab, node, agent=False)
        eventually(lambda: all(bird_of(lab, node) not in (0, old[node]) for node in nodes), "new BIRDs")
        eventually(
            lambda: all(all(lab.sessions(node).values()) for node in nodes), lambda: [lab.sessions(node) for node in nodes]
        )
        eventually(lambda: not lab.unknown(), lab.unknown)
        time.sleep(0.5)
    assert lost(counts) == {}


def test_a_rack_that_is_cut_off_is_noticed_in_the_other_within_a_second(stage: Stage) -> None:
    """By BFD between the switch and its reflectors; the others hear of it from these."""
    lab = stage.lab
    eventually(lambda: not lab.unknown(), lab.unknown)
    there = {block for block, owner in lab.blocks().items() if NODES[owner] == 1}
    eventually(lambda: bfd_is_up(lab), "BFD is up on all reflectors")
    hook = "{ type filter hook input priority -300; }"
    rules = f"add table inet cut; add chain inet cut in {hook}; add rule inet cut in ip saddr 172.18.1.0/24 drop"
    fabric = ["nsenter", f"--net=/run/netns/{stage.switch.space}", "--", "nft"]
    subprocess.run([*fabric, rules], check=True)
    taken = OwnTime(*stage.switch.pids(), *(lab.bird_pid(node) for node in ("n1", "n2", "n3")))
    try:
        noticed = taken.until(lambda: not there & lab.learned("n3"), "routes to the rack stay")
    finally:
        subprocess.run([*fabric, "delete table inet cut"], check=True)
    print(f"noticed after {noticed:.2f} s")
    assert noticed < 1.0, f"noticed after {noticed:.2f} s"
    eventually(lambda: not lab.unknown(), lab.unknown)


def bfd_is_up(lab: ReflectorLab) -> bool:
    return all(bfd_is_fast(lab.folder / node / "bird/bird.ctl") for node in REFLECTORS)


def kill(lab: ReflectorLab, node: str, *, agent: bool) -> None:
    if agent:
        lab.kill_agent(node)
    os.kill(lab.bird_pid(node), signal.SIGKILL)


def bird_of(lab: ReflectorLab, node: str) -> int:
    try:
        pid = lab.bird_pid(node)
    except (OSError, ValueError):
        return 0
    return pid if Path(f"/proc/{pid}").exists() else 0
