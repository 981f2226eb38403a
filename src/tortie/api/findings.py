"""A notebook for what is wrong with one resource; the modules `validation_*` write into it."""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from tortie.api.errors import FieldError, Path, field_path
from tortie.api.selector import SelectorError, parse_selector

MAX_SELECTOR_LENGTH = 1024

_T = TypeVar("_T")
_R = TypeVar("_R")


class Findings:
    """Collects errors. Every method checks one thing and writes down at most one error for it."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def refuse(self, path: Path, value: Any, reason: str) -> None:
        """Write down that the field at `path` is refused; `value` None is not shown."""
        self.errors.append(FieldError(field_path(path), value, reason))

    def require(self, condition: bool, path: Path, *, value: Any = None, reason: str) -> None:
        """Refuse the field unless `condition`."""
        if not condition:
            self.refuse(path, value, reason)

    def parsed(self, path: Path, value: _T, parse: Callable[[_T], _R]) -> _R | None:
        """The result of `parse`, or None after writing its ValueError down."""
        try:
            return parse(value)
        except ValueError as error:
            self.refuse(path, value, str(error))
            return None

    def each(self, path: Path, values: Iterable[_T], parse: Callable[[_T], _R]) -> list[_R]:
        """`parsed` for every item of a list; what cannot be parsed is left out."""
        results = [self.parsed((*path, index), value, parse) for index, value in enumerate(values)]
        return [result for result in results if result is not None]

    def unique(self, path: Path, values: Sequence[Any]) -> None:
        """Refuse items that occur before in the same list."""
        for index, value in enumerate(values):
            if value in values[:index]:
                self.refuse((*path, index), value, "occurs twice")

    def at_most(self, path: Path, values: Sequence[Any], *, limit: int) -> None:
        """Refuse a list of more than `limit` items."""
        if len(values) > limit:
            self.refuse(path, None, f"has {len(values)} items, at most {limit} are allowed")

    def no_longer(self, path: Path, text: str, *, limit: int) -> None:
        """Refuse a text of more than `limit` characters."""
        if len(text) > limit:
            self.refuse(path, text, f"is longer than {limit} characters")

    def unset(self, spec: msgspec.Struct, *, but: Container[str], reason: str) -> None:
        """Refuse every field of a spec, except those in `but`, that does not hold its default."""
        for field in msgspec.structs.fields(spec):
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            if field.name not in but and getattr(spec, field.name) != default:
                self.refuse(("spec", field.encode_name), None, reason)

    def within(self, path: Path, value: int | None, *, lowest: int, highest: int) -> None:
        """Refuse a number outside the bounds; None is unset and passes."""
        if value is not None and not lowest <= value <= highest:
            self.refuse(path, value, f"must be from {lowest} to {highest}")

    def selector(
        self, path: Path, text: str, *, may_be_global: bool = True, max_length: int | None = MAX_SELECTOR_LENGTH
    ) -> None:
        """Refuse a selector that cannot be parsed, is too long, or contains `global(` where that means nothing."""
        if not text:
            return
        try:
            parse_selector(text)
        except SelectorError as error:
            self.refuse(path, text, f"column {error.column}: {error.reason}")
            return
        if max_length is not None and len(text) > max_length:
            self.refuse(path, text, f"is longer than {max_length} characters")
        elif not may_be_global and "global(" in text:
            self.refuse(path, text, "global() can only be used in the namespaceSelector of a rule")
