"""JSONPath as kubectl knows it, pure: `Template("{.items[*].metadata.name}").text(document)`.

    template  = { text | "{" part "}" }          a template without braces is one path
    part      = path | quoted text | "range" path | "end"
    path      = ["$" | "@"] step ...
    step      = .name | .* | ..name | [n] | [n,m] | [a:b] | [a:b:c] | [*] | ['key'] | ["key","key"] | [?(filter)]
    filter    = path [ (== | != | < | <= | > | >=) (path | text | number | true | false | null) ]

A field that is not there selects nothing; so does an index out of range. Negative indexes count from the end. Several values of
one path are separated by blanks; maps and lists are printed as JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.base.errors import TortieError


class JsonPathError(TortieError):
    """A template that cannot be read; the text names the column."""


@dataclass(frozen=True, slots=True)
class Names:
    """Values of these keys of a map, in this order."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indexes:
    """Items of a list."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a list, as Python slices it."""

    start: int | None
    end: int | None
    step: int | None


@dataclass(frozen=True, slots=True)
class All:
    """All values of a map or a list."""


@dataclass(frozen=True, slots=True)
class Descend:
    """The value itself and everything below it, outermost first."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant of a filter."""

    value: Any


@dataclass(frozen=True, slots=True)
class Filter:
    """Items for which a comparison holds; without an operator, items that have the path."""

    left: "Operand"
    operator: str
    right: "Operand | None"


Step = Names | Indexes | Slice | All | Descend | Filter


@dataclass(frozen=True, slots=True)
class Path:
    """Steps from the document (`absolute`, written with $) or from the value at hand."""

    steps: tuple[Step, ...]
    absolute: bool = False


Operand = Path | Literal


@dataclass(frozen=True, slots=True)
class Range:
    """Parts repeated for each value of a path."""

    path: Path
    parts: "tuple[Part, ...]"


Part = str | Path | Range


class Template:
    """A parsed template. The constructor raises JsonPathError."""

    def __init__(self, text: str) -> None:
        self._parts = _Parser(text if "{" in text else _braced(text)).parts()

    def text(self, document: Any) -> str:
        """What the template prints for a document."""
        return "".join(_printed(self._parts, document, document))

    def values(self, document: Any) -> list[Any]:
        """The values of all paths outside ranges."""
        return [value for part in self._parts if isinstance(part, Path) for value in select(part, document, document)]


def select(path: Path, value: Any, root: Any) -> list[Any]:
    """The values that a path leads to, in the order of the document."""
    found = [root if path.absolute else value]
    for step in path.steps:
        found = [item for one in found for item in _step(step, one, root)]
    return found


def as_text(value: Any) -> str:
    """One value as it is printed: text bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---- evaluation ----
def _printed(parts: Sequence[Part], value: Any, root: Any) -> Iterator[str]:
    for part in parts:
        match part:
            case str():
                yield part
            case Path():
                yield " ".join(map(as_text, select(part, value, root)))
            case Range(path, inner):
                for item in select(path, value, root):
                    yield from _printed(inner, item, root)


def _step(step: Step, value: Any, root: Any) -> Iterator[Any]:
    match step:
        case Names(keys):
            if isinstance(value, dict):
                yield from (value[key] for key in keys if key in value)
        case Indexes(numbers):
            if isinstance(value, list):
                yield from (value[number] for number in numbers if -len(value) <= number < len(value))
        case Slice(start, end, step_):
            if isinstance(value, list):
                yield from value[start:end:step_]
        case All():
            yield from _children(value)
        case Descend():
            yield value
            for child in _children(value):
                yield from _step(step, child, root)
        case Filter():
            yield from (child for child in _children(value) if _holds(step, child, root))


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _holds(condition: Filter, value: Any, root: Any) -> bool:
    left = _operand(condition.left, value, root)
    if condition.right is None:
        return bool(left)
    right = _operand(condition.right, value, root)
    return bool(left and right) and _compare(left[0], condition.operator, right[0])


def _operand(operand: Operand, value: Any, root: Any) -> list[Any]:
    return [operand.value] if isinstance(operand, Literal) else select(operand, value, root)


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _compare(left: Any, operator: str, right: Any) -> bool:
    """JSON's equality, where true is not 1; values of different types have no order."""
    alike = isinstance(left, bool) == isinstance(right, bool)
    if operator in ("==", "!="):
        return (alike and left == right) == (operator == "==")
    numbers = isinstance(left, int | float) and isinstance(right, int | float) and alike
    return (numbers or (isinstance(left, str) and isinstance(right, str))) and _ORDERS[operator](left, right)


# ---- parsing ----
_NAME = re.compile(r"(?:\\.|[^\s.\[\](){}'\",:=!<>?@$*\\|&])+")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?(?:[eE][-+]?\d{1,2})?")
_INTEGER = re.compile(r"[-+]?\d{1,15}")
_OPERATOR = re.compile(r"==|!=|<=|>=|<|>")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_CONSTANTS = {"true": True, "false": False, "null": None}


def _braced(text: str) -> str:
    """`.metadata.name`, `metadata.name` and `[0]` mean `{.metadata.name}` and so on."""
    text = text.strip()
    return "{" + (text if text[:1] in (".", "[", "$", "@") else f".{text}") + "}"


class _Parser:
    """A hand-written descent over the text; `_at` is where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parts(self) -> tuple[Part, ...]:
        return self._until_end(inside_range=False)

    def _until_end(self, *, inside_range: bool) -> tuple[Part, ...]:
        found: list[Part] = []
        while self._at < len(self._text):
            if not self._take("{"):
                end = self._text.find("{", self._at)
                end = len(self._text) if end < 0 else end
                found.append(self._text[self._at : end])
                self._at = end
                continue
            self._blanks()
            if self._word("end"):
                if not inside_range:
                    raise self._error("{end} without {range}")
                self._close("}")
                return tuple(found)
            found.append(self._part())
        if inside_range:
            raise self._error("{range} without {end}")
        return tuple(found)

    def _part(self) -> Part:
        if self._peek() in ("'", '"'):
            text = self._quoted()
            self._close("}")
            return text
        if self._word("range"):
            self._blanks()
            path = self._path()
            self._close("}")
            return Range(path, self._until_end(inside_range=True))
        path = self._path()
        self._close("}")
        return path

    def _path(self) -> Path:
        start = self._at
        absolute = self._take("$")
        if not absolute:
            self._take("@")
        steps: list[Step] = []
        while True:
            if self._take(".."):
                steps.append(Descend())
                if self._peek() != "[":
                    steps.append(self._named())
            elif self._take("."):
                if self._peek() in ("", "}", ")", " ") and not steps:
                    break
                if self._peek() != "[":
                    steps.append(self._named())
            elif self._take("["):
                steps.append(self._bracket())
            else:
                break
        if self._at == start:
            raise self._error("a path begins with a dot, a bracket, $ or @")
        return Path(tuple(steps), absolute)

    def _named(self) -> Step:
        if self._take("*"):
            return All()
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self._error("a field's name is expected")
        self._at = match.end()
        return Names((re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL),))

    def _bracket(self) -> Step:
        self._blanks()
        step: Step
        if self._take("?("):
            step = self._filter()
            self._close(")")
        elif self._take("*"):
            step = All()
        elif self._peek() in ("'", '"'):
            step = Names(tuple(self._separated(self._quoted)))
        else:
            step = self._numbers()
        self._close("]")
        return step

    def _numbers(self) -> Step:
        first = None if self._peek() == ":" else self._integer()
        self._blanks()
        if self._peek() != ":":
            assert first is not None
            rest = self._separated(self._integer) if self._take(",") else []
            return Indexes((first, *rest))
        bounds = [first]
        while self._take(":") and len(bounds) < 3:
            self._blanks()
            bounds.append(None if self._peek() in (":", "]") else self._integer())
            self._blanks()
        if len(bounds) == 3 and bounds[2] is not None and bounds[2] < 1:
            raise self._error("the step of a slice must be at least 1")
        return Slice(bounds[0], bounds[1], bounds[2] if len(bounds) == 3 else None)

    def _separated(self, item: Callable[[], Any]) -> list[Any]:
        found = []
        while True:
            self._blanks()
            found.append(item())
            self._blanks()
            if not self._take(","):
                return found

    def _filter(self) -> Filter:
        self._blanks()
        left = self._operand()
        self._blanks()
        match = _OPERATOR.match(self._text, self._at)
        if match is None:
            return Filter(left, "", None)
        self._at = match.end()
        self._blanks()
        return Filter(left, match[0], self._operand())

    def _operand(self) -> Operand:
        if self._peek() in ("'", '"'):
            return Literal(self._quoted())
        for word, value in _CONSTANTS.items():
            if self._word(word):
                return Literal(value)
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            return Literal(json.loads(number[0]) if not re.match(r"-?0\d", number[0]) else int(number[0]))
        return self._path()

    def _integer(self) -> int:
        match = _INTEGER.match(self._text, self._at)
        if match is None:
            raise self._error("a number, *, a quoted key or a filter is expected")
        self._at = match.end()
        return int(match[0])

    def _quoted(self) -> str:
        quote = self._text[self._at]
        found: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == quote:
                return "".join(found)
            if char == "\\" and self._at < len(self._text):
                char = self._text[self._at]
                char = _ESCAPES.get(char, char)
                self._at += 1
            found.append(char)
        raise self._error("the quote does not end")

    # ---- the smallest steps ----
    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _word(self, word: str) -> bool:
        after = self._text[self._at + len(word) : self._at + len(word) + 1]
        return not (after.isalnum() or after in ("_", "-", ".")) and self._take(word)

    def _blanks(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _close(self, text: str) -> None:
        self._blanks()
        if not self._take(text):
            raise self._error(f"{text} is expected")

    def _error(self, reason: str) -> JsonPathError:
        return JsonPathError(f"jsonpath {self._text!r}: column {self._at + 1}: {reason}")
