"""What happens to a packet at a host endpoint, at one of its hooks, and why (policy-semantics.md, sections 1 to 4 and 9)."""

from enum import Enum

from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.host_endpoints import EVERY_INTERFACE
from tortie.intent.policy import Direction
from tortie.intent.state import State
from tortie.verdict.judgement import Decider, Decision, Judgement, passed
from tortie.verdict.packet import Packet
from tortie.verdict.settings import Settings, settings_of
from tortie.verdict.tiers import ask_profiles, ask_tiers


class HostHook(Enum):
    """Where a host endpoint's policies are asked, in the order in which a packet gets there."""

    UNTRACKED = "untracked"
    PRE_DNAT = "pre-DNAT"
    FORWARD = "forward"
    NORMAL = "normal"


def judge_host(state: State, endpoint: HostEndpoint, *, hook: HostHook, direction: Direction, packet: Packet) -> Judgement:
    """Judge a new connection's first packet at one hook of a host endpoint.

    NORMAL is for the node's own traffic and ends like a workload's endpoint does: what nothing allowed is denied. The other
    hooks let what they did not decide go on (`Decider.NO_DECISION`). Whether a packet gets to a hook at all is for `journey`.
    """
    skipped = exempt(endpoint, hook=hook, direction=direction, packet=packet, settings=settings_of(state.config))
    if skipped is not None:
        return skipped
    tiers = tiers_at(endpoint, hook)
    trace, judgement = ask_tiers(state, tiers, direction=direction, packet=packet)
    if judgement is not None:
        return judgement
    if hook is HostHook.NORMAL:
        return ask_profiles(state, endpoint.profiles, direction=direction, packet=packet, trace=trace)
    return Judgement(True, undecided(hook, asked=bool(trace)), tuple(trace))


def tiers_at(endpoint: HostEndpoint, hook: HostHook) -> tuple[Tier, ...]:
    """The tiers that are asked at a hook."""
    match hook:
        case HostHook.UNTRACKED:
            return endpoint.untracked
        case HostHook.PRE_DNAT:
            return endpoint.pre_dnat
        case HostHook.FORWARD:
            return endpoint.forward
        case HostHook.NORMAL:
            return endpoint.normal


def undecided(hook: HostHook, *, asked: bool) -> Decision:
    """The end of a hook that lets go on what it did not decide."""
    what = f"no {hook.value} policy decides" if asked else f"no {hook.value} policy applies"
    return Decision(Decider.NO_DECISION, f"{what}, and the packet goes on")


def exempt(
    endpoint: HostEndpoint, *, hook: HostHook, direction: Direction, packet: Packet, settings: Settings
) -> Judgement | None:
    """What passes a hook before any policy is asked; None sends the packet on to the policies."""
    if hook is HostHook.UNTRACKED and endpoint.interface == EVERY_INTERFACE:
        reason = "doNotTrack policies have no effect on a host endpoint for all interfaces"
        return passed(Decider.NO_DECISION, reason)
    if hook is HostHook.PRE_DNAT and direction is Direction.EGRESS:
        return passed(Decider.NO_DECISION, "preDNAT policies are about ingress only")
    if hook is HostHook.FORWARD:
        return None
    return _failsafe(hook, direction, packet, settings)


def _failsafe(hook: HostHook, direction: Direction, packet: Packet, settings: Settings) -> Judgement | None:
    inbound = direction is Direction.INGRESS
    here, back = settings.failsafe_inbound, settings.failsafe_outbound
    if not inbound:
        here, back = back, here
    far_end = packet.source if inbound else packet.destination
    for failsafe in here:
        if failsafe.covers(protocol=packet.protocol, port=packet.destination_port, far_end=far_end):
            field = "FailsafeInboundHostPorts" if inbound else "FailsafeOutboundHostPorts"
            return passed(Decider.FAILSAFE, f"port {failsafe.port} is a failsafe port ({field})")
    if hook is not HostHook.UNTRACKED:
        return None
    for failsafe in back:
        if failsafe.covers(protocol=packet.protocol, port=packet.source_port, far_end=far_end):
            field = "FailsafeOutboundHostPorts" if inbound else "FailsafeInboundHostPorts"
            return passed(Decider.FAILSAFE, f"a reply of failsafe port {failsafe.port} ({field}) stays tracked")
    return None
