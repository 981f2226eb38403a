"""The README's first command, whole, and each mode's show: everything must be as expected, and nothing may be left."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.kubernetes.control_plane import require_binaries
from tests.lab.stage import namespaces_of, tortie, unique_name

from tortie.lab.modes import MODES

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


@pytest.mark.parametrize("datastore", ["sqlite", pytest.param("kubernetes", marks=pytest.mark.kubernetes)])
def test_the_demo_finds_everything_as_expected_and_leaves_nothing(datastore: str, tmp_path: Path) -> None:
    if datastore == "kubernetes":
        require_binaries()
    name = unique_name()
    done = tortie("lab", "demo", "--name", name, "--datastore", datastore, "--json", str(tmp_path / "result.json"), timeout=170)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["failures"] == [], done.out
    assert done.code == 0, done.out
    assert result["passed"] is True
    assert len(result["steps"]["pods"]) == 7
    assert all(cell["outcome"] == "allowed" for cell in result["steps"]["truth-before"])
    assert len(result["steps"]["truth-after"]) == 7 * 6 * 2 * 2
    assert result["steps"]["kills"]["kills"] == 10
    changed = result["steps"]["changeWhileDead"]
    assert changed["secondsToHold"] - changed["secondsWithoutProcessor"] <= 2.0
    assert result["steps"]["residue"] == []
    if datastore == "kubernetes":
        assert result["steps"]["kubernetes"]["pods"] == {pod["pod"]: pod["addresses"] for pod in result["steps"]["pods"]}
        assert result["steps"]["audit"]["refused"] == []
    assert namespaces_of(name) == []
    assert name not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("mode", sorted(MODES))
def test_each_mode_is_on_the_wire_what_it_promises_and_leaves_nothing(mode: str, tmp_path: Path) -> None:
    name = unique_name()
    done = tortie("lab", "demo", "--mode", mode, "--name", name, "--json", str(tmp_path / "result.json"), timeout=120)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["failures"] == [], done.out
    assert done.code == 0, done.out
    assert (result["passed"], result["mode"]) == (True, mode)
    steps, shown = result["steps"], MODES[mode]
    looked_at = [(entry["family"], entry["cover"]) for entry in steps["wire"]]
    assert looked_at == [*shown.within.items(), *shown.across.items()]
    assert all(entry["example"] for entry in steps["wire"])
    assert steps["mtu"] == {"pod": shown.mtu, "expected": shown.mtu}
    connections = 4 * 3 * 2 * len(shown.within)
    assert (len(steps["truth-before"]), len(steps["truth-after"])) == (connections, connections)
    assert {cell["outcome"] for cell in steps["truth-after"]} == {"allowed", "denied"}
    if mode == "reflectors":
        assert steps["reflectorDies"]["lost"] == 0
        assert steps["reflectorDies"]["sent"] > 1000
    assert steps["residue"] == []
    assert namespaces_of(name) == []
