"""diff: what turns actual into desired."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.delta import diff

MAPPINGS = st.dictionaries(st.integers(0, 8), st.integers(0, 3))


@given(MAPPINGS, MAPPINGS)
def test_applying_the_difference_gives_the_desired_state(desired: dict[int, int], actual: dict[int, int]) -> None:
    delta = diff(desired, actual)
    result = {key: value for key, value in actual.items() if key not in delta.remove} | dict(delta.add) | dict(delta.change)
    assert result == desired
    assert bool(delta) == (desired != actual)
    assert not set(delta.add) & set(actual)
    assert set(delta.change) <= set(actual)
