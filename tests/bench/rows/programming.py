"""The first programming of a node: 2,000 sets of 50 addresses and 2,000 policies, beside `nft -f` of the same ruleset.

Measured in this process as the agent does it (one loop, one table's thread), each time in a fresh network namespace. The loop
must not be held meanwhile: nothing else of the agent would run.
"""

import asyncio
import contextlib
import gc
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from tests.bench import ground, idle_loop
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.agent import garbage
from tortie.base.net import Family, Prefix
from tortie.dataplane.linux import LinuxDataplane
from tortie.intent.keys import PolicyId
from tortie.intent.messages import ConfigUpdate, InSync, Message, PolicyUpdate, SetUpdate
from tortie.intent.policy import Action, Direction, Match, Origin, Policy, PortRange, Rule
from tortie.intent.sets import IPSet, SetKind
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Routes, RouteTable

_SETS, _MEMBERS, _POLICIES = 2000, 50, 2000
_HOLD_LIMIT = 10.0
_THRESHOLDS = gc.get_threshold()
_SIZE = f"{_SETS} sets x {_MEMBERS}, {_POLICIES} policies"
_ROWS = (
    Row("first-programming", f"first programming, {_SIZE}", "`nft -f` of the same ruleset", "s"),
    Row(
        "programming-hold",
        "longest hold of the loop meanwhile",
        "the rule: 10 ms, or what an idle loop suffers",
        "ms",
        target=1.0,
    ),
)


class _Took(NamedTuple):
    seconds: float
    longest_hold: float


def messages() -> list[Message]:
    """What the calculation graph would say to a fresh dataplane."""
    found: list[Message] = [ConfigUpdate(())]
    base = 10 << 24
    for number in range(_SETS):
        nets = frozenset(Prefix(Family.V4, base + number * 128 + 2 * i, 32) for i in range(_MEMBERS))
        found.append(SetUpdate(f"s:set{number}", IPSet(f"s:set{number}", SetKind.NET, f"app == 'a{number}'"), nets))
    found += [_policy(number) for number in range(_POLICIES)]
    return [*found, InSync()]


def _policy(number: int) -> PolicyUpdate:
    owner = PolicyId("NetworkPolicy", "bench", f"policy-{number:05d}")
    ingress = tuple(
        Rule(Action.ALLOW, Origin(owner, Direction.INGRESS, index), protocol=6, source=source, destination=destination)
        for index, (source, destination) in enumerate(
            (
                (Match(sets=(f"s:set{number % _SETS}",)), Match(ports=(PortRange(8000, 8000 + number % 100),))),
                (Match(nets=(Prefix(Family.V4, (192 << 24) + (number << 8), 24),)), Match()),
            )
        )
    )
    egress = (Rule(Action.DENY, Origin(owner, Direction.EGRESS, 0), destination=Match(sets=(f"s:set{(number + 1) % _SETS}",))),)
    return PolicyUpdate(owner, Policy(owner, "default", ingress, egress))


async def program(fd: int, what: list[Message]) -> _Took:
    """One first programming of a namespace."""
    table, routes, conntrack = NftTable(netns_fd=fd), Routes(fd), Conntrack(fd)
    dataplane = LinuxDataplane(table, RouteTable(routes), conntrack=conntrack)
    gc.collect()
    gc.freeze()
    garbage.start_loading()
    try:
        async with asyncio.TaskGroup() as group:
            holds: list[float] = []
            ticking = group.create_task(idle_loop.tick(holds))
            await asyncio.sleep(0.05)
            holds.clear()
            started = time.perf_counter()
            dataplane.on_messages(what)
            await dataplane.apply()
            seconds = time.perf_counter() - started
            await asyncio.sleep(0.005)
            ticking.cancel()
        return _Took(seconds, max(holds))
    finally:
        garbage.loaded()
        gc.unfreeze()
        gc.set_threshold(*_THRESHOLDS)
        await table.close()
        routes.close()
        conntrack.close()


def _nft(namespace: str, *arguments: str, text: str = "") -> str:
    command = ["nft", *arguments]
    return netns.run_in_named(
        namespace, lambda: subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    )


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    what = messages()
    with ground.spaces(1) as (namespace,), netns.opened(namespace) as fd:
        await program(fd, what)
        ruleset = _nft(namespace, "list", "table", "inet", "tortie")

    async def measure(_: int) -> Mapping[str, Pair]:
        with ground.spaces(2) as (ours, peer):
            with netns.opened(ours) as fd, idle_loop.running() as beside:
                took = await program(fd, what)
            started = time.perf_counter()
            _nft(peer, "-f", "-", text=ruleset)
            seconds = time.perf_counter() - started
        return {
            "first-programming": Pair([took.seconds], [seconds]),
            "programming-hold": Pair([took.longest_hold], [max(_HOLD_LIMIT, beside.longest)]),
        }

    yield measure


BENCH = Bench("programming", _ROWS, _stage)
