"""Three judges, one answer: the oracle, the evaluator, and the kernel as our dataplane programs it.

The environment variables of test_differential hold here too. The end of the run says how fast the kernel judged.
"""

from collections.abc import Iterator
from random import Random

import pytest
from tests.fuzz import budget
from tests.fuzz.clusters import random_cluster
from tests.fuzz.court import Court, told
from tests.fuzz.kernel_judge import KernelJudge
from tests.fuzz.probes import random_probes
from tests.fuzz.stage import stage
from tests.fuzz.tally import TALLY

BATCHES = 3
PROBES = 250
pytestmark = [pytest.mark.fuzz, pytest.mark.kernel, pytest.mark.timeout(budget.timeout(120))]


@pytest.fixture(scope="module")
def judge() -> Iterator[KernelJudge]:
    with stage() as built:
        yield KernelJudge(built)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_oracle_evaluator_and_kernel_agree(batch: int, judge: KernelJudge) -> None:
    allowed = judged = 0
    for seed in budget.seeds(batch, clusters=200, batches=BATCHES):
        rng = Random(seed)
        documents = random_cluster(rng)
        court = Court(documents, judge)
        probes = random_probes(rng, court.oracle.cluster, PROBES)
        found = court.disagreement(probes)
        if found is not None:
            pytest.fail(told(documents, found, seed=seed, kernel=judge), pytrace=False)
        allowed += court.allowed
        judged += len(probes)
        TALLY.clusters, TALLY.packets = TALLY.clusters + 1, TALLY.packets + len(probes)
    assert judged * 0.1 < allowed < judged * 0.9
