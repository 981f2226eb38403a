"""Plans: small when little changed, in an order that references allow, and complete."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Family, Prefix, parse_prefix
from tortie.kernel.netlink import parse_attributes, split_messages, string
from tortie.kernel.nft.decode import KernelTable
from tortie.kernel.nft.encode import encode_chain
from tortie.kernel.nft.objects import ACCEPT, Chain, ElementType, Goto, Hook, Jump, NetIn, Rule, SetSpec
from tortie.kernel.nft.state import Plan, TableState
from tortie.kernel.nft.uapi import SUBSYSTEM, Msg

NETS = SetSpec("nets", ElementType.IPV4, interval=True)
MAP = SetSpec("map", ElementType.IFNAME, is_verdict_map=True)
NAMES = {value: name for name, value in vars(Msg).items() if isinstance(value, int)}


def messages(plan: Plan) -> list[str]:
    """The transaction's messages as words: NEWRULE c, DELSETELEM map ..."""
    told = []
    for message in split_messages(plan.batch.to_bytes(1)):
        if message.type >> 8 == SUBSYSTEM:
            attributes = parse_attributes(message.body, 4)
            kind = NAMES[message.type & 0xFF]
            name = attributes.get(3, b"") if kind in ("NEWCHAIN", "DELCHAIN") else attributes[2]
            told.append(f"{kind} {string(name)}" if kind != "NEWTABLE" else kind)
    return told


def settled(state: TableState) -> Plan:
    """Plan and commit."""
    plan = state.plan()
    state.committed(plan)
    return plan


def jumping(name: str, *targets: str) -> Chain:
    return Chain(name, tuple(Rule((Jump(target),)) for target in targets))


def started(*chains: Chain) -> TableState:
    state = TableState("t")
    state.adopt(KernelTable(1))
    for chain in chains:
        state.put_chain(encode_chain(chain))
    settled(state)
    return state


def test_chains_and_sets_come_before_rules_and_rules_before_elements() -> None:
    state = TableState("t")
    state.adopt(KernelTable(1))
    state.put_set(MAP, {"lo": Goto("b")})
    state.put_chain(encode_chain(Chain("a", (Rule((NetIn("source", Family.V4, "nets"), Jump("b"))),))))
    state.put_chain(encode_chain(jumping("b")))
    state.put_set(NETS, {parse_prefix("10.0.0.0/8"): None})
    assert messages(state.plan()) == [
        "NEWTABLE", "NEWCHAIN a", "NEWCHAIN b", "NEWSET map", "NEWSET nets", "NEWRULE a", "NEWSETELEM map", "NEWSETELEM nets",
    ]  # fmt: skip


def test_removal_goes_the_other_way_round() -> None:
    state = started(jumping("a", "b"), Chain("b"))
    state.put_set(MAP, {"lo": Goto("b")})
    settled(state)
    state.remove_chain("b")
    state.remove_chain("a")
    state.remove_set("map")
    assert messages(state.plan()) == ["DELRULE a", "DELRULE b", "DELSETELEM map", "DELSET map", "DELCHAIN a", "DELCHAIN b"]


def test_one_changed_chain_is_one_flush_and_its_rules() -> None:
    state = started(*(jumping(f"c{n}", "z") for n in range(50)), Chain("z"))
    state.put_chain(encode_chain(jumping("c7", "z", "z")))
    assert messages(state.plan()) == ["DELRULE c7", "NEWRULE c7", "NEWRULE c7"]


def test_nothing_changed_is_no_message() -> None:
    state = started(jumping("a", "b"), Chain("b"))
    state.put_chain(encode_chain(jumping("a", "b")))
    state.remove_chain("never there")
    assert len(settled(state).batch) == 0
    assert not state.dirty


def test_a_set_made_anew_takes_its_users_along() -> None:
    user = Chain("user", (Rule((NetIn("source", Family.V4, "nets"),)),))
    state = started()
    state.put_set(NETS, {})
    state.put_chain(encode_chain(user))
    state.put_chain(encode_chain(Chain("other", (Rule((ACCEPT,)),))))
    settled(state)
    state.put_set(SetSpec("nets", ElementType.IPV4), {})
    assert messages(state.plan()) == ["DELRULE user", "DELSETELEM nets", "DELSET nets", "NEWSET nets", "NEWRULE user"]


def test_a_base_chain_moves_by_being_made_anew_and_a_policy_does_not_move_it() -> None:
    base = Chain("base", (Rule((ACCEPT,)),), Hook("filter", "input", 0))
    state = started(base)
    state.put_chain(encode_chain(Chain("base", base.rules, Hook("filter", "input", 0, "drop"))))
    assert messages(settled(state)) == ["NEWCHAIN base"]
    state.put_chain(encode_chain(Chain("base", base.rules, Hook("filter", "input", 5, "drop"))))
    assert messages(settled(state)) == ["DELRULE base", "DELCHAIN base", "NEWCHAIN base", "NEWRULE base"]


PREFIXES = st.builds(
    lambda length, block: Prefix(Family.V4, (10 << 24) + ((block % (1 << (length - 24))) << (32 - length)), length),
    st.integers(24, 32),
    st.integers(0, 255),
)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "add", "remove", "commit", "forget set", "read back"]), st.lists(PREFIXES, max_size=5)),
    max_size=40,
)


@given(OPERATIONS)
def test_any_sequence_of_puts_ends_in_the_wanted_set(operations: list[tuple[str, list[Prefix]]]) -> None:
    """The known state after a commit equals that of a state that only ever heard the final wish."""
    state = TableState("t")
    state.adopt(KernelTable(1))
    wanted: set[Prefix] | None = None
    for operation, members in operations:
        if operation == "put":
            wanted = set(members)
            state.put_set(NETS, dict.fromkeys(members))
        elif operation == "forget set":
            wanted = None
            state.remove_set("nets")
        elif operation == "commit":
            settled(state)
        elif operation == "read back":
            state.adopt(state.known())
        elif wanted is not None and operation == "add":
            wanted |= set(members)
            state.add_members("nets", dict.fromkeys(members))
        elif wanted is not None:
            wanted -= set(members)
            state.remove_members("nets", members)
    settled(state)
    fresh = TableState("t")
    fresh.adopt(KernelTable(1))
    if wanted is not None:
        fresh.put_set(NETS, dict.fromkeys(wanted))
    settled(fresh)
    assert state.known().sets == fresh.known().sets
    assert len(state.plan().batch) == 0


@given(OPERATIONS)
def test_a_read_back_of_something_else_is_repaired_completely(operations: list[tuple[str, list[Prefix]]]) -> None:
    state = TableState("t")
    state.adopt(KernelTable(1))
    state.put_set(NETS, dict.fromkeys(member for _, members in operations[:3] for member in members))
    settled(state)
    other = TableState("t")
    other.adopt(KernelTable(1))
    other.put_set(NETS, dict.fromkeys(member for _, members in operations[3:] for member in members))
    settled(other)
    expected = state.known().sets
    state.adopt(other.known())
    settled(state)
    assert state.known().sets == expected


def test_a_withheld_set_goes_keeps_its_changes_and_comes_back_whole() -> None:
    state = started()
    state.put_set(NETS, {parse_prefix("10.0.0.0/8"): None})
    settled(state)
    state.withhold_set("nets")
    assert messages(settled(state)) == ["DELSETELEM nets", "DELSET nets"]
    state.add_members("nets", {parse_prefix("192.0.2.0/24"): None})
    state.remove_members("nets", [parse_prefix("10.0.0.0/8")])
    assert messages(settled(state)) == []
    state.release_sets()
    plan = settled(state)
    assert messages(plan) == ["NEWSET nets", "NEWSETELEM nets"]
    assert plan.elements == (1, 0)


def test_a_withheld_set_that_is_put_anew_or_removed_is_withheld_no_more() -> None:
    state = started()
    for _ in range(2):
        state.put_set(NETS, {})
        settled(state)
        state.withhold_set("nets")
        settled(state)
    state.remove_set("nets")
    state.release_sets()
    assert messages(settled(state)) == []
