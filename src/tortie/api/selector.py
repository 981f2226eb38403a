"""Selectors: label expressions such as `role == "db" && has(zone)`, parsed once and evaluated often (selectors.md).

    parse_selector("a in {'x', 'y'}").matches({"a": "x"})   # True

Two selectors are the same if their canonical texts are; `id` is a fixed-length digest of that text.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import assert_never

from tortie.api import selector_syntax as syntax
from tortie.api.selector_syntax import And, Compare, Everything, Has, Member, Node, Not, Or, SelectorError

__all__ = ["Demand", "Selector", "SelectorError", "length_limited_id", "normalise", "parse_selector", "unique_id"]

Labels = Mapping[str, str]


Demand = tuple[str, str | None]
"""A label and a value that it must have; None: any value."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector: compared and hashed by `text`, its canonical form. Made by `parse_selector`."""

    text: str
    id: str = field(compare=False)
    matches: Callable[[Labels], bool] = field(compare=False, repr=False)
    """Whether a set of labels is selected. Never raises."""
    _node: Node = field(compare=False, repr=False)

    def coverings(self) -> tuple[tuple[Demand, ...], ...]:
        """Ways to find all that this selector can select: labels that are selected meet one demand of every covering.

        A covering without demands says that nothing is ever selected. No covering at all: anything may be.
        """
        return _coverings(self._node)

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


def _coverings(node: Node) -> tuple[tuple[Demand, ...], ...]:
    match node:
        case Compare(label, "==", value):
            return (((label, value),),)
        case Compare(_, "!=", _) | Member(negated=True) | Everything() | Not():
            return ()
        case Compare(label) | Has(label):
            return (((label, None),),)
        case Member(label, values):
            return (tuple((label, value) for value in values),)
        case And(operands):
            return tuple(covering for operand in operands for covering in _coverings(operand))
        case Or(operands):
            branches = [_coverings(operand) for operand in operands]
            if not all(branches):
                return ()
            # One that demands values finds less than one that takes any.
            narrow = [min(branch, key=_width) for branch in branches]
            return (tuple(dict.fromkeys(demand for covering in narrow for demand in covering)),)
        case _:
            assert_never(node)


def _width(covering: tuple[Demand, ...]) -> tuple[bool, int]:
    return any(value is None for _, value in covering), len(covering)
