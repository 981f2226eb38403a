"""Random walks through wanted states, with and without damage by hand: every apply ends in exactly the wanted table."""

import random
from collections.abc import Iterator

import pytest
from tests.kernel.nft_ground import Driven, Ground, ground

from tortie.base.net import Family, Prefix, parse_address
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.netns import in_netns
from tortie.kernel.nft.decode import KernelTable
from tortie.kernel.nft.elements import ElementKey, ElementValue
from tortie.kernel.nft.objects import (
    ACCEPT,
    AddressPortIn,
    Chain,
    Counter,
    ElementType,
    Goto,
    Hook,
    IfNameVmap,
    Jump,
    L4Proto,
    NetIn,
    NfProto,
    Ports,
    Rule,
    SetSpec,
    Statement,
    Verdict,
)
from tortie.kernel.nft.read import read_table

pytestmark = pytest.mark.kernel

V4 = Family.V4
World = tuple[dict[str, Chain], dict[SetSpec, dict[ElementKey, ElementValue]]]
HOOKS = [None, Hook("filter", "input", 0), Hook("filter", "input", 0, "drop"), Hook("filter", "forward", 5)]
DAMAGE = [
    "add table inet tortie\ndelete table inet tortie",
    "add table inet tortie\nadd chain inet tortie c0\nadd rule inet tortie c0 drop",
    "add table inet tortie\nadd chain inet tortie stray { type filter hook input priority 7; }",
    "add table inet tortie\nadd set inet tortie stray { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }",
    "add table inet tortie { flags dormant; }",
]


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


def some_world(choice: random.Random) -> World:
    """Chains that jump downwards only (c3 to c2 ...), sets that come, go, and change their kind."""
    sets: dict[SetSpec, dict[ElementKey, ElementValue]] = {}
    interval = choice.random() < 0.7
    prefixes = [Prefix(V4, (10 << 24) + choice.randrange(64) * 4, 30 if interval else 32) for _ in range(choice.randrange(8))]
    wide = [Prefix(V4, 10 << 24, 25)] if interval and choice.random() < 0.5 else []
    sets[SetSpec("nets", ElementType.IPV4, interval=interval)] = dict.fromkeys([*prefixes, *wide])
    if choice.random() < 0.5:
        pairs = [(parse_address("10.0.0.1"), 6, choice.randrange(5)) for _ in range(3)]
        sets[SetSpec("pairs", ElementType.IPV4_PORT)] = dict.fromkeys(pairs)
    chains: dict[str, Chain] = {}
    names: list[str] = []
    for number in range(5):
        if choice.random() < 0.3:
            continue
        statements: list[Statement] = [NfProto(V4), NetIn("source", V4, "nets")]
        if len(sets) > 1 and choice.random() < 0.5:
            statements.append(AddressPortIn("destination", V4, "pairs"))
        if choice.random() < 0.5:
            statements += [L4Proto(6), Ports("destination", ((80, 80), (90, choice.choice([90, 99]))))]
        jumps = choice.sample(names, k=min(len(names), choice.randrange(3)))
        rules = [Rule((*statements, Counter()), f"version {choice.randrange(2)}"), *(Rule((Jump(n),)) for n in jumps)]
        chains[f"c{number}"] = Chain(f"c{number}", tuple(rules))
        names.append(f"c{number}")
    keys = choice.sample(["lo", "cali1", "cali2"], k=choice.randrange(4))
    verdicts: list[Verdict | Goto | Jump] = [ACCEPT]
    for name in names:
        verdicts += [Goto(name), Jump(name)]
    dispatch: dict[ElementKey, ElementValue] = {key: choice.choice(verdicts) for key in keys}
    sets[SetSpec("dispatch", ElementType.IFNAME, is_verdict_map=True)] = dispatch
    chains["base"] = Chain("base", (Rule((IfNameVmap("iif", "dispatch"),)),), choice.choice(HOOKS))
    return chains, sets


def put(driver: Driven, old: World, new: World, choice: random.Random) -> None:
    """Tell only the differences, in any order, members one by one or as a whole."""
    table = driver.table
    names = {spec.name for spec in new[1]}
    for chain in choice.sample(sorted(new[0].values(), key=lambda c: c.name), k=len(new[0])):
        table.put_chain(chain)
    for name in old[0].keys() - new[0].keys():
        table.remove_chain(name)
    for spec, members in new[1].items():
        if spec in old[1] and choice.random() < 0.7:
            before = old[1][spec]
            table.remove_members(spec.name, before.keys() - members.keys())
            table.add_members(
                spec.name, {key: value for key, value in members.items() if key not in before or before[key] != value}
            )
        else:
            table.put_set(spec, members)
    for spec in old[1]:
        if spec.name not in names:
            table.remove_set(spec.name)


def same(one: KernelTable, other: KernelTable) -> bool:
    return (one.flags, one.chains, one.sets) == (other.flags, other.chains, other.sets)


@pytest.mark.parametrize("seed", range(3))
def test_every_apply_ends_in_the_wanted_table(place: Ground, seed: int) -> None:
    choice = random.Random(seed)
    reader = in_netns(place.fd, lambda: RequestSocket(NETLINK_NETFILTER))
    driver, fresh = place.table(), place.table("fresh")
    world: World = ({}, {})
    try:
        for step in range(40):
            following = some_world(choice)
            put(driver, world, following, choice)
            put(fresh, ({}, {}), following, choice)
            world = following
            if choice.random() < 0.3:
                place.nft(script=choice.choice(DAMAGE))
                driver.table.invalidate("damage")
            stats = driver.apply()
            fresh.apply()
            assert stats.attempts == 1, f"step {step} needed a second attempt"
            assert same(read_table(reader, "tortie"), read_table(reader, "fresh")), f"step {step}"
            assert driver.table.pending is False
            fresh.delete()
            if choice.random() < 0.2:  # the process ends, another takes over
                driver.close()
                driver = place.table()
                put(driver, ({}, {}), world, choice)
                assert driver.apply().messages == 0
    finally:
        driver.close()
        fresh.close()
        reader.close()
