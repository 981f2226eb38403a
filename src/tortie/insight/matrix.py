"""Who reaches whom: the whole table for some ports. It costs what its distinct classes of ends cost (see `classes`)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from tortie.insight.classes import Memberships, Numbering, depends_on_place, few_of, on_one_node
from tortie.insight.document import API_VERSION, half_document
from tortie.insight.ends import End, node_of
from tortie.insight.errors import InsightError
from tortie.insight.explain import Explanation, Half, explain_ends
from tortie.insight.question import Question
from tortie.insight.world import World
from tortie.verdict.packet import PROTOCOL_NAMES


@dataclass(frozen=True)
class Answer:
    """What one pair and port gets."""

    explanation: Explanation

    @property
    def allowed(self) -> bool:
        """True if the packet arrives."""
        return self.explanation.allowed

    @cached_property
    def egress(self) -> Mapping[str, Any]:
        """The document of the sender's half, without its walk."""
        return _half(self.explanation.egress)

    @cached_property
    def ingress(self) -> Mapping[str, Any]:
        """The document of the receiver's half, without its walk."""
        return _half(self.explanation.ingress)

    @cached_property
    def reason(self) -> str:
        """What a person wants to hear: direction, reason and place of what decided."""
        half = self.explanation.deciding
        place = f" ({half.location})" if half.location else ""
        return f"{half.direction.value.lower()}: {half.reason}{place}"


def _half(half: Half) -> Mapping[str, Any]:
    document = half_document(half)
    return {key: value for key, value in document.items() if key != "endpoint" and not isinstance(value, list | dict)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair and port."""

    source: str
    destination: str
    question: Question
    answer: Answer


@dataclass(frozen=True, slots=True)
class Matrix:
    """The table. Ends of one class share their answers: look one up with `answer`."""

    sources: tuple[End, ...]
    destinations: tuple[End, ...]
    questions: tuple[Question, ...]
    source_classes: tuple[int, ...]
    destination_classes: tuple[int, ...]
    answers: Mapping[tuple[int, int, bool, int], Answer | None]
    """By class of source, class of destination, whether both are on one node, and question."""

    def answer(self, source: int, destination: int, question: int) -> Answer | None:
        """By index. None where nothing is asked: an end and itself, no common family, a port that has no such name there."""
        ends = self.sources[source], self.destinations[destination]
        if same_end(*ends):
            return None
        classes = self.source_classes[source], self.destination_classes[destination]
        return self.answers.get((*classes, on_one_node(*ends), question))

    def cells(self) -> Iterator[Cell]:
        """All that was asked, sources outermost, questions innermost."""
        for i, source in enumerate(self.sources):
            for j, destination in enumerate(self.destinations):
                for k, question in enumerate(self.questions):
                    answer = self.answer(i, j, k)
                    if answer is not None:
                        yield Cell(source.text, destination.text, question, answer)


def matrix(world: World, sources: Sequence[End], destinations: Sequence[End], *, questions: Sequence[Question]) -> Matrix:
    """Ask all `questions` of every ordered pair of different ends; two addresses outside the cluster are not a pair."""
    numbers, memberships = Numbering(), Memberships(world)
    named = any(isinstance(question.port, str) for question in questions)
    placed = any(depends_on_place(end) for end in destinations)
    source_classes = tuple(numbers[memberships.of_end(end, named_ports=named, placed=placed)] for end in sources)
    destination_classes = tuple(numbers[memberships.of_end(end, named_ports=named)] for end in destinations)
    answers: dict[tuple[int, int, bool, int], Answer | None] = {}
    by_source, by_destination = _by_class(sources, source_classes), _by_class(destinations, destination_classes)
    for source_class, some_sources in by_source.items():
        for destination_class, some_destinations in by_destination.items():
            for near, pair in pairs(some_sources, some_destinations).items():
                for k, question in enumerate(questions):
                    answers[source_class, destination_class, near, k] = ask(world, *pair, question=question)
    return Matrix(tuple(sources), tuple(destinations), tuple(questions), source_classes, destination_classes, answers)


def ask(world: World, source: End, destination: End, *, question: Question) -> Answer | None:
    """One cell; None where the question makes no sense for these two (no common family, no such named port)."""
    try:
        return Answer(explain_ends(world, source, destination, question=question, traced=False))
    except InsightError:
        return None


def same_end(source: End, destination: End) -> bool:
    """True for what is no pair: an end and itself, or two ends outside the cluster."""
    if source.workload is None and destination.workload is None and not (source.node or destination.node):
        return True
    return source.text == destination.text


def pairs(sources: Sequence[End], destinations: Sequence[End]) -> dict[bool, tuple[End, End]]:
    """Two different ends, one of each: on one node (True) and on two (False), as far as there are any."""
    found: dict[bool, tuple[End, End]] = {}
    for source in few_of(sources, node_of):
        for destination in few_of(destinations, node_of):
            if not same_end(source, destination):
                found.setdefault(on_one_node(source, destination), (source, destination))
        if len(found) == 2:
            break
    return found


def question_protocol(question: Question) -> str:
    """Lower case, as questions are written: `tcp`, or the number of a protocol without a name."""
    return PROTOCOL_NAMES.get(question.protocol, str(question.protocol)).lower()


def question_text(question: Question) -> str:
    """`tcp/80`, `icmp`."""
    protocol = question_protocol(question)
    return protocol if question.port is None else f"{protocol}/{question.port}"


def matrix_document(table: Matrix) -> dict[str, Any]:
    """`kind: PolicyMatrix`."""
    return {"apiVersion": API_VERSION, "kind": "PolicyMatrix", "items": list(map(_item, table.cells()))}


def matrix_json(table: Matrix) -> Iterator[str]:
    """The same document as lines of text, one an item: tables may be large."""
    yield f'{{"apiVersion": "{API_VERSION}", "kind": "PolicyMatrix", "items": ['
    tails: dict[int, str] = {}
    last = ""
    for cell in table.cells():
        if last:
            yield last + ","
        tail = tails.get(id(cell.answer))
        if tail is None:
            tail = tails[id(cell.answer)] = msgspec.json.encode(_answered(cell)).decode()[1:]
        last = f'{{"from":{json.dumps(cell.source)},"to":{json.dumps(cell.destination)},{tail}'
    if last:
        yield last
    yield "]}"


def _item(cell: Cell) -> dict[str, Any]:
    return {"from": cell.source, "to": cell.destination} | _answered(cell)


def _answered(cell: Cell) -> dict[str, Any]:
    """All of an item but its ends: the same for all pairs that share the answer."""
    return {
        "protocol": question_protocol(cell.question),
        "port": cell.question.port,
        "verdict": "allow" if cell.answer.allowed else "deny",
        "egress": cell.answer.egress,
        "ingress": cell.answer.ingress,
    }


def _by_class(ends: Sequence[End], classes: Sequence[int]) -> dict[int, list[End]]:
    found: dict[int, list[End]] = {}
    for end, number in zip(ends, classes, strict=True):
        found.setdefault(number, []).append(end)
    return found
