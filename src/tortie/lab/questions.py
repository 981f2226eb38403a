"""Lists of probes and whole truth tables, and how they are printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from tortie.base.net import Family
from tortie.lab.cluster import Lab
from tortie.lab.probe import Answer, Question, ask, observe
from tortie.lab.spec import LabError, ProbeSpec, Protocol


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer beside what was expected of it ("" for nothing)."""

    answer: Answer
    expect: str

    @property
    def as_expected(self) -> bool:
        """True if nothing else was expected."""
        return self.expect in ("", self.answer.outcome)

    def to_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return {**self.answer.to_json(), **({"expect": self.expect, "ok": self.as_expected} if self.expect else {})}


async def run_probes(lab: Lab, specs: Sequence[ProbeSpec]) -> list[Checked]:
    """Ask everything; a probe without a family is asked once per family of the lab that its target has."""
    questions: list[Question] = []
    expects: list[str] = []
    for spec in specs:
        before = len(questions)
        for family in lab.families if spec.family == 0 else (Family(spec.family),):
            question = ask(lab, spec.source, spec.to, protocol=spec.protocol, port=spec.port, family=family)
            if question is not None:
                questions.append(question)
                expects.append(spec.expect)
        if len(questions) == before:
            raise LabError(f"{spec.to} has no address of the family that was asked for")
    return [Checked(answer, expect) for answer, expect in zip(await observe(lab, questions), expects, strict=True)]


async def run_matrix(lab: Lab, ports: Sequence[str], *, families: Sequence[int]) -> list[Answer]:
    """Every pod to every other pod, for each `protocol/port`."""
    wanted = [_port(text) for text in ports]
    pods = sorted(lab.state.pods)
    questions = [
        question
        for protocol, port in wanted
        for source in pods
        for target in pods
        for family in lab.families
        if source != target
        and family.value in families
        and (question := ask(lab, source, target, protocol=protocol, port=port, family=family)) is not None
    ]
    return await observe(lab, questions)


def _port(text: str) -> tuple[Protocol, int]:
    protocol, _, number = text.partition("/")
    if protocol == "icmp" and not number:
        return "icmp", 0
    if protocol not in ("tcp", "udp") or not number.isdecimal() or not 0 < int(number) < 65536:
        raise LabError(f"--port {text!r}: tcp/NUMBER, udp/NUMBER or icmp is expected")
    return cast(Protocol, protocol), int(number)


def print_answers(items: Sequence[Checked]) -> None:
    """One line an answer."""
    table = Table(box=None, pad_edge=False)
    for column in ("FROM", "TO", "PORT", "FAMILY", "ANSWER", "MS", "EXPECTED"):
        table.add_column(column)
    for item in items:
        question = item.answer.question
        port = question.protocol if question.protocol == "icmp" else f"{question.protocol}/{question.port}"
        verdict = item.expect if item.as_expected else f"{item.expect} (NOT MET)"
        table.add_row(
            question.source, question.target, port, f"IPv{question.address.family.value}",
            item.answer.outcome, f"{item.answer.seconds * 1000:.1f}", verdict,
        )  # fmt: skip
    Console(highlight=False).print(table)


def print_matrix(answers: Sequence[Answer]) -> None:
    """One table a port; a cell holds a mark per family: + allowed, - denied, r refused, x unreachable."""
    marks = {"allowed": "+", "denied": "-", "refused": "r", "unreachable": "x"}
    console = Console(highlight=False)
    for protocol, port in dict.fromkeys((answer.question.protocol, answer.question.port) for answer in answers):
        cells: dict[tuple[str, str], str] = {}
        names: dict[str, None] = {}
        for answer in answers:
            question = answer.question
            if (question.protocol, question.port) == (protocol, port):
                names.setdefault(question.source)
                pair = (question.source, question.target)
                cells[pair] = cells.get(pair, "") + marks[answer.outcome]
        table = Table(title=f"{protocol}/{port}" if port else protocol, title_justify="left")
        table.add_column("from \\ to", no_wrap=True)
        for number in range(1, len(names) + 1):
            table.add_column(str(number), justify="center", no_wrap=True)
        for number, source in enumerate(names, 1):
            table.add_row(f"{number} {source}", *(cells.get((source, target), "·") for target in names))
        console.print(table)
    console.print("+ allowed, - denied, r refused (nobody listens), x unreachable; a mark per family")
