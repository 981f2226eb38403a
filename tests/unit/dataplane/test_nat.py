"""What is translated, as rules: whose packets, to which address and ports."""

import pytest

from tortie.base.errors import TortieError
from tortie.base.net import parse_address
from tortie.dataplane.render.config import parse
from tortie.dataplane.render.nat import render_floating, render_nat_outgoing
from tortie.dataplane.render.text import chain_text
from tortie.intent.endpoint import FloatingAddress


def outgoing(**values: str) -> list[str]:
    """The rules, without the lines around them."""
    return [line.strip() for line in chain_text(render_nat_outgoing(parse(values))).splitlines()[1:-1]]


def test_by_default_each_family_is_masqueraded_with_ports_that_nobody_can_guess() -> None:
    assert outgoing() == [
        f"meta nfproto ipv{family} {ip} saddr @cali{family}0masq-ipam-pools {ip} daddr != @cali{family}0all-ipam-pools"
        ' masquerade fully-random comment "natOutgoing"'
        for family, ip in ((4, "ip"), (6, "ip6"))
    ]


def test_a_port_range_is_for_tcp_and_udp_and_what_has_no_ports_is_translated_too() -> None:
    endings = [line.partition("all-ipam-pools ")[2] for line in outgoing(NATPortRange="1000:2000")]
    assert endings == 2 * [
        'meta l4proto 6 masquerade to :1000-2000 fully-random comment "natOutgoing, TCP"',
        'meta l4proto 17 masquerade to :1000-2000 fully-random comment "natOutgoing, UDP"',
        'masquerade fully-random comment "natOutgoing"',
    ]


def test_a_fixed_address_is_that_of_ipv4() -> None:
    first, second = outgoing(NATOutgoingAddress="192.0.2.9")
    assert "snat ip to 192.0.2.9 fully-random" in first
    assert "masquerade" in second
    assert "snat ip to 192.0.2.9:80-80 fully-random" in outgoing(NATOutgoingAddress="192.0.2.9", NATPortRange="80")[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [("NATPortRange", "5:4"), ("NATPortRange", "1:70000"), ("NATPortRange", "x"), ("NATOutgoingAddress", "fd00::1")],
)
def test_what_cannot_be_understood_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(TortieError, match=name):
        parse({name: text})
    assert parse({"NATPortRange": "0"}).nat_ports is None


def test_floating_addresses_have_chains_of_their_own_and_none_where_there_is_no_such_address() -> None:
    assert render_floating(()) == ()
    pairs = [
        FloatingAddress(parse_address(a), parse_address(b)) for a, b in (("fd00::7", "fd77::1"), ("192.0.2.7", "10.0.0.1"))
    ]
    chains = {chain.name: chain_text(chain) for chain in render_floating(pairs)}
    inwards = chains["nat-cali-fip-dnat"]
    assert inwards.index("ip daddr 192.0.2.7/32 dnat ip to 10.0.0.1") < inwards.index(
        "ip6 daddr fd00::7/128 dnat ip6 to fd77::1"
    )
    assert "ip saddr 10.0.0.1/32 ip daddr 10.0.0.1/32 snat ip to 192.0.2.7" in chains["nat-cali-fip-snat"]
    assert "jump nat-cali-fip-dnat" in chains["nat-PREROUTING"]
    assert "type nat hook output" in chains["nat-OUTPUT"]
