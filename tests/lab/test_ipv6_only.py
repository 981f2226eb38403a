"""A cluster that has no IPv4 at all: nodes, pods, BGP, policy, masquerading; first as it is, then through VXLAN."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.dataplane_stage import open_socket, ping
from tests.lab.bgp_stage import API, BgpLab, eventually
from tests.lab.stage import tortie, unique_name

from tortie.base.net import Family
from tortie.lab.fabric import gateway

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PODS = {"shop/web": "n2", "shop/customer": "n1", "shop/thief": "n1"}
EXPECTED = {"shop/customer": "allowed", "shop/thief": "denied", "node/n2": "allowed"}
POLICY = {
    "apiVersion": API,
    "kind": "NetworkPolicy",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "selector": "app == 'web'",
        "ingress": [
            {
                "action": "Allow",
                "protocol": "TCP",
                "source": {"selector": "app == 'customer'"},
                "destination": {"ports": [80]},
            },
            {"action": "Allow", "protocol": "ICMPv6"},
        ],
    },
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BgpLab]:
    name = unique_name()
    spec = {
        "apiVersion": "tortie.io/v1",
        "kind": "Lab",
        "name": name,
        "families": [6],
        "pools": [{"cidr": "fd00:10:244::/56", "natOutgoing": True}],
        "nodes": [{"name": "n1"}, {"name": "n2"}],
        "namespaces": [{"name": "shop"}],
        "pods": [
            {"name": pod, "node": node, "labels": {"app": pod.partition("/")[2]}, "serve": ["tcp:80"]}
            for pod, node in PODS.items()
        ],
    }
    file = tmp_path_factory.mktemp("lab") / "lab.yaml"
    file.write_text(json.dumps(spec))
    made = BgpLab(name)
    try:
        tortie("lab", "up", "-f", str(file), "--name", name, timeout=90).ok()
        made.tortie("apply", "-f", "-", stdin=json.dumps(POLICY)).ok()
        yield made
    finally:
        tortie("lab", "down", "--name", name, timeout=60)


def space(lab: BgpLab, pod: str) -> str:
    """A pod's network namespace."""
    return f"tortie-{lab.name}.pod.{pod.replace('/', '.')}"


def use(lab: BgpLab, vxlan: str) -> None:
    """Go over to a mode, and wait until it is the way."""
    spec = {"cidr": "fd00:10:244::/56", "natOutgoing": True, "vxlanMode": vxlan}
    pool = {"apiVersion": API, "kind": "IPPool", "metadata": {"name": "pool-0"}, "spec": spec}
    lab.tortie("apply", "-f", "-", stdin=json.dumps(pool)).ok()
    (web,) = lab.addresses("shop/web")
    device = "vxlan-v6.calico" if vxlan == "Always" else "eth0"
    eventually(lambda: f"dev {device}" in lab.on("node/n1", "ip", "-6", "route", "get", web).out, f"{device} is the way")


def talks(lab: BgpLab, folder: Path) -> dict[str, str]:
    """Who reaches the web server, and how the nodes do."""
    sources = ["shop/customer", "shop/thief", "node/n2"]
    questions: list[dict[str, object]] = [{"from": each, "to": "shop/web", "protocol": "tcp", "port": 80} for each in sources]
    return {item["from"]: item["outcome"] for item in lab.probe(folder, questions)}


def test_pods_reach_each_other_as_policy_says_and_the_world_as_their_node(lab: BgpLab, tmp_path: Path) -> None:
    use(lab, "Never")
    eventually(lambda: lab.knows("n1", "shop/web"), "n1 has a route to the web server by BGP")
    eventually(lambda: talks(lab, tmp_path) == EXPECTED, "policy is in force everywhere")
    # The machine outside has no route to pods: what answers has been masqueraded.
    outside = str(gateway(Family.V6).address)
    assert ping(space(lab, "shop/customer"), Family.V6, outside)
    for node in ("n1", "n2"):
        assert "inet " not in lab.on(f"node/{node}", "ip", "-4", "-o", "addr", "show", "scope", "global").ok().out
        status = lab.status(node)
        assert (status["ready"], status["problems"], status["failure"]) == (True, {}, "")
        assert status["addresses"][0]["method"] == "IP=none"


def test_routers_without_ipv4_have_ids_of_their_own(lab: BgpLab) -> None:
    ids = set()
    for node in ("n1", "n2"):
        (line,) = [line for line in (lab.folder / node / "bird/bird.conf").read_text().splitlines() if "router id" in line]
        ids.add(line)
    assert len(ids) == 2
    eventually(
        lambda: all(peer["established"] for node in ("n1", "n2") for peer in lab.peers(node).values()), "BGP is established"
    )


def test_the_same_through_vxlan_with_the_smaller_mtu_for_new_pods(lab: BgpLab, tmp_path: Path) -> None:
    use(lab, "Always")
    (web,) = lab.addresses("shop/web")
    eventually(lambda: talks(lab, tmp_path) == EXPECTED, "policy is in force through VXLAN")
    assert "vxlan.calico" not in lab.on("node/n1", "ip", "-o", "link").ok().out, "there is no IPv4 to carry"
    eventually(lambda: lab.status("n1")["mtu"]["pods"] == 1430, "n1 knows what fits")
    lab.lab("pod add", "--labels", "app=customer", "--node", "n1", "shop/late").ok()
    assert "mtu 1430" in lab.on("shop/late", "ip", "link", "show", "dev", "eth0").ok().out
    # An older pod still sends what fitted before; the kernel tells it what fits now.
    assert "mtu 1500" in lab.on("shop/customer", "ip", "link", "show", "dev", "eth0").ok().out
    with open_socket(space(lab, "shop/customer"), Family.V6, socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            sender.sendto(b"x" * 1440, (web, 9))
    eventually(lambda: "mtu 1430" in lab.on("shop/customer", "ip", "-6", "route", "get", web).ok().out, "it knows what fits")


@pytest.mark.parametrize("vxlan", ["Never", "Always"])
def test_the_same_through_wireguard(lab: BgpLab, tmp_path: Path, vxlan: str) -> None:
    use(lab, vxlan)
    (web,) = lab.addresses("shop/web")

    def way() -> str:
        return lab.on("node/n1", "ip", "-6", "route", "get", web).out

    def encrypt(wanted: bool) -> None:
        spec = {"wireguardEnabledV6": wanted}
        felix = {"apiVersion": API, "kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": spec}
        lab.tortie("apply", "-f", "-", stdin=json.dumps(felix)).ok()
        eventually(lambda: ("dev wg-v6.cali" in way()) is wanted, "the way is encrypted, or not any more")

    encrypt(True)
    try:
        eventually(lambda: talks(lab, tmp_path) == EXPECTED, "policy is in force through WireGuard")
        assert "wireguard.cali" not in lab.on("node/n1", "ip", "-o", "link").ok().out, "there is no IPv4 to encrypt"
    finally:
        encrypt(False)


def test_doctor_names_the_pair_whose_way_is_too_narrow(lab: BgpLab) -> None:
    use(lab, "Always")
    eventually(lambda: [(each["name"], each["state"]) for each in pairs(lab)] == [("pairs", "ok")], "the ways are whole")
    lab.on("node/n2", "ip", "link", "set", "eth0", "mtu", "1400").ok()
    try:
        eventually(lambda: lab.status("n2")["mtu"]["pods"] == 1330, "n2 has noticed itself")
        found = pairs(lab)
        assert {(each["name"], each["state"]) for each in found} == {("pair n1 - n2", "problem")}
        (tunnel,) = [each for each in found if "vxlan of IPv6" in each["detail"]]
        assert "vxlanMTUV6: 13" in tunnel["fix"]
    finally:
        lab.on("node/n2", "ip", "link", "set", "eth0", "mtu", "1500").ok()


def pairs(lab: BgpLab) -> list[dict[str, str]]:
    """What doctor says on n1 of the ways to other nodes."""
    words = ["doctor", "--run-dir", str(lab.folder / "n1"), "--state-dir", str(lab.folder / "n1/state"), "-o", "json"]
    report = lab.on("node/n1", sys.executable, "-m", "tortie.cli.main", *words).json()
    return [check for check in report["checks"] if check["name"].startswith("pair")]
