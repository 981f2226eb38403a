"""WireGuard in a lab: what is on the wire, what becomes of a node without its key, and what restarts and new keys cost.

Switching it on and off under traffic is test_modes' matter.
"""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.lab.bgp_stage import API, BgpLab, eventually
from tests.lab.stage import contents, tortie, unique_name

from tortie.base.net import parse_address
from tortie.kernel import netns, sysctl
from tortie.lab.capture import parse_frame

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PODS = {"default/a": "n1", "default/b": "n2", "default/c": "n3"}
NODES = {"n1": ("172.18.0.2/24", "fd18::2/64"), "n2": ("172.18.0.3/24", "fd18::3/64"), "n3": ("172.18.0.4/24", "fd18::4/64")}
FLOWS = (("default/a", "default/b", 4), ("default/b", "default/a", 4), ("default/b", "default/a", 6))
RATE = 500
LIMIT_SECONDS = 0.5
"""Of each flow, when a key is new or a wireguard-go dies; measured: nothing, and 0.05 s."""
REPAIR_SECONDS = 10.0
"""Of what others took from WireGuard; the refresh comes every 90 s. Measured: 0.2 s, on a busy machine."""
ON: dict[str, Any] = {"wireguardEnabled": True, "wireguardEnabledV6": True}
STRICT = {"tortie.io/wireguard-strict": "Enabled"}
DEVICES = {4: "wireguard.cali", 6: "wg-v6.cali"}


class WireguardLab(BgpLab):
    """Three nodes, a pod on each, both families encrypted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._known: dict[str, list[str]] = {}

    def subnets(self, node: str) -> tuple[str, str]:
        return NODES[node]

    def configure_felix(self, name: str = "default", *, annotations: Any = None, **spec: Any) -> None:
        """This FelixConfiguration and no other of its name."""
        document = {
            "apiVersion": API,
            "kind": "FelixConfiguration",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": spec,
        }
        self.tortie("apply", "-f", "-", stdin=json.dumps(document)).ok()

    def addresses(self, pod: str) -> list[str]:
        """Asked once."""
        if pod not in self._known:
            self._known[pod] = super().addresses(pod)
        return self._known[pod]

    def address(self, pod: str, version: int) -> str:
        return self.addresses(pod)[version == 6]

    def space(self, where: str) -> str:
        return f"tortie-{self.name}.pod.{where.replace('/', '.')}" if "/" in where else f"tortie-{self.name}.node.{where}"

    def way(self, node: str, address: str) -> str:
        """Where a packet to an address leaves a node: a device, or a word for nowhere."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.space(node)}", "--", "ip", "route", "get", address],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = re.search(r" dev (\S+)", done.stdout)
        return found[1] if found and "unreachable" not in done.stdout else "nowhere"

    def encrypts(self, *nodes: str) -> bool:
        """True if these nodes reach all pods of one another through WireGuard, in both families."""
        return all(
            self.way(node, self.address(pod, version)) == DEVICES[version]
            for node in nodes
            for pod, at in PODS.items()
            if at in nodes and at != node
            for version in (4, 6)
        )

    def ways(self) -> dict[str, Any]:
        """What `encrypts` looks at, for whoever has to find out why it is not so."""
        found: dict[str, Any] = {
            node: {self.address(pod, version): self.way(node, self.address(pod, version)) for pod in PODS for version in (4, 6)}
            for node in NODES
        }
        return found | {f"{node}'s problems": self.status(node)["problems"] for node in NODES}

    def sends(self, here: tuple[str, str], there: tuple[str, str], text: bytes, *, patience: float = 5.0) -> bool:
        """A datagram from a place's address to another's, and back; True if the answer came."""
        with self._udp(*here) as ours, self._udp(*there) as theirs:
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                try:
                    ours.sendto(text, (there[1], 4000))
                    _, sender = theirs.recvfrom(2000)
                    theirs.sendto(text, sender)
                    return ours.recv(2000) == text
                except OSError:
                    continue
        return False

    def _udp(self, where: str, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = netns.run_in_named(self.space(where), lambda: socket.socket(family, socket.SOCK_DGRAM))
        opened.bind((address, 4000))
        opened.settimeout(0.5)
        return opened

    @contextmanager
    def frames(self, *nodes: str) -> Iterator[list[bytes]]:
        """Every frame on the uplinks of these nodes, whatever it is, once the context has ended."""
        found: list[bytes] = []
        ended = threading.Event()
        threads = []
        for node in nodes:
            opened = netns.run_in_named(self.space(node), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            opened.bind(("eth0", 3))
            opened.settimeout(0.05)
            threads.append(threading.Thread(target=_listen, args=(opened, found, ended)))
        for thread in threads:
            thread.start()
        try:
            yield found
            time.sleep(0.1)
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def handshakes(self, node: str) -> dict[str, float]:
        """When there was one last, by device and node, as the status file says."""
        return {
            f"{device['device']} {peer['node']}": peer["lastHandshake"]
            for device in self.status(node)["wireguard"]["devices"]
            for peer in device["peers"]
        }

    def public_keys(self, node: str) -> tuple[str, str]:
        """What the datastore tells others."""
        status = self.tortie("get", "node", node, "-o", "json").ok().json().get("status") or {}
        return status.get("wireguardPublicKey", ""), status.get("wireguardPublicKeyV6", "")


def _listen(opened: socket.socket, found: list[bytes], ended: threading.Event) -> None:
    with opened:
        while not ended.is_set():
            try:
                found.append(opened.recv(1 << 16))
            except TimeoutError:
                continue


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireguardLab]:
    lab = WireguardLab(unique_name())
    file = tmp_path_factory.mktemp("f") / "lab.json"
    file.write_text(
        json.dumps(
            {
                "felix": ON,
                "nodes": [{"name": node} for node in NODES],
                "pools": [{"cidr": cidr, "natOutgoing": True} for cidr in ("10.244.0.0/16", "fd00:10:244::/56")],
                "pods": [{"name": pod, "node": node, "serve": ["tcp:80"]} for pod, node in PODS.items()],
            }
        )
    )
    try:
        tortie("lab", "up", "-f", str(file), "--name", lab.name).ok()
        for node in NODES:  # as many distributions have it: the kernel drops what would not go back the way it came
            netns.run_in_named(lab.space(node), lambda: sysctl.write("net/ipv4/conf/all/rp_filter", 1))
        yield lab
    finally:
        tortie("lab", "down", "--name", lab.name).ok()
        lab.reap()


@pytest.fixture
def lab(running: WireguardLab) -> WireguardLab:
    """All of it encrypts, and nothing else is asked for."""
    if "node.n2" in running.tortie("get", "felixconfigurations", "-o", "json").ok().out:
        running.tortie("delete", "felixconfiguration", "node.n2").ok()
    running.configure_felix(**ON)
    eventually(lambda: running.encrypts("n1", "n2", "n3"), running.ways)
    return running


def tells(frames: list[bytes], lab: WireguardLab, text: bytes, *pods: str) -> list[str]:
    """What frames give away: the text itself, or an address of a pod, be it in ARP."""
    marks = {text: "the text"}
    marks |= {parse_address(lab.address(pod, version)).packed: f"{pod}'s IPv{version}" for pod in pods for version in (4, 6)}
    return sorted({f"{what} in {parse_frame(frame)}" for frame in frames for mark, what in marks.items() if mark in frame})


def exchange(lab: WireguardLab, source: str, target: str, text: bytes, *, version: int) -> bool:
    return lab.sends((source, lab.address(source, version)), (target, lab.address(target, version)), text)


def test_nothing_of_pods_is_to_be_seen_on_the_wire(lab: WireguardLab) -> None:
    text = os.urandom(64)
    with lab.frames("n1", "n2") as frames:
        for version in (4, 6):
            assert exchange(lab, "default/a", "default/b", text, version=version)
            assert exchange(lab, "default/b", "default/c", text, version=version)
    assert tells(frames, lab, text, *PODS) == []
    seen = [found for found in map(parse_frame, frames) if found is not None and found.cover == "wireguard"]
    assert {found.source.family.value for found in seen} == {4, 6}


def test_hosts_speak_encrypted_where_that_is_asked_for_and_bgp_with_them(lab: WireguardLab) -> None:
    ends = [[("n1", NODES["n1"][index].partition("/")[0]), ("n2", NODES["n2"][index].partition("/")[0])] for index in (0, 1)]
    text = os.urandom(64)
    with lab.frames("n1", "n2") as frames:
        assert all(lab.sends(here, there, text) for here, there in ends)
    assert any(text in frame for frame in frames)
    lab.configure_felix(**ON, wireguardHostEncryptionEnabled=True)
    for index, version in enumerate((4, 6)):
        here, there = ends[index]
        eventually(lambda: lab.way("n1", there[1]) == lab.way("n2", here[1]) == DEVICES[version], "hosts are encrypted")  # noqa: B023
    with lab.frames("n1", "n2") as frames:
        assert all(lab.sends(here, there, text) for here, there in ends)
        for version in (4, 6):
            assert exchange(lab, "default/a", "default/b", text, version=version)
            host = ("n2", NODES["n2"][version == 6].partition("/")[0])
            assert lab.sends(("default/a", lab.address("default/a", version)), host, text)
    assert tells(frames, lab, text, *PODS) == []
    clear = {str(found) for found in map(parse_frame, frames) if found is not None and found.destination_port == 179}
    assert clear == set(), "BGP in clear"
    assert all(peer["established"] for peer in lab.peers("n1").values())


def test_a_node_that_loses_its_key_is_spoken_to_in_clear_and_with_strict_not_at_all(lab: WireguardLab) -> None:
    text = os.urandom(64)
    lab.configure_felix("node.n2", wireguardEnabled=False, wireguardEnabledV6=False)
    eventually(lambda: lab.public_keys("n2") == ("", ""), "the keys of n2 are taken away")
    eventually(
        lambda: lab.way("n1", lab.address("default/b", 4)) == lab.way("n1", lab.address("default/b", 6)) == "eth0", "clear"
    )
    with lab.frames("n1") as frames:
        assert all(exchange(lab, "default/a", "default/b", text, version=version) for version in (4, 6))
    assert tells(frames, lab, text)
    eventually(lambda: "n2 has no key" in json.dumps(lab.status("n1")["problems"]), "the status says it")

    lab.configure_felix(annotations=STRICT, **ON)
    for version in (4, 6):
        eventually(lambda: lab.way("n1", lab.address("default/b", version)) == "nowhere", "unreachable")  # noqa: B023
    with lab.frames("n1") as frames:
        for version in (4, 6):
            assert not lab.sends(
                ("default/a", lab.address("default/a", version)),
                ("default/b", lab.address("default/b", version)),
                text,
                patience=0.6,
            )
            assert exchange(lab, "default/a", "default/c", text, version=version)
    assert tells(frames, lab, text, "default/b") == []

    lab.tortie("delete", "felixconfiguration", "node.n2").ok()
    eventually(lambda: lab.encrypts("n1", "n2", "n3"), lab.ways)
    assert all(exchange(lab, "default/a", "default/b", text, version=version) for version in (4, 6))


def test_a_new_key_costs_a_moment_and_nothing_goes_in_clear_meanwhile(lab: WireguardLab) -> None:
    before = lab.public_keys("n2")
    with lab.frames("n1") as frames, lab.traffic(*FLOWS, rate=RATE) as counts:
        time.sleep(0.3)
        lab.tortie("node", "wireguard", "rotate-key", "--run-dir", str(lab.folder / "n2")).ok()
        time.sleep(0.7)
    eventually(lambda: all(lab.public_keys("n2")), "the new keys are told")
    assert not set(before) & set(lab.public_keys("n2"))
    lost = {count.name: count.lost for count in counts}
    print(f"packets lost at {RATE}/s by a new key: {lost}")
    assert max(lost.values()) < LIMIT_SECONDS * RATE, lost
    assert tells(frames, lab, os.urandom(64), *PODS) == []


def test_a_killed_agent_costs_nothing_and_the_next_one_keeps_sessions_and_corrects_a_stale_key(lab: WireguardLab) -> None:
    keys = lab.public_keys("n1")
    eventually(lambda: all(lab.handshakes("n1").values()), "every peer has shaken hands")
    before = lab.handshakes("n1")
    with lab.traffic(*FLOWS, rate=RATE) as counts:
        lab.kill_agent("n1")
        lab.start_agent("n1")
        time.sleep(0.2)
    lost = {count.name: count.lost for count in counts}
    assert lab.public_keys("n1") == keys
    after = lab.handshakes("n1")
    assert after.keys() == before.keys()
    # A session that goes on is renewed when it is two minutes old.
    assert all(after[peer] == before[peer] or after[peer] - before[peer] > 119 for peer in before), (before, after)
    assert max(lost.values()) == 0, lost

    lab.kill_agent("n1")
    lab.tortie("patch", "node", "n1", "-p", json.dumps({"status": {"wireguardPublicKey": keys[1]}})).ok()
    assert lab.public_keys("n1")[0] == keys[1]
    lab.start_agent("n1")
    eventually(lambda: lab.public_keys("n1") == keys, "the key is the device's again")


def test_a_wireguard_go_that_dies_is_replaced_under_traffic(lab: WireguardLab) -> None:
    keys = lab.public_keys("n1")
    with lab.frames("n1") as frames, lab.traffic(*FLOWS[:2], rate=RATE) as counts:
        time.sleep(0.2)
        os.kill(int((lab.folder / "n1/wireguard/wireguard.cali.pid").read_text()), signal.SIGKILL)
        time.sleep(1.0)
    lost = {count.name: count.lost for count in counts}
    print(f"packets lost at {RATE}/s by a killed wireguard-go: {lost}")
    assert lab.public_keys("n1") == keys
    assert max(lost.values()) < LIMIT_SECONDS * RATE, lost
    assert tells(frames, lab, os.urandom(64), *PODS) == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_or_a_table_that_somebody_takes_is_back_at_once_and_not_with_the_refresh(
    lab: WireguardLab, version: int
) -> None:
    target = lab.address("default/b", version)
    for what in ("rule del priority 99", f"route flush table {1 if version == 4 else 2}"):
        command = ["nsenter", f"--net=/run/netns/{lab.space('n1')}", "--", "ip", f"-{version}", *what.split()]
        subprocess.run(command, check=True)
        gone = time.monotonic()
        while lab.way("n1", target) != DEVICES[version]:
            assert time.monotonic() - gone < REPAIR_SECONDS, lab.ways()
        print(f"encrypted again after {time.monotonic() - gone:.3f} s: ip -{version} {what}")
    assert exchange(lab, "default/a", "default/b", os.urandom(64), version=version)


def test_no_private_key_is_anywhere_but_in_its_file(lab: WireguardLab) -> None:
    keys = [path for path in lab.folder.rglob("*.key") if path.parent.name == "wireguard"]
    assert len(keys) == 2 * len(NODES)
    secrets = [key.read_text().strip().encode() for key in keys]
    for path, content in contents(lab.folder):
        if path not in keys:
            assert not any(secret in content for secret in secrets), path
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process that has ended meanwhile
            arguments = path.read_bytes()
            assert not any(secret in arguments for secret in secrets), path
