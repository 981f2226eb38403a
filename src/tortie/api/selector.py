"""Selectors: label expressions such as `role == "db" && has(zone)`, parsed once and evaluated often (selectors.md).

    parse_selector("a in {'x', 'y'}").matches({"a": "x"})   # True

Two selectors are the same if their canonical texts are; `id` is a fixed-length digest of that text.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import assert_never

from tortie.api import selector_syntax as syntax
from tortie.api.selector_syntax import And, Compare, Everything, Has, Member, Node, Not, Or, SelectorError

__all__ = ["LabelRestriction", "Selector", "SelectorError", "length_limited_id", "normalise", "parse_selector", "unique_id"]

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LabelRestriction:
    """What a selector demands of one label at least; `values` None means any value.

    A lower bound: labels that break it never match, labels that keep it may or may not match.
    """

    must_be_present: bool = False
    must_be_absent: bool = False
    values: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector: compared and hashed by `text`, its canonical form. Made by `parse_selector`."""

    text: str
    id: str = field(compare=False)
    matches: Callable[[Labels], bool] = field(compare=False, repr=False)
    """Whether a set of labels is selected. Never raises."""
    _node: Node = field(compare=False, repr=False)

    def restrictions(self) -> Mapping[str, LabelRestriction]:
        """For each label, what this selector demands at least; labels without a demand are left out."""
        return _restrictions(self._node)

    def prefixed(self, prefix: str) -> "Selector":
        """The same selector over label names that begin with `prefix` (`pcns.` and `pcsa.` in practice)."""
        return _selector(syntax.prefixed(self._node, prefix))

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=16384)
def parse_selector(text: str) -> Selector:
    """Parse `text`; empty means all(). Raises SelectorError, which names the column and what was expected there."""
    return _selector(syntax.parse(text))


def normalise(text: str) -> str:
    """Canonical text of a selector; text that cannot be parsed comes back as it is, without blanks around it."""
    stripped = text.strip()
    try:
        return parse_selector(stripped).text
    except SelectorError:
        return stripped


def unique_id(prefix: str, content: str) -> str:
    """`prefix`, a colon and 38 characters that stand for `content`."""
    digest = hashlib.sha224(f"{prefix}:{content}".encode("utf-8", "surrogatepass")).digest()
    return f"{prefix}:{_base64url(digest)}"


def length_limited_id(prefix: str, suffix: str, max_length: int) -> str:
    """`prefix` + `suffix` if that fits, else `prefix`, an underscore and as much of a digest of `suffix` as fits."""
    suffix = suffix or "_"
    plain = prefix + suffix
    # Text that is exactly full and begins with the underscore could be mistaken for a shortened one.
    looks_shortened = len(plain) == max_length and suffix.startswith("_")
    if len(plain) <= max_length and not looks_shortened:
        return plain
    digest = hashlib.sha256(suffix.encode("utf-8", "surrogatepass")).digest()
    return f"{prefix}_{_base64url(digest)[: max_length - 1 - len(prefix)]}"


def _selector(node: Node) -> Selector:
    text = syntax.canonical(node)
    return Selector(text=text, id=unique_id("s", text), matches=_compiled(node), _node=node)


def _base64url(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _compiled(node: Node) -> Callable[[Labels], bool]:
    """`node` as nested closures: evaluation is the inner loop of everything that follows labels."""
    match node:
        case Compare(label, operator, value):
            return _compiled_comparison(label, operator, value)
        case Member(label, values, negated):
            members = frozenset(values)
            if negated:
                return lambda labels: labels.get(label) not in members
            return lambda labels: labels.get(label) in members
        case Has(label):
            return lambda labels: label in labels
        case Everything():
            return lambda _labels: True
        case Not(operand):
            inner = _compiled(operand)
            return lambda labels: not inner(labels)
        case And(operands):
            return _all_of(tuple(map(_compiled, operands)))
        case Or(operands):
            return _any_of(tuple(map(_compiled, operands)))
        case _:
            assert_never(node)


def _compiled_comparison(label: str, operator: str, value: str) -> Callable[[Labels], bool]:
    match operator:
        case "==":
            return lambda labels: labels.get(label) == value
        case "!=":
            return lambda labels: labels.get(label) != value
        case "contains":
            return lambda labels: (found := labels.get(label)) is not None and value in found
        case "starts with":
            return lambda labels: (found := labels.get(label)) is not None and found.startswith(value)
        case "ends with":
            return lambda labels: (found := labels.get(label)) is not None and found.endswith(value)
        case _:
            raise AssertionError(f"the parser makes no operator {operator!r}")


def _all_of(tests: tuple[Callable[[Labels], bool], ...]) -> Callable[[Labels], bool]:
    if len(tests) == 2:
        first, second = tests
        return lambda labels: first(labels) and second(labels)

    def every(labels: Labels) -> bool:
        for test in tests:  # noqa: SIM110 (a generator costs more than the tests)
            if not test(labels):
                return False
        return True

    return every


def _any_of(tests: tuple[Callable[[Labels], bool], ...]) -> Callable[[Labels], bool]:
    if len(tests) == 2:
        first, second = tests
        return lambda labels: first(labels) or second(labels)

    def some(labels: Labels) -> bool:
        for test in tests:  # noqa: SIM110 (a generator costs more than the tests)
            if test(labels):
                return True
        return False

    return some


def _restrictions(node: Node) -> dict[str, LabelRestriction]:
    match node:
        case Compare(label, "==", value):
            return {label: LabelRestriction(must_be_present=True, values=frozenset((value,)))}
        case Compare(_, "!=", _) | Member(negated=True) | Everything():
            return {}
        case Compare(label) | Has(label):
            return {label: LabelRestriction(must_be_present=True)}
        case Member(label, values):
            return {label: LabelRestriction(must_be_present=True, values=frozenset(values))}
        case Not(Has(label)):
            return {label: LabelRestriction(must_be_absent=True)}
        case Not():
            return {}
        case And(operands):
            return _merged_by_and(map(_restrictions, operands))
        case Or(operands):
            return _merged_by_or([_restrictions(operand) for operand in operands])
        case _:
            assert_never(node)


def _merged_by_and(parts: Iterable[dict[str, LabelRestriction]]) -> dict[str, LabelRestriction]:
    merged: dict[str, LabelRestriction] = {}
    for part in parts:
        for label, more in part.items():
            known = merged.get(label, LabelRestriction())
            values = known.values if more.values is None else more.values
            if known.values is not None and more.values is not None:
                values = known.values & more.values
            merged[label] = LabelRestriction(
                must_be_present=known.must_be_present or more.must_be_present,
                must_be_absent=known.must_be_absent or more.must_be_absent,
                values=values,
            )
    return merged


def _merged_by_or(parts: list[dict[str, LabelRestriction]]) -> dict[str, LabelRestriction]:
    merged: dict[str, LabelRestriction] = {}
    for label in parts[0]:
        branches = [part[label] for part in parts if label in part]
        if len(branches) < len(parts):
            continue
        allowed = [branch.values for branch in branches if branch.values is not None]
        restriction = LabelRestriction(
            must_be_present=all(branch.must_be_present for branch in branches),
            must_be_absent=all(branch.must_be_absent for branch in branches),
            values=frozenset[str]().union(*allowed) if len(allowed) == len(branches) else None,
        )
        if restriction != LabelRestriction():
            merged[label] = restriction
    return merged
