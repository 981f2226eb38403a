"""Planted bugs: each a small, believable mistake that would open or close the wrong door.

`old` must occur exactly once in `file` (below src/tortie).
"""

from tests.mutants.calculation import CALCULATION
from tests.mutants.conversion import CONVERSION
from tests.mutants.driver import DRIVER
from tests.mutants.managers import MANAGERS
from tests.mutants.mutant import Mutant
from tests.mutants.renderer import RENDERER
from tests.mutants.verdict import VERDICT

PARTS = (CONVERSION, CALCULATION, VERDICT, RENDERER, MANAGERS, DRIVER)
MUTANTS: tuple[Mutant, ...] = (*CONVERSION, *CALCULATION, *VERDICT, *RENDERER, *MANAGERS, *DRIVER)
