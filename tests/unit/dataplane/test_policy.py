"""One policy rule as nft rules: families, alternatives, actions, and failing closed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dataplane.intents import ICMP, ICMPV6, TCP, UDP, nets, np, policy, ports, rule

from tortie.base.net import Address, Family, Prefix, masked
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.policy import log_prefix, render_policy, render_rule
from tortie.dataplane.render.text import rule_text
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Action, Direction, Icmp, Match, PortRange, Rule
from tortie.kernel.nft import objects as nft

CONFIG = Config()
DONE = 'counter meta mark set meta mark & 0xfffeffff | 0x10000 return comment "np/shop/web ingress 0"'


def lines(value: Rule) -> list[str]:
    return [rule_text(made) for made in render_rule(value, tier="default", config=CONFIG)]


def test_a_rule_without_addresses_is_one_rule_for_both_families() -> None:
    assert lines(rule(Action.ALLOW)) == [DONE]
    assert lines(rule(Action.ALLOW, protocol=TCP, destination=ports(80))) == [f"meta l4proto 6 th dport 80 {DONE}"]


def test_a_rule_with_a_set_is_one_rule_for_each_family() -> None:
    assert lines(rule(Action.ALLOW, source=Match(sets=("s:abc",), not_sets=("s:def",)))) == [
        f"meta nfproto ipv4 ip saddr @cali40s-abc ip saddr != @cali40s-def {DONE}",
        f"meta nfproto ipv6 ip6 saddr @cali60s-abc ip6 saddr != @cali60s-def {DONE}",
    ]


def test_nets_of_one_family_take_the_rule_away_from_the_other() -> None:
    assert lines(rule(Action.ALLOW, source=nets("10.0.0.0/8"), destination=Match(sets=("s:abc",)))) == [
        f"meta nfproto ipv4 ip saddr 10.0.0.0/8 ip daddr @cali40s-abc {DONE}"
    ]


def test_nets_of_different_families_on_the_two_sides_match_nothing() -> None:
    assert lines(rule(Action.DENY, source=nets("10.0.0.0/8"), destination=nets("fd00::/8"))) == []


def test_negated_nets_of_one_family_take_the_rule_away_from_the_other_as_in_calico() -> None:
    assert lines(rule(Action.ALLOW, source=Match(not_nets=nets("fd00::/8").nets))) == [
        f"meta nfproto ipv6 ip6 saddr != fd00::/8 {DONE}"
    ]


def test_a_negated_catch_all_matches_nothing() -> None:
    assert lines(rule(Action.ALLOW, source=Match(not_nets=nets("0.0.0.0/0").nets))) == []


def test_a_catch_all_asks_for_the_family_only() -> None:
    assert lines(rule(Action.ALLOW, source=nets("::/0"))) == [f"meta nfproto ipv6 {DONE}"]


def test_several_nets_are_one_match_without_overlaps() -> None:
    assert lines(rule(Action.ALLOW, source=nets("10.1.0.0/16", "192.168.0.0/24", "10.0.0.0/8", "10.0.0.0/8"))) == [
        f"meta nfproto ipv4 ip saddr {{ 10.0.0.0/8, 192.168.0.0/24 }} {DONE}"
    ]


def test_an_ip_version_restricts_the_rule() -> None:
    assert lines(rule(Action.ALLOW, ip_version=6, protocol=ICMPV6, icmp=Icmp(128, None))) == [
        f"meta nfproto ipv6 meta l4proto 58 icmpv6 type 128 {DONE}"
    ]
    assert lines(rule(Action.ALLOW, ip_version=4, source=nets("fd00::/8"))) == []


def test_icmp_is_bound_to_its_family() -> None:
    assert lines(rule(Action.ALLOW, protocol=ICMPV6)) == [f"meta nfproto ipv6 meta l4proto 58 {DONE}"]
    assert lines(rule(Action.ALLOW, protocol=ICMP, ip_version=6)) == []


def test_icmp_with_a_code_is_negated_as_a_pair() -> None:
    assert lines(rule(Action.ALLOW, protocol=ICMP, not_icmp=Icmp(3, 4))) == [
        f"meta nfproto ipv4 meta l4proto 1 icmp type . icmp code != {{ 3 . 4 }} {DONE}"
    ]


def test_port_ranges_are_merged() -> None:
    match = Match(ports=(PortRange(90, 100), PortRange(80, 80), PortRange(81, 95)), not_ports=(PortRange(85, 85),))
    assert lines(rule(Action.ALLOW, protocol=TCP, source=match)) == [f"meta l4proto 6 th sport != 85 th sport 80-100 {DONE}"]


def test_a_lone_named_port_is_one_match() -> None:
    assert lines(rule(Action.ALLOW, ip_version=4, protocol=TCP, destination=Match(named_ports=("n:web",)))) == [
        f"meta nfproto ipv4 meta l4proto 6 ip daddr . meta l4proto . th dport @cali40n-web {DONE}"
    ]


def test_numeric_and_named_ports_are_alternatives_on_each_side() -> None:
    both = Match(ports=(PortRange(80, 80),), named_ports=("n:a", "n:b"))
    comment = 'comment "np/shop/web ingress 0"'
    base = "meta nfproto ipv4 meta l4proto 6"
    mark0 = f"meta mark set meta mark & 0xfff7ffff | 0x80000 {comment}"
    mark1 = f"meta mark set meta mark & 0xffefffff | 0x100000 {comment}"
    assert lines(rule(Action.ALLOW, ip_version=4, protocol=TCP, source=both, destination=both)) == [
        f"meta mark set meta mark & 0xffe7ffff {comment}",
        f"{base} th sport 80 {mark0}",
        f"{base} ip saddr . meta l4proto . th sport @cali40n-a {mark0}",
        f"{base} ip saddr . meta l4proto . th sport @cali40n-b {mark0}",
        f"{base} th dport 80 {mark1}",
        f"{base} ip daddr . meta l4proto . th dport @cali40n-a {mark1}",
        f"{base} ip daddr . meta l4proto . th dport @cali40n-b {mark1}",
        f"{base} meta mark & 0x80000 == 0x80000 meta mark & 0x100000 == 0x100000 {DONE}",
    ]


def test_negated_named_ports_must_all_miss() -> None:
    match = Match(not_named_ports=("n:a", "n:b"))
    assert lines(rule(Action.ALLOW, ip_version=6, not_protocol=UDP, destination=match)) == [
        "meta nfproto ipv6 meta l4proto != 17 ip6 daddr . meta l4proto . th dport != @cali60n-a "
        f"ip6 daddr . meta l4proto . th dport != @cali60n-b {DONE}"
    ]


def test_deny_counts_and_drops_and_says_whose_rule_it_is() -> None:
    assert lines(rule(Action.DENY, index=3, comments=(("why", 'a "test"'),))) == [
        "counter drop comment \"np/shop/web ingress 3; why=a 'test'\""
    ]


def test_deny_rejects_when_configured() -> None:
    (made,) = render_rule(rule(Action.DENY), tier="t", config=Config(reject=True))
    assert made.statements == (nft.Counter(), nft.Reject())


def test_pass_marks_and_returns() -> None:
    assert lines(rule(Action.PASS, protocol=UDP)) == [
        'meta l4proto 17 counter meta mark set meta mark & 0xfffdffff | 0x20000 return comment "np/shop/web ingress 0"'
    ]


@pytest.mark.shows("PS-8.5", "PS-8.7")
def test_log_goes_to_the_directions_group_at_a_bounded_rate_and_does_not_decide() -> None:
    text = 'limit rate 100/second burst 100 packets log prefix "calico-packet" group {} snaplen 128 comment "np/shop/web {} 0"'
    assert lines(rule(Action.LOG)) == [text.format(1, "ingress")]
    assert lines(rule(Action.LOG, direction=Direction.EGRESS)) == [text.format(2, "egress")]


@pytest.mark.shows("PS-8.6")
def test_log_prefix_fields_are_filled_in() -> None:
    def prefix(config: Config = CONFIG, **fields: Any) -> str:
        return log_prefix(rule(Action.LOG, **fields), tier="sec", config=config)

    pattern = "%t|%k|%p|%n|"
    assert prefix(log_prefix=pattern) == "sec|np|shop/web|web|"
    assert prefix(owner=PolicyId("GlobalNetworkPolicy", "", "all"), log_prefix=pattern) == "sec|gnp|all|all|"
    assert prefix(Config(log_prefix="%n says")) == "web says"
    assert len(prefix(log_prefix="é" * 200).encode()) <= 127


def test_a_rule_that_cannot_be_enforced_fails_closed() -> None:
    def unenforceable(action: Action) -> list[str]:
        return lines(rule(action, source=nets("10.0.0.0/8"), unenforceable="service match"))

    for action in (Action.ALLOW, Action.LOG):
        assert unenforceable(action) == []
    for action in (Action.DENY, Action.PASS):
        (denied,) = unenforceable(action)
        assert denied == 'counter drop comment "np/shop/web ingress 0; denies all, cannot be enforced; service match"'


def test_rules_that_the_kernel_could_not_understand_fail_closed() -> None:
    for senseless in ({"destination": ports(80)}, {"icmp": Icmp(8, None)}, {"protocol": TCP, "not_icmp": Icmp(8, None)}):
        assert lines(rule(Action.ALLOW, **senseless)) == []
        (denied,) = lines(rule(Action.DENY, **senseless))
        assert denied.startswith("counter drop")


def test_a_policy_is_a_chain_for_each_direction_with_its_rules_in_order() -> None:
    made = policy("web", ingress=(rule(Action.DENY, protocol=UDP), rule(Action.ALLOW, index=1)))
    (chain,) = render_policy(made, Direction.INGRESS, config=CONFIG)
    assert chain.name == "filter-cali-pi-np/shop/web"
    assert [made.comment for made in chain.rules] == ["np/shop/web ingress 0", "np/shop/web ingress 1"]
    assert render_policy(made, Direction.EGRESS, config=CONFIG) == (nft.Chain("filter-cali-po-np/shop/web"),)


def test_comments_never_exceed_what_nft_can_store() -> None:
    owner = np("x" * 253, "y" * 63)
    (made,) = render_rule(rule(Action.DENY, owner=owner), tier="t", config=CONFIG)
    assert len(made.comment.encode()) <= 127


ADDRESSES = st.integers(0, 2**32 - 1).map(lambda value: Address(Family.V4, value))
PREFIXES = st.builds(masked, ADDRESSES, st.integers(1, 32))


@given(st.lists(PREFIXES, min_size=1, max_size=8), ADDRESSES)
def test_merging_nets_changes_no_answer(prefixes: list[Prefix], address: Address) -> None:
    (made,) = render_rule(rule(Action.DENY, source=Match(nets=tuple(prefixes))), tier="t", config=CONFIG)
    _, match, *_ = made.statements
    assert isinstance(match, nft.Net | nft.Nets)
    kept = (match.prefix,) if isinstance(match, nft.Net) else match.prefixes
    for tried in (address, *(prefix.network for prefix in prefixes), *(prefix.last for prefix in prefixes)):
        assert any(net.contains(tried) for net in kept) == any(net.contains(tried) for net in prefixes)
    assert not any(left.overlaps(right) for left in kept for right in kept if left != right)


RANGES = st.builds(lambda a, b: PortRange(min(a, b), max(a, b)), st.integers(0, 40), st.integers(0, 40))


@given(st.lists(RANGES, min_size=1, max_size=6))
def test_merging_ports_changes_no_answer(ranges: list[PortRange]) -> None:
    (made,) = render_rule(rule(Action.DENY, protocol=TCP, source=Match(ports=tuple(ranges))), tier="t", config=CONFIG)
    match = made.statements[1]
    assert isinstance(match, nft.Ports)
    for port in range(42):
        assert any(a <= port <= b for a, b in match.ranges) == any(a <= port <= b for a, b in ranges)
    assert all(left[1] + 1 < right[0] for left, right in zip(match.ranges, match.ranges[1:], strict=False))
