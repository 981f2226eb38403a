"""Packets between two nodes, in each mode: throughput, round trips and connections with 0 and 100 policies.

Beside each mode stands the same made by hand, with no Tortie and no rule: two namespaces for nodes behind a bridge, two for
pods with our own cables, and static routes, a VXLAN device, or wireguard-go. A kernel need not have IPIP's device: plain
routes stand in its place. Everything runs on one CPU, but wireguard-go, which uses all.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row
from tests.bench.rows.traffic import serving

from tortie.api.policy import EntityRule, Rule
from tortie.base.net import parse_address
from tortie.cni.wiring import Ground, Plan, wire
from tortie.kernel import netns, sysctl
from tortie.kernel.link import Links
from tortie.lab.cluster import Lab
from tortie.lab.spec import PodSpec, PoolSpec

_COUNTS = (0, 100)
_PORT = 9000
_TURNS = 3
_SIZES = {"throughput": 256 << 20, "trips": 4000, "connects": 800}
_CONNTRACK_TABLE = (
    "table inet beside { chain c { type filter hook forward priority 0; ct state established,related accept; }; }"
)
_UNITS = {"throughput": "Mbit/s", "trips": "/s", "connects": "/s"}
_WORDS = {"throughput": "throughput", "trips": "round trips", "connects": "connections"}
_CPU = (os.cpu_count() or 1) - 1
_NODES = ("172.18.0.2", "172.18.0.3")
_PODS = ("10.97.1.1", "10.97.2.1")
_POOL = "10.244.0.0/16"
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Mode:
    """How a lab is set up, and what makes the same by hand: commands on each node behind the routes to the other's pod."""

    name: str
    beside: str
    by_hand: Callable[[Sequence[str], contextlib.ExitStack], None]
    pool: PoolSpec
    felix: dict[str, Any]
    slowness: int = 1
    """How much less there is of everything to measure."""


# ---- by hand ----
def _run(namespace: str, *command: str, stdin: str = "") -> str:
    words = ["nsenter", f"--net={netns.path_of(namespace)}", "--", *command]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _plain(nodes: Sequence[str], _: contextlib.ExitStack) -> None:
    for here, there in ((0, 1), (1, 0)):
        _run(nodes[here], "ip", "route", "add", f"{_PODS[there]}/32", "via", _NODES[there])


def _vxlan(nodes: Sequence[str], _: contextlib.ExitStack) -> None:
    for here, node in enumerate(nodes):
        words = ("type", "vxlan", "id", "4096", "dstport", "4789", "local", _NODES[here], "dev", "eth0", "nolearning")
        _run(node, "ip", "link", "add", "vx", *words)
        _run(node, "ip", "link", "set", "vx", "address", f"66:00:00:00:00:0{here + 1}", "mtu", "1450", "up")
    for here, there in ((0, 1), (1, 0)):
        mac = f"66:00:00:00:00:0{there + 1}"
        _run(nodes[here], "ip", "route", "add", f"{_PODS[there]}/32", "via", _NODES[there], "dev", "vx", "onlink")
        _run(nodes[here], "ip", "neighbour", "add", _NODES[there], "lladdr", mac, "dev", "vx")
        _run(nodes[here], "bridge", "fdb", "append", mac, "dev", "vx", "dst", _NODES[there])


def _wireguard(nodes: Sequence[str], stack: contextlib.ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tortie-bench-")))
    public = []
    for node in nodes:
        # wireguard-go's sockets lie in one folder for all namespaces, by the name of the device.
        device = _device(node)
        program = ["nsenter", f"--net={netns.path_of(node)}", "--", "wireguard-go", "--foreground", device]
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        key = folder / device
        key.touch(mode=0o600)
        key.write_text(_run(node, "wg", "genkey") + "\n")
        public.append(_run(node, "wg", "pubkey", stdin=key.read_text()))
        _until(partial(_is_there, node, device))
        _run(node, "wg", "set", device, "listen-port", "51820", "private-key", str(key))
        _run(node, "ip", "link", "set", device, "mtu", "1440", "up")
    for here, there in ((0, 1), (1, 0)):
        peer = ("peer", public[there], "endpoint", f"{_NODES[there]}:51820", "allowed-ips", f"{_PODS[there]}/32")
        _run(nodes[here], "wg", "set", _device(nodes[here]), *peer)
        _run(nodes[here], "ip", "route", "add", f"{_PODS[there]}/32", "dev", _device(nodes[here]))


def _device(node: str) -> str:
    return f"wg{node[-8:]}"


def _is_there(node: str, device: str) -> bool:
    try:
        _run(node, "wg", "show", device)
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def _made_by_hand(mode: _Mode, program: Path, *, tracked: bool) -> Iterator["_Way"]:
    """Two nodes behind a bridge, a pod on each, and the mode between them; `tracked`: with a rule that asks for the
    connection's state, as any policy does."""
    with contextlib.ExitStack() as stack:
        fabric, *nodes = stack.enter_context(ground.spaces(3))
        pods = stack.enter_context(ground.spaces(2))
        _run(fabric, "ip", "link", "add", "name", "fabric", "type", "bridge")
        _run(fabric, "ip", "link", "set", "fabric", "up")
        for number, (node, pod) in enumerate(zip(nodes, pods, strict=True)):
            cable = ("type", "veth", "peer", "name", "eth0", "netns", node)
            _run(fabric, "ip", "link", "add", f"leg{number}", *cable)
            _run(fabric, "ip", "link", "set", f"leg{number}", "master", "fabric", "up")
            _run(node, "ip", "address", "add", f"{_NODES[number]}/24", "dev", "eth0")
            _run(node, "ip", "link", "set", "eth0", "up")
            _run(node, "ip", "route", "add", "default", "via", "172.18.0.1")  # proxy ARP answers for what has a route
            netns.run_in_named(node, lambda: sysctl.write("net/ipv4/ip_forward", "1"))
            with netns.opened(pod) as fd:
                netns.run_in_named(node, partial(_cable, fd, Plan("calipod", "eth0", (parse_address(_PODS[number]),))))
            if tracked:
                _run(node, "nft", "-f", "-", stdin=_CONNTRACK_TABLE)
        mode.by_hand(nodes, stack)
        if mode.name in ("vxlan", "wireguard"):
            for pod in pods:
                _run(pod, "ip", "link", "set", "eth0", "mtu", "1450" if mode.name == "vxlan" else "1440")
        stack.enter_context(serving(program, pods[1]))
        yield _Way(pods[0], _PODS[1], program, mode.slowness)


def _cable(pod: int, plan: Plan) -> None:
    with Links() as links:
        links.set_up("lo")
    with Ground(pod) as ground_of_pod:
        wire(ground_of_pod, plan)


MODES = (
    _Mode("plain", "routes by hand", _plain, PoolSpec(cidr=_POOL), {}),
    _Mode("vxlan", "a VXLAN device by hand", _vxlan, PoolSpec(cidr=_POOL, vxlan_mode="Always"), {}),
    _Mode("ipip", "routes by hand, no tunnel", _plain, PoolSpec(cidr=_POOL, ipip_mode="Always"), {}),
    _Mode("wireguard", "wireguard-go by hand", _wireguard, PoolSpec(cidr=_POOL), {"wireguardEnabled": True}, slowness=8),
)


# ---- measuring ----
@dataclass(frozen=True, slots=True)
class _Way:
    """A client and the server that it talks to."""

    client: str
    address: str
    program: Path
    slowness: int

    def ask(self, kind: str) -> float:
        """One measurement as a figure of the row's unit."""
        size = _SIZES[kind] // self.slowness
        word = "bulk" if kind == "throughput" else kind
        command: list[str | Path] = [self.program, word, str(_CPU), self.address, str(_PORT), str(size)]
        done = netns.run_in_named(self.client, lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
        if done.returncode != 0:
            raise RuntimeError(f"traffic {word} to {self.address}: {done.stderr.strip()}")
        return size * (8e-6 if kind == "throughput" else 1) / float(done.stdout)

    def answers(self) -> bool:
        """True once a connection is made."""
        command: list[str | Path] = ["timeout", "2", self.program, "connects", str(_CPU), self.address, str(_PORT), "1"]
        return netns.run_in_named(self.client, lambda: subprocess.run(command, capture_output=True)).returncode == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not ready within {_READY_SECONDS:g} s")
        time.sleep(0.1)


async def _policies(lab: Lab) -> None:
    for count in filter(None, _COUNTS):
        selector = f"policies == '{count}'"
        others = [ground.other_policy(count * 1000 + number, selector) for number in range(count - 1)]
        allow = Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(_PORT,)))
        await ground.fill(lab.client, [*others, ground.policy(f"last-{count}", selector, allow, order=1e9)])


async def _ours(lab: Lab, mode: _Mode, program: Path, stack: contextlib.AsyncExitStack) -> dict[int, _Way]:
    await _policies(lab)
    client = await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/client"), default_node="n1")
    ways = {}
    for count in _COUNTS:
        pod = PodSpec(name=f"{ground.NAMESPACE}/server-{count}", labels={"policies": str(count)})
        server = await lab.add_pod(pod, default_node="n2")
        stack.enter_context(serving(program, server.netns))
        address = next(text for text in server.sandbox.addresses if ":" not in text)
        ways[count] = _Way(client.netns, address, program, mode.slowness)
    return ways


def _stage_of(mode: _Mode) -> Callable[[], contextlib.AbstractAsyncContextManager[Measure]]:
    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[Measure]:
        async with (
            ground.lab("n1", "n2", families=(4,), pools=(mode.pool,), felix=mode.felix) as lab,
            contextlib.AsyncExitStack() as stack,
        ):
            program = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tortie-bench-"))) / "traffic"
            subprocess.run(["gcc", "-O2", "-Wall", "-o", program, Path(__file__).parent.parent / "traffic.c"], check=True)
            ways = await _ours(lab, mode, program, stack)
            beside = stack.enter_context(_made_by_hand(mode, program, tracked=False))
            tracked = stack.enter_context(_made_by_hand(mode, program, tracked=True))
            for way in (*ways.values(), beside, tracked):
                _until(way.answers)

            async def measure(_: int) -> Mapping[str, Pair]:
                pairs: dict[str, Pair] = {}
                for kind in _SIZES:
                    ours: dict[int, list[float]] = {count: [] for count in _COUNTS}
                    bare, aware = [], []
                    for _turn in range(_TURNS):
                        for count, way in ways.items():
                            ours[count].append(way.ask(kind))
                        bare.append(beside.ask(kind))
                        aware.append(tracked.ask(kind))
                    pairs[f"{kind}-{mode.name}-itself"] = Pair(ours[0], aware)
                    pairs |= {f"{kind}-{mode.name}-{count}": Pair(ours[count], bare) for count in _COUNTS}
                return pairs

            yield measure

    return stage


def _rows(mode: _Mode) -> tuple[Row, ...]:
    found = []
    for kind, unit in _UNITS.items():
        for count in _COUNTS:
            words = f"{_WORDS[kind]} between nodes, {mode.name}, {count} policies"
            found.append(Row(f"{kind}-{mode.name}-{count}", words, mode.beside, unit, better="more"))
        beside = f"{mode.beside}, with conntrack"
        words = f"{_WORDS[kind]} between nodes, {mode.name}, no policies"
        target = 0.98 if kind == "throughput" else None
        found.append(Row(f"{kind}-{mode.name}-itself", words, beside, unit, better="more", target=target))
    return tuple(found)


BENCHES = tuple(Bench(f"mode-{mode.name}", _rows(mode), _stage_of(mode)) for mode in MODES)
