"""One object that the kernel refuses: it is closed and named, and everything else goes on."""

from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, endpoint, endpoint_id, ipset, node, policy, tier
from tests.kernel.dataplane_stage import Stage, ping, stage

from tortie.base.net import FAMILIES, Family
from tortie.dataplane.render import names
from tortie.intent.messages import EndpointUpdate
from tortie.intent.policy import Action, Match
from tortie.intent.sets import SetKind
from tortie.kernel.errors import NftError
from tortie.kernel.nft.objects import Chain, Jump, Rule

pytestmark = pytest.mark.kernel

ALLOW = {"action": Action.ALLOW}
MISSING = {"action": Action.ALLOW, "source": Match(sets=("s:nobody-put-it",))}
"""The kernel refuses a rule that asks a set which does not exist."""


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


def reaches(made: Node, number: int) -> bool:
    pods = {1: "10.77.0.1", 2: "10.77.0.2", 3: "10.77.0.3"}
    return ping(made.stage.outside, Family.V4, pods[number])


def test_a_refused_policy_denies_is_named_and_stops_nobody_else(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(policy("bad", ingress=(MISSING,)), endpoint(a, tier(ingress=("bad",))), endpoint(b))
        assert not reaches(made, 1), "what cannot be programmed denies"
        assert reaches(made, 2)
        assert any("bad" in name for name in made.dataplane.refused)
        c = built.pod(3)
        made.tell(endpoint(c))
        assert reaches(made, 3), "later changes go on"
        made.tell(policy("bad", ingress=(ALLOW,)))
        assert reaches(made, 1), "a repaired policy is put into force"
        assert not made.dataplane.refused


def test_a_policy_that_becomes_refused_denies_in_both_families(built: Stage) -> None:
    a = built.pod(1)
    with node(built) as made:
        made.start(policy("p", ingress=(ALLOW,)), endpoint(a, tier(ingress=("p",))))
        assert reaches(made, 1)
        made.tell(policy("p", ingress=(MISSING, ALLOW)))
        assert not any(ping(built.outside, family, a.address(family)) for family in FAMILIES)
        made.dataplane.invalidate("the test says so")
        made.tell()
        assert not reaches(made, 1), "a read-back does not open it"
        made.tell(ipset("s:nobody-put-it", SetKind.NET), policy("p", ingress=(MISSING, ALLOW, ALLOW)))
        assert all(ping(built.outside, family, a.address(family)) for family in FAMILIES)


def test_a_refused_frame_is_a_failure_and_changes_nothing(built: Stage) -> None:
    a = built.pod(1)
    with node(built) as made:
        made.start(endpoint(a))
        made.table.put_chain(Chain(names.FILTER_TO_HOST, (Rule((Jump("nowhere"),)),)))
        with pytest.raises(NftError, match="nowhere"):
            made.tell()
        assert reaches(made, 1)
        assert not made.dataplane.refused


def test_an_endpoint_that_was_told_anew_is_not_programmed_before_it_is_applied(built: Stage) -> None:
    a = built.pod(1)
    with node(built) as made:
        made.start(endpoint(a))
        assert made.dataplane.programmed(endpoint_id(a))
        made.dataplane.on_messages([policy("p", ingress=(ALLOW,)), endpoint(a, tier(ingress=("p",)))])
        assert not made.dataplane.programmed(endpoint_id(a)), "the kernel has the policy of the one before"
        made.tell()
        assert made.dataplane.programmed(endpoint_id(a))
        made.dataplane.on_messages([EndpointUpdate(endpoint_id(a), None)])
        assert not made.dataplane.programmed(endpoint_id(a))
