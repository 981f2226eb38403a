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
