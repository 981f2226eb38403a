"""A lab of two racks that know nothing of pods (n1 and n2 in one, n3 in the other), and what tests of tunnels do with it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.bgp_stage import API, eventually
from tests.lab.stage import RunningLab, is_running, tortie, unique_name

from tortie.base.net import Address, Family, parse_address
from tortie.kernel import netns
from tortie.lab.capture import Capture, Crossing
from tortie.lab.names import LabNames
from tortie.lab.stream import Count, Stream

CIDRS = {"pool-0": "10.244.0.0/16", "pool-1": "fd00:10:244::/56"}
PODS = {"default/a": "n1", "default/b": "n2", "default/c": "n3"}
MEGABYTES = 3 << 20
Ways = set[tuple[str, int | None]]
"""How packets crossed, and in which VXLAN."""


class TunnelLab(RunningLab):
    """The lab, with sockets of the test's own in its namespaces."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.names = LabNames(name)
        self._agents: list[subprocess.Popen[bytes]] = []
        report = self.lab("status", "-o", "json").ok().json()
        self.addresses = {
            (pod["name"], address.family): address for pod in report["pods"] for address in map(parse_address, pod["addresses"])
        }

    def close(self) -> None:
        for agent in self._agents:
            agent.terminate()
            agent.wait(timeout=30)

    def space(self, where: str) -> str:
        """The network namespace of a pod or node."""
        namespace, _, pod = where.partition("/")
        return self.names.pod(namespace, pod) if pod else self.names.node(where)

    def run(self, node: str, *command: str) -> str:
        words = ["nsenter", f"--net=/run/netns/{self.space(node)}", "--", *command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def apply(self, **modes: str) -> None:
        """All pools with these modes; those that are not named are Never."""
        pools = [
            {
                "apiVersion": API,
                "kind": "IPPool",
                "metadata": {"name": name},
                "spec": {"cidr": cidr, "natOutgoing": True, **_modes_for(cidr, modes)},
            }
            for name, cidr in CIDRS.items()
        ]
        self.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pools})).ok()

    def node(self, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.tortie("get", "node", name, "-o", "json").ok().json()["spec"]
        return spec

    def socket(self, where: str, family: Family, kind: int) -> socket.socket:
        number = socket.AF_INET if family is Family.V4 else socket.AF_INET6
        opened = netns.run_in_named(self.space(where), lambda: socket.socket(number, kind))
        opened.settimeout(30)
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
                there.settimeout(30)
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
        eventually(lambda: not is_running(pid), "the agent is dead")
        enter = [b"nsenter", f"--net=/run/netns/{self.space(node)}".encode(), b"--"]
        environment = dict[bytes, bytes](variables)
        self._agents.append(subprocess.Popen([*enter, *command], env=environment, stderr=subprocess.DEVNULL))
        eventually(lambda: self.status(node)["pid"] != pid and self.status(node)["ready"], "another agent is ready")


def _receive(server: socket.socket, seen: list[str]) -> None:
    accepted, peer = server.accept()
    with accepted:
        accepted.settimeout(30)
        count = 0
        while data := accepted.recv(1 << 16):
            count += len(data)
        seen.append(peer[0])
        accepted.sendall(str(count).encode())


L = TypeVar("L", bound=TunnelLab)


def _modes_for(cidr: str, modes: dict[str, str]) -> dict[str, str]:
    """IPIP is of IPv4 alone."""
    return {name: mode for name, mode in modes.items() if ":" not in cidr or name != "ipipMode"}


@contextlib.contextmanager
def tunnel_lab(folder: Path, driver: type[L], *, backend: str, **modes: str) -> Iterator[L]:
    """A lab that is up, with these modes of its pools, in the hands of its driver."""
    name = unique_name()
    path = folder / "lab.yaml"
    document = {
        "apiVersion": "tortie.io/v1",
        "kind": "Lab",
        "name": name,
        "backend": backend,
        "nodes": [{"name": "n1"}, {"name": "n2"}, {"name": "n3", "rack": 1}],
        "pools": [{"cidr": cidr, "natOutgoing": True, **_modes_for(cidr, modes)} for cidr in CIDRS.values()],
        "pods": [{"name": pod, "node": node} for pod, node in PODS.items()],
    }
    path.write_text(json.dumps(document))
    running: L | None = None
    try:
        tortie("lab", "up", "-f", str(path), timeout=90).ok()
        running = driver(name)
        yield running
    finally:
        if running is not None:
            running.close()
        tortie("lab", "down", "--name", name)


def covers(crossings: list[Crossing], *addresses: Address) -> Ways:
    """How what was sent between two of these crossed."""
    ends = set(addresses)
    return {(each.cover, each.vni) for each in crossings if {each.innermost.source, each.innermost.destination} <= ends}
