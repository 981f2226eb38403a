"""Who reaches whom, observed with real packets.

Answers (conventions.md, "Probe answers"): `allowed` (it answered), `refused` (reached, nobody listens), `denied` only if a drop
counter of ours rose while this one question was asked again alone, else `unreachable`: a broken network never passes a
policy test. All questions run concurrently; those without an answer are then asked again one by one, at last with patience.
"""

import asyncio
import errno
import itertools
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from tortie.base import process
from tortie.base.net import Address, Family, parse_address
from tortie.kernel import netns
from tortie.lab.cluster import Lab
from tortie.lab.names import netns_path
from tortie.lab.spec import LabError, Protocol

Outcome = Literal["allowed", "refused", "denied", "unreachable"]
TIMEOUT_SECONDS = 0.8
ALONE_SECONDS = 0.25
LAST_SECONDS = 2.0
"""For what neither was answered nor dropped: on a busy machine an answer may take its time."""
CONCURRENCY = 100


@dataclass(frozen=True, slots=True)
class Question:
    """One probe. `source` and `target` are names for people; the rest is what is done."""

    source: str
    target: str
    protocol: Protocol
    port: int
    source_netns: str
    address: Address
    nodes: tuple[str, ...]
    """Nodes whose policy the packets meet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was observed. `seconds` is how long the answer took."""

    question: Question
    outcome: Outcome
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For `-o json`."""
        question = self.question
        return {
            "from": question.source,
            "to": question.target,
            "protocol": question.protocol,
            "port": question.port,
            "family": int(question.address.family),
            "address": str(question.address),
            "outcome": self.outcome,
            "seconds": round(self.seconds, 4),
        }


def ask(lab: Lab, source: str, target: str, *, protocol: Protocol, port: int, family: Family) -> Question | None:
    """Make a question out of names: namespace/pod, node/NAME, or (target only) an address. None: it lacks the family."""
    netns_name, source_node, _ = _endpoint(lab, source)
    if "/" not in target:
        address = parse_address(target)
        return (
            Question(source, target, protocol, port, netns_name, address, (source_node,)) if address.family is family else None
        )
    _, target_node, addresses = _endpoint(lab, target)
    found = next((address for address in addresses if address.family is family), None)
    if found is None:
        return None
    return Question(source, target, protocol, port, netns_name, found, tuple(dict.fromkeys((source_node, target_node))))


def _endpoint(lab: Lab, name: str) -> tuple[str, str, list[Address]]:
    kind, _, rest = name.partition("/")
    if kind == "node":
        nodes = [entry.name for entry in lab.state.spec.nodes]
        if rest not in nodes:
            raise LabError(f"there is no node {rest!r} in this lab; there are {', '.join(nodes)}")
        return lab.names.node(rest), rest, [lab.node_interface(rest, family).address for family in lab.families]
    pod = lab.pod(name)
    return pod.netns, pod.node, [parse_address(text) for text in pod.sandbox.addresses]


async def observe(lab: Lab, questions: Sequence[Question]) -> list[Answer]:
    """Ask everything; answers in the order of the questions."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(question: Question) -> Answer:
        async with gate:
            return await _attempt(question, TIMEOUT_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(question)) for question in questions]
    answers = [task.result() for task in running]
    for index, answer in enumerate(answers):
        if answer.outcome == "unreachable":
            answers[index] = await _alone(lab, answer)
    return answers


async def _alone(lab: Lab, answer: Answer) -> Answer:
    """Ask once more with nobody else asking, and see whether we dropped it."""
    before = await _dropped(lab, answer.question.nodes)
    again = await _attempt(answer.question, ALONE_SECONDS)
    if again.outcome != "unreachable":
        return again
    if await _dropped(lab, answer.question.nodes) > before:
        return replace(answer, outcome="denied")
    # Nothing was seen to drop it, so an answer may come yet; who counted drops for as long would count those of others.
    return await _attempt(answer.question, LAST_SECONDS)


async def _dropped(lab: Lab, nodes: Sequence[str]) -> int:
    """Packets that rules of ours have dropped or rejected on these nodes, as the nft program reads them."""
    total = 0
    for node in nodes:
        done = await process.run(
            ["nft", "-j", "-t", "list", "table", "inet", "tortie"], netns_path=netns_path(lab.names.node(node))
        )
        if done.returncode == 0:
            total += count_drops(msgspec.json.decode(done.stdout))
    return total


def count_drops(listing: Any) -> int:
    """Sum of the counters of all rules that end in drop or reject, in `nft -j list table` output."""
    total = 0
    for item in listing.get("nftables", ()):
        statements = item.get("rule", {}).get("expr", ())
        if any("drop" in statement or "reject" in statement for statement in statements):
            total += sum(statement["counter"]["packets"] for statement in statements if "counter" in statement)
    return total


# ---- one attempt ----
async def _attempt(question: Question, timeout: float) -> Answer:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(timeout):
            outcome = await _ASK[question.protocol](question)
    except TimeoutError:
        outcome = "unreachable"
    except OSError as error:
        outcome = "refused" if error.errno == errno.ECONNREFUSED else "unreachable"
    return Answer(question, outcome, loop.time() - started)


def _open(question: Question, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET if question.address.family is Family.V4 else socket.AF_INET6
    opened = netns.run_in_named(question.source_netns, lambda: socket.socket(family, kind, protocol))
    opened.setblocking(False)
    return opened


async def _tcp(question: Question) -> Outcome:
    loop = asyncio.get_running_loop()
    with _open(question, socket.SOCK_STREAM) as opened:
        # A reset on close: thousands of probes must not leave TIME-WAIT behind.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(opened, (str(question.address), question.port))
    return "allowed"


async def _udp(question: Question) -> Outcome:
    loop = asyncio.get_running_loop()
    with _open(question, socket.SOCK_DGRAM) as opened:
        await loop.sock_connect(opened, (str(question.address), question.port))
        await loop.sock_sendall(opened, b"tortie probe")
        await loop.sock_recv(opened, 512)
    return "allowed"


async def _icmp(question: Question) -> Outcome:
    loop = asyncio.get_running_loop()
    is_v4 = question.address.family is Family.V4
    request, reply = (8, 0) if is_v4 else (128, 129)
    number = next(_idents) & 0xFFFF
    packet = struct.pack("!BBHHH", request, 0, 0, number, 1)
    if is_v4:
        total = sum(struct.unpack("!4H", packet))
        packet = packet[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + packet[4:]
    protocol = socket.IPPROTO_ICMP if is_v4 else socket.IPPROTO_ICMPV6
    with _open(question, socket.SOCK_RAW, protocol) as opened:
        await loop.sock_sendto(opened, packet, (str(question.address), 0))
        while True:
            data, sender = await loop.sock_recvfrom(opened, 2048)
            body = data[(data[0] & 15) * 4 :] if is_v4 else data
            if body[0] == reply and body[4:6] == packet[4:6] and parse_address(sender[0].partition("%")[0]) == question.address:
                return "allowed"


_idents = itertools.count(os.getpid())
_ASK = {"tcp": _tcp, "udp": _udp, "icmp": _icmp}
