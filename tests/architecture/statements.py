"""The numbered statements of docs/policy-semantics.md, and which tests say that they show them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATEMENTS = ROOT / "docs" / "policy-semantics.md"
COVERAGE = ROOT / "docs" / "policy-coverage.md"
SENDING = frozenset({"kernel", "lab", "fuzz"})
"""Marks of tests that send packets."""

_ROW = re.compile(r"^\| (PS-\d+\.\d+) \| (.+?) \| (packet|evaluator|other|elsewhere)(?:: ([^|]+))? \|$")
_SHORT = 90
_HEAD = """# Which tests show which statement

Written from [policy-semantics.md](policy-semantics.md) and the marks of the tests (`TORTIE_GOLDEN=1`), not by hand. Tests in
*italics* send no packet.

"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of the document."""

    number: str
    text: str
    shown_by: str
    """`packet`, `evaluator`, `other` or `elsewhere`."""
    reason: str

    @property
    def short(self) -> str:
        """Its text, cut to a table's width."""
        return self.text if len(self.text) <= _SHORT else self.text[: _SHORT - 2].rsplit(" ", 1)[0] + " …"


@dataclass(frozen=True, slots=True)
class Showing:
    """A test and the statements that it names."""

    path: str
    name: str
    numbers: tuple[str, ...]
    sends: bool
    """It is marked as one that sends packets."""


def statements(text: str) -> list[Statement]:
    """All rows, in the document's order. A row that begins with a number and is not a statement raises ValueError."""
    found = []
    for line in text.splitlines():
        match = _ROW.match(line)
        if match:
            found.append(Statement(match[1], match[2], match[3], match[4] or ""))
        elif line.startswith("| PS-") and "## Where we differ" not in text[: text.index(line)]:
            raise ValueError(f"not a statement: {line}")
    return found


def showings(root: Path) -> list[Showing]:
    """Every test below `root`/tests that names a statement, by path and name."""
    found: list[Showing] = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        source = path.read_text()
        if "shows(" in source:
            found += _of_module(str(path.relative_to(root)), ast.parse(source))
    return found


def is_shown(statement: Statement, tests: list[Showing]) -> bool:
    """What a packet can show needs a test that sends one."""
    return any(each.sends for each in tests) if statement.shown_by == "packet" else bool(tests)


def table(listed: list[Statement], shown: list[Showing]) -> str:
    """The whole page."""
    lines = [_HEAD.rstrip(), ""]
    section = ""
    counts = {"packet": [0, 0], "evaluator": [0, 0], "other": [0, 0]}
    for statement in listed:
        tests = [each for each in shown if statement.number in each.numbers]
        if statement.shown_by in counts:
            counts[statement.shown_by][1] += 1
            counts[statement.shown_by][0] += is_shown(statement, tests)
        head = statement.number.partition(".")[0]
        if head != section:
            section = head
            lines += [
                "",
                f"## Section {head.removeprefix('PS-')}",
                "",
                "| number | statement | shown by |",
                "| --- | --- | --- |",
            ]
        lines.append(f"| {statement.number} | {statement.short} | {_cell(statement, tests)} |")
    summary = ", ".join(f"{done} of {total} for `{kind}`" for kind, (done, total) in counts.items())
    lines.insert(1, f"\nShown: {summary}.")
    return "\n".join(lines) + "\n"


def _cell(statement: Statement, tests: list[Showing]) -> str:
    if statement.shown_by == "elsewhere":
        return f"elsewhere: {statement.reason}"
    names = [f"`{each.path.removeprefix('tests/')}::{each.name}`" for each in tests]
    return "<br>".join(name if each.sends else f"*{name}*" for name, each in zip(names, tests, strict=True)) or "**not shown**"


def _of_module(path: str, module: ast.Module) -> Iterator[Showing]:
    numbers, sends = _marks(_module_marks(module))
    if numbers and not any(_is_test(node) for node in module.body):
        raise ValueError(f"{path} names statements and has no test")
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            raise ValueError(f"{path}: tests in classes are not read")
        if not _is_test(node):
            continue
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        own, own_sends = _marks(node.decorator_list)
        if numbers or own:
            yield Showing(path, node.name, (*numbers, *own), sends or own_sends)


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


def _module_marks(module: ast.Module) -> list[ast.expr]:
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "pytestmark" for to in node.targets):
            return list(node.value.elts) if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
    return []


def _marks(expressions: list[ast.expr]) -> tuple[list[str], bool]:
    """The statements named, also by a case of parametrize, and whether a mark is one of SENDING."""
    numbers: list[str] = []
    sends = False
    for node in (each for expression in expressions for each in ast.walk(expression)):
        if isinstance(node, ast.Attribute) and node.attr in SENDING and ast.unparse(node.value) == "pytest.mark":
            sends = True
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.shows":
            for argument in node.args:
                if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                    raise ValueError(f"line {node.lineno}: shows() takes texts, so that they can be read without running")
                numbers.append(argument.value)
    return list(dict.fromkeys(numbers)), sends
