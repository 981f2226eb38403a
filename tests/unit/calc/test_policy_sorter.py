"""The order of tiers and policies."""

import math
import random
from dataclasses import replace

import pytest

from tortie.api.tier import PREDEFINED, TierSpec
from tortie.calc.policy_sorter import Placement, host_tiers, placement_order, sorted_policies, sorted_tiers
from tortie.intent.keys import PolicyId


def place(tier: str, order: float | None = None, *, ingress: bool = True, egress: bool = True) -> Placement:
    return Placement(tier, placement_order(order), ingress, egress)


@pytest.mark.shows("PS-5.4", "PS-5.5", "PS-5.6", "PS-5.7")
def test_policies_go_by_order_then_by_name_namespace_and_kind() -> None:
    ids = [
        PolicyId("NetworkPolicy", "b", "z"),
        PolicyId("GlobalNetworkPolicy", "", "a"),
        PolicyId("KubernetesNetworkPolicy", "a", "a"),
        PolicyId("NetworkPolicy", "a", "a"),
        PolicyId("NetworkPolicy", "a", "a-b"),
        PolicyId("NetworkPolicy", "a", "late"),
    ]
    orders: list[float | None] = [-1.5, 0, 0, 0, 0, None]
    placements = {each: place("t", order) for each, order in zip(ids, orders, strict=True)}
    # "a-b/..." sorts before "a/...": the text is compared as a whole, and "-" precedes "/".
    expected = [ids[0], ids[4], ids[1], ids[2], ids[3], ids[5]]
    for seed in range(5):
        shuffled = random.Random(seed).sample(ids, len(ids))
        assert sorted_policies(shuffled, placements) == expected


@pytest.mark.shows("PS-5.1", "PS-5.2", "PS-5.3", "PS-5.14")
def test_tiers_go_by_order_none_last_then_name_and_unknown_ones_after_all() -> None:
    tiers = {
        "second": TierSpec(order=2),
        "first": TierSpec(order=-1, default_action="Pass"),
        "also-second": TierSpec(order=2),
        "unordered": TierSpec(order=None),
        **PREDEFINED,
    }
    names = ["a-ghost", "second", "unordered", "default", "first", "also-second", "kube-baseline", "kube-admin"]
    placements = {PolicyId("GlobalNetworkPolicy", "", f"in-{name}"): place(name) for name in names}
    found = sorted_tiers(placements, tiers)
    assert [each.name for each in found] == [
        "first",
        "also-second",
        "second",
        "kube-admin",
        "default",
        "kube-baseline",
        "unordered",
        "a-ghost",
    ]
    assert [each.name for each in found if each.default_pass] == ["first", "kube-admin", "kube-baseline"]


@pytest.mark.shows("PS-5.18")
def test_a_policy_stands_only_in_the_lists_of_directions_that_it_governs() -> None:
    ids = [PolicyId("GlobalNetworkPolicy", "", name) for name in "abc"]
    placements = {ids[0]: place("t", egress=False), ids[1]: place("t", ingress=False), ids[2]: place("t")}
    (tier,) = sorted_tiers(placements, {})
    assert tier.ingress == (ids[0], ids[2])
    assert tier.egress == (ids[1], ids[2])


def test_no_order_is_the_highest_order() -> None:
    assert placement_order(None) == math.inf
    assert placement_order(0) == 0


def gnp(name: str) -> PolicyId:
    return PolicyId("GlobalNetworkPolicy", "", name)


def test_a_host_endpoint_has_a_list_of_tiers_for_each_kind_of_policy() -> None:
    placements = {
        gnp("plain"): place("t", 2),
        gnp("forward"): replace(place("t", 1), forward=True),
        gnp("raw"): replace(place("t", egress=False), untracked=True, forward=True),
        gnp("early"): replace(place("t"), pre_dnat=True, forward=True),
        gnp("elsewhere"): replace(place("first", ingress=False), forward=True),
    }
    tiers = host_tiers(placements, {"t": TierSpec(order=2), "first": TierSpec(order=1)})
    (raw,) = tiers.untracked
    assert (raw.ingress, raw.egress) == ((gnp("raw"),), ())
    (early,) = tiers.pre_dnat
    assert (early.ingress, early.egress) == ((gnp("early"),), ())
    assert [(tier.name, tier.ingress, tier.egress) for tier in tiers.forward] == [
        ("first", (), (gnp("elsewhere"),)),
        ("t", (gnp("forward"),), (gnp("forward"),)),
    ]
    assert [(tier.name, tier.ingress) for tier in tiers.normal] == [("first", ()), ("t", (gnp("forward"), gnp("plain")))]


@pytest.mark.shows("PS-4.22", "PS-4.23")
def test_what_untracked_and_pre_dnat_policies_leave_undecided_goes_on() -> None:
    placements = {
        gnp("raw"): replace(place("t"), untracked=True),
        gnp("early"): replace(place("t"), pre_dnat=True),
        gnp("plain"): replace(place("t"), forward=True),
        gnp("lost"): replace(place("unknown"), untracked=True),
    }
    tiers = host_tiers(placements, {"t": TierSpec(order=1)})
    assert all(tier.default_pass for tier in tiers.untracked + tiers.pre_dnat)
    assert not any(tier.default_pass for tier in tiers.forward + tiers.normal)


def test_of_a_policy_that_says_it_is_both_only_untracked_counts() -> None:
    tiers = host_tiers({gnp("both"): replace(place("t"), untracked=True, pre_dnat=True)}, {})
    assert (len(tiers.untracked), tiers.pre_dnat, tiers.forward, tiers.normal) == (1, (), (), ())
