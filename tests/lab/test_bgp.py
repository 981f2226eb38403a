"""BGP as its operator meets it: AS numbers, peers outside, passwords, restarts under traffic, and why a peer is down."""

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.bgp_stage import API, NODES, OUTSIDE, BgpLab, eventually, outside_router, router_in, two_nodes
from tests.lab.stage import contents, is_running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(150)]

MESH = ("Mesh_172_18_0_2", "Mesh_fd18__2"), ("Mesh_172_18_0_3", "Mesh_fd18__3")
RATE = 1000
PASSWORD = {"secretKeyRef": {"name": "fabric", "key": "password"}}
ONE_PEER = {"name": "between", "node": "n1", "peerIP": NODES["n2"], "asNumber": 64512, "password": PASSWORD}


@pytest.fixture(scope="module")
def running() -> Iterator[BgpLab]:
    with two_nodes("tq") as lab:
        yield lab


def mesh_is_up(lab: BgpLab) -> None:
    lab.configure()
    eventually(
        lambda: lab.established("n1", *MESH[1]) and lab.established("n2", *MESH[0]), lambda: (lab.peers("n1"), lab.peers("n2"))
    )
    eventually(lambda: lab.knows("n1", "default/b") and lab.knows("n2", "default/a"), "routes by the mesh")


def test_nodes_with_as_numbers_of_their_own_peer_by_external_bgp(running: BgpLab) -> None:
    peers = [
        {"name": f"to-n2-v{version}", "node": "n1", "peerIP": address, "asNumber": 65002}
        for version, address in ((4, "172.18.0.3"), (6, "fd18::3"))
    ]
    running.configure(*peers, numbers={"n1": 65001, "n2": 65002}, nodeToNodeMeshEnabled=False)
    eventually(
        lambda: (
            running.established("n1", "Node_172_18_0_3", "Node_fd18__3")
            and running.established("n2", "Node_172_18_0_2", "Node_fd18__2")
        ),
        lambda: (running.peers("n1"), running.peers("n2")),
    )
    assert running.peers("n1")["Node_172_18_0_3"]["asNumber"] == 65002
    assert running.peers("n2")["Node_172_18_0_2"]["asNumber"] == 65001
    eventually(lambda: running.knows("n1", "default/b") and running.knows("n2", "default/a"), "routes by external BGP")
    assert [item["outcome"] for item in answers(running)] == ["allowed"] * 4


def answers(lab: BgpLab) -> list[dict[str, object]]:
    ways = [("default/a", "default/b"), ("default/b", "default/a")]
    folder = lab.folder
    return lab.probe(folder, [{"from": source, "to": to, "protocol": "tcp", "port": 80} for source, to in ways])


def test_the_clusters_as_number_is_that_of_nodes_without_one(running: BgpLab, tmp_path: Path) -> None:
    """A global BGPPeer is a session on every node; the outside router accepts exactly the AS numbers that it expects."""
    peer = {"name": "rack", "peerIP": OUTSIDE, "asNumber": 64999}
    running.configure(peer, numbers={"n2": 65002}, asNumber=65010)
    name = "Global_172_18_0_1"
    with outside_router(running, tmp_path, as_number=64999, neighbours={NODES["n1"]: 65010, NODES["n2"]: 65002}) as router:
        eventually(
            lambda: running.established("n1", name, *MESH[1]) and running.established("n2", name, *MESH[0]),
            lambda: (running.peers("n1"), running.peers("n2")),
        )
        eventually(lambda: "AS65010" in router.routes() and "AS65002" in router.routes(), router.routes)
        eventually(
            lambda: "198.51.100.0/24" in running.on("node/n1", "ip", "route", "show", "proto", "bird").out, "the rack's route"
        )
        router.stop()
        eventually(lambda: bool(running.reason("n1", name)), "a reason")
        first = running.reason("n1", name)
        eventually(lambda: "refused" in running.reason("n1", name), lambda: running.reason("n1", name))
        assert "shutdown" in first.lower() or "closed" in first.lower() or "refused" in first.lower()
        router.start()
        eventually(lambda: running.established("n1", name, *MESH[1]), "the session after the router's return")
    assert running.peers("n1")[name]["description"] == "BGPPeer rack"


def test_an_as_number_claimed_towards_one_peer_is_what_that_peer_sees(running: BgpLab, tmp_path: Path) -> None:
    peer = {"name": "rack", "node": "n1", "peerIP": OUTSIDE, "asNumber": 64999, "localASNumber": 65099}
    running.configure(peer)
    with outside_router(running, tmp_path, as_number=64999, neighbours={NODES["n1"]: 65099}) as router:
        eventually(lambda: running.established("n1", "Node_172_18_0_1", *MESH[1]), lambda: running.peers("n1"))
        eventually(lambda: "AS65099" in router.routes(), router.routes)
    running.configure({**peer, "localASNumber": 65098})
    with outside_router(running, tmp_path, as_number=64999, neighbours={NODES["n1"]: 65099}):
        eventually(lambda: "AS" in running.reason("n1", "Node_172_18_0_1"), lambda: running.reason("n1", "Node_172_18_0_1"))


def test_a_gateway_to_a_peer_is_a_route(running: BgpLab) -> None:
    running.configure({"name": "far", "node": "n1", "peerIP": "192.0.2.9", "asNumber": 64999, "reachableBy": OUTSIDE})
    eventually(
        lambda: f"via {OUTSIDE}" in running.on("node/n1", "ip", "route", "show", "192.0.2.9").out,
        "a route to the peer through its gateway",
    )
    eventually(lambda: bool(running.reason("n1", "Node_192_0_2_9")), "a reason for the peer that does not exist")
    assert "192.0.2.9" not in running.on("node/n2", "ip", "route", "show", "192.0.2.9").out


def test_bound_to_its_node_address_bird_listens_nowhere_else(running: BgpLab) -> None:
    mesh_is_up(running)
    running.configure(bindMode="NodeIP")

    def listening() -> list[str]:
        return [line.split()[3] for line in running.on("node/n1", "ss", "-Hltn", "sport", "=", ":179").ok().out.splitlines()]

    eventually(lambda: sorted(listening()) == ["172.18.0.2:179", "[fd18::2]:179"], lambda: listening())
    eventually(lambda: running.established("n1", *MESH[1]), lambda: running.peers("n1"))


def test_the_right_password_lets_peers_meet_and_a_wrong_one_is_named(running: BgpLab) -> None:
    right, wrong = "correct-horse", "battery-staple"
    running.secret("n1", "fabric", "password", text=f"{right}\n")
    running.secret("n2", "fabric", "password", text=f"{wrong}\n")
    running.configure(ONE_PEER, nodeToNodeMeshEnabled=False)
    for node, name in (("n1", "Node_172_18_0_3"), ("n2", "Node_172_18_0_2")):
        eventually(
            lambda node=node, name=name: "passwords of the two ends differ" in running.reason(node, name),  # type: ignore[misc]
            lambda: (running.peers("n1"), running.peers("n2")),
        )
    running.secret("n2", "fabric", "password", text=right)
    eventually(lambda: running.established("n1", "Node_172_18_0_3"), lambda: running.peers("n1"))
    eventually(lambda: running.established("n2", "Node_172_18_0_2"), lambda: running.peers("n2"))
    nowhere_readable(running, right, wrong)


def nowhere_readable(lab: BgpLab, *passwords: str) -> None:
    """No file of the lab that others may read, no log and no status has a password."""
    folder = lab.folder
    secrets = {path for node in NODES for path in (folder / node / "state/secrets").rglob("*")}
    kept = 0
    for path, content in contents(folder):
        if path in secrets:
            continue
        for password in passwords:
            if password.encode() in content:
                assert path.name == "bird.conf", f"{path} has a password"
                assert path.stat().st_mode & 0o007 == 0, f"{path} can be read by everybody"
                kept += 1
    assert kept > 0, "BIRD's own configuration was expected to have the password"


def test_a_session_without_its_password_is_not_configured_until_the_secret_comes(running: BgpLab) -> None:
    """Calico would open an unauthenticated session; here the operator is told instead."""
    reference = {"secretKeyRef": {"name": "late", "key": "password"}}
    running.configure({**ONE_PEER, "password": reference}, nodeToNodeMeshEnabled=False)
    eventually(lambda: running.peers("n1").get("Node_172_18_0_3", {}).get("state") == "NotConfigured", "it is withheld")
    assert "secret 'late', key 'password'" in running.reason("n1", "Node_172_18_0_3")
    assert "Node_172_18_0_3" not in (running.folder / "n1/bird/bird.conf").read_text()
    for node in NODES:
        running.secret(node, "late", "password", text="arrived", mode=0o644)
    eventually(lambda: "chmod o-rwx" in running.reason("n1", "Node_172_18_0_3"), lambda: running.peers("n1"))
    for node in NODES:
        running.secret(node, "late", "password", text="arrived")
    eventually(lambda: running.established("n1", "Node_172_18_0_3"), lambda: running.peers("n1"))


def test_the_mesh_has_a_password_too(running: BgpLab) -> None:
    for node in NODES:
        running.secret(node, "mesh", "key", text="of-the-mesh")
    running.configure(nodeMeshPassword={"secretKeyRef": {"name": "mesh", "key": "key"}})
    eventually(lambda: running.established("n1", *MESH[1]), lambda: running.peers("n1"))
    assert 'password "of-the-mesh";' in (running.folder / "n1/bird/bird.conf").read_text()
    running.secret("n1", "mesh", "key", text="another")
    eventually(lambda: "passwords of the two ends differ" in running.reason("n1", MESH[1][0]), lambda: running.peers("n1"))
    assert running.status("n1")["ready"], "that a peer is down is not that the agent does not work"


def test_a_node_reports_on_itself_to_who_asks_and_as_often(running: BgpLab) -> None:
    mesh_is_up(running)
    spec = {"node": "n1", "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 1}
    document = {"apiVersion": API, "kind": "CalicoNodeStatus", "metadata": {"name": "ask-n1"}, "spec": spec}
    running.tortie("apply", "-f", "-", stdin=json.dumps(document)).ok()

    def status() -> dict[str, Any]:
        found: dict[str, Any] = running.tortie("get", "caliconodestatus", "ask-n1", "-o", "json").ok().json()
        return dict(found.get("status") or {})

    eventually(lambda: bool(status()), "no report")
    first = status()
    assert first["agent"]["birdV4"]["state"] == "Ready"
    assert (first["bgp"]["numberEstablishedV4"], first["bgp"]["numberEstablishedV6"]) == (1, 1)
    assert {peer["peerIP"]: peer["type"] for peer in first["bgp"]["peersV4"]} == {NODES["n2"]: "NodeMesh"}
    learned = [route for route in first["routes"]["routesV4"] if route["learnedFrom"].get("peerIP") == NODES["n2"]]
    assert {(route["type"], route["gateway"]) for route in learned} == {("FIB", NODES["n2"])}
    eventually(lambda: status()["lastUpdated"] != first["lastUpdated"], "the report is never renewed")
    running.configure(nodeToNodeMeshEnabled=False)
    eventually(lambda: "peersV4" not in status()["bgp"], lambda: status()["bgp"])
    running.tortie("delete", "caliconodestatus", "ask-n1").ok()


def test_bird_killed_under_traffic_comes_back_and_nothing_is_lost(running: BgpLab) -> None:
    mesh_is_up(running)
    before = running.bird_pid("n1")
    with running.traffic(("default/b", "default/a", 4), ("default/a", "default/b", 6), rate=RATE) as counts:
        time.sleep(1)
        os.kill(before, signal.SIGKILL)
        eventually(
            lambda: running.bird_pid("n1") not in (0, before) and running.established("n1", *MESH[1]),
            lambda: running.peers("n1"),
        )
        eventually(lambda: running.established("n2", *MESH[0]), lambda: running.peers("n2"))
        time.sleep(3)
    for count in counts:
        assert count.sent > 4 * RATE, count
        assert count.lost == 0, count
    assert running.knows("n1", "default/b")
    assert running.knows("n2", "default/a")


def test_an_agent_killed_under_traffic_adopts_bird_and_nothing_is_lost(running: BgpLab) -> None:
    mesh_is_up(running)
    bird = running.bird_pid("n2")
    with running.traffic(("default/a", "default/b", 4), ("default/b", "default/a", 6), rate=RATE) as counts:
        time.sleep(0.5)
        running.kill_agent("n2")
        time.sleep(1)
        running.start_agent("n2")
        eventually(lambda: running.established("n2", *MESH[0]), lambda: running.peers("n2"))
        time.sleep(2)
    assert running.bird_pid("n2") == bird
    for count in counts:
        assert count.sent > 3 * RATE, count
        assert count.lost == 0, count


def test_a_node_that_has_no_bird_any_more_ends_it_and_keeps_none_of_its_routes(running: BgpLab) -> None:
    mesh_is_up(running)
    bird = running.bird_pid("n2")
    running.kill_agent("n2")
    running.start_agent("n2", CALICO_NETWORKING_BACKEND="none")
    eventually(lambda: not is_running(bird), "BIRD is still there")
    eventually(lambda: not running.routes("n2") + running.routes("n2", version=6), lambda: running.routes("n2"))
    assert running.status("n2")["bgpPeers"] == []
    running.kill_agent("n2")
    running.start_agent("n2")
    mesh_is_up(running)


def test_a_prefix_that_a_pod_tells_its_node_is_learned_by_every_node_and_reached_through_the_pod(
    running: BgpLab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mesh_is_up(running)
    virtual = {4: "169.254.10.1", 6: "fd00:bee::1"}
    pools = [item["spec"]["cidr"] for item in running.tortie("get", "ippools", "-o", "json").ok().json()["items"]]
    networks = {net.version: net for net in map(ipaddress.ip_network, pools)}
    # A corner of the pools that no block was taken from.
    told = {4: f"{networks[4][-256]}/24", 6: f"{networks[6][-65536]}/112"}
    running.lab("pod add", "default/router", "--node", "n1", "--labels", "role=router", "--serve", "tcp:80").ok()
    try:
        own = dict(zip((4, 6), running.addresses("default/router"), strict=True))
        peer = {"name": "routers", "localWorkloadSelector": "role == 'router'", "asNumber": 65010}
        running.configure(peer, localWorkloadPeeringIPV4=virtual[4], localWorkloadPeeringIPV6=virtual[6])
        space = f"tortie-{running.name}.pod.default.router"
        inside = {version: ipaddress.ip_network(told[version])[5] for version in told}
        for address in inside.values():
            subprocess.run(["ip", "-n", space, "address", "add", str(address), "dev", "lo"], check=True)
        subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
        sessions = "".join(
            f"protocol static s{version} {{ ipv{version}; route {told[version]} blackhole; }}\n"
            f"protocol bgp node{version} {{ local {own[version]} as 65010; neighbor {virtual[version]} as 64512; multihop;"
            f" connect delay time 1; connect retry time 1; error wait time 1, 2;"
            f" ipv{version} {{ import all; export where source = RTS_STATIC; }}; }}\n"
            for version in (4, 6)
        )
        names = [f"Local_Workload_{address.replace('.', '_').replace(':', '_')}" for address in own.values()]
        config = f"router id {own[4]};\nprotocol device {{}}\n{sessions}"
        with router_in(space, tmp_path_factory.mktemp("r"), config):
            eventually(lambda: running.established("n1", *names, *MESH[1]), lambda: running.peers("n1"))
            for node in NODES:
                for version in (4, 6):
                    eventually(
                        lambda at=node, of=version: str(told[of]) in running.routes(at, version=of),  # type: ignore[misc]
                        lambda at=node, of=version: (told, running.routes(at, version=of)),  # type: ignore[misc]
                    )
            assert all(name not in running.peers("n2") for name in names)
            for address in inside.values():
                answer = subprocess.run(
                    ["nsenter", f"--net=/run/netns/tortie-{running.name}.pod.default.b", "--",
                     sys.executable, "-c", f"import socket; socket.create_connection(('{address}', 80), 15)"],
                    capture_output=True, text=True, check=False, timeout=30,
                )  # fmt: skip
                assert answer.returncode == 0, answer.stderr
        # What is not BGP to that address stays denied, and the address goes with the peering.
        refused = running.on("node/n1", "nft", "list", "chain", "inet", "tortie", "filter-cali-wl-to-host").out
        assert "169.254.10.1" in refused
        running.configure()
        eventually(lambda: virtual[4] not in running.on("node/n1", "ip", "address").out, "the address stays")
        chain = ("nft", "list", "chain", "inet", "tortie", "filter-cali-wl-to-host")
        eventually(lambda: virtual[4] not in running.on("node/n1", *chain).ok().out, "packets to it are still let in")
    finally:
        running.lab("pod rm", "default/router").ok()
