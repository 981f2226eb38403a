"""What lint says: which check, about which field of which resource, where, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tortie.api.resource import Key
from tortie.insight.document import API_VERSION


class Severity(IntEnum):
    """ERROR cannot be meant, WARNING is most likely a mistake, INFO is worth knowing."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """Lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of the catalogue. `fix` is what to do in general; a finding may say it more exactly."""

    id: str
    severity: Severity
    title: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One instance. `location` is `file:line` or ""; `field` a path such as `spec.ingress[0].source.selector`."""

    check: Check
    key: Key | None
    field: str
    message: str
    fix: str
    location: str = ""

    @property
    def resource(self) -> str:
        """As people name it: `NetworkPolicy prod/web`."""
        if self.key is None:
            return ""
        return (
            f"{self.key.kind} {self.key.namespace}/{self.key.name}"
            if self.key.namespace
            else f"{self.key.kind} {self.key.name}"
        )

    @property
    def place(self) -> tuple[str, int | None]:
        """File and line, "" and None as far as they are not known."""
        file, _, line = self.location.rpartition(":")
        return (file, int(line)) if line.isdecimal() else (self.location, None)


def findings_document(findings: Iterable[Finding]) -> dict[str, Any]:
    """`kind: PolicyLint`."""
    return {"apiVersion": API_VERSION, "kind": "PolicyLint", "findings": [_document(finding) for finding in findings]}


def _document(finding: Finding) -> dict[str, Any]:
    file, line = finding.place
    resource = None
    if finding.key is not None:
        resource = {"kind": finding.key.kind, "namespace": finding.key.namespace, "name": finding.key.name}
    return {
        "id": finding.check.id,
        "severity": finding.check.severity.word,
        "title": finding.check.title,
        "resource": resource,
        "field": finding.field,
        "message": finding.message,
        "fix": finding.fix,
        "file": file or None,
        "line": line,
    }
