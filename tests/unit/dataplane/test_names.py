"""Names stay readable, unique and within what nft can write."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Family
from tortie.dataplane.render import names
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Direction

WRITABLE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


def test_names_are_calicos() -> None:
    policy = PolicyId("GlobalNetworkPolicy", "", "default.deny")
    assert names.policy_chain(policy, Direction.INGRESS) == "filter-cali-pi-gnp/default.deny"
    assert names.policy_chain(policy, Direction.EGRESS) == "filter-cali-po-gnp/default.deny"
    assert names.profile_chain(ProfileId("kns.shop"), Direction.EGRESS) == "filter-cali-pro-kns.shop"
    assert names.endpoint_chain("cali0123456789a", Direction.INGRESS) == "filter-cali-tw-cali0123456789a"
    assert names.set_name("s:AbC-_d", Family.V6) == "cali60s-AbC-_d"


@given(st.text(max_size=300), st.text(max_size=300))
def test_names_are_writable_short_and_distinct(first: str, second: str) -> None:
    chains = {names.profile_chain(ProfileId(text), Direction.INGRESS) for text in (first, second)}
    assert len(chains) == len({first, second})
    assert all(WRITABLE.fullmatch(chain) and len(chain) <= 120 for chain in chains)


@given(st.text(max_size=300))
def test_comments_can_be_quoted(text: str) -> None:
    made = names.comment(text)
    assert len(made.encode()) <= 127
    assert '"' not in made
    assert made.isprintable()


def test_a_host_endpoints_chain_knows_its_failsafe_chain() -> None:
    assert names.failsafes_of("filter-cali-fh-eth0") == "filter-cali-failsafe-in"
    assert names.failsafes_of("raw-cali-th-any-interface-at-all") == "raw-cali-failsafe-out"
    for none in ("filter-cali-fhfw-eth0", "filter-cali-thfw-eth0", "filter-cali-fw-cali1", "filter-cali-pi-np/shop/fh-x"):
        assert names.failsafes_of(none) is None


def test_chains_of_every_layer_may_be_closed_but_none_of_the_frame() -> None:
    for layer in names.Layer:
        assert names.denies_when_closed(names.host_chain("eth0", Direction.INGRESS, layer=layer))
        assert names.denies_when_closed(names.profile_chain(ProfileId("x"), Direction.EGRESS, layer))
        assert not names.denies_when_closed(names.failsafe_chain(Direction.INGRESS, layer))
        assert not names.denies_when_closed(names.host_dispatch(Direction.EGRESS, layer=layer))
    assert not names.denies_when_closed(names.host_dispatch(Direction.INGRESS, forward=True))
