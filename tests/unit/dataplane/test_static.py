"""The frame: what holds before, besides and without any endpoint."""

from tortie.dataplane.render import names, static
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.text import chain_text


def text(config: Config, name: str) -> str:
    return chain_text(next(chain for chain in static.render_static(config) if chain.name == name))


def test_an_interface_that_no_map_knows_drops() -> None:
    for name in (names.FROM_DISPATCH, names.TO_DISPATCH):
        assert text(Config(), name).splitlines()[2].strip() == 'counter drop comment "unknown workload interface"'


def test_every_interface_prefix_is_a_workloads() -> None:
    forward = text(Config(interface_prefixes=("cali", "tap")), names.FILTER_FORWARD)
    for word in ('iifname "cali*"', 'iifname "tap*"', 'oifname "cali*"', 'oifname "tap*"'):
        assert word in forward
    assert forward.index('iifname "tap*"') < forward.index('oifname "cali*"'), "egress is judged before ingress"


def test_workload_to_host_follows_the_configuration() -> None:
    drop = 'counter drop comment "DefaultEndpointToHostAction is Drop"'
    assert drop in text(Config(), names.FILTER_TO_HOST)
    accepting = text(Config(endpoint_to_host="ACCEPT"), names.FILTER_TO_HOST)
    assert drop not in accepting
    assert accepting.rstrip().splitlines()[-2].strip().startswith("accept")
    returning = text(Config(endpoint_to_host="RETURN"), names.FILTER_TO_HOST)
    assert returning.rstrip().splitlines()[-2].strip() == f"jump {names.FROM_DISPATCH}"


def test_masquerading_can_spare_hosts_and_be_bound_to_interfaces() -> None:
    assert "all-hosts-net" not in text(Config(), names.NAT_OUTGOING)
    narrowed = text(Config(nat_excludes_hosts=True, nat_interface="eth*"), names.NAT_OUTGOING)
    assert 'ip6 daddr != @cali60all-hosts-net oifname "eth*" masquerade fully-random' in narrowed


def test_a_frame_refers_only_to_chains_that_it_has() -> None:
    chains = [*static.render_static(Config()), static.render_spoofing_skip([])]
    present = {chain.name for chain in chains}
    targets = {
        statement.chain
        for chain in chains
        for rule in chain.rules
        for statement in rule.statements
        if hasattr(statement, "chain")
    }
    assert targets <= present
