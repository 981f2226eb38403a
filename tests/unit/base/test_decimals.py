"""Numbers of texts that anybody may write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.base.decimals import number_up_to


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 3))
def test_a_number_is_what_its_digits_say_unless_it_is_above_the_limit(number: int, highest: int, zeros: int) -> None:
    assert number_up_to("0" * zeros + str(number), highest) == (number if number <= highest else None)


ODD = ["", " 1", "+1", "-1", "1_0", "0x1", "1.0", "\u0663", "\u00b2", "9" * 5000, "1" + "0" * 100_000]


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_such_number_is_none_and_never_an_exception(text: str) -> None:
    assert number_up_to(text, 1 << 32) is None
