"""What the demo looks at with route reflectors: who talks to whom, and that one of two may die."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from tortie.base.net import parse_address
from tortie.lab import fabric
from tortie.lab.cluster import Lab
from tortie.lab.network import PROTOCOL_BIRD, cluster_routes
from tortie.lab.report import Report
from tortie.lab.spec import LabError
from tortie.lab.state import read_agent_status
from tortie.lab.stream import Stream

if TYPE_CHECKING:
    from tortie.lab.demo import Findings

WAYS = (("prod/backend-1", "prod/database"), ("prod/backend-2", "prod/database"))
PORT = 5432
PACKETS_PER_SECOND = 500
DEAD_SECONDS = 2.0
_SESSIONS_SECONDS = 30.0


async def sessions(lab: Lab, report: Report, findings: Findings) -> None:
    """Wait until everybody has its sessions with the reflectors, and show that there are no others."""
    reflectors = {node.name for node in lab.state.spec.nodes if node.route_reflector_cluster_id}
    expected = {
        node.name: sorted((reflectors if node.name not in reflectors else _all_nodes(lab)) - {node.name})
        for node in lab.state.spec.nodes
    }
    await _until_established(lab, expected)
    shown: dict[str, list[dict[str, Any]]] = {}
    for node, peers in expected.items():
        shown[node] = _sessions(lab, node)
        with_whom = sorted({entry["node"] for entry in shown[node]})
        role = "reflector" if node in reflectors else "client"
        report.note(f"{node} ({role}): {len(shown[node])} sessions, with {', '.join(with_whom)}")
        if with_whom != peers:
            findings.expect(False, f"{node} has sessions with {', '.join(peers)} alone", report)
    findings.steps["sessions"] = shown
    clients = len(expected) - len(reflectors)
    findings.expect(
        all(len(shown[node]) == len(peers) * len(lab.families) for node, peers in expected.items()),
        f"{clients} clients speak to {len(reflectors)} reflectors and not to one another; every session is established",
        report,
    )


async def one_dies(lab: Lab, report: Report, findings: Findings) -> None:
    """SIGKILL the BIRD and the agent of one reflector, under traffic: every route stays and no packet is lost."""
    victim = next(node.name for node in lab.state.spec.nodes if node.route_reflector_cluster_id)
    others = [node.name for node in lab.state.spec.nodes if node.name != victim]
    before = {node: _learned(lab, node) for node in others}
    streams = [_stream(lab, source, target, family.value) for source, target in WAYS for family in lab.families]
    for stream in streams:
        stream.start()
    try:
        await asyncio.sleep(0.3)
        lab.kill_agent(victim)
        os.kill(bird_pid(lab, victim), signal.SIGKILL)
        loop = asyncio.get_running_loop()
        until = loop.time() + DEAD_SECONDS
        missing: set[str] = set()
        while loop.time() < until:
            for node in others:
                missing |= {f"{node} lost its route to {dst}" for dst in before[node] - _learned(lab, node)}
            await asyncio.sleep(0.1)
        await lab.start_agent(victim)
    finally:
        counts = [await asyncio.to_thread(stream.stop) for stream in streams]
    lost, sent = sum(count.lost for count in counts), sum(count.sent for count in counts)
    for count in counts:
        report.note(f"{count.name}: {count.sent} sent, {count.received} arrived")
    findings.steps["reflectorDies"] = {"reflector": victim, "sent": sent, "lost": lost, "routesLost": sorted(missing)}
    findings.expect(
        not missing, f"with {victim} dead every node keeps every route{': ' * bool(missing)}{'; '.join(missing)}", report
    )
    findings.expect(lost == 0 and sent > 0, f"{lost} of {sent} packets lost while {victim} was dead and came back", report)


def bird_pid(lab: Lab, node: str) -> int:
    """The process of a node's BIRD."""
    return int((lab.names.run_dir(node) / "bird" / "bird.pid").read_text())


def _all_nodes(lab: Lab) -> set[str]:
    return {node.name for node in lab.state.spec.nodes}


def _sessions(lab: Lab, node: str) -> list[dict[str, Any]]:
    owners = fabric.node_addresses(lab.state.spec)
    peers = (read_agent_status(lab.names, node) or {}).get("bgpPeers", [])
    return [
        {"node": owners.get(peer["address"], peer["address"]), "address": peer["address"], "state": peer["state"]}
        for peer in peers
    ]


async def _until_established(lab: Lab, expected: dict[str, list[str]]) -> None:
    deadline = asyncio.get_running_loop().time() + _SESSIONS_SECONDS
    while True:
        states = {node: [entry["state"] for entry in _sessions(lab, node)] for node in expected}
        down = [
            f"{node}: {len(states[node])} sessions, {states[node].count('Established')} established"
            for node, peers in expected.items()
            if states[node] != ["Established"] * len(peers) * len(lab.families)
        ]
        if not down:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise LabError(f"BGP sessions are not established after {_SESSIONS_SECONDS:g} s: {'; '.join(down)}")
        await asyncio.sleep(0.1)


def _learned(lab: Lab, node: str) -> set[str]:
    return {str(route.dst) for route in cluster_routes(lab.names, node) if route.protocol == PROTOCOL_BIRD}


def _stream(lab: Lab, source: str, target: str, version: int) -> Stream:
    here, there = (
        next(address for address in map(parse_address, lab.pod(pod).sandbox.addresses) if address.family.value == version)
        for pod in (source, target)
    )
    return Stream(
        f"{source} > {target} IPv{version}",
        source_netns=lab.pod(source).netns, source=here, target_netns=lab.pod(target).netns, target=there, port=PORT,
        rate=PACKETS_PER_SECOND,
    )  # fmt: skip
