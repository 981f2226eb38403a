"""Assertions about who reaches whom: unit tests for policies (`kind: PolicyTest`).

    tests:
    - name: only the front is public
      from: 203.0.113.7
      to: [shop/cart, {selector: app == 'db', namespace: shop}]
      port: [tcp/80, tcp/5432]
      expect: deny

Lists stand for all of their entries; groups for all pods that a selector selects. A document is a map with `tests`, or the list
itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.api.documents import load_raw
from tortie.api.errors import ApiError
from tortie.base.net import Family
from tortie.insight.document import API_VERSION
from tortie.insight.ends import End, find, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.explain import Explanation, explain_ends
from tortie.insight.files import Text
from tortie.insight.matrix import question_text
from tortie.insight.question import Question, is_number, parse_question
from tortie.insight.subjects import select
from tortie.insight.world import World

_FIELDS = {"name", "from", "to", "port", "ports", "protocol", "expect", "family"}
_EXPECT = {"allow": True, "allowed": True, "deny": False, "denied": False}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HEAD = {"apiVersion", "kind", "metadata", "tests"}


class TestFileError(InsightError):
    """A file of assertions that cannot be understood; the text names the entry and the field."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Assertion:
    """One entry as written. `where` says which: file and number, or its name."""

    name: str
    sources: tuple[Any, ...]
    destinations: tuple[Any, ...]
    questions: tuple[Question, ...]
    allow: bool
    where: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One packet of an assertion. `explanation` is None where nothing could be asked, and `problem` says why."""

    assertion: Assertion
    source: str
    destination: str
    question: Question
    explanation: Explanation | None = None
    problem: str = ""

    @property
    def passed(self) -> bool:
        """True if the verdict is what was expected."""
        return self.explanation is not None and self.explanation.allowed == self.assertion.allow

    @property
    def text(self) -> str:
        """`shop/cart -> shop/db tcp/5432`."""
        return f"{self.source} -> {self.destination} {question_text(self.question)}"

    @property
    def verdict(self) -> str:
        """`allow`, `deny`, or `none` where nothing could be asked."""
        if self.explanation is None:
            return "none"
        return "allow" if self.explanation.allowed else "deny"

    @property
    def reason(self) -> str:
        """Who decided, and where it is written; or what is wrong with the question."""
        if self.explanation is None:
            return self.problem
        half = self.explanation.deciding
        place = f" ({half.location})" if half.location else ""
        return f"{half.direction.value.lower()} of {half.end.text}: {half.reason}{place}"


def read_assertions(text: Text) -> list[Assertion]:
    """All assertions of a file, of all its documents that are tests. Raises TestFileError, DocumentError."""
    found: list[Assertion] = []
    for document in load_raw(text.text, origin=text.origin):
        entries = _entries(document, text.origin)
        found += (_assertion(entry, f"{text.origin}: tests[{index}]") for index, entry in enumerate(entries))
    if not found:
        raise TestFileError(f"{text.origin}: holds no assertion; expected is a list `tests` of from, to, port and expect")
    return found


def holds_resources(text: Text) -> bool:
    """True if a file describes (a part of) a cluster beside its assertions."""
    documents = load_raw(text.text, origin=text.origin)
    return any(isinstance(each, Mapping) and each.get("kind") not in (None, "PolicyTest") for each in documents)


def run_assertions(world: World, assertions: Iterable[Assertion]) -> list[Outcome]:
    """Ask everything that assertions speak of; an end and itself are not asked."""
    return [outcome for assertion in assertions for outcome in _run(world, assertion)]


def _run(world: World, assertion: Assertion) -> Iterator[Outcome]:
    sources = _ends(world, assertion.sources, f"{assertion.where}.from")
    destinations = _ends(world, assertion.destinations, f"{assertion.where}.to")
    asked = False
    for source in sources:
        for destination in destinations:
            for question in assertion.questions:
                if source.text == destination.text:
                    continue
                asked = True
                yield _ask(world, assertion, source, destination, question=question)
    if not asked:
        raise TestFileError(f"{assertion.where}: from and to are the same end, so that nothing is asked")


def _ask(world: World, assertion: Assertion, source: End, destination: End, *, question: Question) -> Outcome:
    try:
        explanation = explain_ends(world, source, destination, question=question)
    except InsightError as error:
        return Outcome(assertion, source.text, destination.text, question, problem=str(error))
    return Outcome(assertion, source.text, destination.text, question, explanation)


def _ends(world: World, written: Sequence[Any], where: str) -> list[End]:
    """In the order of the file, each once. Raises TestFileError for a name or a group that stands for nobody."""
    found: dict[str, End] = {}
    for entry in written:
        try:
            ends = _group(world, entry, where) if isinstance(entry, Mapping) else [find(world, str(entry))]
        except TestFileError:
            raise
        except InsightError as error:
            raise TestFileError(f"{where}: {error}") from error
        for end in ends:
            found.setdefault(end.text, end)
    return list(found.values())


def _group(world: World, entry: Mapping[str, Any], where: str) -> list[End]:
    unknown = entry.keys() - {"selector", "namespace"}
    if unknown or not entry:
        raise TestFileError(f"{where}: a group has selector, namespace or both, not {', '.join(sorted(unknown)) or 'nothing'}")
    namespace = entry.get("namespace")
    workloads = select(world, str(entry.get("selector") or "all()"))
    found = [of_workload(each) for each in workloads if namespace in (None, each.namespace) and each.addresses]
    if not found:
        raise TestFileError(f"{where}: no pod is selected by {dict(entry)}, so that the assertion would hold for nobody")
    return found


def _entries(document: Any, origin: str) -> list[Any]:
    if document is None:
        return []
    if isinstance(document, list):
        return document
    if not isinstance(document, Mapping):
        raise TestFileError(f"{origin}: a map with `tests`, or a list of assertions, is expected")
    if "tests" not in document and {"from", "to"} <= document.keys():
        return [document]
    if document.get("kind") not in (None, "PolicyTest"):
        return []  # a resource beside the tests
    if document.get("apiVersion") not in (None, API_VERSION):
        raise TestFileError(f"{origin}: apiVersion {document['apiVersion']!r} is not known; it is {API_VERSION}")
    unknown = document.keys() - _HEAD
    if unknown:
        raise TestFileError(
            f"{origin}: unknown field {', '.join(sorted(map(str, unknown)))}; the assertions stand under `tests`"
        )
    tests = document.get("tests")
    if not isinstance(tests, list):
        raise TestFileError(f"{origin}: tests: a list of from, to, port and expect is expected")
    return tests


def _assertion(entry: Any, where: str) -> Assertion:
    if not isinstance(entry, Mapping):
        raise TestFileError(f"{where}: a map of from, to, port and expect is expected, not {entry!r}")
    unknown = entry.keys() - _FIELDS
    if unknown:
        raise TestFileError(f"{where}: unknown field {', '.join(sorted(map(str, unknown)))}")
    for field in ("from", "to", "expect"):
        if entry.get(field) in (None, "", []):
            raise TestFileError(f"{where}.{field}: is required")
    expect = str(entry["expect"]).lower()
    if expect not in _EXPECT:
        raise TestFileError(f"{where}.expect: {entry['expect']!r} must be allow or deny")
    name = str(entry.get("name") or "")
    return Assertion(
        name=name,
        sources=_listed(entry["from"]),
        destinations=_listed(entry["to"]),
        questions=tuple(_questions(entry, where)),
        allow=_EXPECT[expect],
        where=f"{where} ({name})" if name else where,
    )


def _questions(entry: Mapping[str, Any], where: str) -> Iterator[Question]:
    """`port: tcp/80`, a list of those, `port: 80` with or without `protocol`, or `protocol: 47` alone.

    A number alone is a port, of TCP unless `protocol` says otherwise, whether or not it stands in quotes.
    """
    protocol = str(entry.get("protocol") or "tcp").lower()
    listed = _listed(entry.get("port", entry.get("ports")))
    written = [_written(str(port), protocol, alone="protocol" not in entry) for port in listed]
    if not written and "protocol" in entry:
        written = [protocol]
    if not written:
        raise TestFileError(f"{where}.port: is required: tcp/80, udp/dns, icmp")
    family = entry.get("family")
    if family not in (None, 4, 6):
        raise TestFileError(f"{where}.family: {family!r} must be 4 or 6")
    for text in written:
        try:
            yield parse_question(text, family=Family(family) if family else None)
        except (InsightError, ApiError) as error:
            raise TestFileError(f"{where}.port: {error}") from error


def _written(port: str, protocol: str, *, alone: bool) -> str:
    if is_number(port):
        return f"{protocol}/{port}"
    return port if alone or port.lower().partition("/")[0] == protocol else f"{protocol}/{port}"


def _listed(value: Any) -> tuple[Any, ...]:
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


# ---- as documents ----
def outcomes_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`kind: PolicyTestResult`."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PolicyTestResult",
        "passed": sum(1 for each in outcomes if each.passed),
        "failed": sum(1 for each in outcomes if not each.passed),
        "items": [
            {
                "name": each.assertion.name or None,
                "from": each.source,
                "to": each.destination,
                "port": question_text(each.question),
                "expect": "allow" if each.assertion.allow else "deny",
                "verdict": each.verdict,
                "ok": each.passed,
                "reason": each.reason,
            }
            for each in outcomes
        ],
    }


def junit_xml(outcomes: Sequence[Outcome], *, suite: str) -> str:
    """The results as JUnit XML: one test case a packet."""
    from xml.etree import ElementTree

    failed = sum(1 for each in outcomes if not each.passed)
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    element = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts})
    for outcome in outcomes:
        expect = "allow" if outcome.assertion.allow else "deny"
        title = f"{outcome.assertion.name}: {outcome.text}" if outcome.assertion.name else f"{outcome.text} {expect}"
        case = ElementTree.SubElement(element, "testcase", {"classname": suite, "name": title, "time": "0"})
        if not outcome.passed:
            message = f"expected {expect}, got {outcome.verdict}"
            failure = ElementTree.SubElement(case, "failure", {"message": message, "type": "PolicyTest"})
            failure.text = f"{outcome.assertion.where}\n{outcome.text}: {message}\n{outcome.reason}"
    ElementTree.indent(root)
    # What XML has no way to write would make the whole report unreadable.
    return _NOT_IN_XML.sub("?", ElementTree.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"
