"""Protocol texts and numbers."""

import pytest

from tortie.calc.protocols import NAMES, protocol_number, protocol_text


@pytest.mark.parametrize("number", [*NAMES, 47, 255])
def test_a_number_and_its_text_stand_for_each_other(number: int) -> None:
    assert protocol_number(protocol_text(number)) == number == protocol_number(number)


@pytest.mark.parametrize("text", ["", "IPX", "-1", "0", "256", 0, 256, "6.0"])
def test_what_is_no_protocol_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="is unknown"):
        protocol_number(text)
