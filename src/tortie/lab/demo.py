"""The demo: what Tortie does, shown and checked in under a minute. Anything observed that was not expected is a failure.

The steps, in order: a lab of three nodes, seven pods wired by CNI, what BGP taught, the truth table open, one Kubernetes
policy, the truth table again beside `explain`, agents killed under traffic, and nothing left at the end.

With a mode the lab has that mode's shape, and instead of agents that die one sees how packets cross, and how large they may be.
"""

import asyncio
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from tortie.base.errors import TortieError
from tortie.lab import demo_checks, demo_faults, demo_kubernetes, demo_modes, demo_reflectors
from tortie.lab.cluster import Lab, tear_down
from tortie.lab.demo_expected import BEFORE, EXPECTED_AFTER, EXPECTED_BEFORE, names_of
from tortie.lab.modes import MODES, Mode
from tortie.lab.names import LabNames
from tortie.lab.report import Report
from tortie.lab.residue import find_residue, look_at_machine
from tortie.lab.spec import Datastore, LabSpec, ModeName, load_spec


@dataclass(slots=True)
class Findings:
    """What the demo found, step by step; `failures` empty means that everything was as expected."""

    steps: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def expect(self, condition: bool, text: str, report: Report) -> None:
        """Show one fact, and remember it when it is not as expected."""
        if condition:
            report.good(text)
        else:
            report.bad(text)
            self.failures.append(text)


def demo_files() -> Path:
    """The folder with demo.yaml and the policy."""
    return Path(str(resources.files("tortie.lab")))


async def run_demo(
    *, name: str = "demo", json_path: Path | None = None, datastore: Datastore = "sqlite", mode: ModeName | None = None
) -> bool:
    """Run it all. True when everything was as expected. Whatever happens, the lab is gone afterwards."""
    report = Report()
    findings = Findings()
    names = LabNames(name)
    before = look_at_machine()
    try:
        shown = MODES[mode] if mode is not None else None
        spec = load_spec(demo_files() / "demo.yaml" if shown is None else shown.lab_file)
        await _run_steps(msgspec.structs.replace(spec, name=name, datastore=datastore), shown, report, findings)
    except* TortieError as errors:
        for error in _flat(errors):
            findings.failures.append(str(error))
            report.bad(str(error))
    residue = find_residue(names, before)
    findings.steps["residue"] = residue
    findings.expect(not residue, "nothing is left: namespaces, links, nft tables, routes, processes, files", report)
    for line in residue:
        report.note(line)
    _conclude(report, findings, json_path, mode=mode)
    return not findings.failures


async def _run_steps(spec: LabSpec, mode: Mode | None, report: Report, findings: Findings) -> None:
    with report.step(_opening(spec, mode)):
        lab = await Lab.up(spec, progress=report.note)
        demo_checks.show_pods(lab, report, findings)
    on_kubernetes = spec.datastore == "kubernetes"
    try:
        if on_kubernetes:
            with report.step("The same by kubectl, from a real API server: it knows what CNI did"):
                await demo_kubernetes.show_cluster(lab, report, findings)
        if mode is None:
            await _show(lab, report, findings)
        else:
            await _show_mode(lab, mode, report, findings)
        if on_kubernetes:
            with report.step("What the agents asked the API server for"):
                demo_kubernetes.show_audit(lab, report, findings)
    finally:
        with report.step("Tear down, and look for anything that is left"):
            try:
                await asyncio.shield(lab.down())
            finally:
                await asyncio.shield(tear_down(lab.names))


def _opening(spec: LabSpec, mode: Mode | None) -> str:
    if mode is None:
        return "Three nodes, each with its own agent, BIRD and run directory; seven pods wired by tortie-cni"
    racks = len({node.rack for node in spec.nodes})
    where = "one rack" if racks == 1 else f"{racks} racks, and a network between them that knows nothing of pods"
    return f"{mode.title}: {len(spec.nodes)} nodes in {where}; {len(spec.pods)} pods wired by tortie-cni"


async def _show_mode(lab: Lab, mode: Mode, report: Report, findings: Findings) -> None:
    names = sorted(lab.state.pods, key=names_of(BEFORE).index)
    if mode.name == "reflectors":
        with report.step("Who speaks BGP to whom"):
            await demo_reflectors.sessions(lab, report, findings)
    with report.step("Every node's ways to the others, and who programs them"):
        demo_modes.routes(lab, report, findings)
    with report.step("Who reaches whom before any policy: everything is open"):
        await demo_checks.truth(lab, names, expected=EXPECTED_BEFORE, label="before", report=report, findings=findings)
    with report.step("On the wire"):
        await demo_modes.wire(lab, mode, report, findings)
    with report.step("How large a packet may be"):
        await demo_modes.sizes(lab, mode, report, findings)
    if mode.name == "reflectors":
        with report.step("SIGKILL of a reflector's BIRD and agent, under traffic"):
            await demo_reflectors.one_dies(lab, report, findings)
    with report.step("Apply examples/protect-database.yaml: only backends in prod reach the database, only on 5432"):
        await lab.apply_file(demo_files() / "protect-database.yaml")
        await demo_checks.policy_in_force(lab)
        await demo_checks.truth(lab, names, expected=EXPECTED_AFTER, label="after", report=report, findings=findings)


async def _show(lab: Lab, report: Report, findings: Findings) -> None:
    with report.step("What BGP has taught each node, and a packet on the wire"):
        await demo_checks.routes(lab, report, findings)
        await demo_checks.wire(lab, report, findings)
    names = names_of(BEFORE)
    with report.step("Who reaches whom before any policy: everything is open"):
        await demo_checks.truth(lab, names, expected=EXPECTED_BEFORE, label="before", report=report, findings=findings)
    with report.step("Apply examples/protect-database.yaml: only backends in prod reach the database, only on 5432"):
        await lab.apply_file(demo_files() / "protect-database.yaml")
        await demo_checks.policy_in_force(lab)
        await demo_checks.truth(lab, names, expected=EXPECTED_AFTER, label="after", report=report, findings=findings)
    with report.step("Why: tortie explain, for one blocked and one allowed pair"):
        await demo_checks.explain_pairs(lab, report, findings)
    with report.step("Ten SIGKILLs of an agent during a 200-policy change, under traffic"):
        await demo_faults.kills(lab, report, findings)
    with report.step("A policy changed while the agent is dead"):
        await demo_faults.change_while_dead(lab, report, findings)


def _conclude(report: Report, findings: Findings, json_path: Path | None, *, mode: ModeName | None) -> None:
    passed = not findings.failures
    seconds = report.elapsed_seconds
    if json_path is not None:
        result = {
            "apiVersion": "tortie.io/v1",
            "kind": "DemoResult",
            **({"mode": mode} if mode else {}),
            "passed": passed,
            "seconds": round(seconds, 1),
            "failures": findings.failures,
            "steps": findings.steps,
        }
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        report.note(f"the whole result is in {json_path}")
    if passed:
        report.good(f"everything observed was as expected, in {seconds:.0f} s")
    else:
        report.bad(f"{len(findings.failures)} things were not as expected:")
        for failure in findings.failures:
            report.note(f"- {failure}")


def _flat(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
