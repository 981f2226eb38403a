"""Filters of routes: read as a whole, named by peers, and no session where one cannot be had."""

from typing import Any

import pytest
from tests.unit.calc.test_bgp import N1, NO_MESH, calculate, peering

from tortie.api.bgp_filter import (
    AddCommunity,
    BGPFilter,
    BGPFilterRuleV4,
    BGPFilterRuleV6,
    BGPFilterSpec,
    CommunityMatch,
    FilterOperation,
    PrefixLengthV4,
    PrependASPath,
    SetPriority,
)
from tortie.api.resource import Metadata, Update
from tortie.base.net import parse_prefix
from tortie.calc.bgp import BgpStage
from tortie.calc.bgp_filters import route_filter
from tortie.calc.problems import Problems
from tortie.intent.route_filter import FilterRule, NetMatch, Operation


def bgp_filter(name: str = "f", **lists: Any) -> BGPFilter:
    return BGPFilter(metadata=Metadata(name=name), spec=BGPFilterSpec(**lists))


def rule(**fields: Any) -> BGPFilterRuleV4:
    return BGPFilterRuleV4(**({"action": "Accept"} | fields))


TOR = peering("tor", peer_ip="192.0.2.1", as_number=65001, filters=("f",))


def test_every_field_of_a_rule_is_read() -> None:
    found = route_filter(
        bgp_filter(
            export_v4=(
                rule(
                    cidr="10.0.0.0/8",
                    match_operator="NotIn",
                    prefix_length=PrefixLengthV4(min=4, max=24),
                    interface="eth*",
                    source="RemotePeers",
                    peer_type="eBGP",
                    communities=CommunityMatch(values=("65000:1",)),
                    as_path_prefix=(65000, 65001),
                    priority=77,
                    operations=(
                        FilterOperation(add_community=AddCommunity(value="1:2:3")),
                        FilterOperation(prepend_as_path=PrependASPath(prefix=(1, 2))),
                        FilterOperation(set_priority=SetPriority(value=5)),
                    ),
                ),
            ),
            import_v6=(BGPFilterRuleV6(action="Reject", cidr="fd00::/8", match_operator="Equal"),),
        )
    )
    assert found.export_v4 == (
        FilterRule(
            accept=True,
            net=NetMatch(parse_prefix("10.0.0.0/8"), exact=False, negated=True, lengths=(8, 24)),
            from_peers=True,
            interface="eth*",
            community=(65000, 1),
            as_path_prefix=(65000, 65001),
            metric=77,
            internal=False,
            operations=(Operation(add_community=(1, 2, 3)), Operation(prepend=(1, 2)), Operation(metric=5)),
        ),
    )
    assert found.import_v6 == (FilterRule(accept=False, net=NetMatch(parse_prefix("fd00::/8"), exact=True, negated=False)),)
    assert found.import_v4 == found.export_v6 == ()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cidr": "10.0.0.0/8"}, "matchOperator"),
        ({"match_operator": "In"}, "cidr"),
        ({"cidr": "nonsense", "match_operator": "In"}, "cidr"),
        ({"cidr": "fd00::/8", "match_operator": "In"}, "cidr"),
        ({"interface": 'eth"; accept; #'}, "interface"),
        ({"communities": CommunityMatch(values=())}, "communities"),
        ({"communities": CommunityMatch(values=("70000:1",))}, "communities"),
        ({"operations": (FilterOperation(),)}, "operations"),
        ({"cidr": "10.0.0.0/16", "match_operator": "In", "prefix_length": PrefixLengthV4(max=8)}, "prefixLength"),
    ],
)
def test_a_rule_that_cannot_be_read_spoils_its_filter_and_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"spec\.importV4\[1\]\.{field}"):
        route_filter(bgp_filter(import_v4=(rule(), rule(**fields))))


def test_a_peer_has_its_filters_in_order_and_only_filters_in_use_are_handed_over() -> None:
    peer = peering("tor", peer_ip="192.0.2.1", as_number=65001, filters=("z", "a"))
    bgp = calculate(N1, NO_MESH, peer, bgp_filter("a"), bgp_filter("z"), bgp_filter("idle"))
    assert bgp.peers[0].filters == ("z", "a")
    assert [each.name for each in bgp.filters] == ["a", "z"]
    assert bgp.peers[0].refused == ""


def test_without_its_filter_a_peer_has_no_session_and_the_mesh_does_not_step_in() -> None:
    (peer,) = calculate(N1, NO_MESH, TOR).peers
    assert "there is no BGPFilter 'f'" in peer.refused
    (peer,) = calculate(N1, NO_MESH, TOR, bgp_filter(import_v4=(rule(cidr="x", match_operator="In"),))).peers
    assert "BGPFilter f cannot be used: spec.importV4[0].cidr" in peer.refused
    (peer,) = calculate(N1, NO_MESH, TOR, bgp_filter()).peers
    assert peer.refused == ""


def test_a_filter_that_cannot_be_read_is_a_problem_until_it_is_mended() -> None:
    problems = Problems()
    stage = BgpStage("n1", problems)
    bad = bgp_filter(import_v4=(rule(cidr="x", match_operator="In"),))
    stage.on_update(Update(bad.key, bad))
    assert "no peer that names this filter has a session" in problems.by_key()[bad.key]
    stage.on_update(Update(bad.key, bgp_filter()))
    assert problems.is_empty()
