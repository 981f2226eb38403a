"""The rows, one module a stage: cni, traffic, modes, change, first_block, bgp_routes, routes, ipam, programming, calculation,
repair, footprint, start, status, kubernetes_pods, cli_help, api_requests.
"""

from tests.bench.measuring import Bench
from tests.bench.rows import (
    api_requests,
    bgp_routes,
    calculation,
    change,
    cli_help,
    cni,
    first_block,
    footprint,
    ipam,
    kubernetes_pods,
    modes,
    programming,
    repair,
    routes,
    start,
    status,
    traffic,
)


def all_benches() -> list[Bench]:
    """In the order of the table."""
    return [
        cni.BENCH,
        traffic.BENCH,
        *modes.BENCHES,
        change.BENCH,
        first_block.BENCH,
        bgp_routes.BENCH,
        *routes.BENCHES,
        ipam.BENCH,
        programming.BENCH,
        calculation.BENCH,
        repair.BENCH,
        footprint.BENCH,
        start.BENCH,
        status.BENCH,
        kubernetes_pods.BENCH,
        cli_help.BENCH,
        api_requests.BENCH,
    ]
