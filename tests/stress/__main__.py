"""`python -m tests.stress`: 20 nodes with 4 processes each assign 20,000 addresses and release most, on each backend.

Exit code 0 only if nothing was found wrong.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.conformance.etcd_server import cluster
from tests.stress.run import Outcome, Plan, run


def main() -> int:
    """Run and print figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--backend", choices=("sqlite", "etcd"), action="append")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--processes", type=int, default=4, help="of each node")
    parser.add_argument("--addresses", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1200.0, help="the longest it may take")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    plan = Plan(told.nodes, told.processes, told.addresses, told.kills, told.seconds, told.seed)
    bad = False
    for backend in told.backend or ("sqlite", "etcd"):
        print(f"{backend}: {plan.nodes} nodes x {plan.processes} processes, {plan.addresses} addresses", flush=True)
        outcome = _on(backend, plan)
        for line in (*outcome.lines(), *(f"FAULT {text}" for text in outcome.faults[:50])):
            print(f"  {line}", flush=True)
        bad |= bool(outcome.faults)
    return int(bad)


def _on(backend: str, plan: Plan) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="tortie-stress-") as folder:
        if backend == "sqlite":
            environment = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": f"{folder}/store/tortie.sqlite"}
            return run(plan, environment, Path(folder))
        with cluster() as (member,):
            return run(plan, {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": member.url}, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
