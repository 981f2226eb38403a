"""Kubernetes quantities."""

import pytest

from tortie.convert.errors import ConversionError
from tortie.convert.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("1.5k", 1500), ("4Gi", 4 << 30), ("100m", 1), ("2e3", 2000), ("1E", 10**18), (".5", 1), ("1.0001Ki", 1025)],
)
def test_a_quantity_is_rounded_up(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "fast", "1 0", "10kB", "1.2.3", "0x10"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ConversionError, match="is not a quantity"):
        parse_quantity(text)
