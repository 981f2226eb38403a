"""A whole small node as nft text, to be read and reviewed. TORTIE_GOLDEN=1 rewrites the files."""

import os
from pathlib import Path

import pytest
from tests.unit.dataplane.intents import (
    ICMP,
    TCP,
    UDP,
    allow_all_profile,
    endpoint,
    host_endpoint,
    nets,
    np,
    policy,
    ports,
    rule,
    tier,
)

from tortie.base.net import FAMILIES, parse_address, parse_prefix
from tortie.dataplane.render import names, static
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.endpoint import render_endpoint, render_spoofing_allowance
from tortie.dataplane.render.hooks import frame_of
from tortie.dataplane.render.host import render_dispatch, render_failsafes, render_host_endpoint, uses
from tortie.dataplane.render.policy import render_policy, render_profile
from tortie.dataplane.render.text import Elements, table_text
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Action, Direction, Icmp, Match, PortRange, Rule
from tortie.intent.routing import Pool
from tortie.kernel.nft import objects as nft

FOLDER = Path(__file__).parents[2] / "golden" / "dataplane"

E = Direction.EGRESS
EVERY_KIND_OF_RULE = (
    rule(Action.LOG, log_prefix="%k %p"),
    rule(Action.ALLOW, index=1, source=Match(sets=("s:front",)), protocol=TCP, destination=ports(80, 443)),
    rule(Action.ALLOW, index=2, source=Match(not_sets=("s:front",), nets=nets("10.0.0.0/8", "fd00::/8").nets)),
    rule(Action.DENY, index=3, source=Match(not_nets=nets("10.0.0.0/8", "192.168.0.0/16").nets)),
    rule(Action.ALLOW, index=4, protocol=TCP, destination=Match(ports=(PortRange(8000, 8080),), named_ports=("n:web",))),
    rule(Action.DENY, index=5, protocol=UDP, destination=Match(not_ports=(PortRange(53, 53), PortRange(67, 68)))),
    rule(Action.DENY, index=6, destination=Match(not_named_ports=("n:web",), sets=("s:front",))),
    rule(Action.ALLOW, index=7, ip_version=4, protocol=ICMP, icmp=Icmp(8, 0)),
    rule(Action.PASS, index=8, ip_version=4, protocol=ICMP, not_icmp=Icmp(3, 4)),
    rule(Action.ALLOW, index=9, not_protocol=132, comments=(("ticket", "42"),)),
    rule(Action.DENY, index=10, unenforceable="cannot be rendered"),
)


def node(config: Config, rules: tuple[Rule, ...]) -> str:
    web = policy("web", ingress=rules, egress=(rule(Action.PASS, direction=E, destination=nets("10.96.0.0/12")),))
    first = policy("first", egress=(rule(Action.DENY, owner=np("first"), direction=E, protocol=TCP, destination=ports(25)),))
    tried = policy("tried", ingress=(rule(Action.DENY, owner=np("tried")),), staged=True)
    profile = allow_all_profile()
    tiers = (tier(name="security", egress=("first",), default_pass=True), tier(ingress=("tried", "web"), egress=("web",)))
    missing = PolicyId("GlobalNetworkPolicy", "", "missing")
    endpoints = [
        endpoint("cali1", tiers=tiers),
        endpoint("cali2", profiles=("gone",), spoof=("192.0.2.0/24",)),
        endpoint("cali3", tiers=(Tier("default", default_pass=False, ingress=(missing,), egress=()),)),
    ]
    policies = {made.id: made for made in (web, first, tried)}
    chains = static.render_static(config)
    for direction in Direction:
        for made in (web, first):
            chains += render_policy(made, direction, config=config)
        chains += render_profile(profile, direction, config=config)
    for each in endpoints:
        chains += render_endpoint(each, policies=policies, profiles={profile.id}, config=config)
    chains.append(static.render_spoofing_skip(render_spoofing_allowance(endpoints[1]) if config.source_spoofing else []))
    return table_text(names.TABLE, chains, sets([made.interface for made in endpoints]))


def sets(interfaces: list[str]) -> list[tuple[nft.SetSpec, Elements]]:
    from_map, to_map = static.dispatch_maps()
    made: list[tuple[nft.SetSpec, Elements]] = [
        (from_map, {name: nft.Goto(names.endpoint_chain(name, E)) for name in interfaces}),
        (to_map, {name: nft.Goto(names.endpoint_chain(name, Direction.INGRESS)) for name in interfaces}),
    ]
    port_types = dict(zip(FAMILIES, (nft.ElementType.IPV4_PORT, nft.ElementType.IPV6_PORT), strict=True))
    example = {4: ("10.0.0.0/24", "10.0.0.1"), 6: ("fd00::/64", "fd00::1")}
    for family in FAMILIES:
        prefix, address = example[family]
        members: Elements = {parse_prefix(prefix): None}
        pools = (names.POOLS, names.MASQUERADE_POOLS, names.ALL_HOSTS)
        made += [(static.address_set(set_id, family), members) for set_id in pools]
        made.append((static.address_set("s:front", family, comment="app == 'front'"), members))
        port_set = nft.SetSpec(names.set_name("n:web", family), port_types[family])
        made.append((port_set, {(parse_address(address), TCP, 8443): None}))
    return made


def host(config: Config) -> str:
    """A node with a host endpoint of every kind on eth0, one for all other interfaces, and tunnels of both kinds."""
    web = policy("web", ingress=(rule(Action.ALLOW, protocol=TCP, destination=ports(80)),))
    asks = policy("asks", egress=(rule(Action.ALLOW, owner=np("asks"), direction=E, protocol=UDP, destination=ports(123)),))
    ordinary = tier(ingress=("web",), egress=("asks",))
    early = tier(ingress=("web",), egress=("asks",), default_pass=True)
    hosts = [
        host_endpoint(untracked=(early,), pre_dnat=(early,), forward=(ordinary,), normal=(ordinary,), profiles=("kns.shop",)),
        host_endpoint("*", forward=(ordinary,), normal=(tier(ingress=("web",)),)),
        host_endpoint("eth1"),
    ]
    pools = [Pool(prefix, True, "Always", "Always", False, False) for prefix in nets("10.0.0.0/16", "fd00::/64").nets]
    frame = frame_of(hosts, pools, service_nets=nets("10.96.0.0/12", "fd96::/112").nets, config=config)
    owners = {made.interface: made for made in hosts}
    policies, profile = {made.id: made for made in (web, asks)}, allow_all_profile()
    chains = static.render_static(config, frame) + render_failsafes(frame, config)
    for owner, layer, direction in {use for made in hosts for use in uses(made)}:
        made = render_policy(policies[owner], direction, layer=layer, config=config) if isinstance(owner, PolicyId) else None
        chains += made or render_profile(profile, direction, layer=layer, config=config)
    for interface, each in owners.items():
        chains += render_host_endpoint(each, interface, policies=policies, profiles={profile.id}, config=config)
    dispatches = render_dispatch(owners, frame, config)
    chains += [dispatch.chain for dispatch in dispatches] + [static.render_spoofing_skip([])]
    service = {4: parse_prefix("10.96.0.0/12"), 6: parse_prefix("fd96::/112")}
    made_sets = sets([])
    made_sets += [(dispatch.spec, dict(dispatch.members.items())) for dispatch in dispatches]
    made_sets += [(static.address_set(names.SERVICE_NETS, family), {service[family]: None}) for family in FAMILIES]
    return table_text(names.TABLE, chains, made_sets)


CASES = {
    "node": node(Config(), EVERY_KIND_OF_RULE),
    "node-configured": node(
        parse(
            {
                "InterfacePrefix": "cali,tap",
                "NftablesMarkMask": "0xff0",
                "DefaultEndpointToHostAction": "Return",
                "NftablesFilterDenyAction": "Reject",
                "DisableConntrackInvalidCheck": "true",
                "AllowVXLANPacketsFromWorkloads": "true",
                "WorkloadSourceSpoofing": "Any",
                "LogActionRateLimit": "10/minute",
                "NATOutgoingExclusions": "IPPoolsAndHostIPs",
                "IptablesNATOutgoingInterfaceFilter": "eth0",
            }
        ),
        (rule(Action.LOG), rule(Action.DENY, index=1, protocol=TCP)),
    ),
    "host": host(Config()),
    "host-configured": host(
        parse(
            {
                "NftablesFilterDenyAction": "Reject",
                "FailsafeInboundHostPorts": "tcp:10.0.0.0/8:22,tcp:[fd00::/8]:22",
                "FailsafeOutboundHostPorts": "none",
                "ServiceLoopPrevention": "Reject",
                "DisableConntrackInvalidCheck": "true",
                "IpInIpEnabled": "false",
                "VXLANPort": "8472",
                "WireguardEnabled": "true",
                "InterfacePrefix": "cali,tap",
            }
        )
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_node_renders_as_reviewed(name: str) -> None:
    path = FOLDER / f"{name}.nft"
    if os.environ.get("TORTIE_GOLDEN"):
        path.write_text(CASES[name])
    assert CASES[name] == path.read_text()
