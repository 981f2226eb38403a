"""Rules become expressions: identity by digest, references, and clear refusals. Their meaning is judged by tests/kernel."""

import subprocess
import sys

import pytest

from tortie.base.net import Family, parse_prefix
from tortie.kernel.errors import NftError
from tortie.kernel.netlink import iterate_attributes, parse_attributes, string
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.encode import AnonymousLookup, encode_chain, encode_rule
from tortie.kernel.nft.uapi import Expr, RuleAttr, parse_userdata

V4 = Family.V4
WEB = nft.Rule((nft.L4Proto(6), nft.Ports("destination", ((80, 80), (443, 443))), nft.Counter(), nft.ACCEPT), "web")


def expressions(rule: nft.Rule) -> list[str]:
    """The names of a rule's expressions in order; "set" for a lookup in an anonymous set."""
    names = []
    for part in encode_rule(rule).parts:
        if isinstance(part, AnonymousLookup):
            names.append("set")
        else:
            names += [string(parse_attributes(payload)[Expr.NAME]) for _, payload in iterate_attributes(part)]
    return names


def test_statements_become_expressions_in_order() -> None:
    assert expressions(WEB) == ["meta", "cmp", "payload", "set", "counter", "immediate"]
    mark = nft.Rule((nft.SetMark(0xF, 1), nft.Mark(0xF, 1)))
    assert expressions(mark) == ["meta", "bitwise", "meta", "meta", "bitwise", "cmp"]


def test_equal_rules_have_equal_digests_and_any_difference_shows() -> None:
    ports = nft.Ports("destination", ((80, 80), (443, 443)))
    variants = [
        WEB,
        nft.Rule(WEB.statements, "web 2"),
        nft.Rule(WEB.statements),
        nft.Rule(WEB.statements[:-1], "web"),
        nft.Rule((*WEB.statements[:-1], nft.DROP), "web"),
        nft.Rule((WEB.statements[0], nft.Ports("source", ports.ranges), *WEB.statements[2:]), "web"),
        nft.Rule((WEB.statements[0], nft.Ports("destination", ports.ranges, "!="), *WEB.statements[2:]), "web"),
        nft.Rule((WEB.statements[0], nft.Ports("destination", ((80, 80), (444, 444))), *WEB.statements[2:]), "web"),
        nft.Rule((WEB.statements[0], nft.Ports("destination", ((80, 80), (443, 444))), *WEB.statements[2:]), "web"),
        nft.Rule(WEB.statements, "c" * 300),
        nft.Rule(WEB.statements, "c" * 299 + "d"),
    ]
    digests = [encode_rule(rule).digest for rule in variants]
    assert len(set(digests)) == len(variants)
    assert digests == [encode_rule(rule).digest for rule in variants]


def test_another_process_computes_the_same_digest() -> None:
    program = (
        "from tortie.kernel.nft.objects import *; from tortie.kernel.nft.encode import encode_rule;"
        "ports = Ports('destination', ((80, 80), (443, 443)));"
        "print(encode_rule(Rule((L4Proto(6), ports, Counter(), ACCEPT), 'web')).digest.hex())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == encode_rule(WEB).digest.hex()


def test_the_order_in_which_ports_are_listed_is_no_difference() -> None:
    one = nft.Rule((nft.Ports("source", ((80, 85), (86, 90), (443, 443))),))
    other = nft.Rule((nft.Ports("source", ((443, 443), (80, 90))),))
    assert encode_rule(one).digest == encode_rule(other).digest


def test_user_data_holds_the_comment_as_nft_reads_it_and_our_digest() -> None:
    encoded = encode_rule(WEB)
    assert parse_userdata(encoded.userdata) == {
        RuleAttr.DATA_COMMENT: b"web\0",
        RuleAttr.DATA_DIGEST: encoded.digest,
    }
    assert len(encode_rule(nft.Rule((), "é" * 400)).userdata) <= 256, "more is refused by the kernel"


def test_a_chain_knows_what_it_refers_to() -> None:
    chain = nft.Chain(
        "c",
        (
            nft.Rule((nft.NetIn("source", V4, "nets"), nft.AddressPortIn("source", V4, "pairs"), nft.Jump("a"))),
            nft.Rule((nft.IfNameVmap("iif", "map"),)),
            nft.Rule((nft.Goto("b"),)),
        ),
    )
    encoded = encode_chain(chain)
    assert encoded.sets == {"nets", "pairs", "map"}
    assert encoded.chains == {"a", "b"}


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (nft.L4Proto(256), "protocol: 256"),
        (nft.IfName("iif", "a" * 16), "interface name"),
        (nft.IfName("iif", "*"), "interface pattern"),
        (nft.IfName("iif", ""), "interface name"),
        (nft.Ports("source", ()), "at least one range"),
        (nft.Ports("source", ((5, 4),)), "port range 5-4"),
        (nft.Ports("source", ((0, 65536),)), "port range 0-65536"),
        (nft.Nets("source", ()), "anonymous set of prefixes"),
        (nft.Nets("source", (parse_prefix("10.0.0.0/8"), parse_prefix("fd00::/8"))), "one family"),
        (nft.IcmpIs(V4, 300), "icmp type: 300"),
        (nft.IcmpIs(V4, 3, 300), "icmp code: 300"),
        (nft.Mark(1 << 32, 0), "mark mask"),
        (nft.SetMark(0xF, 0x10), "outside its mask"),
        (nft.LogGroup(65536, "x"), "log group"),
        (nft.LogGroup(1, "x" * 128), "log prefix"),
        (nft.Limit(0), "limit 0/second"),
    ],
)
def test_what_cannot_be_programmed_is_refused_by_name(statement: nft.Statement, complaint: str) -> None:
    with pytest.raises(NftError) as caught:
        encode_chain(nft.Chain("the-chain", (nft.Rule(()), nft.Rule((statement,), "the-comment"))))
    for part in ("the-chain", "rule 1", "the-comment", complaint):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b"])
def test_a_chain_name_that_the_kernel_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(NftError, match="chain name"):
        encode_chain(nft.Chain(name))
