"""Realistic Calico YAML, good and bad: every kind, every field at least once.

    for example in examples(): ...

Good documents stand in `good/`. Each bad one in `bad/` begins with comments: `# refused: PATH` names the field of the error,
and `# crd: WHY` says that native CRDs accept it all the same, WHY being one of DIFFERENCES.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tortie.api.kinds import KINDS, Kind, kind_for
from tortie.api.yaml_text import parse_yaml

FOLDER = Path(__file__).parent

DIFFERENCES = {
    "selector": "CEL cannot read selectors; whoever reads such a policy fails closed",
    "unknown-field": "an API server drops fields that it does not know, unless asked for strict validation, as by kubectl",
    "status": "a status that is sent along with its object is not looked at and not kept",
    "namespace": "kubectl refuses or drops the namespace of cluster-scoped objects itself",
    "port-text": "a port that is a text is not looked into: expressions over so many ports cost too much",
    "family-within-list": "only the first network of each list is compared, for the same reason",
    "net-text": "lists without bound cannot have rules for each item",
    "metadata": "rules see no metadata but the name",
    "block": "what a block says of itself is the allocator's",
    "as-number-text": "an AS number that is a text is not looked into",
    "peer-address": "CEL has no function for an address with a port",
    "address-text": "addresses among the parameters are read by the agent, which names what it cannot use",
    "duration": "durations are read by whoever uses them",
    "expression": "CEL cannot tell whether a regular expression is one",
}
"""Why a document that our clients refuse is accepted by native CRDs."""


@dataclass(frozen=True, slots=True)
class Example:
    """One document. `refused` is the field of the error that is expected, "" when it is good; `crd` a key of DIFFERENCES."""

    name: str
    text: str
    document: dict[str, Any]
    refused: str = ""
    crd: str = ""

    @property
    def kind(self) -> Kind:
        """The kind that the document says it is."""
        return kind_for(self.document["apiVersion"], self.document["kind"])

    def __str__(self) -> str:
        return self.name


@cache
def examples() -> tuple[Example, ...]:
    """All documents, file by file, in the order in which they stand there."""
    found = []
    for file in sorted(FOLDER.glob("*/*.yaml")):
        for number, text in enumerate(re.split(r"^---\n", file.read_text(), flags=re.MULTILINE), 1):
            (document,) = parse_yaml(text, origin=str(file))
            metadata = document.value["metadata"]
            name = f"{file.parent.name}/{file.stem}:{number}:{document.value['kind']}({metadata['name']})"
            refused, why = (re.search(rf"^# {word}: (.*)$", text, re.MULTILINE) for word in ("refused", "crd"))
            found.append(Example(name, text, document.value, refused[1] if refused else "", why[1] if why else ""))
    return tuple(found)


def good() -> tuple[Example, ...]:
    """Documents that everything accepts."""
    return tuple(example for example in examples() if not example.refused)


def bad() -> tuple[Example, ...]:
    """Documents that our clients refuse."""
    return tuple(example for example in examples() if example.refused)


def our_kinds() -> frozenset[str]:
    """Kinds that the corpus is about: Calico's and our own."""
    return frozenset(kind.kind for kind in KINDS.values() if kind.is_ours or kind.api_version.startswith("tortie.io/"))
