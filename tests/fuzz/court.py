"""All judges of one cluster, asked together."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz import budget
from tests.fuzz.kernel_judge import KernelJudge
from tests.fuzz.layout import LAYOUT
from tests.fuzz.probes import Probe
from tests.fuzz.product import Product
from tests.fuzz.shrink import report, shrink
from tests.fuzz.tally import TALLY
from tests.oracle.cluster import Document
from tests.oracle.judge import Oracle
from tests.oracle.node import NodeOracle
from tests.oracle.staged import enforced

Verdicts = dict[str, bool]


@dataclass(frozen=True)
class Disagreement:
    """The first probe about which the judges are not of one mind, and what each said."""

    probe: Probe
    verdicts: Verdicts


class Court:
    """Oracle, evaluator (thorough and quick) and, if there is one, the kernel."""

    def __init__(self, documents: Sequence[Document], kernel: KernelJudge | None = None) -> None:
        self.oracle = Oracle(documents)
        self.product = Product(documents)
        self.kernel = kernel
        self.allowed = 0
        """Of the probes that were asked about last."""
        self._node = NodeOracle(self.oracle, LAYOUT)

    def disagreement(self, probes: Sequence[Probe]) -> Disagreement | None:
        """Ask everybody about every probe."""
        self.allowed = 0
        in_kernel = self.kernel.allows(self.product, probes) if self.kernel is not None else None
        for index, probe in enumerate(probes):
            verdicts = {
                "oracle": self._node.arrives(probe.sender, probe.via, probe.sent),
                "evaluator": self.product.allows(probe),
                "quick evaluator": self.product.allows_quickly(probe),
            }
            if in_kernel is not None:
                verdicts["kernel"] = in_kernel[index]
            if len(set(verdicts.values())) > 1:
                return Disagreement(probe, verdicts)
            self.allowed += verdicts["oracle"]
        return None


class PendingCourt:
    """What would be if every staged policy were enforced: oracle and evaluator, who alone can say."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.product = Product(documents)
        self._node = NodeOracle(Oracle(enforced(documents)), LAYOUT)

    def disagreement(self, probes: Sequence[Probe]) -> Disagreement | None:
        """Ask both about every probe."""
        for probe in probes:
            verdicts = {
                "oracle": self._node.arrives(probe.sender, probe.via, probe.sent),
                "evaluator": self.product.would_allow(probe),
            }
            if len(set(verdicts.values())) > 1:
                return Disagreement(probe, {f"pending: {judge}": verdict for judge, verdict in verdicts.items()})
        return None


def told(documents: Sequence[Document], found: Disagreement, *, seed: int, kernel: KernelJudge | None = None) -> str:
    """The disagreement as text: the smallest cluster that still shows it, and how to see it again."""
    TALLY.disagreements += 1
    is_pending = any(judge.startswith("pending") for judge in found.verdicts)

    def again(candidate: Sequence[Document]) -> Disagreement | None:
        court: Court | PendingCourt = PendingCourt(candidate) if is_pending else Court(candidate, kernel)
        return court.disagreement([found.probe])

    if not budget.SHRINK:
        return report(documents, found.probe, found.verdicts, seed=seed)
    alone = again(documents)
    if alone is None:
        return "not seen again when asked alone:\n" + report(documents, found.probe, found.verdicts, seed=seed)
    # Each judge must go on saying what it said: else the search drifts to where nobody is at the destination any more.
    return report(shrink(documents, still=lambda candidate: again(candidate) == alone), found.probe, alone.verdicts, seed=seed)
