"""The whole way of a packet: every hook that has a say, in order, through every node (policy-semantics.md, sections 1 to 3).

    raw        a workload's source address; untracked policy of the host endpoint that it comes in by
    mangle     pre-DNAT policy, which sees the destination that the sender wrote
    (translation)
    forward    from the host endpoint, from the workload, to the workload, to the host endpoint, service loops
    input      tunnels; a workload: its egress policy and DefaultEndpointToHostAction; else the host endpoint's own policy
    output     untracked policy; tunnels; the host endpoint's own policy; to a workload nothing

Only the first packet of a connection is judged; what belongs to a connection passes by conntrack, and `replies` says for
which crossings that does not hold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from tortie.base.net import Family, parse_prefix
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.keys import EndpointId, HostEndpointId
from tortie.intent.policy import Direction
from tortie.intent.routing import WorkloadEnd
from tortie.intent.state import State
from tortie.verdict.evaluate import judge, spoofed
from tortie.verdict.host import HostHook, judge_host
from tortie.verdict.judgement import Decider, Judgement, denied, passed
from tortie.verdict.packet import ICMPV6, IPIP, TCP, UDP, Packet
from tortie.verdict.settings import Settings, settings_of

_TO_HOST_ICMPV6 = frozenset({130, 131, 132, 133, 135, 136})
_LOOPBACK = parse_prefix("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class AtWorkload:
    """A packet comes from a workload of the node, or goes to it."""

    endpoint: EndpointId


@dataclass(frozen=True, slots=True)
class AtInterface:
    """A packet comes in or goes out by an interface that is no workload's. `endpoint`: whose it is, "*" included."""

    endpoint: HostEndpoint | None = None


@dataclass(frozen=True, slots=True)
class AtNode:
    """The node's own: a process sends or receives the packet."""


Side = AtWorkload | AtInterface | AtNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A packet's way through one node. `wildcard` is the node's host endpoint "*", which is also asked about workloads'
    interfaces. `before_dnat`: the packet as it came, if the node translates its destination; `packet` is what it becomes.
    `peerings`: where workloads that are BGP peers find the node, if that may matter."""

    node: str
    enters: Side
    leaves: Side
    packet: Packet
    wildcard: HostEndpoint | None = None
    before_dnat: Packet | None = None
    peerings: tuple[WorkloadEnd, ...] = ()


class Hook(Enum):
    """Where in a node a step happens: Calico's table and the kernel's hook."""

    RAW_PREROUTING = "raw prerouting"
    MANGLE_PREROUTING = "mangle prerouting"
    FILTER_FORWARD = "filter forward"
    FILTER_INPUT = "filter input"
    RAW_OUTPUT = "raw output"
    FILTER_OUTPUT = "filter output"
    MANGLE_POSTROUTING = "mangle postrouting"


@dataclass(frozen=True, slots=True)
class Step:
    """One say. `endpoint` is None where the node itself decides."""

    node: str
    hook: Hook
    direction: Direction
    endpoint: EndpointId | HostEndpointId | None
    judgement: Judgement
    packet: Packet
    host_hook: HostHook | None = None
    """Which of a host endpoint's policies were asked."""


@dataclass(frozen=True, slots=True)
class Journey:
    """All steps of the way, also those behind one that denies: what they would say."""

    steps: tuple[Step, ...]
    untracked: tuple[bool, ...] = ()
    """For each crossing, whether it leaves no connection behind."""

    @property
    def allowed(self) -> bool:
        """True if no step denies."""
        return all(step.judgement.allowed for step in self.steps)

    @property
    def deciding(self) -> Step | None:
        """The first step that denies, else the last that something decided; None where nothing had a say."""
        for step in self.steps:
            if not step.judgement.allowed:
                return step
        said = [step for step in self.steps if step.judgement.decided_by.decider is not Decider.NO_DECISION]
        return said[-1] if said else None


class Judge(Protocol):
    """Who is asked about endpoints: `ThoroughJudge`, or `quick.QuickJudge`."""

    state: State
    settings: Settings

    def at_workload(self, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
        """See `evaluate.judge`."""

    def at_host(self, endpoint: HostEndpoint, *, hook: HostHook, direction: Direction, packet: Packet) -> Judgement:
        """See `host.judge_host`."""


class ThoroughJudge:
    """Gives every reason."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.settings = settings_of(state.config)

    def at_workload(self, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
        """See `evaluate.judge`."""
        return judge(self.state, endpoint, direction=direction, packet=packet)

    def at_host(self, endpoint: HostEndpoint, *, hook: HostHook, direction: Direction, packet: Packet) -> Judgement:
        """See `host.judge_host`."""
        return judge_host(self.state, endpoint, hook=hook, direction=direction, packet=packet)


def journey(crossings: tuple[Crossing, ...], judge_of: Callable[[str], Judge]) -> Journey:
    """Judge every crossing by its node's judge."""
    passages = [_Passage(crossing, judge_of(crossing.node)) for crossing in crossings]
    steps = tuple(step for passage in passages for step in passage.steps())
    return Journey(steps, tuple(passage.untracked for passage in passages))


def replies(crossings: tuple[Crossing, ...], gone: Journey, judge_of: Callable[[str], Judge]) -> Journey:
    """The first reply to a packet that went `gone`: nodes that know the connection let it pass, the others judge it."""
    steps: list[Step] = []
    for crossing, untracked in zip(reversed(crossings), reversed(gone.untracked), strict=True):
        if untracked:
            back = Crossing(
                node=crossing.node,
                enters=crossing.leaves,
                leaves=crossing.enters,
                packet=crossing.packet.reply(),
                wildcard=crossing.wildcard,
            )
            steps += _Passage(back, judge_of(crossing.node), is_reply=True).steps()
    return Journey(tuple(steps))


class _Passage:
    """One packet in one node. `steps` may be run once; `untracked` is known behind it."""

    def __init__(self, crossing: Crossing, judge: Judge, *, is_reply: bool = False) -> None:
        self._crossing = crossing
        self._judge = judge
        self._is_reply = is_reply
        self._accepted = (
            False  # the accept mark: later hooks of the host endpoint that it came in by, or goes out by, are skipped
        )
        self.untracked = False

    def steps(self) -> Iterator[Step]:
        """The steps, in order."""
        match self._crossing.enters, self._crossing.leaves:
            case AtNode(), AtNode():
                return
            case AtNode(), _:
                yield from self._output()
            case _:
                yield from self._prerouting()
                if self._untranslated:
                    yield self._lost(Hook.RAW_PREROUTING, Direction.INGRESS)
                elif isinstance(self._crossing.leaves, AtNode):
                    yield from self._input()
                else:
                    yield from self._forward()

    @property
    def _untranslated(self) -> bool:
        return self.untracked and self._crossing.before_dnat is not None

    def _lost(self, hook: Hook, direction: Direction) -> Step:
        """Translation belongs to connections: without one the packet keeps an address that is nobody's own."""
        assert self._crossing.before_dnat is not None
        address = self._crossing.before_dnat.destination
        reason = f"a packet that is not tracked (doNotTrack) is not translated either: nothing answers at {address}"
        return self._step(hook, direction, None, judgement=denied(Decider.NOT_TRANSLATED, reason))

    def _prerouting(self) -> Iterator[Step]:
        crossing = self._crossing
        came = crossing.before_dnat or crossing.packet
        if isinstance(crossing.enters, AtWorkload):
            endpoint = self._judge.state.endpoints.get(crossing.enters.endpoint)
            refused = None if endpoint is None else spoofed(endpoint, came, self._judge.settings)
            if refused is not None:
                yield self._step(Hook.RAW_PREROUTING, Direction.EGRESS, crossing.enters.endpoint, judgement=refused)
        else:
            yield from self._untracked(Hook.RAW_PREROUTING, Direction.INGRESS, crossing.enters, packet=came)
        host = self._host_at(crossing.enters)
        if host is not None and not self._accepted:
            step = self._at_host(Hook.MANGLE_PREROUTING, Direction.INGRESS, host, what=HostHook.PRE_DNAT, packet=came)
            self._accepted = step.judgement.accepted
            if host.pre_dnat:
                yield step

    def _untracked(self, hook: Hook, direction: Direction, side: Side, *, packet: Packet) -> Iterator[Step]:
        host = side.endpoint if isinstance(side, AtInterface) else None
        if host is None or not host.untracked:
            return
        step = self._at_host(hook, direction, host, what=HostHook.UNTRACKED, packet=packet)
        self._accepted = self.untracked = step.judgement.accepted
        yield step

    def _forward(self) -> Iterator[Step]:
        crossing, forward = self._crossing, Hook.FILTER_FORWARD
        before, behind = self._host_at(crossing.enters), self._host_at(crossing.leaves)
        if before is not None and not self._accepted:
            yield self._at_host(forward, Direction.INGRESS, before, what=HostHook.FORWARD, packet=crossing.packet)
        if isinstance(crossing.enters, AtWorkload):
            yield self._at_workload(forward, Direction.EGRESS, crossing.enters)
        if isinstance(crossing.leaves, AtWorkload):
            yield self._at_workload(forward, Direction.INGRESS, crossing.leaves)
        if behind is not None:
            yield self._at_host(forward, Direction.EGRESS, behind, what=HostHook.FORWARD, packet=crossing.packet)
        action = self._judge.settings.service_loop
        if action != "disabled" and any(net.contains(crossing.packet.destination) for net in self._judge.state.service_nets):
            reason = f"{crossing.packet.destination} belongs to no service: ServiceLoopPrevention is {action.capitalize()}"
            yield self._step(forward, Direction.EGRESS, None, judgement=denied(Decider.SERVICE_LOOP, reason))

    def _input(self) -> Iterator[Step]:
        crossing, hook = self._crossing, Hook.FILTER_INPUT
        host = self._host_at(crossing.enters)
        tunnel = self._tunnel(inbound=True)
        if tunnel is not None:
            yield self._step(hook, Direction.INGRESS, None, judgement=tunnel)
        elif isinstance(crossing.enters, AtWorkload):
            yield from self._workload_to_host(crossing.enters)
        elif host is not None and not self._accepted:
            yield self._at_host(hook, Direction.INGRESS, host, what=HostHook.NORMAL, packet=crossing.packet)

    def _workload_to_host(self, side: AtWorkload) -> Iterator[Step]:
        hook, packet = Hook.FILTER_INPUT, self._crossing.packet
        if packet.protocol == ICMPV6 and packet.icmp_type in _TO_HOST_ICMPV6:
            reason = f"ICMPv6 type {packet.icmp_type} to the node is neighbour discovery, which always passes"
            yield self._step(hook, Direction.EGRESS, side.endpoint, judgement=passed(Decider.NEIGHBOUR_DISCOVERY, reason))
            return
        if packet.family is Family.V4 and _LOOPBACK.contains(packet.destination) and self._crossing.before_dnat is None:
            reason = "the node's loopback addresses are for the node alone"
            yield self._step(hook, Direction.INGRESS, None, judgement=denied(Decider.LOOPBACK, reason))
        yield self._at_workload(hook, Direction.EGRESS, side)
        if self._opens_bgp(side):
            reason = "BGP of a workload that is a peer of its node, which listens whatever DefaultEndpointToHostAction says"
            yield self._step(hook, Direction.INGRESS, None, judgement=passed(Decider.PEERING, reason))
            return
        action = self._judge.settings.endpoint_to_host
        reason = f"traffic from a pod to its own node: DefaultEndpointToHostAction is {action.capitalize()}"
        verdict = denied if action == "drop" else passed
        yield self._step(hook, Direction.INGRESS, None, judgement=verdict(Decider.HOST_ACTION, reason))

    def _opens_bgp(self, side: AtWorkload) -> bool:
        endpoint, packet = self._judge.state.endpoints.get(side.endpoint), self._crossing.packet
        if endpoint is None or packet.protocol != TCP or packet.destination_port is None:
            return False
        return WorkloadEnd(endpoint.interface, packet.destination, packet.destination_port) in self._crossing.peerings

    def _output(self) -> Iterator[Step]:
        crossing = self._crossing
        if isinstance(crossing.leaves, AtWorkload):
            reason = "a node always reaches its own pods (health checks depend on it)"
            unpoliced = passed(Decider.NOT_POLICED, reason)
            yield self._step(Hook.FILTER_OUTPUT, Direction.INGRESS, crossing.leaves.endpoint, judgement=unpoliced)
            return
        came = crossing.before_dnat or crossing.packet
        yield from self._untracked(Hook.RAW_OUTPUT, Direction.EGRESS, crossing.leaves, packet=came)
        host = self._host_at(crossing.leaves)
        tunnel = self._tunnel(inbound=False)
        if self._untranslated:
            yield self._lost(Hook.RAW_OUTPUT, Direction.EGRESS)
        if self._accepted:
            return
        if tunnel is not None:
            yield self._step(Hook.FILTER_OUTPUT, Direction.EGRESS, None, judgement=tunnel)
        elif host is not None:
            # Only behind the translation is it known where the packet goes out.
            hook = Hook.FILTER_OUTPUT if crossing.before_dnat is None else Hook.MANGLE_POSTROUTING
            yield self._at_host(hook, Direction.EGRESS, host, what=HostHook.NORMAL, packet=crossing.packet)

    def _tunnel(self, *, inbound: bool) -> Judgement | None:
        """What is done about encapsulated packets between nodes, None for all others."""
        packet, settings = self._crossing.packet, self._judge.settings
        if packet.protocol == UDP and (packet.family, packet.destination_port) in settings.wireguard_ports:
            return passed(Decider.TUNNEL, "WireGuard is the nodes' own")
        far = packet.source if inbound else packet.destination
        if packet.protocol == IPIP and packet.family is Family.V4 and _uses_ipip(self._judge):
            what = "IPIP"
        elif (
            packet.protocol == UDP
            and packet.destination_port == settings.vxlan_port
            and _uses_vxlan(self._judge, packet.family)
        ):
            what = "VXLAN"
        else:
            return None
        hosts = self._judge.state.hosts.values()
        known = any(found is not None and found.address == far for host in hosts for found in (host.ipv4, host.ipv6))
        if known or any(net.contains(far) for net in settings.external_nodes):
            return passed(Decider.TUNNEL, f"{what} between nodes is the cluster's own")
        return denied(Decider.TUNNEL, f"{what} from {far}, which is no node's address") if inbound else None

    def _at_workload(self, hook: Hook, direction: Direction, side: AtWorkload) -> Step:
        packet = self._crossing.packet
        invalid = self._invalid()
        judgement = invalid or self._judge.at_workload(side.endpoint, direction=direction, packet=packet)
        return self._step(hook, direction, side.endpoint, judgement=judgement)

    def _at_host(self, hook: Hook, direction: Direction, host: HostEndpoint, *, what: HostHook, packet: Packet) -> Step:
        tracked = what is not HostHook.UNTRACKED
        invalid = self._invalid() if tracked else None
        judgement = invalid or self._judge.at_host(host, hook=what, direction=direction, packet=packet)
        return Step(self._crossing.node, hook, direction, host.id, judgement, packet, what)

    def _invalid(self) -> Judgement | None:
        """A reply that conntrack has no connection for: to TCP it is invalid, to others the first packet of another."""
        if not self._is_reply or self._accepted or not self._judge.settings.drop_invalid:
            return None
        if self._crossing.packet.protocol != TCP:
            return None
        return denied(Decider.INVALID, "conntrack knows no connection of this reply, and drops it as invalid")

    def _host_at(self, side: Side) -> HostEndpoint | None:
        """Whose policy is asked at a side, besides a workload's."""
        match side:
            case AtInterface(endpoint=endpoint):
                return endpoint
            case AtWorkload():
                return self._crossing.wildcard
            case AtNode():
                return None

    def _step(
        self, hook: Hook, direction: Direction, endpoint: EndpointId | HostEndpointId | None, *, judgement: Judgement
    ) -> Step:
        return Step(self._crossing.node, hook, direction, endpoint, judgement, self._crossing.packet)


def _uses_ipip(judge: Judge) -> bool:
    said = judge.settings.ipip_enabled
    return any(pool.ipip_mode != "Never" for pool in judge.state.pools.values()) if said is None else said


def _uses_vxlan(judge: Judge, family: Family) -> bool:
    said = judge.settings.vxlan_enabled if family is Family.V4 else None
    pools = judge.state.pools.values()
    return any(pool.vxlan_mode != "Never" and pool.cidr.family is family for pool in pools) if said is None else said
