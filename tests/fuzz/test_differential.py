"""The oracle against conversion, calculation and evaluation: random clusters, random packets, one answer.

TORTIE_FUZZ_CLUSTERS sets how many clusters, TORTIE_FUZZ_SECONDS how long instead, TORTIE_FUZZ_SEED where the seeds begin,
TORTIE_FUZZ_SHRINK=0 shows a disagreement as it was found.
"""

from random import Random

import pytest
from tests.fuzz import budget
from tests.fuzz.clusters import random_cluster
from tests.fuzz.court import Court, PendingCourt, told
from tests.fuzz.probes import random_probes
from tests.fuzz.tally import TALLY

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(budget.timeout(90))]
PROBES = 200
PENDING = 100


@pytest.mark.parametrize("batch", range(budget.BATCHES))
def test_oracle_and_evaluator_agree(batch: int) -> None:
    allowed = judged = 0
    for seed in budget.seeds(batch, clusters=500):
        rng = Random(seed)
        documents = random_cluster(rng)
        court = Court(documents)
        probes = random_probes(rng, court.oracle.cluster, PROBES)
        found = court.disagreement(probes)
        if found is None and any(document["kind"].startswith("Staged") for document in documents):
            found = PendingCourt(documents).disagreement(probes[:PENDING])
        if found is not None:
            pytest.fail(told(documents, found, seed=seed), pytrace=False)
        allowed += court.allowed
        judged += len(probes)
        TALLY.clusters, TALLY.packets = TALLY.clusters + 1, TALLY.packets + len(probes)
    # A generator whose packets all pass, or all fail, would compare nothing.
    assert judged * 0.1 < allowed < judged * 0.9
