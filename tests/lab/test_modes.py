"""Modes are changed on a running lab, under traffic, as a user does it: by editing pools and FelixConfiguration.

Two questions of each change: how many packets did it cost, and is there anything left of the mode before.
"""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.lab.bgp_stage import API, BgpLab, eventually
from tests.lab.stage import tortie, unique_name

from tortie.kernel import netns
from tortie.kernel.bpf.syscalls import chain
from tortie.kernel.errors import Invalid
from tortie.lab.stream import Count

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

RATE = 1000
TCX = (46, 47)
"""BPF_TCX_INGRESS and BPF_TCX_EGRESS."""
LIMIT = 50
"""Packets lost of each flow by a change: 50 ms at RATE."""
PODS = {"default/a": "n1", "default/b": "n2", "default/c": "n3"}
FLOWS = (("default/a", "default/b", 4), ("default/b", "default/a", 4), ("default/c", "default/a", 6))
POOLS = {4: "pool-0", 6: "pool-1"}
CIDRS = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}
OURS = ("vxlan.calico", "vxlan-v6.calico", "tunl0", "wireguard.cali", "wg-v6.cali")
TUNNELS = {
    "none": (),
    "vxlan": ("vxlan.calico", "vxlan-v6.calico"),
    "ipip": ("tunl0",),
    "wireguard": ("wireguard.cali", "wg-v6.cali"),
}
"""The devices of each mode."""


class ModeLab(BgpLab):
    """A lab whose pools and FelixConfiguration are edited."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._known: dict[str, list[str]] = {}

    def apply(self, *documents: dict[str, Any]) -> None:
        self.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})).ok()

    def pool(self, version: int, **modes: str) -> dict[str, Any]:
        spec = {"cidr": CIDRS[version], "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True, **modes}
        return {"apiVersion": API, "kind": "IPPool", "metadata": {"name": POOLS[version]}, "spec": spec}

    def felix(self, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": API, "kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": spec}

    def switch_to(self, mode: str) -> None:
        """What a user writes."""
        if mode == "vxlan":
            self.apply(self.pool(4, vxlanMode="Always"), self.pool(6, vxlanMode="Always"))
        elif mode == "ipip":
            self.apply(self.pool(4, ipipMode="Always"), self.pool(6))
        elif mode == "wireguard":
            self.apply(self.felix(wireguardEnabled=True, wireguardEnabledV6=True))
        else:
            self.apply(self.pool(4), self.pool(6), self.felix())

    def is_in(self, mode: str) -> str:
        """What is not yet as it is in a mode; "" when all is."""
        for node in PODS.values():
            links = self.run(node, "ip", "-o", "link")
            present = {name for name in OURS if f": {name}" in links}
            addresses = {name for name in present if self.run(node, "ip", "-o", "addr", "show", "dev", name, "scope", "global")}
            if missing := set(TUNNELS[mode]) - addresses:
                return f"{node} has no {missing} with an address"
            if extra := (addresses if present <= {"tunl0", *addresses} else present) - set(TUNNELS[mode]):
                return f"{node} still has {extra}"
            for version, device in ((4, device_of(mode, 4)), (6, device_of(mode, 6))):
                for pod, at in PODS.items():
                    if at == node:
                        continue
                    address = self.addresses_of[pod][version == 6]
                    way = self.run(node, "ip", f"-{version}", "route", "get", address)
                    if f"dev {device} " not in way:
                        return f"{node} reaches {address} by {way}, not by {device}"
        return ""

    def run(self, node: str, *command: str) -> str:
        """A command on a node, without the lab's command line around it."""
        space = f"/run/netns/tortie-{self.name}.node.{node}"
        return subprocess.run(["nsenter", f"--net={space}", "--", *command], capture_output=True, text=True, check=False).stdout

    def processes(self, node: str) -> str:
        """The programs that run on a node, a line each."""
        pids = subprocess.run(
            ["ip", "netns", "pids", f"tortie-{self.name}.node.{node}"], capture_output=True, text=True, check=True
        ).stdout.split()
        found = []
        for pid in pids:
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        return "\n".join(sorted(found))

    def tcx(self, node: str) -> str:
        """How many programs hang where `tc` does not look, a line for each side of the uplink."""

        def counts() -> str:
            device = socket.if_nametoindex("eth0")
            return "".join(f"{len(chain(device, hook, action='list TCX').programs)} at {hook}\n" for hook in TCX)

        try:
            return netns.run_in_named(f"tortie-{self.name}.node.{node}", counts)
        except Invalid:  # before Linux 6.6
            return ""

    @property
    def addresses_of(self) -> dict[str, list[str]]:
        """Of every pod, IPv4 first; asked once."""
        if not self._known:
            report = self.lab("status", "-o", "json").ok().json()
            self._known = {pod["name"]: sorted(pod["addresses"], key=lambda text: ":" in text) for pod in report["pods"]}
        return self._known

    def everything(self, node: str) -> dict[str, list[str]]:
        """What a mode might leave on a node: whatever is the same before and after has left nothing."""
        pins = Path("/sys/fs/bpf/tortie") / node
        texts = {
            "links": self.run(node, "ip", "-o", "-d", "link"),
            "addresses": self.run(node, "ip", "-o", "addr"),
            "rules": self.run(node, "ip", "rule") + self.run(node, "ip", "-6", "rule"),
            "routes": self.run(node, "ip", "route", "show", "table", "all")
            + self.run(node, "ip", "-6", "route", "show", "table", "all"),
            "fdb": self.run(node, "bridge", "fdb"),
            "neighbours": self.run(node, "ip", "neigh", "show", "nud", "permanent"),
            "programs": self.run(node, "tc", "qdisc")
            + "".join(self.run(node, "tc", "filter", "show", "dev", "eth0", hook) for hook in ("ingress", "egress"))
            + self.tcx(node),
            "nft": self.run(node, "nft", "-s", "list", "ruleset"),
            "processes": self.processes(node),
            "pins": "\n".join(sorted(str(path) for path in pins.rglob("*"))) if pins.is_dir() else "",
        }
        return {what: sorted({_timeless(line) for line in text.splitlines()} - {""}) for what, text in texts.items()}


def _timeless(line: str) -> str:
    """A line without what time alone changes."""
    return re.sub(
        r"(expires|valid_lft|preferred_lft|age|refcnt|users?) \S+|handle \d+|counter packets \d+ bytes \d+", "", line
    ).strip()


def device_of(mode: str, version: int) -> str:
    """Where a packet to another node's pod leaves."""
    if mode == "ipip":
        return "tunl0" if version == 4 else "eth0"
    names = TUNNELS[mode]
    return names[version == 6] if names else "eth0"


@contextmanager
def running_lab(folder: Path, *, nodes: list[dict[str, Any]], pools: list[dict[str, Any]]) -> Iterator[ModeLab]:
    """A pod on each node."""
    lab = ModeLab(unique_name())
    file = folder / "lab.json"
    pods = [
        {"name": pod, "node": nodes[index]["name"], "serve": ["tcp:80"]} for index, pod in enumerate(PODS) if index < len(nodes)
    ]
    file.write_text(json.dumps({"nodes": nodes, "pools": pools, "pods": pods}))
    try:
        tortie("lab", "up", "-f", str(file), "--name", lab.name).ok()
        yield lab
    finally:
        tortie("lab", "down", "--name", lab.name).ok()
        lab.reap()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModeLab]:
    """Three nodes of one rack, so that each mode carries the traffic, and none may be missed."""
    nodes = [{"name": node} for node in PODS.values()]
    pools = [{"cidr": CIDRS[version], "natOutgoing": True} for version in (4, 6)]
    with running_lab(tmp_path_factory.mktemp("f"), nodes=nodes, pools=pools) as lab:
        yield lab


def change(lab: ModeLab, mode: str) -> list[Count]:
    """Switch under traffic; the counts when all is as it is in the new mode."""
    with lab.traffic(*FLOWS, rate=RATE) as counts:
        time.sleep(0.3)
        lab.switch_to(mode)
        eventually(lambda: not lab.is_in(mode), lambda: lab.is_in(mode), seconds=20)
        time.sleep(0.3)
    return counts


@pytest.mark.parametrize("way", [("vxlan", "ipip", "none"), ("wireguard", "none")], ids=" > ".join)
def test_a_change_of_mode_costs_little_and_leaves_nothing(running: ModeLab, way: tuple[str, ...]) -> None:
    eventually(lambda: not running.is_in("none"), lambda: running.is_in("none"))
    before = {node: running.everything(node) for node in PODS.values()}
    lost: dict[str, dict[str, int]] = {}
    old = "none"
    for mode in way:
        counts = change(running, mode)
        assert all(count.sent > RATE / 2 for count in counts)
        lost[f"{old} > {mode}"] = {count.name: count.lost for count in counts}
        old = mode
    print(f"packets lost at {RATE}/s: {lost}")
    eventually(lambda: not differences(running, before), lambda: differences(running, before), seconds=10)
    assert {what: flows for what, flows in lost.items() if max(flows.values()) > LIMIT} == {}


def differences(lab: ModeLab, before: dict[str, dict[str, list[str]]]) -> list[str]:
    """What nodes have more or less than before, in words."""
    return [
        f"{node}: {what}: {sign} {line}"
        for node, was in before.items()
        for now in [lab.everything(node)]
        for what in was
        for sign, lines in _changes(was[what], now[what])
        for line in lines
    ]


def _changes(old: list[str], new: list[str]) -> list[tuple[str, list[str]]]:
    return [("new", sorted(set(new) - set(old))), ("gone", sorted(set(old) - set(new)))]


def test_between_racks_one_tunnel_follows_the_other_without_a_gap(tmp_path: Path) -> None:
    """The fabric loses what goes without a tunnel, and while a node has no address in the new one there is none for it."""
    nodes: list[dict[str, Any]] = [{"name": "n1"}, {"name": "n2", "rack": 1}]
    pools = [{"cidr": cidr, "vxlanMode": "Always"} for cidr in CIDRS.values()]
    with running_lab(tmp_path, nodes=nodes, pools=pools) as lab:
        with lab.traffic(("default/a", "default/b", 4), ("default/b", "default/a", 4), rate=RATE) as counts:
            time.sleep(0.3)
            lab.apply(lab.pool(4, ipipMode="Always"))
            eventually(lambda: all("dev tunl0 " in way for way in ways_between(lab)), lambda: ways_between(lab), seconds=20)
            time.sleep(0.3)
        lost = {count.name: count.lost for count in counts}
        print(f"packets lost at {RATE}/s between racks: {lost}")
        assert max(lost.values()) <= LIMIT, lost


def ways_between(lab: ModeLab) -> list[str]:
    """How each of the two nodes reaches the other's pod."""
    pods = {"n1": "default/b", "n2": "default/a"}
    return [lab.run(node, "ip", "-4", "route", "get", lab.addresses_of[pod][0]) for node, pod in pods.items()]
