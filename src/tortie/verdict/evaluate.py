"""What happens to a packet at a workload endpoint, and why (policy-semantics.md, sections 4, 10 and 16)."""

from tortie.base.net import Prefix, parse_prefix
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.policy import Direction
from tortie.intent.state import State
from tortie.verdict.judgement import Decider, Judgement, denied
from tortie.verdict.packet import ICMPV6, IPIP, UDP, Packet
from tortie.verdict.settings import Settings, settings_of
from tortie.verdict.tiers import ask_profiles, ask_tiers

_LINK_LOCAL = parse_prefix("fe80::/10")
_UNSPECIFIED = parse_prefix("::/128")
_DISCOVERY = frozenset({131, 132, 133, 135, 136, 143})
"""Neighbour discovery on the link, which comes from link-local addresses or from none."""


def judge(state: State, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
    """Judge a new connection's first packet at one workload endpoint.

    EGRESS means that the endpoint sends the packet, and then its source address must be the endpoint's own. An endpoint
    that the state does not hold denies: its policy is not known. Staged policies are recorded and decide nothing.
    """
    found = state.endpoints.get(endpoint)
    refused = refusal(found, endpoint, direction=direction, packet=packet, settings=settings_of(state.config))
    if refused is not None:
        return refused
    assert found is not None
    trace, judgement = ask_tiers(state, found.tiers, direction=direction, packet=packet)
    return judgement or ask_profiles(state, found.profiles, direction=direction, packet=packet, trace=trace)


def refusal(
    endpoint: Endpoint | None, endpoint_id: EndpointId, *, direction: Direction, packet: Packet, settings: Settings
) -> Judgement | None:
    """What is refused before any policy is asked; None sends the packet on to the policies."""
    if endpoint is None:
        return denied(Decider.UNKNOWN_ENDPOINT, f"endpoint {endpoint_id.namespace}/{endpoint_id.name} is not known")
    if direction is Direction.INGRESS:
        return None
    return spoofed(endpoint, packet, settings) or _encapsulated(packet, settings)


def spoofed(endpoint: Endpoint, packet: Packet, settings: Settings) -> Judgement | None:
    """The refusal of a packet that the endpoint sends in the name of another, None if it may."""
    if any(_holds(prefix, packet) for prefix in endpoint.addresses):
        return None
    if settings.source_spoofing and any(_holds(prefix, packet) for prefix in endpoint.allowed_source_prefixes):
        return None
    if _holds(_LINK_LOCAL, packet):
        return None  # every interface has a route to these; they get no further than the node
    if packet.protocol == ICMPV6 and packet.icmp_type in _DISCOVERY and _holds(_UNSPECIFIED, packet):
        return None
    own = ", ".join(str(prefix.network) for prefix in endpoint.addresses) or "none"
    return denied(Decider.SPOOFED, f"source {packet.source} is not an address of {endpoint.workload} (it has {own})")


def _holds(prefix: Prefix, packet: Packet) -> bool:
    return prefix.contains(packet.source)


def _encapsulated(packet: Packet, settings: Settings) -> Judgement | None:
    """Only nodes may tunnel: what a workload wraps up would reach a node unseen."""
    if packet.protocol == UDP and packet.destination_port == settings.vxlan_port and not settings.allow_vxlan:
        return denied(Decider.TUNNEL, "VXLAN from a workload: AllowVXLANPacketsFromWorkloads is false")
    if packet.protocol == IPIP and not settings.allow_ipip:
        return denied(Decider.TUNNEL, "IPIP from a workload: AllowIPIPPacketsFromWorkloads is false")
    return None
