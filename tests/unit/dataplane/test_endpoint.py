"""An endpoint's chains: tiers, profiles, and what is unknown."""

from dataclasses import replace

from tests.unit.dataplane.intents import allow_all_profile, endpoint, np, policy, tier

from tortie.dataplane.render.config import Config
from tortie.dataplane.render.endpoint import render_endpoint, render_spoofing_allowance
from tortie.dataplane.render.text import rule_text
from tortie.intent.endpoint import Endpoint, PacketRate, Tier
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Policy

DEFAULTS = Config()
PROFILES = {allow_all_profile().id}
PROLOGUE = [
    "ct state established,related accept",
    'ct state invalid counter drop comment "invalid connection state"',
    "meta mark set meta mark & 0xfffcffff",
]
NO_TUNNELS = [
    'meta l4proto 17 th dport 4789 counter drop comment "VXLAN from a workload"',
    'meta l4proto 4 counter drop comment "IPIP from a workload"',
]
ACCEPTED = "meta mark & 0x10000 == 0x10000 return"
NO_MATCH = 'counter drop comment "no profile matched"'


def chains(made: Endpoint, *policies: Policy, config: Config = DEFAULTS) -> tuple[list[str], list[str]]:
    known = {policy.id: policy for policy in policies}
    to_workload, from_workload, *_ = render_endpoint(made, policies=known, profiles=PROFILES, config=config)
    return [rule_text(rule) for rule in to_workload.rules], [rule_text(rule) for rule in from_workload.rules]


def test_an_endpoint_without_policy_asks_its_profiles_and_then_drops() -> None:
    to_workload, from_workload = chains(endpoint())
    assert to_workload == [*PROLOGUE, "jump filter-cali-pri-kns.shop", ACCEPTED, NO_MATCH]
    assert from_workload == [*PROLOGUE, *NO_TUNNELS, "jump filter-cali-pro-kns.shop", ACCEPTED, NO_MATCH]


def test_an_endpoint_without_policy_and_profile_drops() -> None:
    to_workload, _ = chains(endpoint(profiles=()))
    assert to_workload == [*PROLOGUE, NO_MATCH]


def test_a_tier_asks_its_policies_in_order_and_ends_in_a_drop() -> None:
    made = endpoint(tiers=(tier(ingress=("b", "a")),))
    to_workload, from_workload = chains(made, policy("a"), policy("b"))
    assert to_workload[3:-3] == [
        'meta mark set meta mark & 0xfffdffff comment "start of tier default"',
        "meta mark & 0x20000 == 0x0 jump filter-cali-pi-np/shop/b",
        ACCEPTED,
        "meta mark & 0x20000 == 0x0 jump filter-cali-pi-np/shop/a",
        ACCEPTED,
        'meta mark & 0x20000 == 0x0 counter drop comment "end of tier default"',
    ]
    assert not any("tier" in line for line in from_workload), "the tier governs ingress only"


def test_a_tier_that_passes_by_default_has_no_drop() -> None:
    to_workload, _ = chains(endpoint(tiers=(tier(ingress=("a",), default_pass=True),)), policy("a"))
    assert not any("end of tier" in line for line in to_workload)
    assert "meta mark & 0x20000 == 0x0 jump filter-cali-pi-np/shop/a" in to_workload


def test_a_tier_with_staged_policies_only_does_nothing() -> None:
    made = endpoint(tiers=(tier(ingress=("a",)),))
    assert chains(made, policy("a", staged=True)) == chains(endpoint())


def test_a_staged_policy_beside_an_enforced_one_is_skipped() -> None:
    made = endpoint(tiers=(tier(ingress=("a", "b")),))
    to_workload, _ = chains(made, policy("a", staged=True), policy("b"))
    assert not any("shop/a" in line for line in to_workload)
    assert 'meta mark & 0x20000 == 0x0 counter drop comment "end of tier default"' in to_workload


def test_an_unknown_policy_drops_where_it_would_have_been_asked() -> None:
    to_workload, _ = chains(endpoint(tiers=(tier(ingress=("a", "b")),)), policy("a"))
    assert to_workload[4:7] == [
        "meta mark & 0x20000 == 0x0 jump filter-cali-pi-np/shop/a",
        ACCEPTED,
        'meta mark & 0x20000 == 0x0 counter drop comment "unknown policy np/shop/b"',
    ]


def test_an_unknown_policy_of_a_staged_kind_is_staged() -> None:
    staged = PolicyId("StagedNetworkPolicy", "shop", "a")
    assert chains(endpoint(tiers=(Tier("default", default_pass=False, ingress=(staged,), egress=(staged,)),))) == chains(
        endpoint()
    )


def test_an_unknown_profile_drops_before_the_next_profile_is_asked() -> None:
    to_workload, _ = chains(endpoint(profiles=("gone", "kns.shop")))
    assert to_workload == [*PROLOGUE, 'counter drop comment "unknown profile gone"']


def test_configuration_opens_tunnels_and_invalid_states_and_answers_denials() -> None:
    config = Config(allow_vxlan=True, allow_ipip=True, drop_invalid=False, reject=True)
    _, from_workload = chains(endpoint(profiles=()), config=config)
    assert from_workload == [
        PROLOGUE[0],
        PROLOGUE[2],
        'counter reject with icmpx type admin-prohibited comment "no profile matched"',
    ]


def test_spoofing_is_allowed_by_interface_and_prefix() -> None:
    rules = render_spoofing_allowance(endpoint(spoof=("192.0.2.0/24", "2001:db8::/64")))
    assert [rule_text(rule) for rule in rules] == [
        'iifname "cali1" meta nfproto ipv4 ip saddr 192.0.2.0/24 accept comment "source prefix allowed to shop/cali1"',
        'iifname "cali1" meta nfproto ipv6 ip6 saddr 2001:db8::/64 accept comment "source prefix allowed to shop/cali1"',
    ]


def test_policies_are_found_by_their_whole_id() -> None:
    elsewhere = np("a", "other")
    made = endpoint(tiers=(Tier("default", default_pass=False, ingress=(elsewhere,), egress=()),))
    to_workload, _ = chains(made, policy("a"))
    assert any("unknown policy np/other/a" in line for line in to_workload)


def test_limits_have_chains_of_their_own_in_their_place() -> None:
    limited = replace(
        endpoint(),
        ingress_packet_rate=PacketRate(100, burst=20),
        egress_packet_rate=PacketRate(10),
        ingress_max_connections=7,
        egress_max_connections=8,
    )
    rendered = render_endpoint(limited, policies={}, profiles=PROFILES, config=DEFAULTS)
    lines = {chain.name: [rule_text(rule) for rule in chain.rules] for chain in rendered}
    assert lines["filter-cali-tw-cali1"][:5] == [
        "jump filter-cali-tw-packet-rate-of-cali1",
        *PROLOGUE[:2],
        "jump filter-cali-tw-connections-of-cali1",
        PROLOGUE[2],
    ]
    assert lines["filter-cali-fw-cali1"][0] == "jump filter-cali-fw-packet-rate-of-cali1"
    assert lines["filter-cali-tw-packet-rate-of-cali1"] == [
        'limit rate over 100/second burst 20 packets counter drop comment "over the ingress packet rate"'
    ]
    assert lines["filter-cali-fw-packet-rate-of-cali1"] == [
        'limit rate over 10/second burst 5 packets counter drop comment "over the egress packet rate"'
    ]
    for direction, most in (("tw", 7), ("fw", 8)):
        word = "ingress" if direction == "tw" else "egress"
        assert lines[f"filter-cali-{direction}-connections-of-cali1"] == [
            f'meta l4proto 6 ct count over {most} counter reject with tcp reset comment "over the {word} connection limit"'
        ]


def test_a_limit_of_one_direction_leaves_the_other_as_it_was() -> None:
    limited = replace(endpoint(), egress_max_connections=1)
    assert chains(limited)[0] == chains(endpoint())[0]
    assert len(render_endpoint(limited, policies={}, profiles=PROFILES, config=DEFAULTS)) == 3
