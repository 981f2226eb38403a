"""Three judges, one answer: the oracle, the evaluator, and the kernel as our dataplane programs it.

The environment variables of test_differential hold here too.
"""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from tests.fuzz import budget
from tests.fuzz.clusters import random_cluster
from tests.fuzz.kernel_judge import KernelJudge, can_be_asked
from tests.fuzz.probes import Probe, random_probes
from tests.fuzz.product import Product
from tests.fuzz.shrink import report, shrink
from tests.fuzz.stage import stage
from tests.oracle.cluster import Document
from tests.oracle.judge import Oracle

BATCHES = 3
PROBES = 260  # of which some cannot be asked, see `can_be_asked`
pytestmark = [pytest.mark.fuzz, pytest.mark.kernel, pytest.mark.timeout(budget.timeout(90))]


@pytest.fixture(scope="module")
def judge() -> Iterator[KernelJudge]:
    with stage() as built:
        yield KernelJudge(built)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_oracle_evaluator_and_kernel_agree(batch: int, judge: KernelJudge) -> None:
    allowed = judged = 0
    for seed in budget.seeds(batch, clusters=120, batches=BATCHES):
        rng = Random(seed)
        documents = random_cluster(rng)
        oracle, product = Oracle(documents), Product(documents)
        probes = [probe for probe in random_probes(rng, oracle.cluster, PROBES) if can_be_asked(probe)]
        for probe, in_kernel in zip(probes, judge.allows(product, probes), strict=True):
            verdicts = {
                "oracle": oracle.allows_probe(probe.sender, probe.sent),
                "evaluator": product.allows(probe),
                "kernel": in_kernel,
            }
            if len(set(verdicts.values())) > 1:
                pytest.fail(_told(documents, probe, verdicts, seed=seed, judge=judge), pytrace=False)
            allowed += in_kernel
        judged += len(probes)
    assert judged * 0.1 < allowed < judged * 0.9


def _told(documents: list[Document], probe: Probe, verdicts: dict[str, bool], *, seed: int, judge: KernelJudge) -> str:
    def disagree(candidate: Sequence[Document], asked: Probe) -> bool:
        product = Product(candidate)
        answers = {
            Oracle(candidate).allows_probe(asked.sender, asked.sent),
            product.allows(asked),
            judge.allows(product, [asked])[0],
        }
        return len(answers) > 1

    if not budget.SHRINK:
        return report(documents, probe, verdicts, seed=seed)
    if not disagree(documents, probe):
        return "not seen again when asked alone:\n" + report(documents, probe, verdicts, seed=seed)
    return report(shrink(documents, probe, disagrees=disagree), probe, verdicts, seed=seed)
