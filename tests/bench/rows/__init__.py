"""The rows, one module a stage: cni, traffic, change, first_block, ipam, programming, calculation, repair, footprint,
status.
"""

from tests.bench.measuring import Bench
from tests.bench.rows import calculation, change, cni, first_block, footprint, ipam, programming, repair, status, traffic


def all_benches() -> list[Bench]:
    """In the order of the table."""
    return [
        cni.BENCH,
        traffic.BENCH,
        change.BENCH,
        first_block.BENCH,
        ipam.BENCH,
        programming.BENCH,
        calculation.BENCH,
        repair.BENCH,
        footprint.BENCH,
        status.BENCH,
    ]
