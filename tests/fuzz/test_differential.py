"""The oracle against conversion, calculation and evaluation: random clusters, random packets, one answer.

TORTIE_FUZZ_CLUSTERS sets how many clusters, TORTIE_FUZZ_SECONDS how long instead, TORTIE_FUZZ_SEED where the seeds begin,
TORTIE_FUZZ_SHRINK=0 shows a disagreement as it was found.
"""

from collections.abc import Sequence
from random import Random

import pytest
from tests.fuzz import budget
from tests.fuzz.clusters import random_cluster
from tests.fuzz.probes import Probe, random_probes
from tests.fuzz.product import Product
from tests.fuzz.shrink import report, shrink
from tests.oracle.cluster import Document
from tests.oracle.judge import Oracle

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(budget.timeout(60))]
PROBES = 200


@pytest.mark.parametrize("batch", range(budget.BATCHES))
def test_oracle_and_evaluator_agree(batch: int) -> None:
    allowed = judged = 0
    for seed in budget.seeds(batch, clusters=500):
        rng = Random(seed)
        documents = random_cluster(rng)
        oracle, product = Oracle(documents), Product(documents)
        for probe in random_probes(rng, oracle.cluster, PROBES):
            expected, got = oracle.allows_probe(probe.sender, probe.sent), product.allows(probe)
            if expected != got:
                smallest = shrink(documents, probe, disagrees=_disagree) if budget.SHRINK else documents
                pytest.fail(report(smallest, probe, {"oracle": expected, "evaluator": got}, seed=seed), pytrace=False)
            allowed += got
            judged += 1
    # A generator whose packets all pass, or all fail, would compare nothing.
    assert judged * 0.1 < allowed < judged * 0.9


def _disagree(documents: Sequence[Document], probe: Probe) -> bool:
    return Oracle(documents).allows_probe(probe.sender, probe.sent) != Product(documents).allows(probe)
