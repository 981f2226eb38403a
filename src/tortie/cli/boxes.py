"""Tables with frames, as calicoctl draws them."""

import re
from collections.abc import Iterator, Sequence

_BARE_NUMBER = re.compile(r"[\d.]+(?:e\+\d+)?")


def box(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table: headings in the middle, bare numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    yield rule
    yield "|" + "|".join(f" {text:^{width}} " for text, width in zip(header, widths, strict=True)) + "|"
    yield rule
    for row in rows:
        cells = (
            f" {text:>{width}} " if _BARE_NUMBER.fullmatch(text) else f" {text:<{width}} "
            for text, width in zip(row, widths, strict=True)
        )
        yield "|" + "|".join(cells) + "|"
    if rows:
        yield rule
