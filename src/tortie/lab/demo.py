"""The demo: what Tortie does, shown and checked in under a minute. Anything observed that was not expected is a failure.

The steps, in order: a lab of three nodes, seven pods wired by CNI, what BGP taught, the truth table open, one Kubernetes
policy, the truth table again beside `explain`, agents killed under traffic, and nothing left at the end.
"""

import asyncio
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from tortie.base.errors import TortieError
from tortie.lab import demo_checks, demo_faults, demo_kubernetes
from tortie.lab.cluster import Lab, tear_down
from tortie.lab.demo_expected import BEFORE, EXPECTED_AFTER, EXPECTED_BEFORE, names_of
from tortie.lab.names import LabNames
from tortie.lab.report import Report
from tortie.lab.residue import find_residue, look_at_machine
from tortie.lab.spec import Datastore, LabSpec, load_spec


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


async def run_demo(*, name: str = "demo", json_path: Path | None = None, datastore: Datastore = "sqlite") -> bool:
    """Run it all. True when everything was as expected. Whatever happens, the lab is gone afterwards."""
    report = Report()
    findings = Findings()
    names = LabNames(name)
    before = look_at_machine()
    try:
        spec = msgspec.structs.replace(load_spec(demo_files() / "demo.yaml"), name=name, datastore=datastore)
        await _run_steps(spec, report, findings)
    except* TortieError as errors:
        for error in _flat(errors):
            findings.failures.append(str(error))
            report.bad(str(error))
    residue = find_residue(names, before)
    findings.steps["residue"] = residue
    findings.expect(not residue, "nothing is left: namespaces, links, nft tables, routes, processes, files", report)
    for line in residue:
        report.note(line)
    _conclude(report, findings, json_path)
    return not findings.failures


async def _run_steps(spec: LabSpec, report: Report, findings: Findings) -> None:
    with report.step("Three nodes, each with its own agent, BIRD and run directory; seven pods wired by tortie-cni"):
        lab = await Lab.up(spec, progress=report.note)
        demo_checks.show_pods(lab, report, findings)
    on_kubernetes = spec.datastore == "kubernetes"
    try:
        if on_kubernetes:
            with report.step("The same by kubectl, from a real API server: it knows what CNI did"):
                await demo_kubernetes.show_cluster(lab, report, findings)
        await _show(lab, report, findings)
        if on_kubernetes:
            with report.step("What the agents asked the API server for"):
                demo_kubernetes.show_audit(lab, report, findings)
    finally:
        with report.step("Tear down, and look for anything that is left"):
            try:
                await asyncio.shield(lab.down())
            finally:
                await asyncio.shield(tear_down(lab.names))


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


def _conclude(report: Report, findings: Findings, json_path: Path | None) -> None:
    passed = not findings.failures
    seconds = report.elapsed_seconds
    if json_path is not None:
        result = {
            "apiVersion": "tortie.io/v1",
            "kind": "DemoResult",
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
