"""Eight processes on four nodes of one datastore, four of them killed in the middle, while nodes lose their blocks."""

from pathlib import Path

import pytest
from tests.conformance.backends import BACKENDS
from tests.stress.run import Plan, run

PLANS = {"sqlite": Plan(4, 2, addresses=2400, kills=4, seconds=150), "etcd": Plan(4, 2, addresses=1000, kills=4, seconds=150)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def test_processes_that_race_and_die_neither_share_nor_lose_an_address(name: str, tmp_path: Path) -> None:
    plan = PLANS[name]
    outcome = run(plan, BACKENDS[name](tmp_path).env, tmp_path)
    assert outcome.faults == []
    assert outcome.kills == plan.kills
    assert outcome.figures["allocations"] >= plan.addresses
    assert outcome.figures["conflicts"], "nobody lost a race: this test shows nothing"
    assert outcome.borrowed, "nobody borrowed: this test shows less than it should"
