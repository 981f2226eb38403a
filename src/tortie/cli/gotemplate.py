"""The part of Go's text/template that `get -o go-template` needs, over resources: calicoctl's templates go on working.

Fields have Go's names (`.ObjectMeta.Name`, `.Spec.IPv4Address`), as Calico's own types have them: the names of the documents'
fields, in any case. There are: actions with pipelines and variables, `if`, `else`, `with`, `range`, `end`, comments, trimming
(`{{-`), and the functions below. Reading is checked at once, before the datastore is asked.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tortie.base.errors import TortieError

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(/\*.*?\*/|(?:`[^`]*`|\"(?:\\.|[^\"\\])*\"|[^`\"])*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s+|(?P<text>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?)"""
    r"""|(?P<path>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(?P<word>\w+)|(?P<sign>:=|[=|(),])"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}
_PROMOTED = ("TypeMeta", "ObjectMeta", "ListMeta")


class GoTemplateError(TortieError):
    """A template that cannot be read, or asks for what is not there."""


@dataclass(frozen=True, slots=True)
class ListResult:
    """All of a kind, as one result: `.Items`."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    joined: bool
    """Right behind the token before, without a space."""


@dataclass(slots=True)
class _Block:
    """An action with what stands inside of it: the pieces, and those after `else`."""

    word: str
    variables: tuple[str, ...] = ()
    condition: "_Pipeline | None" = None
    inside: "list[str | _Block]" = field(default_factory=list)
    otherwise: "list[str | _Block]" = field(default_factory=list)


_Term = tuple[str, Any]
_Command = tuple[_Term, ...]
_Pipeline = tuple[_Command, ...]


class GoTemplate:
    """A template that has been read. Raises GoTemplateError for one that cannot be."""

    def __init__(self, text: str) -> None:
        pieces = list(_pieces(text))
        self._tree = _Reader(pieces).all()

    def text(self, results: Sequence[Any], *, config: Mapping[str, str]) -> str:
        """The template filled with results. Raises GoTemplateError for a field that a resource cannot have."""
        return "".join(_Filler(results, config).render(self._tree, tuple(results)))


def _pieces(text: str) -> Iterator[str | list[_Token]]:
    """Text and actions in turn, trimmed as the actions say."""
    position, trim = 0, False
    for found in _ACTION.finditer(text):
        before = text[position : found.start()]
        before = before.lstrip() if trim else before
        yield before.rstrip() if found[1] else before
        if not found[2].startswith("/*"):
            yield _tokens(found[2])
        position, trim = found.end(), bool(found[3])
    rest = text[position:]
    if "{{" in rest:
        raise GoTemplateError(f"template: unclosed action at {rest[rest.index('{{') :][:20]!r}")
    yield rest.lstrip() if trim else rest


def _tokens(text: str) -> list[_Token]:
    found, position, joined = [], 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise GoTemplateError(f"template: cannot read {text[position:]!r} in {{{{{text}}}}}")
        if match.lastgroup:
            found.append(_Token(match.lastgroup, match[match.lastgroup], joined))
        joined = match.lastgroup is not None
        position = match.end()
    return found


class _Reader:
    """Pieces to a tree."""

    def __init__(self, pieces: list[str | list[_Token]]) -> None:
        self._pieces = pieces
        self._position = 0

    def all(self) -> list[str | _Block]:
        tree, stop = self._until(())
        assert not stop
        return tree

    def _until(self, ends: tuple[str, ...]) -> tuple[list[str | _Block], list[_Token]]:
        tree: list[str | _Block] = []
        while self._position < len(self._pieces):
            piece = self._pieces[self._position]
            self._position += 1
            if isinstance(piece, str):
                tree.append(piece)
                continue
            word = piece[0].text if piece and piece[0].kind == "word" else ""
            if word in ("end", "else"):
                if word not in ends:
                    raise GoTemplateError(f"template: unexpected {{{{{word}}}}}")
                return tree, piece
            tree.append(self._block(word, piece) if word in ("if", "with", "range") else _action("print", piece))
        if ends:
            raise GoTemplateError("template: unexpected end of the template: {{end}} is missing")
        return tree, []

    def _block(self, word: str, piece: list[_Token]) -> _Block:
        block = _action(word, piece[1:])
        block.inside, stop = self._until(("end", "else"))
        if stop[0].text == "else":
            if len(stop) > 1:  # else if: a block of its own, closed by the same end
                block.otherwise = [self._block(stop[1].text, stop[1:])]
            else:
                block.otherwise, _ = self._until(("end",))
        return block


def _action(word: str, tokens: list[_Token]) -> _Block:
    """An action's variables and its pipeline."""
    block = _Block(word)
    assignment = next((at for at, token in enumerate(tokens) if token.text in (":=", "=") and token.kind == "sign"), None)
    if assignment is not None:
        names = [token.text for token in tokens[:assignment] if token.text != ","]
        if not names or not all(re.fullmatch(r"\$\w+", name) for name in names):
            raise GoTemplateError("template: a variable is written $name")
        block.variables, tokens = tuple(names), tokens[assignment + 1 :]
    block.condition, left = _pipeline(tokens)
    if left or not block.condition:
        raise GoTemplateError(f"template: cannot read {{{{{' '.join(token.text for token in tokens)}}}}}")
    return block


def _pipeline(tokens: list[_Token]) -> tuple[_Pipeline, list[_Token]]:
    commands: list[_Command] = []
    terms: list[_Term] = []
    while tokens:
        token, tokens = tokens[0], tokens[1:]
        match token.kind, token.text:
            case "sign", "(":
                inner, tokens = _pipeline(tokens)
                if not tokens or tokens[0].text != ")":
                    raise GoTemplateError("template: ) is missing")
                tokens = tokens[1:]
                fields = ""
                if tokens and tokens[0].kind == "path" and tokens[0].joined and tokens[0].text.startswith("."):
                    fields, tokens = tokens[0].text, tokens[1:]
                terms.append(("pipeline", (inner, fields)))
            case "sign", ")":
                tokens = [token, *tokens]
                break
            case "sign", "|":
                commands.append(tuple(terms))
                terms = []
            case "text", text:
                body = text[1:-1]
                value = body if text[0] == "`" else re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), body)
                terms.append(("value", value))
            case "number", text:
                terms.append(("value", float(text) if "." in text else int(text)))
            case "path", text:
                terms.append(("path", text))
            case "word", ("true" | "false" | "nil") as text:
                terms.append(("value", {"true": True, "false": False, "nil": None}[text]))
            case "word", text:
                if text not in _FUNCTIONS and text not in ("and", "or", "config"):
                    raise GoTemplateError(f'template: function "{text}" not defined')
                terms.append(("function", text))
            case _:
                raise GoTemplateError(f"template: unexpected {token.text!r}")
    commands.append(tuple(terms))
    if not all(commands):
        raise GoTemplateError("template: a command is missing")
    return tuple(commands), tokens


class _Filler:
    """A tree and data to text."""

    def __init__(self, root: Sequence[Any], config: Mapping[str, str]) -> None:
        self._config = config
        self._variables: dict[str, Any] = {"$": tuple(root)}

    def render(self, tree: Sequence[str | _Block], dot: Any) -> Iterator[str]:
        for piece in tree:
            if isinstance(piece, str):
                yield piece
                continue
            assert piece.condition is not None
            value = self._value(piece.condition, dot)
            if piece.word == "range":
                yield from self._range(piece, value, dot)
                continue
            for name in piece.variables:
                self._variables[name] = value
            if piece.word == "print":
                if not piece.variables:
                    yield shown(value)
            elif _is_true(value):
                yield from self.render(piece.inside, value if piece.word == "with" else dot)
            else:
                yield from self.render(piece.otherwise, dot)

    def _range(self, piece: _Block, value: Any, dot: Any) -> Iterator[str]:
        items = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
        for index, item in items:
            for name, content in zip(piece.variables, (item,) if len(piece.variables) == 1 else (index, item), strict=False):
                self._variables[name] = content
            yield from self.render(piece.inside, item)
        if not items:
            yield from self.render(piece.otherwise, dot)

    def _value(self, pipeline: _Pipeline, dot: Any) -> Any:
        value: tuple[Any, ...] = ()
        for command in pipeline:
            value = (self._command(command, dot, value),)
        return value[0]

    def _command(self, command: _Command, dot: Any, piped: tuple[Any, ...]) -> Any:
        (kind, content), *rest = command
        if kind != "function":
            if rest or piped:
                raise GoTemplateError("template: a value takes no arguments")
            return self._term((kind, content), dot)
        if content in ("and", "or"):
            found: Any = None
            for term in rest:
                found = self._term(term, dot)
                if _is_true(found) == (content == "or"):
                    return found
            return piped[0] if piped else found
        arguments = [*(self._term(term, dot) for term in rest), *piped]
        if content == "config":
            return self._config.get(str(arguments[0]).lower(), "") if arguments else ""
        try:
            return _FUNCTIONS[content](*arguments)
        except GoTemplateError:
            raise
        except (TypeError, AttributeError, ValueError, IndexError, KeyError) as error:
            raise GoTemplateError(f"template: error calling {content}: {error}") from error

    def _term(self, term: _Term, dot: Any) -> Any:
        match term:
            case "value", value:
                return value
            case "pipeline", (inner, fields):
                return _walk(self._value(inner, dot), fields.split("."))
            case "function", _:
                return self._command((term,), dot, ())
        first, *names = str(term[1]).split(".")
        if first and first not in self._variables:
            raise GoTemplateError(f'template: undefined variable "{first}"')
        return _walk(self._variables[first] if first else dot, names)


def _walk(value: Any, names: Sequence[str]) -> Any:
    for name in filter(None, names):
        value = _field(value, name)
    return value


def _field(value: Any, name: str) -> Any:
    """A field by its name in Go. What is embedded there (ObjectMeta) is found with and without its own name."""
    if value is None:
        raise GoTemplateError(f"template: nil has no field {name}")
    if isinstance(value, ListResult):
        if name == "Items":
            return value.items
        raise GoTemplateError(f"template: can't evaluate field {name} in a list: use .Items")
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, msgspec.Struct):
        if name in _PROMOTED:
            return getattr(value, "metadata", value) if name == "ObjectMeta" else value
        for known in msgspec.structs.fields(value):
            if known.encode_name.lower() == name.lower():
                return getattr(value, known.name)
        if hasattr(value, "metadata"):
            return _field(value.metadata, name)
    raise GoTemplateError(f"template: can't evaluate field {name} in type {type(value).__name__}")


def _is_true(value: Any) -> bool:
    return bool(value)


def shown(value: Any) -> str:
    """A value as Go prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case Mapping():
            return "map[" + " ".join(f"{key}:{shown(one)}" for key, one in sorted(value.items())) + "]"
        case tuple() | list():
            return "[" + " ".join(map(shown, value)) + "]"
        case msgspec.Struct():
            return "{" + " ".join(shown(getattr(value, one.name)) for one in msgspec.structs.fields(value)) + "}"
        case ListResult(items=items):
            return shown(items)
    return str(value)


def _join(values: Any, separator: str) -> str:
    """Calico's `join` takes the list first."""
    return separator.join(map(shown, values or ()))


def _join_and_truncate(values: Any, separator: str, length: int) -> str:
    joined = _join(values, separator)
    return joined if len(joined) <= length else joined[: max(0, length - 3)] + "..."


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


def _printf(form: str, *values: Any) -> str:
    left = iter(values)

    def one(found: re.Match[str]) -> str:
        flags, verb = found[1], found[2]
        if verb == "%":
            return "%"
        value = next(left, None)
        if verb == "q":
            return f'"{value}"'
        if verb in "dfg":
            return f"%{flags}{verb}" % value
        return f"%{flags}s" % shown(value)

    return re.sub(r"%([-+ 0-9.]*)([a-zA-Z%])", one, form)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "join": _join,
    "joinAndTruncate": _join_and_truncate,
    "len": len,
    "index": _index,
    "not": lambda value: not _is_true(value),
    "print": lambda *values: "".join(map(shown, values)),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": _printf,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda first, other: first != other,
    "lt": lambda first, other: first < other,
    "le": lambda first, other: first <= other,
    "gt": lambda first, other: first > other,
    "ge": lambda first, other: first >= other,
}
