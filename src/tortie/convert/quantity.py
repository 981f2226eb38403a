"""Kubernetes quantities: `10M`, `4Gi`, `1.5k`, `2e3`, rounded up to whole numbers."""

import re
from decimal import ROUND_CEILING, Decimal

from tortie.convert.errors import ConversionError

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: str) -> int:
    """The value, rounded up. Raises ConversionError."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise ConversionError(f"{text!r} is not a quantity such as 10M or 4Gi")
    number, exponent, suffix = found.groups()
    value = Decimal(number + (exponent or ""))
    if suffix in _BINARY:
        value *= 1 << _BINARY[suffix]
    elif suffix:
        value = value.scaleb(_DECIMAL[suffix])
    return int(value.to_integral_value(rounding=ROUND_CEILING))
