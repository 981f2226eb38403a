"""IPIP in a lab of two racks, by whichever the kernel has: between racks alone, then between all nodes. IPv4 alone has it."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bgp_stage import eventually
from tests.lab.tunnel_stage import PODS, TunnelLab, Ways, covers, tunnel_lab

from tortie.base.net import Family, parse_address
from tortie.kernel import netns
from tortie.kernel.bpf.hooks import Hooks
from tortie.kernel.bpf.tunnel import NAME
from tortie.lab.fabric import bridge

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]
IPIP: Ways = {("ipip", None)}
PLAIN: Ways = {("plain", None)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TunnelLab]:
    with tunnel_lab(tmp_path_factory.mktemp("ipip"), TunnelLab, backend="bird", ipipMode="CrossSubnet") as running:
        yield running


@pytest.fixture
def lab(running: TunnelLab) -> TunnelLab:
    """As at first: IPIP between racks alone."""
    if not leads(running, "tunl0", "default/a", "default/c"):
        running.apply(ipipMode="CrossSubnet")
    eventually(lambda: leads(running, "tunl0", "default/a", "default/c"), "the racks are joined")
    eventually(lambda: leads(running, "eth0", "default/a", "default/b"), "neighbours are joined")
    return running


def leads(lab: TunnelLab, device: str, *pods: str) -> bool:
    """Both ways between two pods' nodes go by this device."""
    return all(
        f"dev {device} " in lab.run(PODS[source], "ip", "route", "get", str(lab.addresses[target, Family.V4]))
        for source, target in (pods, pods[::-1])
    )


def reach_each_other(lab: TunnelLab, one: str, other: str, *, expected: Ways) -> None:
    """Megabytes by TCP and large datagrams, both ways, and that is how each packet crosses."""
    with lab.captured(PODS[one], PODS[other]) as crossings:
        for source, target in ((one, other), (other, one)):
            seen = parse_address(lab.sends(source, target, Family.V4))
            assert seen == lab.addresses[source, Family.V4], "as it is"
    assert covers(crossings, lab.addresses[one, Family.V4], lab.addresses[other, Family.V4]) == expected


def test_between_racks_everything_crosses_in_ipip_and_within_a_rack_nothing(lab: TunnelLab) -> None:
    reach_each_other(lab, "default/a", "default/c", expected=IPIP)
    reach_each_other(lab, "default/a", "default/b", expected=PLAIN)


def test_who_carries_it_is_told(lab: TunnelLab) -> None:
    kernel = "ipip" in lab.run("n1", "ip", "-d", "link", "show", "tunl0").split()
    for node in PODS.values():
        status = lab.status(node)
        assert status["ipip"] == {"carrier": "kernel" if kernel else "ebpf", "problem": ""}
        assert status["problems"] == {}


def test_what_a_node_itself_sends_comes_from_its_tunnels_address(lab: TunnelLab) -> None:
    tunnel = str(lab.node("n1")["bgp"]["ipv4IPIPTunnelAddr"])
    with lab.captured("n1", "n3") as crossings:
        assert lab.sends("n1", "default/c", Family.V4) == tunnel
    assert covers(crossings, parse_address(tunnel), lab.addresses["default/c", Family.V4]) == IPIP


def test_a_killed_agent_loses_no_packet_and_neither_does_its_successor(lab: TunnelLab) -> None:
    flows = [("default/a", "default/c", Family.V4), ("default/c", "default/a", Family.V4)]
    before = arriving_by(lab, "n1")
    with lab.streams(*flows) as counts:
        lab.replace_agent("n1")
        if before:
            eventually(lambda: arriving_by(lab, "n1") not in (0, before), "the new agent's programs are in force")
    for count in counts:
        assert count.sent > 100, count
        assert count.lost == 0, count
    reach_each_other(lab, "default/a", "default/c", expected=IPIP)


def test_where_the_network_takes_less_than_the_uplinks_everything_crosses_all_the_same(lab: TunnelLab) -> None:
    """The fabric says so to the nodes, which tell those who sent too much."""
    fabric = lab.names.fabric
    *way, _, _ = subprocess.run(
        ["ip", "-n", fabric, "-o", "route", "show", "dev", bridge(1)], capture_output=True, text=True, check=True
    ).stdout.split()
    words = ["ip", "-n", fabric, "route", "replace", *way, "dev", bridge(1)]
    subprocess.run([*words, "mtu", "1400"], check=True)
    try:
        reach_each_other(lab, "default/a", "default/c", expected=IPIP)
        if arriving_by(lab, "n1"):
            assert " mtu 1380 " in lab.run("n1", "ip", "route", "get", str(lab.addresses["default/c", Family.V4])) + " "
    finally:
        subprocess.run(words, check=True)


def test_policy_holds_for_what_comes_through_it(lab: TunnelLab, tmp_path: Path) -> None:
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "default"},
        "spec": {"selector": "projectcalico.org/orchestrator == 'k8s'", "types": ["Ingress"], "ingress": []},
    }
    asked = [{"from": "default/a", "to": "default/c", "protocol": "tcp", "port": 80}]
    lab.tortie("apply", "-f", "-", stdin=json.dumps(policy)).ok()
    eventually(lambda: lab.probe(tmp_path, asked)[0]["outcome"] == "denied", "the policy is in force")
    lab.tortie("delete", "networkpolicy", "closed", "-n", "default").ok()
    eventually(lambda: lab.probe(tmp_path, asked)[0]["outcome"] in ("allowed", "refused"), "the policy is gone")


def test_a_device_that_somebody_deletes_is_back_with_its_routes(lab: TunnelLab) -> None:
    subprocess.run(["ip", "-n", lab.space("n3"), "link", "del", "tunl0"], check=False)  # the kernel's own cannot be deleted
    eventually(lambda: leads(lab, "tunl0", "default/a", "default/c"), "the route is back")
    reach_each_other(lab, "default/c", "default/a", expected=IPIP)


def test_with_always_neighbours_use_it_too_and_then_nobody_does(lab: TunnelLab) -> None:
    with lab.streams(("default/a", "default/b", Family.V4), ("default/b", "default/a", Family.V4)) as counts:
        lab.apply(ipipMode="Always")
        eventually(lambda: leads(lab, "tunl0", "default/a", "default/b"), "all nodes use IPIP")
    assert [count.lost for count in counts] == [0, 0]
    reach_each_other(lab, "default/a", "default/b", expected=IPIP)
    lab.apply(ipipMode="Never")
    for node in PODS.values():
        eventually(lambda: is_clean(lab, node), f"nothing is left on {node}")  # noqa: B023
    eventually(lambda: "ipv4IPIPTunnelAddr" not in lab.node("n1")["bgp"], "its tunnel's address is given back")


def arriving_by(lab: TunnelLab, node: str) -> int:
    """The number of our program at a node's uplink; 0 where the kernel's own device carries."""
    with netns.opened(lab.space(node)) as fd, contextlib.closing(Hooks(fd)) as hooks:
        return next(iter(hooks.get("eth0", "ingress", name=NAME).values()), 0)


def is_clean(lab: TunnelLab, node: str) -> bool:
    """No address, route, program or device of IPIP; the kernel's own device stays, switched off."""
    link = lab.run(node, "ip", "-o", "link")
    shown = [line for line in link.splitlines() if "tunl0" in line]
    return (
        not any("UP" in line or "ether" in line for line in shown)
        and "tunl0" not in lab.run(node, "ip", "-o", "addr")
        and "tunl0" not in lab.run(node, "ip", "route")
        and "clsact" not in lab.run(node, "tc", "qdisc")
        and not arriving_by(lab, node)
    )
