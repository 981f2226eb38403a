"""Same-node packets beside plain forwarding: round trips and connections with 0 to 1,000 policies, CPU per gigabit.

Plain forwarding is a namespace with the same cables (our own CNI wiring) and no rule of anybody's; conntrack alone is one more,
with a single rule that looks at the connection's state. Each policy has five rules; of n policies on the server the last rule
of the last one allows the connection. Client, server and so the kernel's work run on one CPU.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.policy import EntityRule, Rule
from tortie.kernel import netns
from tortie.lab.spec import PodSpec

_COUNTS = (0, 10, 100, 1000)
_CPU_COUNTS = (0, 10, 100)
_BESIDE_CONNTRACK = (10, 100, 1000)
_PORT = 9000
_TURNS = 3
_TRIPS, _CONNECTS, _BYTES = 4000, 800, 256 << 20
_GIGABITS = _BYTES * 8 / 1e9
_KINDS = {"trips": _TRIPS, "connects": _CONNECTS, "stream": _BYTES}
_PLAIN, _TRACKED = "plain forwarding", "conntrack alone"
_RULES = 5
_CONNTRACK_TABLE = """table inet beside {
	chain forward { type filter hook forward priority 0; ct state established,related accept; }
}
"""
_CPU = (os.cpu_count() or 1) - 1


def _rows() -> tuple[Row, ...]:
    found = []
    for count in _COUNTS:
        ours, ten = f"{count} policies", count == 10
        found += [
            Row(f"trips-{count}", f"round trips, {ours}", _PLAIN, "/s", better="more", target=0.92 if ten else None),
            Row(f"connects-{count}", f"connections, {ours}", _PLAIN, "/s", better="more", target=0.85 if ten else None),
        ]
        if count in _CPU_COUNTS:
            found.append(Row(f"cpu-{count}", f"CPU per gigabit, {ours}", _PLAIN, "ms"))
        if count in _BESIDE_CONNTRACK:
            found.append(Row(f"trips-ct-{count}", f"round trips, {ours}", _TRACKED, "/s", better="more"))
            found.append(Row(f"connects-ct-{count}", f"connections, {ours}", _TRACKED, "/s", better="more"))
    return tuple(sorted(found, key=lambda row: row.name.partition("-")[0], reverse=True))


@dataclass(frozen=True, slots=True)
class _Way:
    """A client and the server that it talks to."""

    client: str
    address: str
    program: Path

    def ask(self, kind: str) -> float:
        """One measurement as a figure of the row's unit."""
        command: list[str | Path] = [self.program, kind, str(_CPU), self.address, str(_PORT), str(_KINDS[kind])]
        done = netns.run_in_named(self.client, lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
        if done.returncode != 0:
            raise RuntimeError(f"traffic {kind} to {self.address}: {done.stderr.strip()}")
        seconds = float(done.stdout)
        return seconds * 1000 / _GIGABITS if kind == "stream" else _KINDS[kind] / seconds


@contextlib.contextmanager
def serving(program: Path, namespace: str) -> Iterator[None]:
    command: list[str | Path] = [program, "serve", str(_CPU), str(_PORT)]
    server = netns.run_in_named(namespace, lambda: subprocess.Popen(command, stdout=subprocess.PIPE))
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield
    finally:
        server.kill()
        server.communicate()


@contextlib.contextmanager
def _plain(program: Path, ruleset: str = "") -> Iterator[_Way]:
    with ground.plain_node(2) as (node, (client, server), (_, address)), serving(program, server):
        if ruleset:
            load = ["nft", "-f", "-"]
            netns.run_in_named(node, lambda: subprocess.run(load, input=ruleset, text=True, check=True))
        yield _Way(client, address, program)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1") as lab, contextlib.AsyncExitStack() as stack:
        program = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tortie-bench-"))) / "traffic"
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, Path(__file__).parent.parent / "traffic.c"], check=True)
        for count in _COUNTS:
            selector = f"policies == '{count}'"
            others = [ground.other_policy(count * 1000 + number, selector) for number in range(count - 1)]
            last = ground.policy(
                f"last-{count}",
                selector,
                *ground.other_rules(count, _RULES - 1),
                Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(_PORT,))),
                order=1e9,
            )
            await ground.fill(lab.client, [*others, *([last] if count else [])])
        client = await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/client"), default_node="n1")
        ways = {
            "plain": stack.enter_context(_plain(program)),
            "tracked": stack.enter_context(_plain(program, _CONNTRACK_TABLE)),
        }
        for count in _COUNTS:
            pod = PodSpec(name=f"{ground.NAMESPACE}/server-{count}", labels={"policies": str(count)})
            server = await lab.add_pod(pod, default_node="n1")
            stack.enter_context(serving(program, server.netns))
            address = next(text for text in server.sandbox.addresses if ":" not in text)
            ways[str(count)] = _Way(client.netns, address, program)

        async def measure(_: int) -> Mapping[str, Pair]:
            figures: dict[tuple[str, str], list[float]] = {}
            for _turn in range(_TURNS):
                for kind in _KINDS:
                    for name, way in ways.items():
                        if kind == "stream" and name not in ("plain", *map(str, _CPU_COUNTS)):
                            continue
                        figures.setdefault((kind, name), []).append(way.ask(kind))
            pairs = {
                f"{row}-{count}": Pair(figures[kind, str(count)], figures[kind, "plain"])
                for row, kind in (("trips", "trips"), ("connects", "connects"), ("cpu", "stream"))
                for count in _COUNTS
                if (kind, str(count)) in figures
            }
            for kind in ("trips", "connects"):
                for count in _BESIDE_CONNTRACK:
                    pairs[f"{kind}-ct-{count}"] = Pair(figures[kind, str(count)], figures[kind, "tracked"])
            return pairs

        yield measure


BENCH = Bench("traffic", _rows(), _stage)
