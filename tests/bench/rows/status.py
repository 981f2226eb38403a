"""CNI STATUS while an agent loads 10,000 policies, beside the same agent at rest: the loop is never held.

Of the policies 1,000 apply to a pod of the node. STATUS is asked without a pause, from the moment the socket answers until the
agent says that it is ready and half a second more.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.lab.cluster import Lab
from tortie.lab.runtime import find_plugin
from tortie.lab.spec import PodSpec
from tortie.lab.state import read_agent_status

_POLICIES, _LOCAL = 10_000, 1000
_OURS = f"CNI STATUS while {_POLICIES} policies load"
_ROWS = (
    Row("status-p50", f"{_OURS}, p50", "the same agent at rest, p50", "ms"),
    Row("status-p99", f"{_OURS}, p99", "the same agent at rest, p99", "ms", quantile=0.99),
    Row("status-max", f"{_OURS}, longest", "the same agent at rest, longest", "ms", quantile=1.0),
)
_NOT_AVAILABLE = 50
_AFTER_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1") as lab:
        await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/local", labels={"app": "local"}), default_node="n1")
        await ground.fill(
            lab.client,
            (
                ground.other_policy(number, "app == 'local'" if number < _LOCAL else f"app == 'a{number % 500}'")
                for number in range(_POLICIES)
            ),
        )

        async def measure(_: int) -> Mapping[str, Pair]:
            lab.kill_agent("n1")
            lab.names.cni_socket("n1").unlink()  # threads of the dead agent may hold it for a moment yet
            await lab.start_agent("n1", wait=False)
            loading = await asyncio.to_thread(_ask_until_ready, lab)
            resting = await asyncio.to_thread(lambda: [_ask(lab) for _ in loading])
            pair = Pair(loading, resting)
            return {row.name: pair for row in _ROWS}

        yield measure


def _ask_until_ready(lab: Lab) -> list[float]:
    path = lab.names.cni_socket("n1")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _serves(path):
        if time.monotonic() > deadline:
            raise RuntimeError("the agent does not serve CNI")
        time.sleep(0.001)
    found: list[float] = []
    end = deadline
    while time.monotonic() < end:
        found.append(_ask(lab))
        status = read_agent_status(lab.names, "n1")
        if end == deadline and status and status.get("ready"):
            end = time.monotonic() + _AFTER_SECONDS
    if end == deadline:
        raise RuntimeError(f"the agent is not ready after {_PATIENCE_SECONDS:g} s: {read_agent_status(lab.names, 'n1')}")
    return found


def _serves(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _ask(lab: Lab) -> float:
    """One STATUS in milliseconds. "Not ready yet" is an answer; silence is not."""
    environment = ground.tortie_environment("STATUS", container="", namespace="", pod="", socket=lab.names.cni_socket("n1"))
    asked = ground.ask(find_plugin(), environment, ground.TORTIE_CONFIG)
    if asked.status != 0 and asked.answer.get("code") != _NOT_AVAILABLE:
        raise RuntimeError(f"STATUS: {asked.answer}")
    return asked.seconds * 1000


BENCH = Bench("status", _ROWS, _stage)
