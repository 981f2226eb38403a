"""The collector is off exactly while the first state loads, and never looks at what has loaded again."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tortie.agent import garbage


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)
    gc.enable()


def test_nothing_is_collected_while_the_first_state_loads() -> None:
    garbage.start_loading()
    garbage.start_loading()
    assert not gc.isenabled()
    asyncio.run(garbage.settle())
    assert gc.get_freeze_count() == 0, "half of a state is not settled"
    garbage.loaded()
    assert gc.isenabled()


def test_what_has_loaded_is_out_of_the_collectors_sight_and_later_applies_leave_it_so() -> None:
    garbage.start_loading()
    state = [[number] for number in range(5000)]
    garbage.loaded()
    frozen = gc.get_freeze_count()
    assert frozen >= len(state)
    later = [[number] for number in range(5000)]
    garbage.loaded()
    # What is out of sight may still go, by its last reference: a few of others' objects do at any time.
    assert gc.get_freeze_count() < frozen + len(later) // 2


def test_cycles_that_came_later_are_collected_when_it_settles() -> None:
    garbage.start_loading()
    garbage.loaded()

    class Cycle:
        def __init__(self) -> None:
            self.itself = self
            alive.add(id(self))

        def __del__(self) -> None:
            alive.discard(id(self))

    alive: set[int] = set()
    for _ in range(10):
        Cycle()
    asyncio.run(garbage.settle())
    assert not alive
