"""The smallest input that still shows a disagreement, found by leaving things out one at a time."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from tests.fuzz.probes import Probe
from tests.oracle.cluster import Document

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
    """What a person needs to see, and to run it again."""
    said = ", ".join(f"{judge} {'allows' if verdict else 'denies'}" for judge, verdict in verdicts.items())
    origin = probe.sender or (f"outside, behind {probe.via}" if probe.via else "the node itself")
    pieces = ", in two pieces" if probe.fragmented else ""
    documents_text = yaml.safe_dump_all(documents, sort_keys=False)
    return f"seed {seed}: {said}\nfrom {origin}{pieces}\n{probe.sent}\n{documents_text}"


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
