"""Every statement means what the nft program says it means: both write the rule, the nft program prints both."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.nft_ground import Ground, ground

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.elements import ElementKey, ElementValue

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
IP4, IP6 = nft.NfProto(V4), nft.NfProto(V6)
TCP = nft.L4Proto(6)


def net(text: str, side: nft.Side = "source", op: nft.Op = "==") -> nft.Net:
    return nft.Net(side, parse_prefix(text), op)


def nets(*texts: str, op: nft.Op = "==") -> nft.Nets:
    return nft.Nets("source", tuple(parse_prefix(text) for text in texts), op)


CASES: list[tuple[str, tuple[nft.Statement, ...]]] = [
    ("meta nfproto ipv4 accept", (IP4, nft.ACCEPT)),
    ("meta nfproto ipv6 drop", (IP6, nft.DROP)),
    ("return", (nft.RETURN,)),
    ("jump other", (nft.Jump("other"),)),
    ("goto other", (nft.Goto("other"),)),
    ("meta l4proto 17", (nft.L4Proto(17),)),
    ("meta l4proto != 6", (nft.L4Proto(6, "!="),)),
    ('iifname "cali*"', (nft.IfName("iif", "cali*"),)),
    ('oifname != "cali*"', (nft.IfName("oif", "cali*", "!="),)),
    ('oifname "eth0"', (nft.IfName("oif", "eth0"),)),
    ('iifname != "eth0"', (nft.IfName("iif", "eth0", "!="),)),
    ("ip saddr 10.1.2.3", (IP4, net("10.1.2.3/32"))),
    ("ip daddr != 10.1.0.0/16", (IP4, net("10.1.0.0/16", "destination", "!="))),
    ("ip saddr 10.128.0.0/9", (IP4, net("10.128.0.0/9"))),
    ("ip saddr != 10.1.2.0/23", (IP4, net("10.1.2.0/23", op="!="))),
    ("ip6 saddr fd00::1", (IP6, net("fd00::1/128"))),
    ("ip6 daddr fd00::/61", (IP6, net("fd00::/61", "destination"))),
    ("ip6 saddr != fd00::/64", (IP6, net("fd00::/64", op="!="))),
    ("meta nfproto ipv4", (IP4, net("0.0.0.0/0"))),
    ("ip saddr { 10.0.0.0/8, 192.168.0.0/16 }", (IP4, nets("10.0.0.0/8", "192.168.0.0/16"))),
    ("ip6 saddr != { fd00::/64, fe80::/10 }", (IP6, nets("fd00::/64", "fe80::/10", op="!="))),
    ("ip saddr { 10.0.0.0/8, 255.0.0.0/8 }", (IP4, nets("10.0.0.0/8", "255.0.0.0/8"))),
    ("ip saddr @nets4", (IP4, nft.NetIn("source", V4, "nets4"))),
    ("ip6 daddr != @nets6", (IP6, nft.NetIn("destination", V6, "nets6", "!="))),
    ("tcp dport 80", (TCP, nft.Ports("destination", ((80, 80),)))),
    ("tcp sport != 80", (TCP, nft.Ports("source", ((80, 80),), "!="))),
    ("tcp dport 80-90", (TCP, nft.Ports("destination", ((80, 90),)))),
    ("tcp dport != 80-90", (TCP, nft.Ports("destination", ((80, 90),), "!="))),
    ("tcp dport { 80, 443 }", (TCP, nft.Ports("destination", ((80, 80), (443, 443))))),
    ("tcp dport != { 80, 8000-9000 }", (TCP, nft.Ports("destination", ((80, 80), (8000, 9000)), "!="))),
    ("tcp dport { 80, 8000-65535 }", (TCP, nft.Ports("destination", ((80, 80), (8000, 65535))))),
    ("tcp dport 80-100", (TCP, nft.Ports("destination", ((90, 100), (80, 85), (86, 92))))),
    ("ip daddr . meta l4proto . th dport @pairs4", (IP4, nft.AddressPortIn("destination", V4, "pairs4"))),
    ("ip6 saddr . meta l4proto . th sport != @pairs6", (IP6, nft.AddressPortIn("source", V6, "pairs6", "!="))),
    ("icmp type 8", (nft.L4Proto(1), nft.IcmpIs(V4, 8))),
    ("icmp type 3 icmp code 1", (nft.L4Proto(1), nft.IcmpIs(V4, 3, 1))),
    ("icmp type != 3", (nft.L4Proto(1), nft.IcmpIs(V4, 3, None, "!="))),
    ("icmpv6 type 1 icmpv6 code 4", (nft.L4Proto(58), nft.IcmpIs(V6, 1, 4))),
    ("icmp type . icmp code != { 3 . 1 }", (IP4, nft.L4Proto(1), nft.IcmpIs(V4, 3, 1, "!="))),
    ("icmpv6 type . icmpv6 code != { 1 . 4 }", (IP6, nft.L4Proto(58), nft.IcmpIs(V6, 1, 4, "!="))),
    ("meta mark & 0x00ff0000 == 0x00010000", (nft.Mark(0xFF0000, 0x10000),)),
    ("meta mark & 0x00ff0000 != 0x00010000", (nft.Mark(0xFF0000, 0x10000, "!="),)),
    ("ct state established,related", (nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED),)),
    ("ct state ! invalid", (nft.CtState(nft.CT_INVALID, "!="),)),
    ("ct status dnat", (nft.CtStatus(nft.CT_STATUS_DNAT),)),
    ("fib daddr type local", (nft.FibType("destination", 2),)),
    ("fib saddr type != local", (nft.FibType("source", 2, "!="),)),
    ("fib saddr . mark . iif oif missing", (nft.NoReversePath(),)),
    ("meta mark set meta mark & 0xff00ffff | 0x00050000", (nft.SetMark(0xFF0000, 0x50000),)),
    ("meta mark set meta mark | 0x00010000", (nft.SetMark(0x10000, 0x10000),)),
    ("meta mark set meta mark & 0xfffeffff", (nft.SetMark(0x10000, 0),)),
    ("meta mark set 0x00000005", (nft.SetMark(0xFFFFFFFF, 5),)),
    ("counter packets 0 bytes 0", (nft.Counter(),)),
    ('log prefix "A|x" group 7 snaplen 128', (nft.LogGroup(7, "A|x"),)),
    ("limit rate 10/second burst 7 packets", (nft.Limit(10, burst=7),)),
    ("limit rate over 10/minute burst 20 packets", (nft.Limit(10, "minute", burst=20, over=True),)),
    ("limit rate 3/day burst 5 packets", (nft.Limit(3, "day"),)),
    ("ct count over 20", (nft.Connections(20),)),
    ("meta l4proto tcp ct count over 0 reject with tcp reset", (TCP, nft.Connections(0), nft.Reject(tcp_reset=True))),
    ("ip dscp set ef", (IP4, nft.SetDscp(V4, 46))),
    ("ip dscp set 0", (IP4, nft.SetDscp(V4, 0))),
    ("ip6 dscp set 0x3f", (IP6, nft.SetDscp(V6, 63))),
    ("ip6 dscp set cs1", (IP6, nft.SetDscp(V6, 8))),
    ("reject with icmpx admin-prohibited", (nft.Reject(),)),
    ("meta l4proto tcp reject with tcp reset", (TCP, nft.Reject(tcp_reset=True))),
    ("iifname vmap @dispatch", (nft.IfNameVmap("iif", "dispatch"),)),
    ("oifname vmap @dispatch", (nft.IfNameVmap("oif", "dispatch"),)),
]

SETS: dict[nft.SetSpec, dict[ElementKey, ElementValue]] = {
    nft.SetSpec("nets4", nft.ElementType.IPV4, interval=True): {parse_prefix("10.0.0.0/8"): None},
    nft.SetSpec("nets6", nft.ElementType.IPV6, interval=True): {parse_prefix("fd00::/64"): None},
    nft.SetSpec("pairs4", nft.ElementType.IPV4_PORT): {(parse_address("10.0.0.1"), 6, 80): None},
    nft.SetSpec("pairs6", nft.ElementType.IPV6_PORT): {(parse_address("fd00::1"), 17, 53): None},
    nft.SetSpec("dispatch", nft.ElementType.IFNAME, is_verdict_map=True): {"cali1": nft.Goto("other")},
}
JUDGE_SETS = """
  set nets4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
  set nets6 { type ipv6_addr; flags interval; elements = { fd00::/64 }; }
  set pairs4 { type ipv4_addr . inet_proto . inet_service; elements = { 10.0.0.1 . 6 . 80 }; }
  set pairs6 { type ipv6_addr . inet_proto . inet_service; elements = { fd00::1 . 17 . 53 }; }
  map dispatch { type ifname : verdict; elements = { "cali1" : goto other }; }
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.mark.parametrize(("text", "statements"), CASES, ids=[text for text, _ in CASES])
def test_a_statement_prints_like_the_same_rule_of_the_nft_program(
    place: Ground, text: str, statements: tuple[nft.Statement, ...]
) -> None:
    driver = place.table()
    try:
        for spec, members in SETS.items():
            driver.table.put_set(spec, members)
        driver.table.put_chain(nft.Chain("other"))
        driver.table.put_chain(nft.Chain("rules", (nft.Rule(statements),), nft.Hook("filter", "prerouting", 0)))
        driver.apply()
        place.nft(
            script=f"table inet judge {{ {JUDGE_SETS} chain other {{ }}\n"
            f"chain rules {{ type filter hook prerouting priority 0;\n {text}\n }}\n }}"
        )
        ours, theirs = place.chain("rules"), place.chain("rules", "judge")
        assert ours == theirs
        assert len(ours) == 1
    finally:
        driver.delete()
        driver.close()
        place.nft(script="table inet judge { }\ndelete table inet judge")


@pytest.mark.parametrize(
    ("text", "hook", "statements"),
    [
        ("masquerade fully-random", nft.Hook("nat", "postrouting", 100), (nft.Masquerade(),)),
        ("masquerade", nft.Hook("nat", "postrouting", 100), (nft.Masquerade(fully_random=False),)),
        (
            "meta l4proto 6 masquerade to :1000-2000 fully-random",
            nft.Hook("nat", "postrouting", 100),
            (nft.L4Proto(6), nft.Masquerade(ports=(1000, 2000))),
        ),
        (
            "meta nfproto ipv4 snat ip to 192.0.2.1 fully-random",
            nft.Hook("nat", "postrouting", 100),
            (IP4, nft.SourceNat(parse_address("192.0.2.1"))),
        ),
        (
            "meta nfproto ipv4 meta l4proto 17 snat ip to 192.0.2.1:5000-5009",
            nft.Hook("nat", "postrouting", 100),
            (IP4, nft.L4Proto(17), nft.SourceNat(parse_address("192.0.2.1"), fully_random=False, ports=(5000, 5009))),
        ),
        (
            "meta nfproto ipv6 meta l4proto 17 snat ip6 to [2001:db8::1]:5000-5009 fully-random",
            nft.Hook("nat", "postrouting", 100),
            (IP6, nft.L4Proto(17), nft.SourceNat(parse_address("2001:db8::1"), ports=(5000, 5009))),
        ),
        (
            "meta nfproto ipv4 dnat ip to 10.77.0.1",
            nft.Hook("nat", "prerouting", -90),
            (IP4, nft.DestinationNat(parse_address("10.77.0.1"))),
        ),
        (
            "meta nfproto ipv6 dnat ip6 to fd77::1",
            nft.Hook("nat", "output", -90),
            (IP6, nft.DestinationNat(parse_address("fd77::1"))),
        ),
        (
            "fib saddr . oif type != local",
            nft.Hook("nat", "postrouting", 100),
            (nft.FibType("source", 2, "!=", of_output=True),),
        ),
        ("notrack", nft.Hook("filter", "prerouting", -300), (nft.NoTrack(),)),
        ("notrack", nft.Hook("filter", "output", -300, "drop"), (nft.NoTrack(),)),
        ("accept", nft.Hook("route", "output", -150), (nft.ACCEPT,)),
    ],
)
def test_a_base_chain_and_its_rule_print_like_those_of_the_nft_program(
    place: Ground, text: str, hook: nft.Hook, statements: tuple[nft.Statement, ...]
) -> None:
    driver = place.table()
    try:
        driver.table.put_chain(nft.Chain("rules", (nft.Rule(statements),), hook))
        driver.apply()
        place.nft(
            script=f"table inet judge {{ chain rules {{ type {hook.type} hook {hook.hook} priority {hook.priority}; "
            f"policy {hook.policy};\n {text}\n }}\n }}"
        )
        ours = place.nft("-n", "list", "chain", "inet", "tortie", "rules")
        theirs = place.nft("-n", "list", "chain", "inet", "judge", "rules")
        assert ours == theirs.replace("judge", "tortie")
    finally:
        driver.delete()
        driver.close()
        place.nft(script="table inet judge { }\ndelete table inet judge")


def test_sets_print_like_those_of_the_nft_program(place: Ground) -> None:
    driver = place.table()
    try:
        for spec, members in SETS.items():
            driver.table.put_set(spec, members)
        driver.table.put_chain(nft.Chain("other"))
        driver.apply()
        place.nft(script=f"table inet judge {{ {JUDGE_SETS} chain other {{ }}\n }}")
        for spec in SETS:
            kind = "map" if spec.is_verdict_map else "set"
            ours = place.nft("-n", "list", kind, "inet", "tortie", spec.name)
            theirs = place.nft("-n", "list", kind, "inet", "judge", spec.name)
            assert ours == theirs.replace("judge", "tortie")
            assert "elements" in ours
    finally:
        driver.delete()
        driver.close()
        place.nft(script="table inet judge { }\ndelete table inet judge")


def test_a_rules_comment_is_printed_and_a_long_one_is_clipped_on_a_character(place: Ground) -> None:
    driver = place.table()
    try:
        long = "é" * 100
        rules = (nft.Rule((nft.ACCEPT,), "policy default/a, rule 1"), nft.Rule((nft.DROP,), long))
        driver.table.put_chain(nft.Chain("rules", rules))
        driver.apply()
        assert place.chain("rules") == ['accept comment "policy default/a, rule 1"', f'drop comment "{"é" * 63}"']
    finally:
        driver.delete()
        driver.close()


ARP_CASES: list[tuple[str, tuple[nft.Statement, ...]]] = [
    ("arp operation reply", (nft.ArpReply(),)),
    ("arp saddr ip 10.1.2.3", (nft.ArpSender(parse_address("10.1.2.3")),)),
    (
        "arp operation reply arp saddr ip 10.1.2.3 counter drop",
        (nft.ArpReply(), nft.ArpSender(parse_address("10.1.2.3")), nft.Counter(), nft.DROP),
    ),
    ("oifname vmap @dispatch", (nft.IfNameVmap("oif", "dispatch"),)),
]


@pytest.mark.parametrize(("text", "statements"), ARP_CASES, ids=[text for text, _ in ARP_CASES])
@pytest.mark.parametrize("hook", ["input", "output"])
def test_a_statement_about_arp_prints_like_the_same_rule_of_the_nft_program(
    place: Ground, hook: Any, text: str, statements: tuple[nft.Statement, ...]
) -> None:
    driver = place.table(family="arp")
    try:
        driver.table.put_set(nft.SetSpec("dispatch", nft.ElementType.IFNAME, is_verdict_map=True), {"cali1": nft.Goto("other")})
        driver.table.put_chain(nft.Chain("other"))
        driver.table.put_chain(nft.Chain("rules", (nft.Rule(statements),), nft.Hook("filter", hook, 0)))
        driver.apply()
        place.nft(
            script='table arp judge { map dispatch { type ifname : verdict; elements = { "cali1" : goto other }; }\n'
            f"chain other {{ }}\nchain rules {{ type filter hook {hook} priority 0;\n {text}\n }}\n }}"
        )
        ours, theirs = place.nft("-n", "list", "table", "arp", "tortie"), place.nft("-n", "list", "table", "arp", "judge")
        assert ours == theirs.replace("judge", "tortie")
    finally:
        driver.delete()
        driver.close()
        place.nft(script="table arp judge { }\ndelete table arp judge")
