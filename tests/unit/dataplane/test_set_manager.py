"""What the driver is told of sets: the sum of all messages since it was told last."""

import asyncio
from collections.abc import Iterable
from typing import cast

from tortie.base.net import parse_prefix
from tortie.dataplane.populated import Populated
from tortie.dataplane.set_manager import SetManager
from tortie.intent.messages import SetDelta, SetUpdate
from tortie.intent.sets import IPSet, Member, SetKind
from tortie.kernel.nft.objects import SetSpec
from tortie.kernel.nft.table import NftTable

A, B = parse_prefix("10.0.0.1/32"), parse_prefix("10.0.0.2/32")
NONE: frozenset[Member] = frozenset()


class Recorder:
    """Stands in for the driver: the members of the one set."""

    def __init__(self) -> None:
        self.members: set[Member] = set()

    def put_set(self, spec: SetSpec, members: Iterable[Member]) -> None:
        self.members = set(members)

    def add_members(self, name: str, members: Iterable[Member]) -> None:
        self.members |= set(members)

    def remove_members(self, name: str, members: Iterable[Member]) -> None:
        self.members -= set(members)


def after(*deltas: SetDelta) -> set[Member]:
    """The set, which has A, after these changes in one go."""
    table = Recorder()
    manager = SetManager(cast(NftTable, table), Populated())
    manager.on_update(SetUpdate("s:x", IPSet("s:x", SetKind.NET, "all()"), frozenset({A})))
    asyncio.run(manager.apply())
    for delta in deltas:
        manager.on_update(delta)
    asyncio.run(manager.apply())
    return table.members


def test_a_member_that_leaves_and_comes_back_stays() -> None:
    assert after(SetDelta("s:x", NONE, frozenset({A})), SetDelta("s:x", frozenset({A}), NONE)) == {A}


def test_a_member_that_comes_and_leaves_again_is_gone() -> None:
    assert after(SetDelta("s:x", frozenset({B}), NONE), SetDelta("s:x", NONE, frozenset({B}))) == {A}


def test_one_comes_while_another_leaves() -> None:
    assert after(SetDelta("s:x", frozenset({B}), frozenset({A}))) == {B}
