"""What BGP tests need around a lab: a router that is not Tortie's, agents started by hand, counted traffic, secrets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.stage import RunningLab, is_running, tortie, unique_name

from tortie.base.net import parse_address
from tortie.lab.stream import Count, Stream

NODES = {"n1": "172.18.0.2", "n2": "172.18.0.3"}
SUBNETS = {"n1": ("172.18.0.2/24", "fd18::2/64"), "n2": ("172.18.0.3/24", "fd18::3/64")}
OUTSIDE = "172.18.0.1"
API = "projectcalico.org/v3"


def bfd_is_fast(control: Path) -> bool:
    """A BIRD's sessions of BFD are up, and would notice silence well within a second: they begin with a packet a second."""
    shown = subprocess.run(
        ["birdc", "-s", str(control), "show", "bfd", "sessions"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    found = [line.split()[-2:] for line in shown.splitlines() if " Up " in line]
    return bool(found) and all(float(interval) < 0.4 and float(patience) < 1.0 for interval, patience in found)


def eventually(condition: Callable[[], bool], what: Callable[[], object] | str, *, seconds: float = 40.0) -> None:
    """Fail with `what` unless `condition` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)


class BgpLab(RunningLab):
    """A lab of two nodes whose BGP is set as a whole by each test."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._agents: list[subprocess.Popen[bytes]] = []

    def configure(self, *peers: dict[str, Any], numbers: dict[str, int] | None = None, **settings: Any) -> None:
        """Exactly these BGPPeers (`name` beside the fields of spec), AS numbers of nodes, and fields of BGPConfiguration."""
        for item in self.tortie("get", "bgppeers", "-o", "json").ok().json().get("items", []):
            self.tortie("delete", "bgppeer", item["metadata"]["name"]).ok()
        documents: list[dict[str, Any]] = [
            {"apiVersion": API, "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": settings}
        ]
        documents += [
            {
                "apiVersion": API,
                "kind": "BGPPeer",
                "metadata": {"name": peer["name"]},
                "spec": {field: value for field, value in peer.items() if field != "name"},
            }
            for peer in peers
        ]
        for name, (ipv4, ipv6) in SUBNETS.items():
            bgp: dict[str, Any] = {"ipv4Address": ipv4, "ipv6Address": ipv6}
            if name in (numbers or {}):
                bgp["asNumber"] = (numbers or {})[name]
            documents.append({"apiVersion": API, "kind": "Node", "metadata": {"name": name}, "spec": {"bgp": bgp}})
        self.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})).ok()

    def peers(self, node: str) -> dict[str, dict[str, Any]]:
        """The sessions of a node by name, as `tortie lab status -o json` shows them."""
        report = self.lab("status", "-o", "json").ok().json()
        found = next(item["agent"] for item in report["nodes"] if item["name"] == node)
        return {peer["name"]: peer for peer in found["bgpPeers"]}

    def established(self, node: str, *names: str) -> bool:
        """True if these are the node's sessions, all of them and no others, and all are established."""
        peers = self.peers(node)
        return set(peers) == set(names) and all(peer["established"] for peer in peers.values())

    def reason(self, node: str, name: str) -> str:
        """Why a session is down; "" while it is up or not known."""
        return str(self.peers(node).get(name, {}).get("reason", ""))

    def secret(self, node: str, name: str, key: str, *, text: str, mode: int = 0o600) -> Path:
        """Write a secret where the node's agent looks for it."""
        path = self.folder / node / "state/secrets" / name / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def bird_pid(self, node: str) -> int:
        """The process id of a node's BIRD; 0 while one that starts has not written it."""
        text = (self.folder / node / "bird/bird.pid").read_text()
        return int(text) if text.endswith("\n") else 0

    def kill_agent(self, node: str) -> None:
        """SIGKILL; it is dead, and holds no lock any more, when this returns."""
        pid = int(self.status(node)["pid"])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), f"the agent of {node} is dead")

    def addresses(self, pod: str) -> list[str]:
        """A pod's addresses, IPv4 first."""
        report = self.lab("status", "-o", "json").ok().json()
        found: list[str] = next(item["addresses"] for item in report["pods"] if item["name"] == pod)
        return sorted(found, key=lambda text: ":" in text)

    def knows(self, node: str, pod: str) -> bool:
        """True if a node has routes by BGP (protocol 12) for both addresses of a pod elsewhere."""
        return all(
            "proto bird" in self.on(f"node/{node}", "ip", "route", "get", "fibmatch", address).out
            for address in self.addresses(pod)
        )

    @contextmanager
    def traffic(self, *ways: tuple[str, str, int], rate: int) -> Iterator[list[Count]]:
        """Streams (from, to, IP version); the list has their counts afterwards."""
        streams = [self._stream(source, target, version, rate=rate) for source, target, version in ways]
        counts: list[Count] = []
        for stream in streams:
            stream.start()
        try:
            yield counts
        finally:
            counts += [stream.stop() for stream in streams]

    def _stream(self, source: str, target: str, version: int, *, rate: int) -> Stream:
        here, there = (parse_address(self.addresses(pod)[version == 6]) for pod in (source, target))
        spaces = [f"tortie-{self.name}.pod.{pod.replace('/', '.')}" for pod in (source, target)]
        return Stream(
            f"{source} > {target} IPv{version}",
            source_netns=spaces[0], source=here, target_netns=spaces[1], target=there, port=80, rate=rate,
        )  # fmt: skip

    def subnets(self, node: str) -> tuple[str, str]:
        """IP and IP6 of a node's agent."""
        return SUBNETS[node]

    def routes(self, node: str, *, version: int = 4) -> str:
        """What BIRD has put into a node's kernel."""
        return self.on(f"node/{node}", "ip", f"-{version}", "route", "show", "proto", "bird").out

    def start_agent(self, node: str, **environment: str) -> None:
        """A new agent for a node whose own one is gone; it is there until `lab down`, and ready when this returns."""
        run_dir = self.folder / node
        (run_dir / "status.json").unlink(missing_ok=True)
        ipv4, ipv6 = self.subnets(node)
        with (run_dir / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    "nsenter", f"--net=/run/netns/tortie-{self.name}.node.{node}", "--",
                    sys.executable, "-m", "tortie.cli.main", "agent", "--node", node,
                    "--run-dir", str(run_dir), "--state-dir", str(run_dir / "state"),
                ],
                env={**os.environ, **self.environment, "IP": ipv4, "IP6": ipv6, **environment},
                stderr=log,
            )  # fmt: skip
        self._agents.append(process)
        eventually(
            lambda: (run_dir / "status.json").exists() and bool(self.status(node)["ready"]),
            lambda: f"agent of {node} is ready:\n{(run_dir / 'agent.log').read_text()[-3000:]}",
        )

    def reap(self) -> None:
        """Collect the agents that `start_agent` made, after `lab down`."""
        for process in self._agents:
            process.wait(30)


@contextmanager
def two_nodes(prefix: str) -> Iterator[BgpLab]:
    """A lab that is up, with a pod on each node: `default/a` on n1, `default/b` on n2."""
    lab = BgpLab(f"{prefix}{unique_name()[1:]}")
    try:
        tortie("lab", "up", "--name", lab.name, "--nodes", "2").ok()
        lab.lab("pod add", "default/a", "--node", "n1", "--serve", "tcp:80").ok()
        lab.lab("pod add", "default/b", "--node", "n2", "--serve", "tcp:80").ok()
        yield lab
    finally:
        tortie("lab", "down", "--name", lab.name).ok()
        lab.reap()


@contextmanager
def router_in(space: str, folder: Path, config: str) -> Iterator[None]:
    """A BIRD in a network namespace with this configuration: a workload that speaks BGP."""
    program = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    path = folder / "router.conf"
    path.write_text(config)
    files = ["-c", str(path), "-s", str(folder / "router.ctl"), "-P", str(folder / "router.pid")]
    with (folder / "router.log").open("ab") as log:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{space}", "--", program, "-f", *files], stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def outside_router(lab: RunningLab, folder: Path, *, as_number: int, neighbours: dict[str, int]) -> Iterator["OutsideRouter"]:
    """A BIRD in the fabric's namespace: a top-of-rack router that Tortie does not configure."""
    router = OutsideRouter(lab, folder, as_number=as_number, neighbours=neighbours)
    try:
        router.start()
        yield router
    finally:
        router.stop()


class OutsideRouter:
    """Peers with `neighbours` (address to AS number) over IPv4, and offers 198.51.100.0/24."""

    def __init__(self, lab: RunningLab, folder: Path, *, as_number: int, neighbours: dict[str, int]) -> None:
        self._space = f"tortie-{lab.name}.fabric"
        self._config = folder / "outside.conf"
        self._socket = folder / "outside.ctl"
        self._process: subprocess.Popen[bytes] | None = None
        protocols = "\n".join(
            f"protocol bgp p{index} {{ local {OUTSIDE} as {as_number}; neighbor {address} as {number}; connect delay time 1;"
            " connect retry time 2; error wait time 1, 2; graceful restart off; ipv4 { import all; export all; }; }"
            for index, (address, number) in enumerate(neighbours.items())
        )
        self._config.write_text(
            f"router id {OUTSIDE};\nprotocol device {{}}\n"
            f"protocol static {{ ipv4; route 198.51.100.0/24 blackhole; }}\n{protocols}\n"
        )

    def start(self) -> None:
        """Run until `stop`."""
        program = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        enter = ["nsenter", f"--net=/run/netns/{self._space}", "--"]
        self._process = subprocess.Popen(
            [
                *enter,
                program,
                "-f",
                "-c",
                str(self._config),
                "-s",
                str(self._socket),
                "-P",
                str(self._config.with_suffix(".pid")),
            ],
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """SIGTERM: BIRD says goodbye to its neighbours. Stopping twice is fine."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def routes(self) -> str:
        """What it has learned."""
        done = subprocess.run(
            ["birdc", "-s", str(self._socket), "show", "route", "all"], capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout
