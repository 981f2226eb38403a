"""Same-node packets beside plain forwarding: round trips, connections and CPU per gigabit with 0, 10 and 100 policies.

Plain forwarding is a namespace with the same cables (our own CNI wiring) and no rule of anybody's. Of n policies on the
server, the last one allows the connection. Client, server and so the kernel's work run on one CPU.
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

_COUNTS = (0, 10, 100)
_PORT = 9000
_TURNS = 3
_TRIPS, _CONNECTS, _BYTES = 4000, 800, 256 << 20
_GIGABITS = _BYTES * 8 / 1e9
_KINDS = {"trips": _TRIPS, "connects": _CONNECTS, "stream": _BYTES}
_PLAIN = "plain forwarding"
_CPU = (os.cpu_count() or 1) - 1


def _rows() -> tuple[Row, ...]:
    found = []
    for count in _COUNTS:
        ours, ten = f"{count} policies", count == 10
        found += [
            Row(f"trips-{count}", f"round trips, {ours}", _PLAIN, "/s", better="more", target=0.92 if ten else None),
            Row(f"connects-{count}", f"connections, {ours}", _PLAIN, "/s", better="more", target=0.85 if ten else None),
            Row(f"cpu-{count}", f"CPU per gigabit, {ours}", _PLAIN, "ms"),
        ]
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
def _serving(program: Path, namespace: str) -> Iterator[None]:
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
def _plain(program: Path) -> Iterator[_Way]:
    with ground.plain_node(2) as (_, (client, server), (_, address)), _serving(program, server):
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
                Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(_PORT,))),
                order=1e6,
            )
            await ground.fill(lab.client, [*others, *([last] if count else [])])
        client = await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/client"), default_node="n1")
        ways = {"plain": stack.enter_context(_plain(program))}
        for count in _COUNTS:
            pod = PodSpec(name=f"{ground.NAMESPACE}/server-{count}", labels={"policies": str(count)})
            server = await lab.add_pod(pod, default_node="n1")
            stack.enter_context(_serving(program, server.netns))
            address = next(text for text in server.sandbox.addresses if ":" not in text)
            ways[str(count)] = _Way(client.netns, address, program)

        async def measure(_: int) -> Mapping[str, Pair]:
            figures: dict[tuple[str, str], list[float]] = {}
            for _turn in range(_TURNS):
                for kind in _KINDS:
                    for name, way in ways.items():
                        figures.setdefault((kind, name), []).append(way.ask(kind))
            return {
                f"{row}-{count}": Pair(figures[kind, str(count)], figures[kind, "plain"])
                for row, kind in (("trips", "trips"), ("connects", "connects"), ("cpu", "stream"))
                for count in _COUNTS
            }

        yield measure


BENCH = Bench("traffic", _rows(), _stage)
