"""The demo's rough part: agents killed in the middle of a change, with counted traffic running through all of it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec

from tortie.api.defaults import with_defaults
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Key, Metadata
from tortie.base import process
from tortie.base.net import Address, Family, parse_address
from tortie.datastore import operations
from tortie.lab.cluster import Lab
from tortie.lab.names import netns_path
from tortie.lab.report import Report
from tortie.lab.spec import LabError
from tortie.lab.stream import Count, Stream

if TYPE_CHECKING:
    from tortie.lab.demo import Findings

TARGET = "prod/database"
PORT = 5432
ALLOWED_SOURCE, DENIED_SOURCE = "prod/backend-2", "prod/frontend-1"
PACKETS_PER_SECOND = 1000
POLICIES = 200
KILLS = 10
HOLDS_WITHIN_SECONDS = 2.0
"""Of the agent's own time: while it waits for a processor that others have, the machine is late and not the agent."""


async def kills(lab: Lab, report: Report, findings: Findings) -> None:
    """Kill the database's agent ten times at random moments while 200 policies are written: nothing lost, nothing leaked."""
    node = lab.pod(TARGET).node
    streams = _streams(lab, (ALLOWED_SOURCE, DENIED_SOURCE))
    moments: list[float] = []
    for stream in streams.values():
        stream.start()
    try:
        await asyncio.sleep(0.3)
        async with asyncio.TaskGroup() as tasks:
            change = tasks.create_task(_write_policies(lab))
            moments = await _kill_and_restart(lab, node, until=change)
        await _wait_for_policies(lab, node)
    finally:
        counts = {name: await asyncio.to_thread(stream.stop) for name, stream in streams.items()}
    await _delete_policies(lab)
    allowed = [count for name, count in counts.items() if name.startswith(ALLOWED_SOURCE)]
    denied = [count for name, count in counts.items() if name.startswith(DENIED_SOURCE)]
    for count in counts.values():
        report.note(
            f"{count.name}: {count.sent} sent, {count.received} arrived, longest silence {count.worst_gap_seconds:.3f} s"
        )
    findings.steps["kills"] = {
        "node": node,
        "kills": len(moments),
        "killedAtSeconds": [round(moment, 3) for moment in moments],
        "policies": POLICIES,
        "streams": [msgspec.to_builtins(_count_json(count)) for count in counts.values()],
    }
    lost, leaked = sum(count.lost for count in allowed), sum(count.received for count in denied)
    findings.expect(len(moments) == KILLS, f"the agent of {node} was killed {len(moments)} times during the change", report)
    findings.expect(lost == 0 and all(count.sent for count in allowed), f"allowed traffic: {lost} packets lost", report)
    findings.expect(leaked == 0 and all(count.sent for count in denied), f"denied traffic: {leaked} packets leaked", report)


async def change_while_dead(lab: Lab, report: Report, findings: Findings) -> None:
    """With the agent dead, forbid what was allowed; the new policy must hold within two seconds of the agent's restart."""
    node = lab.pod(TARGET).node
    loop = asyncio.get_running_loop()
    streams = _streams(lab, (ALLOWED_SOURCE,))
    for stream in streams.values():
        stream.start()
    try:
        await asyncio.sleep(0.3)
        lab.kill_agent(node)
        deny = _policy("demo-stop-backends", order=1.0, rule=Rule(action="Deny", protocol="TCP"))
        await operations.apply(lab.client, with_defaults(deny))
        await asyncio.sleep(0.3)
        still = {name: stream.so_far().received for name, stream in streams.items()}
        started = loop.time()
        agent = await lab.start_agent(node, wait=False)
        waited = 0.0
        while any(stream.silent_seconds < 0.3 for stream in streams.values()) and loop.time() - started < 20:
            if all(stream.silent_seconds < 0.1 for stream in streams.values()):
                waited = process.seconds_without_processor(agent)
            await asyncio.sleep(0.02)
        took = max(0.0, loop.time() - started - min(stream.silent_seconds for stream in streams.values()))
        await lab.wait_for_agent(node)
    finally:
        counts = {name: await asyncio.to_thread(stream.stop) for name, stream in streams.items()}
    await operations.delete(lab.client, Key("NetworkPolicy", "prod", "demo-stop-backends"))
    findings.steps["changeWhileDead"] = {
        "node": node,
        "secondsToHold": round(took, 3),
        "secondsWithoutProcessor": round(waited, 3),
    }
    findings.expect(all(still.values()), "while the agent is dead the kernel goes on as it was", report)
    findings.expect(
        took - waited <= HOLDS_WITHIN_SECONDS and all(count.received < count.sent for count in counts.values()),
        f"the policy holds {took:.2f} s after the agent's restart (limit {HOLDS_WITHIN_SECONDS:g} s"
        f" and the {waited:.2f} s in which it had no processor)",
        report,
    )


# ---- traffic ----
def _streams(lab: Lab, sources: tuple[str, ...]) -> dict[str, Stream]:
    rate = PACKETS_PER_SECOND // len(lab.families)
    return {
        f"{name} IPv{family.value}": Stream(
            f"{name} > {TARGET} IPv{family.value}",
            source_netns=lab.pod(name).netns,
            source=_address(lab, name, family),
            target_netns=lab.pod(TARGET).netns,
            target=_address(lab, TARGET, family),
            port=PORT,
            rate=rate,
        )
        for name in sources
        for family in lab.families
    }


def _address(lab: Lab, pod: str, family: Family) -> Address:
    return next(address for address in map(parse_address, lab.pod(pod).sandbox.addresses) if address.family is family)


def _count_json(count: Count) -> dict[str, object]:
    return {
        "name": count.name,
        "sent": count.sent,
        "received": count.received,
        "worstGapSeconds": round(count.worst_gap_seconds, 4),
    }


# ---- the change ----
def _policy(name: str, *, order: float, rule: Rule) -> NetworkPolicy:
    return NetworkPolicy(
        metadata=Metadata(name=name, namespace="prod"),
        spec=NetworkPolicySpec(order=order, selector="app == 'database'", types=("Ingress",), ingress=(rule,)),
    )


def _policy_names() -> list[str]:
    return [f"demo-change-{number:03}" for number in range(POLICIES)]


async def _write_policies(lab: Lab) -> None:
    """200 policies that select the database, spread over about eight seconds. None of them concerns the streams."""
    for number, name in enumerate(_policy_names()):
        net = f"198.51.100.{number}/32"
        rule = Rule(
            action="Allow", protocol="TCP", source=EntityRule(nets=(net,)), destination=EntityRule(ports=(9000 + number,))
        )
        await operations.apply(lab.client, with_defaults(_policy(name, order=2000.0 + number, rule=rule)))
        await asyncio.sleep(0.04)


async def _delete_policies(lab: Lab) -> None:
    for name in _policy_names():
        await operations.delete(lab.client, Key("NetworkPolicy", "prod", name))


async def _kill_and_restart(lab: Lab, node: str, *, until: asyncio.Task[None]) -> list[float]:
    """SIGKILL and restart, ten times, at moments that fall anywhere: in start-up, in the first load, in a later change."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    moments: list[float] = []
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.05, 0.9))
        moments.append(loop.time() - started)
        lab.kill_agent(node)
        await asyncio.sleep(random.uniform(0.0, 0.1))
        await lab.start_agent(node, wait=False)
    await until
    await lab.wait_for_agent(node)
    return moments


async def _wait_for_policies(lab: Lab, node: str) -> None:
    """Until the last policy of the change is in the node's kernel."""
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:
        done = await process.run(["nft", "list", "table", "inet", "tortie"], netns_path=netns_path(lab.names.node(node)))
        if all(name.encode() in done.stdout for name in _policy_names()):
            return
        await asyncio.sleep(0.1)
    raise LabError(f"node {node}: the 200 policies are not all in the kernel")
