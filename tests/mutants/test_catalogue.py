"""The planted bugs still fit the sources. Whether tests notice them is what `python -m tests.mutants` asks."""

from collections import Counter
from pathlib import Path

import pytest
from tests.mutants.catalogue import MUTANTS, PARTS
from tests.mutants.mutant import Mutant

PACKAGE = Path(__file__).parents[2] / "src" / "tortie"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_bug_has_exactly_one_place(mutant: Mutant) -> None:
    text = (PACKAGE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


def test_there_are_sixty_from_everywhere_and_no_two_alike() -> None:
    assert len(MUTANTS) >= 60
    assert min(len(part) for part in PARTS) >= 5
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
