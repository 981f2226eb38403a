"""Mark bits are Calico's, lowest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.dataplane.marks import DEFAULT_MASK, MarkMaskError, Marks, allocate


def test_the_default_mask_gives_calicos_bits() -> None:
    assert allocate(DEFAULT_MASK) == Marks(accept=0x10000, pass_=0x20000, drop=0x40000, scratch0=0x80000, scratch1=0x100000)


def test_a_mask_with_holes_is_used_lowest_bit_first() -> None:
    assert allocate(0b1011_0110) == Marks(accept=2, pass_=4, drop=16, scratch0=32, scratch1=128)


def test_a_mask_that_is_too_narrow_is_refused_by_name() -> None:
    with pytest.raises(MarkMaskError, match="NftablesMarkMask 0xf has 4 bits"):
        allocate(0xF)


@given(st.integers(0, 0xFFFFFFFF).filter(lambda mask: mask.bit_count() >= 5))
def test_bits_are_distinct_and_inside_the_mask(mask: int) -> None:
    marks = allocate(mask)
    bits = [marks.accept, marks.pass_, marks.drop, marks.scratch0, marks.scratch1]
    assert sum(bits) & ~mask == 0
    assert sum(bits).bit_count() == 5
    assert marks.verdict & marks.scratch == 0
