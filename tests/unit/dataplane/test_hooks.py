"""The base chains: only what is needed, and in the order in which packets must meet it."""

from typing import Any

import pytest
from tests.unit.dataplane.intents import host_endpoint, nets, tier

from tortie.base.net import Family, parse_prefix
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.hooks import Frame, frame_of, render_hooks
from tortie.dataplane.render.static import render_static
from tortie.dataplane.render.text import chain_text
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.policy import Direction
from tortie.intent.routing import Pool

IN, OUT = Direction.INGRESS, Direction.EGRESS
EARLY = tier(ingress=("web",), egress=("web",), default_pass=True)
BARE = [names.FILTER_FORWARD, names.FILTER_INPUT, names.RAW_PREROUTING]


def frame(*hosts: HostEndpoint, pools: tuple[Pool, ...] = (), services: tuple[str, ...] = (), **config: str) -> Frame:
    return frame_of(hosts, pools, service_nets=nets(*services).nets, config=parse(config))


def chains(wanted: Frame, config: Config | None = None) -> dict[str, list[str]]:
    """The rules of each base chain."""
    made = render_hooks(config or Config(), wanted)
    return {chain.name: [line.strip() for line in chain_text(chain).splitlines()[2:-1]] for chain in made}


def pool(cidr: str, *, ipip: str = "Never", vxlan: str = "Never") -> Pool:
    return Pool(parse_prefix(cidr), True, ipip, vxlan, False, False)


def test_a_node_without_host_endpoints_pays_for_none() -> None:
    made = chains(frame())
    assert sorted(made) == BARE
    assert made[names.RAW_PREROUTING] == ['iifname "cali*" jump raw-cali-rpf']
    assert made[names.FILTER_INPUT] == ['iifname "cali*" goto filter-cali-wl-to-host']
    assert len(made[names.FILTER_FORWARD]) == 2
    assert "mark" not in str(made)


def test_an_ordinary_host_endpoint_brings_only_hooks_for_what_the_node_itself_sends_and_gets() -> None:
    made = chains(frame(host_endpoint()))
    assert sorted(made) == sorted([*BARE, names.FILTER_OUTPUT, names.MANGLE_POSTROUTING])
    assert "hep-forward" not in str(made)
    assert made[names.RAW_PREROUTING] == ['iifname "cali*" jump raw-cali-rpf']
    assert made[names.FILTER_INPUT][-1] == "jump filter-cali-from-host-endpoint"
    assert not any("allowed before" in rule for rule in made[names.FILTER_INPUT]), "nobody before it allows anything"


def test_kinds_of_policy_bring_their_hooks() -> None:
    assert frame(host_endpoint(untracked=(EARLY,))).untracked == {IN, OUT}
    assert frame(host_endpoint(untracked=(tier(egress=("web",)),))).untracked == {OUT}
    assert frame(host_endpoint("*", untracked=(EARLY,))).untracked == frozenset(), "not for all interfaces at once"
    assert frame(host_endpoint(pre_dnat=(EARLY,))).pre_dnat
    assert not frame(host_endpoint(pre_dnat=(tier(egress=("web",)),))).pre_dnat
    assert frame(host_endpoint("*", forward=(EARLY,))).forward


@pytest.mark.parametrize(
    "kinds", [{"untracked": (EARLY,)}, {"pre_dnat": (EARLY,)}, {"untracked": (EARLY,), "pre_dnat": (EARLY,)}]
)
def test_the_first_hook_that_may_allow_forgets_the_mark_and_the_later_ones_believe_it(kinds: dict[str, Any]) -> None:
    made = chains(frame(host_endpoint(forward=(EARLY,), **kinds)))
    forget = "meta mark set meta mark & 0xfffcffff"
    first = names.RAW_PREROUTING if "untracked" in kinds else names.MANGLE_PREROUTING
    assert [name for name, rules in made.items() if forget in rules and "PREROUTING" in name] == [first]
    assert made[first][0] == forget
    assert made[names.FILTER_FORWARD][0].startswith("meta mark & 0x10000 == 0x0 jump filter-cali-from-hep-forward")
    assert "allowed before" in made[names.FILTER_INPUT][-2]
    if len(kinds) == 2:
        assert "allowed before" in made[names.MANGLE_PREROUTING][0]


def test_what_leaves_the_node_is_not_believed_unless_untracked_policy_may_have_allowed_it() -> None:
    assert chains(frame(host_endpoint()))[names.FILTER_OUTPUT][0] == "meta mark set meta mark & 0xfffcffff"
    made = chains(frame(host_endpoint(untracked=(EARLY,))))
    assert made[names.RAW_OUTPUT][0] == "meta mark set meta mark & 0xfffcffff"
    assert "allowed before" in made[names.FILTER_OUTPUT][0]


def test_a_forwarded_packet_meets_the_stages_in_order() -> None:
    rules = chains(frame(host_endpoint(forward=(EARLY,)), services=("10.96.0.0/12",)))[names.FILTER_FORWARD]
    stages = ["from-hep-forward", "from-wl-dispatch", "to-wl-dispatch", "to-hep-forward", "cidr-block", "meta mark set"]
    assert [next(stage for stage in stages if stage in rule) for rule in rules] == stages


def test_own_tunnels_are_told_from_others_only_where_there_are_any() -> None:
    assert frame(pools=(pool("10.0.0.0/16"),)) == Frame()
    assert frame(pools=(pool("10.0.0.0/16", vxlan="CrossSubnet"),)).vxlan == {Family.V4}
    assert frame(pools=(pool("fd00::/64", vxlan="Always"),)).vxlan == {Family.V6}
    assert frame(pools=(pool("10.0.0.0/16", ipip="Always"),)).ipip
    assert (
        frame(pools=(pool("10.0.0.0/16", ipip="Always", vxlan="Always"),), IpInIpEnabled="false", VXLANEnabled="false")
        == Frame()
    )
    assert frame(VXLANEnabled="true").vxlan == {Family.V4}, "in IPv6 the pools alone say"
    assert frame(pools=(pool("fd00::/64", vxlan="Always"),), VXLANEnabled="false").vxlan == {Family.V6}
    rules = chains(frame(pools=(pool("10.0.0.0/16", ipip="Always"),)))[names.FILTER_INPUT]
    assert [rule.rpartition("comment ")[2] for rule in rules[:2]] == ['"IPIP from our hosts"', '"IPIP from others"']
    assert "goto" in rules[2], "tunnels come before workloads"


def test_service_networks_are_blocked_unless_that_is_disabled() -> None:
    assert frame(services=("10.96.0.0/12",)).service_nets
    assert not frame().service_nets
    assert not frame(services=("10.96.0.0/12",), ServiceLoopPrevention="Disabled").service_nets


def test_vxlan_is_not_tracked_on_its_way_in_and_out_and_untracked_policy_comes_first_on_the_way_out() -> None:
    made = chains(frame(pools=(pool("10.0.0.0/16", vxlan="Always"),)))
    rule = "meta nfproto ipv4 meta l4proto 17 th dport 4789 fib {} type local notrack"
    assert made[names.RAW_PREROUTING][0].startswith(rule.format("daddr"))
    assert [line.partition(" comment")[0] for line in made[names.RAW_OUTPUT]] == [rule.format("saddr")]
    both = chains(frame(host_endpoint(untracked=(EARLY,)), pools=(pool("10.0.0.0/16", vxlan="Always"),)))[names.RAW_OUTPUT]
    assert both[-1].startswith(rule.format("saddr"))
    assert len(both) == 3
    assert names.RAW_OUTPUT not in chains(frame(pools=(pool("10.0.0.0/16", ipip="Always"),)))


@pytest.mark.shows("PS-1.2")
def test_where_hosts_encrypt_too_whatever_comes_from_outside_is_marked_as_none_of_wireguards() -> None:
    config = parse({"WireguardEnabled": "true", "WireguardHostEncryptionEnabled": "true", "InterfacePrefix": "cali,tap"})
    assert chains(frame(), config)[names.RAW_PREROUTING][0] == "jump raw-cali-wireguard-incoming-mark"
    (chain,) = [each for each in render_static(config) if each.name == names.RAW_WIREGUARD]
    assert [line.strip() for line in chain_text(chain).splitlines()[1:-1]] == [
        'iifname "lo" return',
        'iifname "wireguard.cali" return',
        'iifname "wg-v6.cali" return',
        'iifname "cali*" return',
        'iifname "tap*" return',
        'meta mark set meta mark & 0xffdfffff | 0x200000 comment "from outside, not through WireGuard"',
    ]


@pytest.mark.parametrize("values", [{"WireguardEnabled": "true"}, {"WireguardHostEncryptionEnabled": "true"}, {}])
def test_nothing_is_marked_where_hosts_do_not_encrypt(values: dict[str, str]) -> None:
    config = parse(values)
    assert names.RAW_WIREGUARD not in {each.name for each in render_static(config)}
    assert chains(frame(), config)[names.RAW_PREROUTING] == ['iifname "cali*" jump raw-cali-rpf']
