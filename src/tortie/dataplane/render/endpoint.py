"""A workload endpoint's two chains with those of its limits, and its entries in the dispatch maps. Pure.

A chain that allows returns to the caller and leaves the accept mark: the packet's other end may still have a word. Only
packets of connections that both ends have already decided are accepted at once.
"""

from collections.abc import Container, Iterator, Mapping

from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import deny
from tortie.dataplane.render.qos import render_connections, render_packet_rate
from tortie.dataplane.render.tiers import connection_state, render_profiles, render_tiers
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Direction, Policy
from tortie.kernel.nft import objects as nft

_IPIP = 4
_UDP = 17


def render_endpoint(
    endpoint: Endpoint, *, policies: Mapping[PolicyId, Policy], profiles: Container[ProfileId], config: Config
) -> tuple[nft.Chain, ...]:
    """The chains for packets to the workload and from it, and behind them those that they lead to for its limits.

    `policies` and `profiles` are those that have chains. One that the endpoint names and that is not among them drops
    the packet where it would have been asked.
    """
    chains: list[nft.Chain] = []
    limits: list[nft.Chain] = []
    for direction in (Direction.INGRESS, Direction.EGRESS):
        rate, connections = render_packet_rate(endpoint, direction), render_connections(endpoint, direction)
        rules = [
            *_jump_to(rate),
            *connection_state(config),
            *_jump_to(connections),
            *_start(direction, config),
            *render_tiers(endpoint.tiers, direction, policies=policies, config=config),
            *render_profiles(endpoint.profiles, direction, profiles=profiles, config=config),
        ]
        chains.append(nft.Chain(names.endpoint_chain(endpoint.interface, direction), tuple(rules)))
        limits += [chain for chain in (rate, connections) if chain is not None]
    return *chains, *limits


def uses(endpoint: Endpoint) -> Iterator[tuple[PolicyId | ProfileId, Layer, Direction]]:
    """Which chains of policies and profiles the endpoint's own jump to."""
    for direction in Direction:
        for tier in endpoint.tiers:
            yield from ((policy_id, Layer.FILTER, direction) for policy_id in tier.policies(direction))
        yield from ((profile_id, Layer.FILTER, direction) for profile_id in endpoint.profiles)


def render_spoofing_allowance(endpoint: Endpoint) -> list[nft.Rule]:
    """Sources that the endpoint may use although the route to them leads elsewhere."""
    return [
        nft.Rule(
            (nft.IfName("iif", endpoint.interface), nft.NfProto(prefix.family), nft.Net("source", prefix), nft.ACCEPT),
            names.comment(f"source prefix allowed to {endpoint.workload}"),
        )
        for prefix in endpoint.allowed_source_prefixes
    ]


def _jump_to(chain: nft.Chain | None) -> list[nft.Rule]:
    return [] if chain is None else [nft.Rule((nft.Jump(chain.name),))]


def _start(direction: Direction, config: Config) -> list[nft.Rule]:
    rules = [nft.Rule((nft.SetMark(config.marks.verdict, 0),))]
    if direction is Direction.EGRESS:
        if not config.allow_vxlan:
            port = config.vxlan_port
            match = (nft.L4Proto(_UDP), nft.Ports("destination", ((port, port),)))
            rules.append(nft.Rule((*match, *deny(config)), "VXLAN from a workload"))
        if not config.allow_ipip:
            rules.append(nft.Rule((nft.L4Proto(_IPIP), *deny(config)), "IPIP from a workload"))
    return rules
