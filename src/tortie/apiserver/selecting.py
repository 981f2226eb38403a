"""Label and field selectors of list and watch requests, pure.

parse_labels("app in (web, db), tier!=x").matches({"app": "web"})     # True
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from tortie.api.resource import Resource
from tortie.apiserver.errors import Refusal

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)$")
_COMPARE = re.compile(r"^(?P<key>[^\s=!<>]+)\s*(?P<operator>==|=|!=|<|>)\s*(?P<value>[^\s=!<>]*)$")
_KEY = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. `values` None asks for the key alone; `negated` turns the answer round."""

    key: str
    values: frozenset[str] | None
    negated: bool = False
    compare: str = ""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it. A missing key meets `!=` and `notin`, and no comparison of numbers."""
        value = labels.get(self.key)
        if self.compare:
            return _compares(value, self.compare, next(iter(self.values or ("",))))
        met = value is not None if self.values is None else value in self.values
        return met is not self.negated


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none holds for everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.holds(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Fields that must, or must not, have a value."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, resource: Resource) -> bool:
        """Whether a resource is selected."""
        return all((FIELDS[field](resource) == value) is equal for field, value, equal in self.terms)

    def required(self, field: str) -> str | None:
        """The value that a field must have, if the selector says one."""
        return next((value for name, value, equal in self.terms if name == field and equal), None)


def _tier(resource: Resource) -> str:
    return str(getattr(getattr(resource, "spec", None), "tier", ""))


FIELDS: Mapping[str, Callable[[Resource], str]] = {
    "metadata.name": lambda resource: resource.metadata.name,
    "metadata.namespace": lambda resource: resource.metadata.namespace,
    "spec.tier": _tier,
}
"""Fields by which some kind can be selected."""


def parse_labels(text: str) -> LabelSelector:
    """A label selector as Kubernetes writes it. Raises Refusal (400)."""
    return LabelSelector(tuple(_requirement(term.strip()) for term in _terms(text)))


def parse_fields(text: str, *, allowed: Collection[str]) -> FieldSelector:
    """A field selector over the fields that a kind has. Raises Refusal (400)."""
    terms: list[tuple[str, str, bool]] = []
    for term in (part.strip() for part in text.split(",") if part.strip()):
        found = re.match(r"^([^=!]+)(==|=|!=)(.*)$", term)
        if found is None:
            raise Refusal(400, f"field selector {term!r}: expected field=value or field!=value")
        field, operator, value = found.groups()
        if field not in allowed:
            raise Refusal(400, f"field label not supported: {field}; it can be {', '.join(sorted(allowed))}")
        terms.append((field, value, operator != "!="))
    return FieldSelector(tuple(terms))


def _terms(text: str) -> list[str]:
    """Split at commas that stand in no parentheses."""
    terms, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            terms.append(text[start:at])
            start = at + 1
    terms.append(text[start:])
    if len(terms) == 1 and not terms[0].strip():
        return []
    return terms


def _requirement(term: str) -> Requirement:
    if (found := _SET.match(term)) is not None:
        values = frozenset(value.strip() for value in found["values"].split(","))
        return _checked(Requirement(found["key"], values, found["operator"] == "notin"), term)
    if (found := _COMPARE.match(term)) is not None:
        if found["operator"] in "<>":
            if re.match(r"^-?\d+$", found["value"]) is None:
                raise Refusal(400, f"label selector {term!r}: {found['operator']} compares with an integer")
            return Requirement(found["key"], frozenset((found["value"],)), compare=found["operator"])
        return _checked(Requirement(found["key"], frozenset((found["value"],)), found["operator"] == "!="), term)
    key = term.removeprefix("!").strip()
    return _checked(Requirement(key, None, term.startswith("!")), term)


def _checked(requirement: Requirement, term: str) -> Requirement:
    if _KEY.match(requirement.key) is None:
        raise Refusal(400, f"unable to parse requirement: label selector {term!r}: {requirement.key!r} is no label key")
    for value in requirement.values or ():
        if _VALUE.match(value) is None:
            raise Refusal(400, f"unable to parse requirement: label selector {term!r}: {value!r} is no label value")
    return requirement


def _compares(value: str | None, operator: str, bound: str) -> bool:
    if value is None or re.match(r"^-?\d+$", value) is None:
        return False
    return int(value) < int(bound) if operator == "<" else int(value) > int(bound)
