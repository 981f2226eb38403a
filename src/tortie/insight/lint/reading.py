"""Files with mistakes in them: what a datastore would refuse becomes findings, and the rest is looked at all the same."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tortie.api.errors import ApiError, FieldError, ValidationError
from tortie.api.resource import Key
from tortie.insight.errors import InsightError
from tortie.insight.files import Loaded, Text, load
from tortie.insight.lint.catalogue import CHECKS
from tortie.insight.lint.findings import Finding

_DOCUMENT_END = re.compile(r"^---(\s.*)?$", re.MULTILINE)
_SPECIAL = (("applyOnForward", "TL004"), ("port numbers need protocol", "TL003"), ("only protocols TCP", "TL003"))
"""Refusals that have an entry of their own: what the path or the reason contains, and the check."""


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read, and what is wrong with the rest."""

    loaded: Loaded
    findings: tuple[Finding, ...]


def read(texts: Iterable[Text]) -> Read:
    """Read document by document. Raises DocumentError for what is no YAML at all."""
    findings: list[Finding] = []
    good: list[Text] = []
    seen: dict[Key, str] = {}
    for text in texts:
        for part in _documents(text):
            try:
                loaded = load([part])
            except ValidationError as error:
                findings += (_refusal(each) for each in error.errors)
                continue
            except (ApiError, InsightError) as error:
                findings.append(Finding(CHECKS["TL001"], None, "", str(error), CHECKS["TL001"].fix, _first_line(part)))
                continue
            here = {key: location for (key, path), location in loaded.locations.items() if not path}
            twice = [key for key in here if key in seen]
            if twice:
                findings += (_twice(loaded, key, seen[key]) for key in twice)
                continue
            seen |= here
            good.append(part)
    return Read(load(good), tuple(findings))


def _documents(text: Text) -> Iterator[Text]:
    """The documents of a YAML text, each with empty lines before it so that its lines keep their numbers."""
    if text.text.lstrip().startswith("{"):
        yield text
        return
    start = 0
    for end in (*(match.start() for match in _DOCUMENT_END.finditer(text.text)), len(text.text)):
        part = text.text[start:end]
        if any(line.strip() and not line.startswith(("%", "#", "...")) for line in part.replace("---", "", 1).splitlines()):
            # The mark itself goes: what stands before it would be a document of its own.
            yield Text(text.origin, "\n" * text.text.count("\n", 0, start) + re.sub(r"\A---", "", part))
        start = end


def _first_line(part: Text) -> str:
    blank = len(part.text) - len(part.text.lstrip("\n"))
    return f"{part.origin}:{blank + 1}"


def _refusal(error: FieldError) -> Finding:
    check = CHECKS[next((name for word, name in _SPECIAL if word in error.path or word in error.reason), "TL001")]
    location = f"{error.origin}:{error.line}" if error.origin and error.line else error.origin
    shown = "" if error.value is None else f" = {str(error.value)[:60]!r}"
    return Finding(check, None, error.path, f"{error.path}{shown}: {error.reason}", check.fix, location)


def _twice(loaded: Loaded, key: Key, first: str) -> Finding:
    check = CHECKS["TL002"]
    return Finding(check, key, "metadata.name", f"{key} is defined a second time; the first is at {first}", check.fix,
                   loaded.locations.get((key, ""), ""))  # fmt: skip
