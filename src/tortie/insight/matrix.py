"""Who reaches whom: the whole table for some ports, one family."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tortie.base.net import Family
from tortie.insight.ends import End, of_workload
from tortie.insight.explain import Explanation, explain_ends
from tortie.insight.question import Question
from tortie.insight.world import World


class PortAsked(NamedTuple):
    """A protocol number and its port (or ICMP type), for instance (6, 80)."""

    protocol: int
    port: int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair and port. `source` and `destination` are `namespace/pod`; `decided_by` names what decided, in a few words."""

    source: str
    destination: str
    port: PortAsked
    allowed: bool
    decided_by: str


def matrix(
    world: World, ports: Sequence[PortAsked], *, family: Family, names: Iterable[tuple[str, str]] | None = None
) -> list[Cell]:
    """Every ordered pair of different workloads that have an address of `family`, in order of names, then ports.

    `names` (namespace, pod) narrows it.
    """
    wanted = set(world.workloads if names is None else names)
    ends = [
        of_workload(workload)
        for key, workload in sorted(world.workloads.items())
        if key in wanted and any(address.family is family for address in workload.addresses)
    ]
    return [
        _cell(world, source, destination, port=port, family=family)
        for source in ends
        for destination in ends
        if source.workload != destination.workload
        for port in ports
    ]


def _cell(world: World, source: End, destination: End, *, port: PortAsked, family: Family) -> Cell:
    question = Question(protocol=port.protocol, port=port.port, family=family)
    explanation = explain_ends(world, source, destination, question=question)
    return Cell(source.text, destination.text, port, explanation.allowed, _decided_by(explanation))


def _decided_by(explanation: Explanation) -> str:
    half = explanation.deciding
    return f"{half.direction.value.lower()}: {half.reason}"
