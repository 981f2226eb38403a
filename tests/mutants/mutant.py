"""What a planted bug is, and which tests may be asked to notice it."""

from dataclasses import dataclass

EVALUATOR = ("tests/fuzz/test_differential.py", 250)
"""Oracle against conversion, calculation and evaluation, staged policies included; how many clusters are enough."""
KERNEL = ("tests/fuzz/test_kernel.py", 150)
"""The same with the kernel as third judge."""
INCREMENTAL = ("tests/fuzz/test_incremental.py", 40)
"""One agent's graph, and one kernel, through many changes."""
TABLE = ("tests/kernel/test_nft_table.py", 0)
"""The driver of our nft table in a namespace of its own."""
SETS = ("tests/unit/dataplane/test_set_manager.py", 0)
"""What messages of sets add up to."""
TO_HOST = ("tests/kernel/test_statements_host.py::test_host_ingress_is_not_asked_about_workloads", 0)
"""The fuzzer needs thirty seconds for a pod that its node's own rules let in and the wildcard host endpoint would not."""
HOSTS_MANAGED = ("tests/unit/dataplane/test_host_manager.py", 0)
"""What host endpoints follow."""
POPULATED = ("tests/unit/dataplane/test_populated.py", 0)
"""Sets that have no members yet."""
RULES = ("tests/unit/dataplane/test_policy.py", 0)
"""One rule as nft rules. The fuzzer seldom sends a packet on which two rules of several ports each disagree."""
CONFIGURED = ("tests/unit/dataplane/test_config.py", 0)
"""What parameters mean."""
HOOKS = ("tests/unit/dataplane/test_hooks.py", 0)
"""What the base chains lead to."""
HOST = ("tests/unit/dataplane/test_host.py", 0)
"""Chains of host endpoints, and how they are found."""
LIMITS = ("tests/kernel/test_dataplane_qos.py", 0)
"""Packet rates, connection limits and DSCP by counted packets."""
UNTRACKED = ("tests/kernel/test_dataplane_host_untracked.py", 0)
"""Untracked policy and what becomes of its connections."""


@dataclass(frozen=True)
class Mutant:
    """A bug, and the test file (with the number of fuzzed clusters) that must notice it."""

    name: str
    file: str
    old: str
    new: str
    check: tuple[str, int]
