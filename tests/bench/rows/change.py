"""A policy change, from the write in the datastore to the first packet that feels it, with 2,000 other policies in force.

The peer is an operator's `nft` process that empties a chain of a table as large. Packets come every 0.1 ms; each is the first
of its connection until one passes, so none is let through because of the one before it.
"""

import asyncio
import contextlib
import select
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec
from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.policy import EntityRule, NetworkPolicy, Rule
from tortie.api.resource import Key
from tortie.datastore.client import Client
from tortie.kernel import netns
from tortie.lab.spec import PodSpec

_OTHERS = 2000
_CHANGES = 25
_PORT = 9100
_OURS = f"datastore write to first packet, {_OTHERS} other policies"
_PEER = f"`nft -f` of one change to first packet, {2 * _OTHERS} other chains"
_ROWS = (
    Row("change-p50", f"{_OURS}, p50", f"{_PEER}, p50", "ms"),
    Row("change-p99", f"{_OURS}, p99", f"{_PEER}, p99", "ms", quantile=0.99),
)
_DEADLINE_SECONDS = 5.0
_SETTLED_SECONDS = 0.03
_GATE = Key("NetworkPolicy", ground.NAMESPACE, "gate")
_OPEN = Rule(action="Allow", protocol="UDP", destination=EntityRule(ports=(_PORT,)))
_SHUT = Rule(action="Deny", protocol="UDP", destination=EntityRule(ports=(_PORT,)))


class _Gate:
    """A client's namespace, a server's socket, and the way between them."""

    def __init__(self, client: str, server: str, address: str) -> None:
        self._client = client
        self._address = (address, _PORT)
        self._socket = netns.run_in_named(server, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind(("", _PORT))
        self._socket.setblocking(False)
        self._closing = False

    def close(self) -> None:
        self._closing = True
        time.sleep(0.01)  # a thread that still waits for a packet has noticed by then
        self._socket.close()

    def first_arrival(self, begun: threading.Event, seconds: float = _DEADLINE_SECONDS) -> float | None:
        """Send until a packet arrives; when it did, by perf_counter. None if none did in time."""
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(64):
                pass
        with netns.run_in_named(self._client, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            sender.connect(self._address)
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline and not self._closing:
                sender.send(b"x")
                begun.set()
                if select.select([self._socket], [], [], 0.0001)[0]:
                    return time.perf_counter()
        return None

    async def passes_within(self, seconds: float) -> bool:
        return await asyncio.to_thread(self.first_arrival, threading.Event(), seconds) is not None

    async def shut(self) -> None:
        """Return once packets are dropped."""
        deadline = time.perf_counter() + _DEADLINE_SECONDS
        while await self.passes_within(_SETTLED_SECONDS):
            if time.perf_counter() > deadline:
                raise RuntimeError("the policy that closes the gate has no effect")
            await asyncio.sleep(0.02)


async def _arrival(gate: _Gate, begun: threading.Event) -> "asyncio.Task[float | None]":
    task = asyncio.create_task(asyncio.to_thread(gate.first_arrival, begun))
    await asyncio.to_thread(begun.wait)
    return task


async def _ours(gate: _Gate, client: Client) -> float:
    """Milliseconds of one opening; shut again afterwards."""
    waiting = await _arrival(gate, threading.Event())
    stored = await client.get(_GATE)
    started = time.perf_counter()
    await client.update(_with(stored, _OPEN))
    arrived = await waiting
    if arrived is None:
        raise RuntimeError("the policy that opens the gate has no effect")
    await client.update(_with(await client.get(_GATE), _SHUT))
    await asyncio.sleep(0.15)  # lone changes, not a burst: the applier's throttle has recovered
    await gate.shut()
    return (arrived - started) * 1000


def _with(stored: object, rule: Rule) -> NetworkPolicy:
    assert isinstance(stored, NetworkPolicy)
    return msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, ingress=(rule,)))


async def _peer(gate: _Gate, node: str) -> float:
    waiting = await _arrival(gate, threading.Event())
    started = time.perf_counter()
    await asyncio.to_thread(_nft, node, "flush chain inet peer gate\n")
    arrived = await waiting
    if arrived is None:
        raise RuntimeError("nft opens the gate without effect")
    await asyncio.to_thread(_nft, node, f"add rule inet peer gate udp dport {_PORT} drop\n")
    await gate.shut()
    return (arrived - started) * 1000


def _nft(node: str, text: str) -> None:
    netns.run_in_named(node, lambda: subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True))


def _peer_table() -> str:
    lines = ["table inet peer {", f"chain gate {{ udp dport {_PORT} drop; }}"]
    lines += [
        f"chain other{number} {{ tcp dport {20000 + number} counter accept; ip saddr 198.18.0.1 counter accept; }}"
        for number in range(2 * _OTHERS)
    ]
    lines += ["chain forward {", "type filter hook forward priority 0; policy accept;", "ct state established,related accept"]
    return "\n".join([*lines, "jump gate", "}", "}", ""])


@contextlib.contextmanager
def _gate(client: str, server: str, address: str) -> Iterator[_Gate]:
    made = _Gate(client, server, address)
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1") as lab, contextlib.AsyncExitStack() as stack:
        await ground.fill(lab.client, [ground.policy("gate", "app == 'gate'", _SHUT)])
        await ground.fill(lab.client, [ground.other_policy(number, "app == 'bystander'") for number in range(_OTHERS)])
        await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/bystander", labels={"app": "bystander"}), default_node="n1")
        client = await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/client"), default_node="n1")
        server = await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/server", labels={"app": "gate"}), default_node="n1")
        address = next(text for text in server.sandbox.addresses if ":" not in text)
        node, pods, addresses = stack.enter_context(ground.plain_node(2))
        _nft(node, _peer_table())
        ours = stack.enter_context(_gate(client.netns, server.netns, address))
        peer = stack.enter_context(_gate(pods[0], pods[1], addresses[1]))
        await ours.shut()
        await peer.shut()

        async def measure(_: int) -> Mapping[str, Pair]:
            pair = Pair([], [])
            for _change in range(_CHANGES):
                pair = Pair([*pair.ours, await _ours(ours, lab.client)], [*pair.peer, await _peer(peer, node)])
            return {row.name: pair for row in _ROWS}

        yield measure


BENCH = Bench("change", _ROWS, _stage)
