"""One run of the IPAM stress test: fill a datastore, let workers loose on it, kill some, judge what they leave."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.stress import journal
from tests.stress.ipam_worker import POOL, POOL_V6
from tests.stress.journal import Journal
from tests.unit.ipam.cluster import configuration, node, pool

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.ipam import IPAMBlock, IPAMHandle
from tortie.api.resource import Metadata
from tortie.base.net import Address, Family, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.initialize import ensure_initialized
from tortie.ipam.check import allocations, check_data, read_snapshot

ROOT = Path(__file__).parents[2]
COOLDOWN_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much. `kills` processes die by SIGKILL in the middle; each has a successor at once."""

    nodes: int
    processes: int
    addresses: int
    kills: int
    seconds: float
    seed: int = 0

    @property
    def workers(self) -> list[tuple[str, str]]:
        """(node, worker) of all."""
        return [(f"n{n}", f"n{n}-p{p}") for n in range(self.nodes) for p in range(self.processes)]


@dataclass(slots=True)
class Outcome:
    """`faults` must be empty; the rest are figures."""

    faults: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    kills: int = 0
    held: int = 0
    borrowed: int = 0

    def lines(self) -> list[str]:
        """The figures as text."""
        allocations = self.figures["allocations"]
        rows = {
            "seconds": f"{self.seconds:.1f}",
            "allocations": f"{allocations} ({allocations / self.seconds:.0f}/s)",
            "compare-and-swap conflicts": f"{self.figures['conflicts']} ({self.figures['conflicts'] / allocations:.2f} each)",
            "processes killed": str(self.kills),
            "held at the end": f"{self.held}, {self.borrowed} of them borrowed",
            **{name: str(count) for name, count in sorted(self.figures.items()) if name not in ("allocations", "conflicts")},
        }
        return [f"{name:30} {text}" for name, text in rows.items()]


def run(plan: Plan, environment: Mapping[str, str], folder: Path) -> Outcome:
    """Everything, on the datastore that `environment` names; it must be empty."""
    outcome = Outcome()
    asyncio.run(_fill(plan, environment))
    started = time.monotonic()
    _let_loose(plan, environment, folder, outcome)
    outcome.seconds = time.monotonic() - started
    journals = [journal.read(folder / f"{name}.log") for _, name in plan.workers]
    outcome.figures = sum((each.figures for each in journals), Counter())
    outcome.faults += journal.faults(journals, cooldown_seconds=COOLDOWN_SECONDS)
    asyncio.run(_judge(journals, environment, outcome))
    _ask_command_line(environment, outcome)
    return outcome


async def _fill(plan: Plan, environment: Mapping[str, str]) -> None:
    client = open_client(environment, None)
    await ensure_initialized(client)
    await client.create(pool("p", str(POOL), blockSize=26))
    await client.create(pool("p6", str(POOL_V6), blockSize=122))
    await client.create(configuration(ip_cooldown_seconds=COOLDOWN_SECONDS))
    for name in dict.fromkeys(name for name, _ in plan.workers):
        await client.create(node(name))
    await client.close()


def _let_loose(plan: Plan, environment: Mapping[str, str], folder: Path, outcome: Outcome) -> None:
    chance = random.Random(plan.seed)
    quota = -(-plan.addresses // len(plan.workers))
    nodes = dict.fromkeys(name for name, _ in plan.workers)

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.stress.ipam_worker", *words]
        with (folder / "stderr").open("ab") as errors:
            return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=errors)

    def work(index: int, generation: int) -> subprocess.Popen[bytes]:
        name, worker = plan.workers[index]
        return start(name, worker, str(quota), str(folder / f"{worker}.log"), str(plan.seed + 1000 * generation + index))

    churn = start("churn", str(plan.seed), *list(nodes)[::4])
    running = {index: work(index, 0) for index in range(len(plan.workers))}
    deadline = time.monotonic() + plan.seconds
    try:
        while any(process.poll() is None for process in running.values()):
            if time.monotonic() > deadline:
                outcome.faults.append(f"not done within {plan.seconds:g} s")
                break
            time.sleep(0.02)
            alive = [index for index, process in running.items() if process.poll() is None]
            written = sum(_lines(folder / f"{name}.log") for _, name in plan.workers)
            due = outcome.kills < plan.kills and written > plan.addresses * 3 * (outcome.kills + 1) / (plan.kills + 2)
            if due and alive:
                index = chance.choice(alive)
                running[index].send_signal(signal.SIGKILL)
                if running[index].wait() == -signal.SIGKILL:
                    outcome.kills += 1
                running[index] = work(index, outcome.kills)
    finally:
        for process in (*running.values(), churn):
            process.kill()
            process.wait()
    failed = [plan.workers[index][1] for index, process in running.items() if process.returncode]
    if failed:
        outcome.faults.append(f"{', '.join(failed)} failed: {(folder / 'stderr').read_text()[-3000:]}")


def _lines(path: Path) -> int:
    """Lines of a journal, about: their length hardly varies."""
    return path.stat().st_size // 38 if path.exists() else 0


async def _judge(journals: list[Journal], environment: Mapping[str, str], outcome: Outcome) -> None:
    """The datastore says what the workers were told, and is consistent. Then every holder gets an endpoint."""
    held: dict[Address, str] = {}
    for each in journals:
        held |= each.held
    outcome.held = len(held)
    client = open_client(environment, None)
    snapshot = await read_snapshot(client)
    stored = {item.address: item.handle for item in allocations(snapshot) if not item.cooling}
    for address in sorted(held.keys() | stored.keys()):
        if held.get(address) != stored.get(address):
            outcome.faults.append(f"{address}: {held.get(address)} was told so, the datastore says {stored.get(address)}")
    outcome.faults += [finding.text for finding in check_data(snapshot, now=time.time())]
    outcome.faults += [f"{text} counts wrongly" for text in _miscounted(snapshot.handles, stored, snapshot.blocks)]
    outcome.borrowed = _borrowed(snapshot.blocks, stored)
    await _create_endpoints(client, held)
    await client.close()


def _miscounted(handles: tuple[IPAMHandle, ...], stored: Mapping[Address, str], blocks: tuple[IPAMBlock, ...]) -> list[str]:
    """Handles whose counts are not exactly those of the blocks (nobody died in between: the successors have cleaned up)."""
    prefixes = [parse_prefix(block.spec.cidr) for block in blocks]
    counts: dict[str, Counter[str]] = {}
    for address, handle in stored.items():
        cidr = next(prefix for prefix in prefixes if prefix.contains(address))
        counts.setdefault(handle, Counter())[str(cidr)] += 1
    said = {handle.spec.handle_id: dict(handle.spec.block) for handle in handles}
    return sorted(name for name in said.keys() | counts.keys() if said.get(name) != counts.get(name))


def _borrowed(blocks: tuple[IPAMBlock, ...], stored: Mapping[Address, str]) -> int:
    owners = {parse_prefix(block.spec.cidr): block.spec.affinity for block in blocks}
    found = 0
    for address, handle in stored.items():
        owner = next(owner for prefix, owner in owners.items() if prefix.contains(address))
        found += owner != f"host:{handle.partition('-')[0]}"
    return found


async def _create_endpoints(client: Client, held: Mapping[Address, str]) -> None:
    addresses: dict[str, list[Address]] = {}
    for address, handle in held.items():
        addresses.setdefault(handle, []).append(address)
    for handle, mine in addresses.items():
        name = handle.partition("-")[0]
        spec = WorkloadEndpointSpec(
            orchestrator="cni",
            node=name,
            workload=handle,
            endpoint="eth0",
            container_id=handle,
            interface_name=f"cali{handle.replace('-', '')}",
            ip_networks=tuple(f"{one}/{32 if one.family is Family.V4 else 128}" for one in mine),
        )
        full = f"{name}-cni-{handle.replace('-', '--')}-eth0"
        await client.create(WorkloadEndpoint(metadata=Metadata(name=full, namespace="default"), spec=spec))


def _ask_command_line(environment: Mapping[str, str], outcome: Outcome) -> None:
    """`tortie ipam check` finds nothing, `tortie ipam show` says what is in use."""
    checked = _tortie(environment, "ipam", "check", "--show-problem-ips")
    if "found 0 problems" not in checked:
        outcome.faults.append(f"tortie ipam check: {checked}")
    shown = _tortie(environment, "ipam", "show")
    told = sum(int(number) for number in re.findall(r"\| IP Pool .*?\| +[\d.]+ \| (\d+) \(", shown))
    expected = asyncio.run(_taken(environment))
    if told != expected:
        outcome.faults.append(f"tortie ipam show says {told} addresses are in use, {expected} are:\n{shown}")


async def _taken(environment: Mapping[str, str]) -> int:
    """Ordinals that are taken, cooling ones too, counted in the blocks as they are stored."""
    client = open_client(environment, None)
    blocks = (await client.list("IPAMBlock")).items
    await client.close()
    return sum(index is not None for block in blocks if isinstance(block, IPAMBlock) for index in block.spec.allocations)


def _tortie(environment: Mapping[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "tortie.cli.main", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr
