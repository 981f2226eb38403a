"""An agent killed at any moment of a change of 1,000 policies: what is allowed goes on, what is denied stays denied."""

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from tests.lab.faults_stage import SOAK, FaultyLab, eventually, faulty_lab, policy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900 if SOAK else 180)]

POLICIES = 1000
KILLS = 40 if SOAK else 6


@pytest.fixture(scope="module")
def lab() -> Iterator[FaultyLab]:
    with faulty_lab("sqlite") as made:
        made.eventually_ready()
        yield made


def thousand() -> list[dict[str, object]]:
    """Half of them allow `open` everything, half allow `shut` ports that nobody asks for: no state on the way to all of them,
    nor on the way back, changes what the streams see."""
    made = []
    for number in range(POLICIES):
        one = policy(f"kill-{number:04}")
        if number % 2:
            rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [20000 + number]}}
            one["spec"] = {"order": number, "selector": "app == 'shut'", "types": ["Ingress"], "ingress": [rule]}
        made.append(one)
    return made


def kill_during(lab: FaultyLab, command: Sequence[str], documents: str, chance: random.Random) -> int:
    """Run a command on the datastore, and kill n2's agent again and again, at random moments, until it is through and a few
    times after. Returns how many kills fell into the change."""
    done = threading.Event()
    failures: list[str] = []

    def change() -> None:
        outcome = lab.tortie(*command, stdin=documents)
        if outcome.code:
            failures.append(f"{outcome.out}{outcome.err}")
        done.set()

    changing = threading.Thread(target=change)
    changing.start()
    during = 0
    try:
        for _ in range(KILLS // 2):
            time.sleep(chance.uniform(0.0, 0.8))
            during += not done.is_set()
            lab.restart_agent("n2")
    finally:
        changing.join()
    assert not failures, failures
    return during


def in_force(lab: FaultyLab) -> int:
    """How many of the thousand are in n2's kernel."""
    table = lab.table("n2")
    return sum(f"kill-{number:04}" in table for number in range(POLICIES))


def test_kills_at_random_moments_of_a_thousand_policies_cut_nothing_and_leak_nothing(lab: FaultyLab) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    documents = "\n---\n".join(json.dumps(each) for each in thousand())
    with lab.traffic():
        during = kill_during(lab, ("apply", "-f", "-"), documents, chance)
        eventually(lambda: in_force(lab) == POLICIES, "all policies are in force", seconds=30)
        during += kill_during(lab, ("delete", "-f", "-"), documents, chance)
        eventually(lambda: in_force(lab) == 0, "all policies are gone", seconds=30)
        lab.follows_changes("after-kills")
    assert during, "no kill fell into a change"
