"""Bugs in the evaluator."""

from tests.mutants.mutant import EVALUATOR, Mutant

VERDICT = (
    Mutant(
        "a failsafe port's net limits the wrong end",
        "verdict/host.py",
        "far_end = packet.source if inbound else packet.destination",
        "far_end = packet.destination if inbound else packet.source",
        EVALUATOR,
    ),
    Mutant(
        "replies of failsafe ports meet untracked policy",
        "verdict/host.py",
        "    for failsafe in back:\n",
        "    for failsafe in back[:0]:\n",
        EVALUATOR,
    ),
    Mutant(
        "what pre-DNAT policy accepted is asked again by forward policy",
        "verdict/journey.py",
        "if before is not None and not self._accepted:",
        "if before is not None:",
        EVALUATOR,
    ),
    Mutant(
        "a staged Delete takes nothing away",
        "verdict/staged.py",
        "_TAKES_OVER = (StagedAction.SET, StagedAction.DELETE)",
        "_TAKES_OVER = (StagedAction.SET,)",
        EVALUATOR,
    ),
    Mutant(
        "a staged Set stands beside the policy that it replaces",
        "verdict/staged.py",
        "            gone.add(enforced_twin(policy.id))\n",
        "            pass\n",
        EVALUATOR,
    ),
    Mutant(
        "a workload may send from any source",
        "verdict/evaluate.py",
        "if settings.source_spoofing and any(_holds(prefix, packet)",
        "if settings.source_spoofing or any(_holds(prefix, packet)",
        EVALUATOR,
    ),
    Mutant(
        "the quick evaluator forgets profiles of hosts",
        "verdict/quick.py",
        "        if hook is HostHook.NORMAL:\n            return (*stages, *self._profiles",
        "        if hook is HostHook.UNTRACKED:\n            return (*stages, *self._profiles",
        EVALUATOR,
    ),
)
