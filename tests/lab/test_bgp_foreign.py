"""BGP with daemons that are not BIRD: a rack's switch played by FRR and by GoBGP, and what they see on the wire."""

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.own_time import OwnTime
from tests.lab.bgp_stage import API, NODES, OUTSIDE, BgpLab, bfd_is_fast, eventually, two_nodes
from tests.lab.foreign_stage import RACK_AS, Frr, communities, frr, gobgp, missing

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(150),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]

PEER = "Global_172_18_0_1"
TOR = {"name": "tor", "peerIP": OUTSIDE, "asNumber": RACK_AS}
RACKS = {"n1": 65001, "n2": 65002}
NEIGHBOURS = [
    line
    for node, number in RACKS.items()
    for line in (f"neighbor {NODES[node]} remote-as {number}", f"neighbor {NODES[node]} timers connect 2")
]


@pytest.fixture(scope="module")
def running() -> Iterator[BgpLab]:
    with two_nodes("l1") as lab:
        yield lab


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for sockets in it."""
    return tmp_path_factory.mktemp("f")


def apply(lab: BgpLab, *documents: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    lab.tortie("apply", "-f", "-", stdin=text).ok()


def racks(lab: BgpLab, **more: Any) -> None:
    """Every node in an AS of its own, no mesh: what they know of each other they know from the switch."""
    lab.configure({**TOR, **more}, numbers=RACKS, nodeToNodeMeshEnabled=False)


def block(lab: BgpLab, pod: str) -> str:
    """The block that a pod's IPv4 address lies in, as its node advertises it."""
    address = ipaddress.ip_address(lab.addresses(pod)[0])
    items = lab.tortie("get", "blockaffinities", "-o", "json").ok().json()["items"]
    return next(str(item["spec"]["cidr"]) for item in items if address in ipaddress.ip_network(item["spec"]["cidr"]))


def both_up(lab: BgpLab) -> None:
    eventually(lambda: lab.established("n1", PEER) and lab.established("n2", PEER), lambda: (lab.peers("n1"), lab.peers("n2")))


def test_racks_with_an_as_each_reach_one_another_through_frr(running: BgpLab) -> None:
    racks(running)
    with frr(running.name, *NEIGHBOURS) as switch:
        both_up(running)
        there = block(running, "default/b")
        eventually(lambda: bool(switch.route(there)), "FRR does not hear of n2's block")
        assert switch.route(there)["aspath"]["string"] == "65002"
        eventually(
            lambda: there in running.on("node/n1", "ip", "route", "show", "proto", "bird").out, "n1 does not hear of n2's block"
        )
        answers = running.probe(running.folder, [{"from": "default/a", "to": "default/b", "protocol": "tcp", "port": 80}])
        assert [answer["outcome"] for answer in answers if answer["family"] == 4] == ["allowed"], answers
        routes = running.on("node/n1", "ip", "route", "show", "proto", "bird").out
        assert "198.51.100.0/24" in routes


def test_communities_and_filters_are_on_the_wire_as_written(running: BgpLab) -> None:
    here = block(running, "default/a")
    pools = running.tortie("get", "ippools", "-o", "json").ok().json()["items"]
    (cidr,) = [item["spec"]["cidr"] for item in pools if ":" not in item["spec"]["cidr"]]
    rules = {
        "importV4": [{"action": "Reject", "matchOperator": "Equal", "cidr": "198.51.100.0/24", "peerType": "eBGP"}],
        "exportV4": [
            {
                "action": "Accept",
                "matchOperator": "Equal",
                "cidr": here,
                "operations": [{"addCommunity": {"value": "65000:5:6"}}, {"prependASPath": {"prefix": [65100, 65101]}}],
            },
            {"action": "Reject", "matchOperator": "In", "cidr": cidr, "prefixLength": {"min": 32}},
        ],
    }
    apply(running, {"apiVersion": API, "kind": "BGPFilter", "metadata": {"name": "edge.rack"}, "spec": rules})
    with frr(running.name, *NEIGHBOURS) as switch:
        running.configure(
            TOR,
            numbers=RACKS,
            nodeToNodeMeshEnabled=False,
            communities=[{"name": "gold", "value": "65000:7"}],
            prefixAdvertisements=[{"cidr": cidr, "communities": ["gold", "65000:8"]}],
        )
        both_up(running)
        eventually(lambda: communities(switch.route(here)) == {"65000:7", "65000:8"}, lambda: switch.route(here))
        racks(running, filters=["edge.rack"])
        eventually(lambda: communities(switch.route(here)) == {"65000:5:6"}, lambda: switch.route(here))
        assert switch.route(here)["aspath"]["string"] == "65001 65100 65101"
        eventually(
            lambda: "198.51.100.0/24" not in running.on("node/n1", "ip", "route", "show", "proto", "bird").out,
            "the filter lets the rack's route in",
        )
        running.tortie("delete", "bgpfilter", "edge.rack").ok()
        eventually(lambda: running.peers("n1").get(PEER, {}).get("state") == "NotConfigured", lambda: running.peers("n1"))
        assert "there is no BGPFilter 'edge.rack'" in running.reason("n1", PEER)


def service(policy: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7"],
            "externalIPs": ["203.0.113.9"],
            "externalTrafficPolicy": policy,
            "ports": [{"port": 80}],
        },
    }


def endpoints(node: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.5"], "nodeName": node, "conditions": {"ready": True}}],
        "ports": [{"port": 80}],
    }


def hops(switch: Frr, prefix: str) -> set[str]:
    paths = switch.ask(f"show bgp ipv4 unicast {prefix} json")
    if paths.get("prefix") != prefix:
        return set()
    return {hop["ip"] for path in paths["paths"] for hop in path["nexthops"]}


def test_service_addresses_follow_their_endpoints(running: BgpLab) -> None:
    apply(running, service("Local"), endpoints("n1"))
    running.configure(
        TOR,
        numbers=RACKS,
        nodeToNodeMeshEnabled=False,
        serviceClusterIPs=[{"cidr": "10.96.0.0/16"}],
        serviceExternalIPs=[{"cidr": "203.0.113.0/24"}],
    )
    every = set(NODES.values())
    with frr(running.name, *NEIGHBOURS) as switch:
        both_up(running)
        eventually(lambda: hops(switch, "10.96.0.0/16") == every, lambda: hops(switch, "10.96.0.0/16"))
        for address in ("203.0.113.9/32", "10.96.0.7/32"):
            eventually(lambda at=address: hops(switch, at) == {NODES["n1"]}, lambda at=address: hops(switch, at))  # type: ignore[misc]
        apply(running, endpoints("n2"))
        eventually(lambda: hops(switch, "203.0.113.9/32") == {NODES["n2"]}, lambda: hops(switch, "203.0.113.9/32"))
        apply(running, service("Cluster"))
        eventually(lambda: hops(switch, "203.0.113.9/32") == set(), lambda: hops(switch, "203.0.113.9/32"))
        assert hops(switch, "203.0.113.0/24") == every
        for node in NODES:
            routes = running.on(f"node/{node}", "ip", "route").out
            assert "10.96." not in routes
            assert "203.0.113." not in routes


def test_what_is_wrong_with_a_switch_is_said_by_name(running: BgpLab) -> None:
    racks(running)
    wrong = [f"neighbor {NODES['n1']} remote-as 65123", f"neighbor {NODES['n1']} timers connect 2"]
    with frr(running.name, *wrong) as switch:
        eventually(lambda: "Bad peer AS" in running.reason("n1", PEER), lambda: running.reason("n1", PEER))
        bgp = f"router bgp {RACK_AS}"
        node = NODES["n1"]
        switch.configure(bgp, f"no neighbor {node}", f"neighbor {node} remote-as 65001", f"neighbor {node} password guess")
        eventually(lambda: "signed TCP segments arrive" in running.reason("n1", PEER), lambda: running.reason("n1", PEER))
        switch.configure(bgp, f"no neighbor {node} password")
        eventually(lambda: running.peers("n1").get(PEER, {}).get("established", False), lambda: running.peers("n1"), seconds=60)
        racks(running, ttlSecurity=1)
        eventually(lambda: "ttlSecurity" in running.reason("n1", PEER), lambda: running.reason("n1", PEER))
    # The other end is started anew: a connection that was half open is not seen to close, its packets being too far away.
    with frr(
        running.name,
        f"neighbor {node} remote-as 65001",
        f"neighbor {node} timers connect 2",
        f"neighbor {node} ttl-security hops 1",
    ):
        racks(running, ttlSecurity=1, keepaliveTime="3s")
        eventually(lambda: running.peers("n1").get(PEER, {}).get("established", False), lambda: running.peers("n1"), seconds=60)


def test_with_bfd_a_dead_path_is_noticed_within_a_second(running: BgpLab) -> None:
    lines = [line for node in NODES.values() for line in (f"neighbor {node} ebgp-multihop 255", f"neighbor {node} bfd")]
    racks(running)
    peer = {"apiVersion": API, "kind": "BGPPeer", "metadata": {"name": "tor", "annotations": {"tortie.io/bfd": "Enabled"}}}
    apply(running, {**peer, "spec": {"peerIP": OUTSIDE, "asNumber": RACK_AS}})
    with frr(running.name, *NEIGHBOURS, *lines) as switch:
        both_up(running)
        eventually(lambda: bfd_is_fast(running.folder / "n1/bird/bird.ctl"), "BFD is up")
        routes = ("ip", "-n", f"tortie-{running.name}.node.n1", "route", "show", "198.51.100.0/24")
        eventually(lambda: b"198.51.100" in subprocess.check_output(routes), "the rack's route")
        hook = "{ type filter hook input priority -300; }"
        rules = f"add table inet l1; add chain inet l1 in {hook}; add rule inet l1 in ip saddr {NODES['n1']} drop"
        inside = ["nsenter", f"--net=/run/netns/{switch.space}", "--", "nft"]
        subprocess.run([*inside, rules], check=True)
        taken = OwnTime(running.bird_pid("n1"), *switch.pids())
        try:
            noticed = taken.until(lambda: not subprocess.check_output(routes), "the route through a dead path stays")
        finally:
            subprocess.run([*inside, "delete table inet l1"], check=True)
        assert noticed < 1.0, f"noticed after {noticed:.2f} s"
        both_up(running)


def test_gobgp_is_a_switch_too(running: BgpLab, folder: Path) -> None:
    racks(running)
    with gobgp(running.name, folder, neighbours={NODES[node]: number for node, number in RACKS.items()}) as switch:
        both_up(running)
        there = block(running, "default/b")
        eventually(lambda: there in (switch.ask("global", "rib") or {}), lambda: switch.ask("global", "rib"))
        switch.announce("192.0.2.0/24", "community", "65000:77")
        for node in NODES:
            eventually(
                lambda at=node: "192.0.2.0/24" in running.on(f"node/{at}", "ip", "route", "show", "proto", "bird").out,  # type: ignore[misc]
                f"{node} does not hear of GoBGP's route",
            )
        eventually(
            lambda: there in running.on("node/n1", "ip", "route", "show", "proto", "bird").out, "n1 does not hear of n2's block"
        )
