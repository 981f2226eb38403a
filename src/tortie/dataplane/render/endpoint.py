"""A workload endpoint's two chains with those of its limits, and its entries in the dispatch maps. Pure.

A chain that allows returns to the caller and leaves the accept mark: the packet's other end may still have a word. Only
packets of connections that both ends have already decided are accepted at once.
"""

from collections.abc import Container, Mapping

from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.policy import deny
from tortie.dataplane.render.qos import render_connections, render_packet_rate
from tortie.intent.endpoint import Endpoint, Tier
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
            *_connection_state(config),
            *_jump_to(connections),
            *_start(direction, config),
            *(rule for tier in endpoint.tiers for rule in _tier(tier, direction, policies=policies, config=config)),
            *_profiles(endpoint, direction, profiles=profiles, config=config),
        ]
        chains.append(nft.Chain(names.endpoint_chain(endpoint.interface, direction), tuple(rules)))
        limits += [chain for chain in (rate, connections) if chain is not None]
    return *chains, *limits


def render_spoofing_allowance(endpoint: Endpoint) -> list[nft.Rule]:
    """Sources that the endpoint may use although the route to them leads elsewhere."""
    return [
        nft.Rule(
            (nft.IfName("iif", endpoint.interface), nft.NfProto(prefix.family), nft.Net("source", prefix), nft.ACCEPT),
            names.comment(f"source prefix allowed to {endpoint.workload}"),
        )
        for prefix in endpoint.allowed_source_prefixes
    ]


def is_staged(policy_id: PolicyId, policies: Mapping[PolicyId, Policy]) -> bool:
    """Staged policies are never enforced. A kind that is always staged says so even while the policy is unknown."""
    known = policies.get(policy_id)
    return policy_id.kind.startswith("Staged") if known is None else known.staged


def _jump_to(chain: nft.Chain | None) -> list[nft.Rule]:
    return [] if chain is None else [nft.Rule((nft.Jump(chain.name),))]


def _connection_state(config: Config) -> list[nft.Rule]:
    rules = [nft.Rule((nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED), nft.ACCEPT))]
    if config.drop_invalid:
        rules.append(nft.Rule((nft.CtState(nft.CT_INVALID), nft.Counter(), nft.DROP), "invalid connection state"))
    return rules


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


def _tier(tier: Tier, direction: Direction, *, policies: Mapping[PolicyId, Policy], config: Config) -> list[nft.Rule]:
    enforced = [policy_id for policy_id in tier.policies(direction) if not is_staged(policy_id, policies)]
    if not enforced:
        return []
    marks = config.marks
    not_passed = nft.Mark(marks.pass_, 0)
    accepted = nft.Mark(marks.accept, marks.accept)
    rules = [nft.Rule((nft.SetMark(marks.pass_, 0),), names.comment(f"start of tier {tier.name}"))]
    for policy_id in enforced:
        if policy_id in policies:
            rules.append(nft.Rule((not_passed, nft.Jump(names.policy_chain(policy_id, direction)))))
            rules.append(nft.Rule((accepted, nft.RETURN)))
        else:
            rules.append(nft.Rule((not_passed, *deny(config)), names.comment(f"unknown policy {names.path(policy_id)}")))
    if not tier.default_pass:
        rules.append(nft.Rule((not_passed, *deny(config)), names.comment(f"end of tier {tier.name}")))
    return rules


def _profiles(endpoint: Endpoint, direction: Direction, *, profiles: Container[ProfileId], config: Config) -> list[nft.Rule]:
    marks = config.marks
    rules = []
    for profile_id in endpoint.profiles:
        if profile_id not in profiles:
            # A missing profile denies everything, so what would follow cannot be reached.
            rules.append(nft.Rule(deny(config), names.comment(f"unknown profile {profile_id.name}")))
            return rules
        rules.append(nft.Rule((nft.Jump(names.profile_chain(profile_id, direction)),)))
        rules.append(nft.Rule((nft.Mark(marks.accept, marks.accept), nft.RETURN)))
    rules.append(nft.Rule(deny(config), "no profile matched"))
    return rules
