"""The planted bugs still fit the sources. Whether tests notice them is what `python -m tests.mutants` asks."""

from collections import Counter
from pathlib import Path

import pytest
from tests.mutants.catalogue import CALCULATION, CONVERSION, DRIVER, MUTANTS, RENDERER, Mutant

PACKAGE = Path(__file__).parents[2] / "src" / "tortie"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_bug_has_exactly_one_place(mutant: Mutant) -> None:
    text = (PACKAGE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


def test_there_are_five_of_each_kind_and_no_two_alike() -> None:
    assert [len(kind) for kind in (CONVERSION, CALCULATION, RENDERER, DRIVER)] == [5, 5, 5, 5]
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
