"""Rules against rules: what is said of two rules holds for every packet, and for every set of labels."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.clusters import random_cluster
from tests.fuzz.probes import random_probes
from tests.fuzz.product import packet_of
from tests.fuzz.selectors import random_labels, random_selector
from tests.oracle.cluster import Cluster

from tortie.api import selector_syntax as syntax
from tortie.api.documents import decode
from tortie.api.selector import parse_selector
from tortie.api.validation import check
from tortie.base.net import parse_prefix
from tortie.insight.classes import rules_of
from tortie.insight.lint.covering import contradiction, covers, implies
from tortie.insight.world import World
from tortie.intent.keys import ProfileId
from tortie.intent.policy import Action, Direction, Icmp, Match, Origin, PortRange, Rule
from tortie.verdict.match import failed_criterion

ORIGIN = Origin(ProfileId("p"), Direction.INGRESS, 0)
TCP, ICMP = 6, 1


def rule(**fields: object) -> Rule:
    return Rule(Action.ALLOW, ORIGIN, **fields)  # type: ignore[arg-type]


def ports(*ranges: tuple[int, int], without: tuple[tuple[int, int], ...] = ()) -> Match:
    return Match(ports=tuple(PortRange(*each) for each in ranges), not_ports=tuple(PortRange(*each) for each in without))


def nets(*texts: str, without: tuple[str, ...] = ()) -> Match:
    return Match(nets=tuple(map(parse_prefix, texts)), not_nets=tuple(map(parse_prefix, without)))


@pytest.mark.parametrize(
    ("wide", "narrow", "both_ways"),
    [
        (rule(), rule(protocol=TCP, source=nets("10.0.0.0/8")), False),
        (rule(not_protocol=17), rule(protocol=TCP), False),
        (rule(protocol=TCP, destination=ports((80, 89), (90, 99))), rule(protocol=TCP, destination=ports((85, 95))), False),
        (rule(source=nets("10.0.0.0/8", without=("10.1.0.0/16",))), rule(source=nets("10.2.0.0/16")), False),
        (rule(protocol=TCP, destination=ports(without=((80, 80),))), rule(protocol=TCP, destination=ports((81, 90))), False),
        (rule(protocol=ICMP, icmp=Icmp(8, None)), rule(protocol=ICMP, icmp=Icmp(8, 0)), False),
        (rule(source=Match(sets=("s:wide",))), rule(source=Match(sets=("s:narrow",))), False),
        (rule(source=Match(not_sets=("s:narrow",))), rule(source=Match(not_sets=("s:wide",))), False),
        (rule(protocol=TCP), rule(protocol=TCP), True),
    ],
)
def test_a_wider_rule_covers_a_narrower_one(wide: Rule, narrow: Rule, both_ways: bool) -> None:
    origins = {"s:wide": "has(app)", "s:narrow": 'app == "web"'}
    assert covers(wide, narrow, origins)
    assert covers(narrow, wide, origins) is both_ways


@pytest.mark.parametrize(
    ("inner", "outer", "holds"),
    [
        ('a == "x"', 'a in {"x", "y"}', True),
        ('a in {"x", "y"}', 'a == "x"', False),
        ('a == "x" && b == "y"', "has(b)", True),
        ('a == "x"', 'a != "y"', True),
        ('a != "x"', "has(a)", False),
        ("!has(a)", '!(a == "x")', True),
        ('a == "x" || a == "y"', "has(a)", True),
    ],
)
def test_selectors_imply_each_other_where_labels_must_agree(inner: str, outer: str, holds: bool) -> None:
    assert implies(syntax.parse(inner), syntax.parse(outer)) is holds


@given(st.integers(0, 2**32))
def test_labels_that_match_the_inner_selector_match_every_selector_that_it_implies(seed: int) -> None:
    rng = Random(seed)
    selectors = [parse_selector(random_selector(rng)) for _ in range(8)]
    labels = [random_labels(rng) for _ in range(20)]
    for inner in selectors:
        for outer in selectors:
            if implies(syntax.parse(inner.text), syntax.parse(outer.text)):
                assert all(outer.matches(each) for each in labels if inner.matches(each)), (inner.text, outer.text)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_packets_that_match_a_rule_match_every_rule_that_covers_it(seed: int, packets: int) -> None:
    documents = random_cluster(Random(seed))
    world = World.from_resources([check(decode(document)) for document in documents])
    origins = {set_id: ipset.origin for set_id, ipset in world.state.sets.items()}
    rules = list(rules_of(world))
    found = [packet_of(probe) for probe in random_probes(Random(packets), Cluster(documents), 40)]
    matched = [
        frozenset(i for i, packet in enumerate(found) if failed_criterion(world.state, each, packet) is None) for each in rules
    ]
    for i, wide in enumerate(rules):
        if contradiction(wide) is not None:
            assert not matched[i]
        for j, narrow in enumerate(rules):
            if covers(wide, narrow, origins):
                assert matched[j] <= matched[i], (wide, narrow)
