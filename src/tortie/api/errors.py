"""What is wrong with a document: every bad field at once, each with its path, value, reason and line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.base.errors import TortieError

Path = tuple[str | int, ...]
"""Where a field is, from the root of its document: `("spec", "ingress", 0, "action")`."""

_MAX_VALUE_LENGTH = 100


class ApiError(TortieError):
    """A resource, or the text of one, that we refuse."""


class UnknownKindError(ApiError):
    """A kind that we do not know, or not in that version."""


class DocumentError(ApiError):
    """Text that is not YAML or JSON, or not a resource at all."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field. `value` None is not printed; `line` counts from 1, 0 when unknown."""

    path: str
    value: Any
    reason: str
    line: int = 0
    origin: str = ""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = '{_short(self.value)}'"
        return f"{self.path}{shown} ({self.reason}){self._place()}"

    def _place(self) -> str:
        if not self.line:
            return ""
        return f" at {self.origin}:{self.line}" if self.origin else f" at line {self.line}"


class ValidationError(ApiError):
    """Fields that are refused; the text lists all of them."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors: Sequence[FieldError] = tuple(errors)
        if len(self.errors) == 1:
            super().__init__(f"error with field {self.errors[0]}")
        else:
            super().__init__("\n".join(["error with the following fields:", *(f"-  {error}" for error in self.errors)]))


def field_path(path: Path) -> str:
    """The path as people write it: `spec.ingress[0].action`. A key with dots stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f"[{part!r}]"
        else:
            text += f".{part}" if text else part
    return text


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}..."
