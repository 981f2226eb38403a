"""What the network says of the ways to others: the least of it counts, for ten minutes after it was said last."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Address, parse_address
from tortie.dataplane.path_mtus import KEPT_SECONDS, PathMtus

ONE, OTHER = parse_address("192.0.2.1"), parse_address("192.0.2.2")
said = st.lists(st.tuples(st.sampled_from((ONE, OTHER)), st.integers(0, 9000)), max_size=20)


@given(said)
def test_of_what_can_be_believed_the_least_counts(errors: list[tuple[Address, int]]) -> None:
    paths = PathMtus()
    for number, (node, mtu) in enumerate(errors):
        before = paths.get(node)
        changed = paths.learn(node, mtu, now=float(number))
        assert changed == (paths.get(node) != before)
    for node in (ONE, OTHER):
        assert paths.get(node) == min((mtu for about, mtu in errors if about == node and mtu >= 576), default=None)


def test_it_is_forgotten_in_time_and_what_is_said_again_lasts_longer() -> None:
    paths = PathMtus()
    paths.learn(ONE, 1400, now=0.0)
    paths.learn(OTHER, 1400, now=0.0)
    assert not paths.learn(OTHER, 1400, now=100.0)
    assert not paths.learn(ONE, 1450, now=100.0), "what is said of larger packets proves nothing"
    assert paths.forget(now=KEPT_SECONDS - 1) == frozenset()
    assert paths.forget(now=KEPT_SECONDS) == {ONE}
    assert (paths.get(ONE), paths.get(OTHER)) == (None, 1400)
    assert paths.learn(ONE, 1450, now=KEPT_SECONDS)
    assert paths.clear() == {ONE, OTHER}
    assert paths.get(OTHER) is None
