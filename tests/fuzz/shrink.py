"""The smallest input that still shows a disagreement, found by leaving things out one at a time."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from tests.fuzz.probes import Probe
from tests.oracle.cluster import Document, Sent

PACKET_KIND = "FuzzedPacket"
Still = Callable[[Sequence[Document]], bool]


def shrink(documents: Sequence[Document], *, still: Still) -> list[Document]:
    """Leave out documents, then rules, then fields of rules, as long as `still` holds."""
    smallest = list(documents)
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(smallest):
            if _holds(candidate, still):
                smallest, progress = candidate, True
                break
    return smallest


def report(documents: Sequence[Document], probe: Probe, verdicts: dict[str, bool], *, seed: int) -> str:
    """What a person needs to see, as one YAML file that `python -m tests.fuzz.replay` runs again: the packet comes first."""
    said = ", ".join(f"{judge} {'allows' if verdict else 'denies'}" for judge, verdict in verdicts.items())
    origin = probe.sender or (f"outside, behind {probe.via}" if probe.via else "the node itself")
    packet: Document = {"apiVersion": "tortie.io/v1", "kind": PACKET_KIND, "spec": dataclasses.asdict(probe)}
    packet["spec"]["sender"] = list(probe.sender) if probe.sender else None
    return f"# seed {seed}: {said}\n# from {origin}\n{yaml.safe_dump_all([packet, *documents], sort_keys=False)}"


def read_report(text: str) -> tuple[list[Document], Probe]:
    """Documents and probe of a report. Raises ValueError if it is none."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    packets = [document for document in documents if document["kind"] == PACKET_KIND]
    if len(packets) != 1:
        raise ValueError(f"one document of kind {PACKET_KIND} is needed, not {len(packets)}")
    spec = packets[0]["spec"]
    sender = None if spec["sender"] is None else (spec["sender"][0], spec["sender"][1])
    probe = Probe(sender, Sent(**spec["sent"]), spec["via"], spec["fragmented"])
    return [document for document in documents if document is not packets[0]], probe


def _holds(documents: Sequence[Document], still: Still) -> bool:
    try:
        return still(documents)
    except Exception:  # an input that one judge refuses shows nothing
        return False


def _smaller(documents: list[Document]) -> Iterator[list[Document]]:
    for index in range(len(documents)):
        yield documents[:index] + documents[index + 1 :]
    for index, document in enumerate(documents):
        for path in _removable(document):
            changed = copy.deepcopy(document)
            _remove(changed, path)
            yield [*documents[:index], changed, *documents[index + 1 :]]


def _removable(document: Document) -> Iterator[tuple[str | int, ...]]:
    """Paths of what a document can do without: labels, list entries and optional fields below spec."""
    for key in document["metadata"].get("labels") or {}:
        yield ("metadata", "labels", key)
    spec = document.get("spec")
    if isinstance(spec, dict) and document["kind"] not in ("Pod", "WorkloadEndpoint"):
        yield from _below(spec, ("spec",))


def _below(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    items: list[tuple[str | int, Any]] = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, inner in items:
        if key not in ("action", "cidr", "operator", "key"):
            yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _below(inner, (*path, key))


def _remove(document: Document, path: tuple[str | int, ...]) -> None:
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    del target[path[-1]]
