"""The cover of a set of prefixes, against a brute force over all addresses of a small space."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Family, Prefix, parse_prefix
from tortie.kernel.nft.intervals import PrefixCover

BASE = parse_prefix("10.0.0.0/27").value


@st.composite
def small_prefixes(draw: st.DrawFn) -> Prefix:
    """Any prefix inside 10.0.0.0/27."""
    length = draw(st.integers(27, 32))
    block = draw(st.integers(0, (1 << (length - 27)) - 1))
    return Prefix(Family.V4, BASE + (block << (32 - length)), length)


def addresses(prefix: Prefix) -> set[int]:
    return set(range(prefix.value, prefix.last.value + 1))


def covered(prefixes: list[Prefix]) -> list[int]:
    """All addresses, one entry per prefix that holds it."""
    return sorted(address for prefix in prefixes for address in addresses(prefix))


@given(st.sets(small_prefixes()))
def test_the_cover_holds_every_address_of_the_members_once(members: set[Prefix]) -> None:
    cover = PrefixCover(Family.V4, members).cover()
    assert covered(cover) == sorted(set().union(*map(addresses, members)))
    assert set(cover) <= members


@given(st.lists(st.tuples(st.booleans(), small_prefixes()), max_size=60))
def test_the_changes_told_step_by_step_lead_to_the_cover_of_the_members(steps: list[tuple[bool, Prefix]]) -> None:
    live = PrefixCover(Family.V4)
    members: set[Prefix] = set()
    kernel: set[Prefix] = set()
    for is_add, member in steps:
        leave, enter = live.add(member) if is_add else live.remove(member)
        (members.add if is_add else members.discard)(member)
        assert set(leave) <= kernel
        kernel -= set(leave)
        assert not kernel & set(enter)
        kernel |= set(enter)
        assert sorted(kernel) == PrefixCover(Family.V4, members).cover() == live.cover()
    assert live.members == members
    assert len(live) == len(members)


@given(st.sets(small_prefixes(), min_size=1), small_prefixes())
def test_a_member_inside_another_comes_and_goes_unseen(members: set[Prefix], inner: Prefix) -> None:
    live = PrefixCover(Family.V4, members)
    inside = any(member.contains(inner) and member != inner for member in members)
    known = inner in members
    assert (live.add(inner) == ([], [])) == (inside or known)
    assert (live.remove(inner) == ([], [])) == inside


def test_the_whole_space_and_its_halves() -> None:
    everything, low, high = (parse_prefix(text) for text in ("::/0", "::/1", "8000::/1"))
    live = PrefixCover(Family.V6, [low, high])
    assert live.add(everything) == ([low, high], [everything])
    assert live.remove(low) == ([], [])
    assert live.remove(everything) == ([everything], [high])
