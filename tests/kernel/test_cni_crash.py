"""kill -9 of the agent or of the executable at every step of ADD and DEL; the runtime then does what runtimes do."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.cni_stage import CONFIG, Stage, on_node

pytestmark = pytest.mark.kernel

_MOST_STEPS = 120


class Victim:
    """One life of the server."""

    def __init__(self, folder: Path, step: int, whom: str) -> None:
        line = [sys.executable, "-m", "tests.kernel.cni_victim", str(folder), str(step), whom]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "serving\n"

    def end(self) -> int | None:
        """How many steps it took; None if it was killed."""
        words, _ = self.process.communicate(timeout=20)
        return int(words) if self.process.returncode == 0 else None


@contextmanager
def life(folder: Path, step: int = -1, whom: str = "agent") -> Iterator[Victim]:
    victim = Victim(folder, step, whom)
    try:
        yield victim
    finally:
        victim.process.kill()
        victim.process.communicate()


def execute(stage: Stage, command: str, container: str) -> int:
    """Run the executable, its pid in the file where the server looks for it."""
    note = stage.socket.parent / "caller"
    note.unlink(missing_ok=True)
    with subprocess.Popen(
        [str(stage.executable)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=stage.environment(command, "web", container),
    ) as process:
        note.write_text(f"{process.pid}\n")
        answer, _ = process.communicate(json.dumps(CONFIG).encode(), timeout=30)
        if process.returncode > 0:
            assert json.loads(answer)["code"] in (11,), answer
        return process.returncode


async def one_pod_is_there(stage: Stage, container: str) -> None:
    """Exactly one of everything: addresses, handle, endpoint, cable, routes."""
    items: dict[str, Any] = {kind: (await stage.client.list(kind)).items for kind in ("WorkloadEndpoint", "IPAMHandle")}
    assert [item.spec.container_id for item in items["WorkloadEndpoint"]] == [container]
    assert [item.spec.handle_id for item in items["IPAMHandle"]] == [f"k8s-pod-network.{container}"]
    assert len(await booked(stage)) == 2
    left = await stage.residue()
    assert len([line for line in left if line.startswith("device ")]) == 1, left
    assert len([line for line in left if line.startswith("route ")]) == 2, left


async def booked(stage: Stage) -> list[str]:
    """Whom every assigned address belongs to."""
    blocks = (await stage.client.list("IPAMBlock")).items
    return [
        str(block.spec.attributes[index].handle_id)
        for block in blocks
        for index in block.spec.allocations
        if index is not None and block.spec.attributes[index].released_at is None
    ]


async def round_of(stage: Stage, folder: Path, command: str, *, step: int, whom: str) -> bool:
    """One kill and what follows it. True if the step was reached."""
    first, second = f"old{step}", f"new{step}"
    if command == "DEL":
        with life(folder) as victim:
            assert await asyncio.to_thread(execute, stage, "ADD", first) == 0
            victim.end()
    with life(folder, step, whom) as victim:
        status = await asyncio.to_thread(execute, stage, command, first)
        steps = victim.end()
    reached = steps is None or steps > step
    assert (status == 0) != reached or whom == "caller"
    with life(folder) as victim:
        if command == "ADD":  # some runtimes repeat the ADD
            assert await asyncio.to_thread(execute, stage, "ADD", first) == 0
            await one_pod_is_there(stage, first)
        assert await asyncio.to_thread(execute, stage, "DEL", first) == 0  # the kubelet gives the container up ...
        assert await stage.residue() == []
        assert await booked(stage) == []
        assert await asyncio.to_thread(execute, stage, "ADD", second) == 0  # ... and makes another
        await one_pod_is_there(stage, second)
        assert await asyncio.to_thread(execute, stage, "DEL", second) == 0
        assert await stage.residue() == []
        assert await booked(stage) == []
        victim.end()
    return reached


@pytest.mark.timeout(240)
@pytest.mark.parametrize("whom", ["agent", "caller"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_a_kill_at_any_step_leaves_nothing_and_doubles_nothing(shim: Path, command: str, whom: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        await stage.stop_serving()
        step = 0
        while await round_of(stage, stage.socket.parent, command, step=step, whom=whom):
            step += 1
            assert step < _MOST_STEPS
        assert step > (30 if command == "ADD" else 8), f"only {step} steps were there to be killed at"

    on_node(shim, scenario)


@pytest.mark.timeout(120)
def test_after_a_kill_del_alone_clears_away_what_add_left(shim: Path) -> None:
    """Without the ADD in between, which would take back its own leftovers."""

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        await stage.stop_serving()
        for step in range(0, 44, 3):
            with life(stage.socket.parent, step) as victim:
                await asyncio.to_thread(execute, stage, "ADD", f"c{step}")
                victim.end()
            with life(stage.socket.parent) as victim:
                assert await asyncio.to_thread(execute, stage, "DEL", f"c{step}") == 0
                victim.end()
            assert await stage.residue() == []
            assert await booked(stage) == []

    on_node(shim, scenario)
