"""The oracle's own reading of the selector language: parsed and evaluated in one go, nothing cached, nothing shared."""

import re
from collections.abc import Mapping

_TOKEN = re.compile(
    r"""[ \t]*(?:
        (?P<call>(?:has|all|global)\()
      | (?P<op>==|!=|&&|\|\||[!(){},])
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<name>[A-Za-z0-9_./-]+)
    )""",
    re.VERBOSE,
)
_WORDS = re.compile(r"[ \t]*(contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in)(?=[^A-Za-z0-9_./-]|$)")


def matches(text: str, labels: Mapping[str, str], *, prefix: str = "", everything: bool = True, nothing: bool = True) -> bool:
    """Does the selector hold for these labels?

    `prefix` is put before every label name. `everything` and `nothing` are what `all()` and `global()` mean here.
    """
    parser = _Parser(text, labels, prefix=prefix, everything=everything, nothing=nothing)
    return parser.whole()


class _Parser:
    """Recursive descent over the text. Both sides of && and || are always read, so that the position stays right."""

    def __init__(self, text: str, labels: Mapping[str, str], *, prefix: str, everything: bool, nothing: bool) -> None:
        self.text = text
        self.at = 0
        self.labels = labels
        self.prefix = prefix
        self.everything = everything
        self.nothing = nothing

    def whole(self) -> bool:
        if not self.text.strip(" \t"):
            return self.everything
        value = self.any_of()
        if self.text[self.at :].strip(" \t"):
            raise ValueError(f"left over in selector: {self.text[self.at :]!r}")
        return value

    def any_of(self) -> bool:
        value = self.all_of()
        while self.take("||"):
            value = self.all_of() or value
        return value

    def all_of(self) -> bool:
        value = self.one()
        while self.take("&&"):
            value = self.one() and value
        return value

    def one(self) -> bool:
        if self.take("!"):
            return not self.one()
        if self.take("("):
            value = self.any_of()
            self.need(")")
            return value
        kind, token = self.next()
        if kind == "call":
            return self.call(token)
        if kind != "name":
            raise ValueError(f"unexpected {token!r} in selector {self.text!r}")
        return self.comparison(self.labels.get(self.prefix + token))

    def call(self, token: str) -> bool:
        if token == "has(":
            _, name = self.next()
            self.need(")")
            return self.prefix + name in self.labels
        self.need(")")
        return self.everything if token == "all(" else self.nothing

    def comparison(self, value: str | None) -> bool:
        if self.take("=="):
            return value == self.string()
        if self.take("!="):
            return value != self.string()
        word = _WORDS.match(self.text, self.at)
        if word is None:
            raise ValueError(f"no operator at {self.text[self.at :]!r}")
        self.at = word.end()
        operator = re.sub(r"[ \t]", "", word.group(1))
        if operator in ("in", "notin"):
            member = value is not None and value in self.members()
            if value is None:
                self.members()
            return member if operator == "in" else not member
        wanted = self.string()
        if value is None:
            return False
        return {"contains": wanted in value, "startswith": value.startswith(wanted), "endswith": value.endswith(wanted)}[
            operator
        ]

    def members(self) -> list[str]:
        self.need("{")
        found: list[str] = []
        while not self.take("}"):
            found.append(self.string())
            self.take(",")
        return found

    def string(self) -> str:
        kind, token = self.next()
        if kind != "string":
            raise ValueError(f"expected a string, got {token!r} in {self.text!r}")
        return token[1:-1]

    def next(self) -> tuple[str, str]:
        token = _TOKEN.match(self.text, self.at)
        if token is None or token.lastgroup is None:
            raise ValueError(f"cannot read {self.text[self.at :]!r}")
        self.at = token.end()
        return token.lastgroup, token.group(token.lastgroup)

    def take(self, operator: str) -> bool:
        token = _TOKEN.match(self.text, self.at)
        if token is None or token.lastgroup != "op" or token.group("op") != operator:
            return False
        self.at = token.end()
        return True

    def need(self, operator: str) -> None:
        if not self.take(operator):
            raise ValueError(f"expected {operator!r} at {self.text[self.at :]!r}")
