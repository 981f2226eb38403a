"""Host endpoints' chains, the ways to them, failsafe ports."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dataplane.intents import host_endpoint, policy, tier

from tortie.dataplane.render import names, static
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.hooks import Frame, frame_of
from tortie.dataplane.render.host import render_dispatch, render_failsafes, render_host_endpoint, uses
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import render_policy
from tortie.dataplane.render.text import chain_text
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Direction, Policy
from tortie.kernel.nft import objects as nft

IN, OUT = Direction.INGRESS, Direction.EGRESS
WEB = policy("web")
POLICIES: dict[PolicyId, Policy] = {WEB.id: WEB}
CONFIG = Config()


def made(endpoint: HostEndpoint, *, config: Config = CONFIG) -> dict[str, str]:
    chains = render_host_endpoint(endpoint, endpoint.interface, policies=POLICIES, profiles=set(), config=config)
    return {chain.name: chain_text(chain) for chain in chains}


def dispatch(*hosts: HostEndpoint, config: Config = CONFIG) -> dict[str, tuple[str, dict[str, nft.Goto | nft.Verdict]]]:
    frame = frame_of(hosts, (), service_nets=(), config=config)
    ways = render_dispatch({host.interface: host for host in hosts}, frame, config)
    return {way.chain.name: (chain_text(way.chain), dict(way.members)) for way in ways}


def failsafes(layer: Layer, direction: Direction, **config: str) -> list[str]:
    frame = Frame(host_endpoints=True, untracked=frozenset(Direction), pre_dnat=True)
    wanted = names.failsafe_chain(direction, layer)
    (chain,) = (chain for chain in render_failsafes(frame, parse(config)) if chain.name == wanted)
    return [line.strip() for line in chain_text(chain).splitlines()[1:-1]]


# ---- chains ----
def test_an_endpoint_without_policy_has_ordinary_chains_that_deny() -> None:
    chains = made(host_endpoint())
    assert sorted(chains) == ["filter-cali-fh-eth0", "filter-cali-th-eth0", "mangle-cali-th-eth0"]
    for text in chains.values():
        rules = [line.strip() for line in text.splitlines()[1:-1]]
        assert rules[0] == "ct state established,related accept"
        assert "failsafe" in rules[2]
        assert rules[-1] == 'counter drop comment "no profile matched"'


def test_untracked_chains_have_no_connections_and_take_what_they_allow_out_of_tracking() -> None:
    chains = made(host_endpoint(untracked=(tier(ingress=("web",), default_pass=True),)))
    text = chains["raw-cali-fh-eth0"]
    assert "raw-cali-th-eth0" not in chains
    assert "ct state" not in text
    assert "meta mark & 0x10000 == 0x10000 notrack return" in text
    assert "drop" not in text


def test_forward_chains_know_no_failsafe_port_and_no_profile() -> None:
    text = made(host_endpoint(forward=(tier(ingress=("web",)),), profiles=("kns.shop",)))["filter-cali-fhfw-eth0"]
    assert "failsafe" not in text
    assert "profile" not in text
    assert text.rstrip().splitlines()[-2].strip().endswith('comment "end of tier default"')


def test_only_the_filter_layer_rejects() -> None:
    early = (tier(ingress=("gone",), egress=("gone",)),)
    endpoint = host_endpoint(untracked=early, pre_dnat=early, forward=early, normal=early)
    for name, text in made(endpoint, config=Config(reject=True)).items():
        assert ("reject" in text) == name.startswith("filter-"), name


# ---- the ways to them ----
def test_an_interface_with_an_endpoint_of_its_own_never_falls_to_the_wildcard() -> None:
    forward = (tier(ingress=("web",)),)
    ways = dispatch(host_endpoint("*", forward=forward), host_endpoint("eth0"), host_endpoint("eth1", forward=forward))
    text, members = ways["filter-cali-from-hep-forward"]
    assert members == {"eth0": nft.RETURN, "eth1": nft.Goto("filter-cali-fhfw-eth1")}
    assert "goto filter-cali-fhfw-any-interface-at-all" in text


def test_the_wildcard_leaves_what_goes_to_own_workloads_alone_but_for_forwarded_packets() -> None:
    ways = dispatch(host_endpoint("*", forward=(tier(egress=("web",)),)), config=Config(interface_prefixes=("cali", "tap")))
    for name in ("filter-cali-to-host-endpoint", "mangle-cali-to-host-endpoint"):
        text, _ = ways[name]
        assert text.index('oifname "tap*" return') < text.index("goto")
    assert "return" not in ways["filter-cali-to-hep-forward"][0]
    assert "return" not in ways["filter-cali-from-host-endpoint"][0]


def test_untracked_policy_of_the_wildcard_is_not_led_to() -> None:
    early = (tier(ingress=("web",), egress=("web",), default_pass=True),)
    ways = dispatch(host_endpoint("*", untracked=early), host_endpoint("eth0", untracked=early))
    assert "any-interface" not in ways["raw-cali-from-host-endpoint"][0]


# ---- failsafe ports ----
def test_failsafe_ports_are_one_rule_a_protocol() -> None:
    tail = 'counter accept comment "failsafe port"'
    assert failsafes(Layer.FILTER, IN) == [
        f"meta l4proto 6 th dport {{ 22, 179, 2379-2380, 5473, 6443, 6666-6667 }} {tail}",
        f"meta l4proto 17 th dport 68 {tail}",
    ]


def test_before_tracking_the_answers_of_failsafe_ports_pass_too() -> None:
    config = {"FailsafeInboundHostPorts": "tcp:22", "FailsafeOutboundHostPorts": "udp:10.0.0.0/8:53"}
    assert [rule.partition(" counter")[0] for rule in failsafes(Layer.RAW, IN, **config)] == [
        "meta l4proto 6 th dport 22",
        "meta nfproto ipv4 meta l4proto 17 th sport 53 ip saddr 10.0.0.0/8",
    ]
    assert [rule.partition(" counter")[0] for rule in failsafes(Layer.RAW, OUT, **config)] == [
        "meta nfproto ipv4 meta l4proto 17 th dport 53 ip daddr 10.0.0.0/8",
        "meta l4proto 6 th sport 22",
    ]
    assert not any("sport" in rule for rule in failsafes(Layer.MANGLE, OUT))


def test_a_net_of_all_addresses_is_for_its_family() -> None:
    (rule,) = failsafes(Layer.FILTER, IN, FailsafeInboundHostPorts="tcp:[::/0]:22")
    assert rule.startswith("meta nfproto ipv6 meta l4proto 6 th dport 22 counter")


def test_failsafes_that_are_none_leave_an_empty_chain() -> None:
    assert failsafes(Layer.FILTER, OUT, FailsafeOutboundHostPorts="none") == []


# ---- all together ----
TIERS = st.sampled_from([(), (tier(ingress=("web",)),), (tier(egress=("web",)),), (tier(ingress=("web",), egress=("web",)),)])


@st.composite
def hosts(draw: st.DrawFn) -> list[HostEndpoint]:
    """Host endpoints of some interfaces, each with some kinds of policy."""
    interfaces = draw(st.lists(st.sampled_from(["*", "eth0", "eth1"]), unique=True))

    def kinds() -> dict[str, Any]:
        return {kind: draw(TIERS) for kind in ("untracked", "pre_dnat", "forward", "normal")}

    return [host_endpoint(interface, **kinds()) for interface in interfaces]


@given(hosts())
def test_what_is_jumped_to_is_there_and_what_is_there_is_jumped_to(given_hosts: list[HostEndpoint]) -> None:
    frame = frame_of(given_hosts, (), service_nets=(), config=CONFIG)
    ways = render_dispatch({host.interface: host for host in given_hosts}, frame, CONFIG)
    chains = [*static.render_static(CONFIG, frame), static.render_spoofing_skip([]), *render_failsafes(frame, CONFIG)]
    chains += [way.chain for way in ways]
    for host in given_hosts:
        chains += render_host_endpoint(host, host.interface, policies=POLICIES, profiles=set(), config=CONFIG)
    for owner, layer, direction in {use for host in given_hosts for use in uses(host)}:
        assert isinstance(owner, PolicyId)
        chains += render_policy(POLICIES[owner], direction, layer=layer, config=CONFIG)
    present = {chain.name for chain in chains}
    assert len(present) == len(chains), "no name is used twice"
    targets = {value.chain for way in ways for value in way.members.values() if isinstance(value, nft.Goto)}
    targets |= {
        statement.chain
        for chain in chains
        for rule in chain.rules
        for statement in rule.statements
        if isinstance(statement, nft.Jump | nft.Goto)
    }
    assert targets <= present
    assert {chain.name for chain in chains if chain.hook is None} <= targets
