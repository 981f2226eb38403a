"""Whatever the order and the slicing of messages, the kernel's sets hold what the messages add up to."""

import json
import random
from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, endpoint, ipset, node, policy, tier
from tests.kernel.dataplane_stage import Pod, Stage, stage

from tortie.base.net import FAMILIES, Address, Family, Prefix, masked, parse_prefix
from tortie.dataplane.render.names import policy_chain, set_name
from tortie.intent.keys import SetId
from tortie.intent.messages import Message, PolicyUpdate, SetDelta, SetUpdate
from tortie.intent.policy import Action, Direction, Match
from tortie.intent.sets import Member, PortMember, SetKind
from tortie.intent.state import State

pytestmark = pytest.mark.kernel

KINDS = {"s:a": SetKind.NET, "s:b": SetKind.NET, "n:a": SetKind.IP_PORT}
BASES = {Family.V4: 0x0A000000, Family.V6: 0xFD << 120}


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


def some_members(chance: random.Random, kind: SetKind, most: int) -> frozenset[Member]:
    def one() -> Member:
        family = chance.choice(FAMILIES)
        # Few addresses, so that prefixes contain each other and members come back.
        address = Address(family, BASES[family] + chance.randrange(32))
        if kind is SetKind.IP_PORT:
            return PortMember(address, chance.choice((6, 17)), chance.randrange(80, 84))
        return masked(address, family.bits - chance.choice((0, 0, 1, 2, 4)))

    return frozenset(one() for _ in range(chance.randrange(most)))


def some_message(chance: random.Random, state: State) -> Message:
    set_id: SetId = chance.choice(sorted(KINDS))
    kind = KINDS[set_id]
    known = set_id in state.sets
    if not known or chance.random() < 0.2:
        return ipset(set_id, kind, *some_members(chance, kind, 12))
    if chance.random() < 0.15:
        return SetUpdate(set_id, None)
    added = some_members(chance, kind, 5) - state.members[set_id]
    present = sorted(state.members[set_id], key=str)
    removed = frozenset(chance.sample(present, chance.randrange(len(present) + 1)))
    return SetDelta(set_id, added, removed)


def kernel_sets(made: Node) -> dict[str, set[str]]:
    """Element texts of every set of ours that stands for an intent set, by nft name."""
    listing = json.loads(made.stage.show(made.stage.node, "nft", "-j", "list", "sets", "inet"))
    found = (entry["set"] for entry in listing["nftables"] if "set" in entry)
    return {
        entry["name"]: {element_text(element) for element in entry.get("elem", ())}
        for entry in found
        if entry["name"][6:8] in ("s-", "n-")
    }


def element_text(element: object) -> str:
    match element:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"concat": [address, protocol, port]}:
            return f"{address} {protocol} {port}"
        case str():
            return str(parse_prefix(element))
    raise AssertionError(element)


def expected(state: State) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for set_id, members in state.members.items():
        for family in FAMILIES:
            prefixes = {member for member in members if isinstance(member, Prefix) and member.family is family}
            ports = [member for member in members if isinstance(member, PortMember) and member.address.family is family]
            outermost = [p for p in prefixes if not any(other != p and other.contains(p) for other in prefixes)]
            texts = {str(prefix) for prefix in outermost}
            texts |= {f"{m.address} {'tcp' if m.protocol == 6 else 'udp'} {m.port}" for m in ports}
            found[set_name(set_id, family)] = texts
    return found


@pytest.mark.parametrize("seed", range(4))
def test_sets_hold_what_the_messages_add_up_to(built: Stage, seed: int) -> None:
    chance = random.Random(seed)
    state = State()
    with node(built) as made:
        made.start()
        for _ in range(15):
            flush = []
            for _ in range(chance.randrange(1, 6)):
                message = some_message(chance, state)
                state.apply(message)
                flush.append(message)
            made.tell(*flush)
            found, wanted = kernel_sets(made), expected(state)
            assert found.keys() <= wanted.keys()
            assert {name: found.get(name, set()) for name in wanted} == wanted  # one without members need not be there


def test_a_policy_and_its_set_come_and_go_together(built: Stage) -> None:
    pod = Pod("", "cali1", 1)
    web = policy("web", ingress=({"action": Action.ALLOW, "source": Match(sets=("s:a",))},))
    with node(built) as made:
        made.start(endpoint(pod))
        for _ in range(2):
            made.tell(ipset("s:a", SetKind.NET, parse_prefix("10.0.0.1")), web, endpoint(pod, tier(ingress=("web",))))
            assert kernel_sets(made).keys() == {"cali40s-a"}
            made.tell(endpoint(pod), PolicyUpdate(web.id, None), SetUpdate("s:a", None))
            assert kernel_sets(made) == {}


def test_rules_ask_the_sets_that_have_had_members_and_only_those(built: Stage) -> None:
    pod = Pod("", "cali1", 1)
    web = policy("web", ingress=({"action": Action.ALLOW, "source": Match(sets=("s:a",), not_sets=("s:b",))},))
    v4, v6 = parse_prefix("10.0.0.1"), parse_prefix("fd00::1")

    def asked(made: Node) -> list[str]:
        listing = made.stage.show(
            made.stage.node, "nft", "list", "chain", "inet", "tortie", policy_chain(web.id, Direction.INGRESS)
        )
        return sorted(word for word in listing.split() if word.startswith("@"))

    with node(built) as made:
        made.start(endpoint(pod))
        made.tell(ipset("s:a", SetKind.NET), ipset("s:b", SetKind.NET), web, endpoint(pod, tier(ingress=("web",))))
        assert asked(made) == []
        made.tell(SetDelta("s:a", frozenset({v6}), frozenset()))
        assert asked(made) == ["@cali60s-a"]
        made.tell(SetDelta("s:b", frozenset({v6, v4}), frozenset()), SetDelta("s:a", frozenset({v4}), frozenset({v6})))
        assert asked(made) == ["@cali40s-a", "@cali40s-b", "@cali60s-a", "@cali60s-b"]
        assert kernel_sets(made)["cali60s-a"] == set()
