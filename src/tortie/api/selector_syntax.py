"""The syntax of selectors: nodes, the parser from text to nodes, canonical text back (selectors.md, sections 1, 2 and 4).

Nothing here evaluates: that is `selector`. The grammar, lowest precedence first:

    selector := empty | or            or  := and { "||" and }          and := op { "&&" op }
    op       := { "!" } primary       primary := has(l) | all() | global() | "(" or ")" | l "==" s | l "in" set | ...

Two things differ from what a reader may expect: only space and TAB separate tokens (a line break is an error), and the
words `in`, `not`, `contains` and so on are ordinary label names unless they directly follow a label.
"""

import re
from dataclasses import dataclass

from tortie.base.errors import TortieError

MAX_LABEL_LENGTH = 512
MAX_NESTING = 100
"""Parentheses inside parentheses. Ours: a bound on the stack, far above what people write."""

_BLANK = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_OPERATOR = re.compile(r"==|!=|contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in")
_LITERAL = re.compile(r"\"[^\"]*\"|'[^']*'")


class SelectorError(TortieError):
    """A selector that cannot be parsed: what was expected, and at which column (from 1) of `text`."""

    def __init__(self, text: str, column: int, reason: str) -> None:
        super().__init__(f"cannot parse selector {text!r}: column {column}: {reason}")
        self.text = text
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Compare:
    """`label OPERATOR "value"`, the operator one of `==`, `!=`, `contains`, `starts with`, `ends with`."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Member:
    """`label in {...}`, or `not in` when `negated`. Values are sorted and unique."""

    label: str
    values: tuple[str, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Has:
    """`has(label)`."""

    label: str


@dataclass(frozen=True, slots=True)
class Everything:
    """`all()`, or `global()` when `name` says so: true for every set of labels."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`. The operand is never a Not."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """`(a && b && ...)`, two operands or more."""

    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """`(a || b || ...)`, two operands or more."""

    operands: "tuple[Node, ...]"


Node = Compare | Member | Has | Everything | Not | And | Or


def parse(text: str) -> Node:
    """Parse selector text; empty text means all(). Raises SelectorError."""
    return _Parser(text).selector()


def canonical(node: Node) -> str:
    """The one text of `node`: it parses to an equal node."""
    match node:
        case Compare(label, operator, value):
            return f"{label} {operator} {_quoted(value)}"
        case Member(label, values, negated):
            members = ", ".join(_quoted(value) for value in values)
            return f"{label} {'not in' if negated else 'in'} {{{members}}}"
        case Has(label):
            return f"has({label})"
        case Everything(name):
            return f"{name}()"
        case Not(operand):
            return f"!{canonical(operand)}"
        case And(operands):
            return "(" + " && ".join(canonical(operand) for operand in operands) + ")"
        case Or(operands):
            return "(" + " || ".join(canonical(operand) for operand in operands) + ")"


def prefixed(node: Node, prefix: str) -> Node:
    """The same selector over labels whose names begin with `prefix`."""
    match node:
        case Compare(label, operator, value):
            return Compare(prefix + label, operator, value)
        case Member(label, values, negated):
            return Member(prefix + label, values, negated)
        case Has(label):
            return Has(prefix + label)
        case Everything():
            return node
        case Not(operand):
            return Not(prefixed(operand, prefix))
        case And(operands):
            return And(tuple(prefixed(operand, prefix) for operand in operands))
        case Or(operands):
            return Or(tuple(prefixed(operand, prefix) for operand in operands))


def _quoted(value: str) -> str:
    # A literal cannot hold its own quote, so no value ever holds both kinds.
    return f"'{value}'" if '"' in value else f'"{value}"'


class _Parser:
    """One pass over the text; `_at` is the offset of the next character not yet taken."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._nesting = 0

    def selector(self) -> Node:
        self._skip_blanks()
        if self._at == len(self._text):
            return Everything("all")
        node = self._either()
        if self._at != len(self._text):
            raise self._error("expected && or || or the end")
        return node

    def _either(self) -> Node:
        alternatives: list[Node] = []
        conjuncts = [self._operand()]
        while True:
            if self._take("&&"):
                conjuncts.append(self._operand())
            elif self._take("||"):
                alternatives.append(_joined(And, conjuncts))
                conjuncts = [self._operand()]
            else:
                alternatives.append(_joined(And, conjuncts))
                return _joined(Or, alternatives)

    def _operand(self) -> Node:
        negated = False
        while not self._text.startswith("!=", self._at) and self._take("!"):
            negated = not negated
        node = self._primary()
        if not negated:
            return node
        # `!(!a)` reads back as `!!a`, which the parser takes for `a`: collapse here, so that canonical text is stable.
        return node.operand if isinstance(node, Not) else Not(node)

    def _primary(self) -> Node:
        if self._take("("):
            return self._parenthesised()
        if self._take("has("):
            label = self._label()
            self._expect(")")
            return Has(label)
        for name in ("all", "global"):
            if self._take(f"{name}("):
                self._expect(")")
                return Everything(name)
        return self._test(self._label())

    def _parenthesised(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} nested parentheses")
        node = self._either()
        self._expect(")")
        self._nesting -= 1
        return node

    def _test(self, label: str) -> Node:
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            raise self._error(
                f"expected ==, !=, in, not in, contains, starts with or ends with after label {label!r}"
                f" (to ask whether it exists write has({label}))"
            )
        self._advance(found.end())
        operator = "".join(found.group().split())
        if operator in ("in", "notin"):
            return Member(label, self._set(), operator == "notin")
        spelled = {"startswith": "starts with", "endswith": "ends with"}.get(operator, operator)
        return Compare(label, spelled, self._literal())

    def _set(self) -> tuple[str, ...]:
        self._expect("{")
        values: set[str] = set()
        while not self._take("}"):
            values.add(self._literal())
            if not self._take(","):
                self._expect("}")
                break
        return tuple(sorted(values))

    def _label(self) -> str:
        found = _LABEL.match(self._text, self._at)
        if found is None:
            raise self._error("expected a label name, has(, all(), global(), ! or (")
        if len(found.group()) > MAX_LABEL_LENGTH:
            raise self._error(f"label name is longer than {MAX_LABEL_LENGTH} characters")
        self._advance(found.end())
        return found.group()

    def _literal(self) -> str:
        found = _LITERAL.match(self._text, self._at)
        if found is None:
            opened = self._text[self._at : self._at + 1] in ("'", '"')
            raise self._error("string is not closed" if opened else "expected a string in quotes")
        self._advance(found.end())
        return found.group()[1:-1]

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._advance(self._at + len(token))
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._error(f"expected {token}")

    def _advance(self, to: int) -> None:
        self._at = to
        self._skip_blanks()

    def _skip_blanks(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None, "the pattern matches the empty string"
        self._at = found.end()

    def _error(self, expected: str) -> SelectorError:
        found = repr(self._text[self._at]) if self._at < len(self._text) else "the end"
        return SelectorError(self._text, self._at + 1, f"{expected}, found {found}")


def _joined(kind: type[And] | type[Or], operands: list[Node]) -> Node:
    return operands[0] if len(operands) == 1 else kind(tuple(operands))
