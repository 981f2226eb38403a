"""What the demo looks at: pods, routes, the wire, truth tables, explanations."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from tortie.api.resource import Update
from tortie.base import process
from tortie.base.net import Family, parse_address
from tortie.calc.graph import KINDS
from tortie.convert.feed import convert_update
from tortie.insight.explain import explain
from tortie.insight.question import parse_question
from tortie.insight.world import World
from tortie.lab import fabric, stores
from tortie.lab.capture import Capture
from tortie.lab.cluster import Lab, lab_environment
from tortie.lab.demo_expected import Table
from tortie.lab.names import netns_path
from tortie.lab.probe import ask, observe
from tortie.lab.report import Report
from tortie.lab.spec import LabError

if TYPE_CHECKING:
    from tortie.lab.demo import Findings

CONVERGENCE_SECONDS = 30.0


def show_pods(lab: Lab, report: Report, findings: Findings) -> None:
    """Who is where, and that every pod has an address of each family."""
    pods: list[dict[str, Any]] = []
    for name, pod in lab.state.pods.items():
        report.note(f"{name:<17} on {pod.node}   {'   '.join(pod.sandbox.addresses)}")
        pods.append({"pod": name, "node": pod.node, "addresses": pod.sandbox.addresses})
        if len(pod.sandbox.addresses) != len(lab.families):
            findings.expect(False, f"{name} has one address of each family", report)
    findings.steps["pods"] = pods


# ---- BGP ----
async def routes(lab: Lab, report: Report, findings: Findings) -> None:
    """Wait until every node has every other node's blocks from BIRD, and show the routes."""
    nodes = [node.name for node in lab.state.spec.nodes]
    owners = fabric.node_addresses(lab.state.spec)
    deadline = asyncio.get_running_loop().time() + CONVERGENCE_SECONDS
    while True:
        learnt = {node: await _bird_routes(lab, node) for node in nodes}
        missing = [
            f"{node} has no IPv{family.value} route from BIRD to a block of {other}"
            for node in nodes
            for other in nodes
            for family in lab.families
            if other != node and not _has_route_via(learnt[node], str(lab.node_interface(other, family).address))
        ]
        if not missing or asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.1)
    for node in nodes:
        for destination, gateway in learnt[node]:
            report.note(f"{node}: {destination:<24} via {gateway:<12} ({owners.get(gateway, '?')})  protocol bird")
    findings.steps["routes"] = {node: [{"dst": d, "via": v} for d, v in learnt[node]] for node in nodes}
    for text in missing:
        findings.expect(False, text, report)
    findings.expect(not missing, "every node has a block route to every other node, both families, protocol bird", report)


def _has_route_via(found: list[tuple[str, str]], gateway: str) -> bool:
    return any(via == gateway for _, via in found)


async def _bird_routes(lab: Lab, node: str) -> list[tuple[str, str]]:
    """(destination, gateway) of every route of protocol bird, as `ip route` of the node's kernel says."""
    found: list[tuple[str, str]] = []
    for family in lab.families:
        done = await process.run(
            ["ip", f"-{family.value}", "route", "show", "proto", "bird"], netns_path=netns_path(lab.names.node(node))
        )
        for line in done.check().stdout.decode().splitlines():
            words = line.split()
            if "via" in words:
                found.append((words[0], words[words.index("via") + 1]))
    return sorted(found)


# ---- the wire ----
async def wire(lab: Lab, report: Report, findings: Findings) -> None:
    """Capture one connection of two pods on different nodes on the fabric: own addresses, nothing around them."""
    source, target = lab.pod("prod/backend-2"), lab.pod("prod/database")
    questions = [
        question
        for family in lab.families
        if (question := ask(lab, "prod/backend-2", "prod/database", protocol="tcp", port=5432, family=family)) is not None
    ]
    capture = Capture(lab.names.fabric, source.node)
    capture.start()
    await observe(lab, questions)
    seen = await asyncio.to_thread(capture.stop)
    crossings: list[str] = []
    for question in questions:
        own = next(a for a in map(parse_address, source.sandbox.addresses) if a.family is question.address.family)
        found = [c for c in seen if c.source == own and c.destination == question.address and c.destination_port == 5432]
        plain = bool(found) and not any(c.encapsulated for c in seen)
        if found:
            report.note(f"on the fabric: {found[0]}")
            crossings.append(str(found[0]))
        findings.expect(
            plain,
            f"IPv{question.address.family.value}: the packet crosses with the pods' own addresses, not encapsulated",
            report,
        )
    findings.steps["wire"] = {"from": source.sandbox.name, "to": target.sandbox.name, "seen": crossings}


# ---- truth tables ----
async def truth(
    lab: Lab, names: list[str], *, expected: dict[int, Table], label: str, report: Report, findings: Findings
) -> None:
    """Observe every pair, port and family, and hold it against the table and against `explain`."""
    questions = [
        question
        for port in expected
        for source in names
        for target in names
        for family in lab.families
        if source != target and (question := ask(lab, source, target, protocol="tcp", port=port, family=family)) is not None
    ]
    answers = await observe(lab, questions)
    explained = await _explain_all(lab, names, list(expected))
    table_json: list[dict[str, Any]] = []
    wrong_seen, wrong_said = 0, 0
    observed: dict[int, dict[tuple[str, str], str]] = {port: {} for port in expected}
    for answer in answers:
        question = answer.question
        pair = (question.source, question.target)
        want = expected[question.port][pair]
        said = explained[(question.source, question.target, question.port, question.address.family)]
        observed[question.port][pair] = f"{observed[question.port].get(pair, '')} {answer.outcome}".strip()
        wrong_seen += answer.outcome != ("allowed" if want else "denied")
        wrong_said += said != want
        table_json.append(
            {**answer.to_json(), "expected": "allowed" if want else "denied", "explain": "allow" if said else "deny"}
        )
    for port in expected:
        report.truth_table(f"TCP {port}", names, expected[port], observed[port])
    findings.steps[f"truth-{label}"] = table_json
    findings.expect(wrong_seen == 0, f"observed equals expected in all {len(answers)} connections", report)
    findings.expect(wrong_said == 0, f"tortie explain equals expected in all {len(answers)} cases", report)


async def _explain_all(lab: Lab, names: list[str], ports: list[int]) -> dict[tuple[str, str, int, Family], bool]:
    listing = await lab.client.list_many(KINDS)
    world = World.from_updates([convert_update(Update(item.key, item)) for item in listing.items])
    return {
        (source, target, port, family): explain(
            world, source, target, question=parse_question(f"tcp/{port}", family=family)
        ).allowed
        for source in names
        for target in names
        for port in ports
        for family in lab.families
        if source != target
    }


async def policy_in_force(lab: Lab, *, seconds: float = 10.0) -> None:
    """Wait until the database's node has the policy in its kernel: until then a probe could be answered by the old state."""
    deadline = asyncio.get_running_loop().time() + seconds
    node = netns_path(lab.names.node(lab.pod("prod/database").node))
    while asyncio.get_running_loop().time() < deadline:
        done = await process.run(["nft", "list", "table", "inet", "tortie"], netns_path=node)
        if b"protect-database" in done.stdout:
            return
        await asyncio.sleep(0.02)
    raise LabError("the policy did not reach the kernel of the database's node")


async def explain_pairs(lab: Lab, report: Report, findings: Findings) -> None:
    """Run the command itself for one blocked and one allowed pair, and show its words."""
    shown: list[dict[str, Any]] = []
    environment = {**os.environ, **lab_environment(lab.names)}
    for source, allowed in (("prod/frontend-1", False), ("prod/backend-2", True)):
        command = ["explain", source, "prod/database", "tcp/5432"]
        done = await process.run(
            [sys.executable, "-m", "tortie.cli.main", *command], env=environment, netns_path=stores.way(lab.names)
        )
        text = done.stdout.decode(errors="replace")
        report.note(f"$ tortie {' '.join(command)}")
        report.block(text or done.stderr.decode(errors="replace"))
        shown.append({"command": command, "exit": done.returncode, "text": text})
        named = "default" in text and "protect-database" in text
        findings.expect(
            done.returncode == (0 if allowed else 2) and named,
            f"{source} is {'allowed' if allowed else 'denied'}, and tier, policy and rule are named",
            report,
        )
    findings.steps["explain"] = shown
