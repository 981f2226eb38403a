"""Why one packet passes or does not: the source's egress, then the destination's ingress, each with its whole walk."""

from dataclasses import dataclass
from typing import NamedTuple

from tortie.base.net import Family
from tortie.insight.ends import End, common_family, find
from tortie.insight.errors import InsightError
from tortie.insight.question import Question
from tortie.insight.world import Workload, World
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Direction
from tortie.verdict.evaluate import judge
from tortie.verdict.judgement import Judgement
from tortie.verdict.packet import ICMP, ICMPV6, PROTOCOLS_WITH_PORTS, Packet, protocol_name

_ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}


class Bystander(NamedTuple):
    """A policy that was not asked, and why."""

    policy: PolicyId
    reason: str


@dataclass(frozen=True, slots=True)
class Half:
    """What one end says. `judgement` is None where no policy is asked there, and `reason` then says why."""

    direction: Direction
    end: End
    allowed: bool
    reason: str
    judgement: Judgement | None = None
    location: str = ""
    """`file:line` of what decided, "" if not known."""
    bystanders: tuple[Bystander, ...] = ()
    """Policies that could apply here and do not."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one question."""

    source: End
    destination: End
    packet: Packet
    egress: Half
    ingress: Half

    @property
    def allowed(self) -> bool:
        """True if both ends let the packet pass."""
        return self.egress.allowed and self.ingress.allowed

    @property
    def deciding(self) -> Half:
        """The end that a person wants to hear of first: the one that denies, else the last that was asked."""
        if not self.egress.allowed:
            return self.egress
        if not self.ingress.allowed or self.ingress.judgement is not None:
            return self.ingress
        return self.egress

    @property
    def replies(self) -> str:
        """What becomes of answers to the packet."""
        if self.allowed:
            return "Replies pass without being asked: they belong to an allowed connection."
        return "There is nothing to reply to: the connection is never made."


def explain(world: World, source: str, destination: str, *, question: Question) -> Explanation:
    """Answer for ends as a person writes them (see `ends.find`). Raises InsightError."""
    return explain_ends(world, find(world, source), find(world, destination), question=question)


def explain_ends(world: World, source: End, destination: End, *, question: Question) -> Explanation:
    """Answer for ends that are already resolved. Raises NoAddress."""
    family = question.family or common_family(source, destination)
    packet = _packet(source, destination, family=family, question=question)
    return Explanation(
        source=source,
        destination=destination,
        packet=packet,
        egress=_egress(world, source, destination, packet=packet),
        ingress=_ingress(world, source, destination, packet=packet),
    )


def _packet(source: End, destination: End, *, family: Family, question: Question) -> Packet:
    protocol, port = question.protocol, question.port
    if protocol in (ICMP, ICMPV6):
        protocol = ICMP if family is Family.V4 else ICMPV6  # "icmp" means ping, whatever the family calls it
    if isinstance(port, str):
        port = _named_port(destination, port, protocol=protocol)
    has_ports = protocol in PROTOCOLS_WITH_PORTS
    icmp_type = (port if port is not None else _ECHO_REQUEST[protocol]) if protocol in _ECHO_REQUEST else None
    return Packet(
        family=family,
        source=source.address(family),
        destination=destination.address(family),
        protocol=protocol,
        source_port=question.source_port if has_ports else None,
        destination_port=port if has_ports else None,
        icmp_type=icmp_type,
        icmp_code=None if icmp_type is None else question.icmp_code,
    )


def _named_port(destination: End, name: str, *, protocol: int) -> int:
    ports = () if destination.workload is None else destination.workload.ports
    for port in ports:
        if port.name == name and port.protocol == protocol:
            return port.number
    known = ", ".join(f"{protocol_name(port.protocol).lower()}/{port.name}" for port in ports) or "none"
    raise InsightError(f"{destination.text} declares no {protocol_name(protocol)} port {name!r}; its named ports: {known}")


def _egress(world: World, source: End, destination: End, *, packet: Packet) -> Half:
    direction = Direction.EGRESS
    if source.workload is None:
        what = "a node's own traffic" if source.node else "the sender is outside the cluster"
        return Half(direction, source, True, f"{what}: no egress policy of a pod applies")
    if source.workload == destination.workload:
        return Half(direction, source, True, "a pod that talks to itself never leaves its own network namespace")
    return _judged(world, source, direction, packet=packet)


def _ingress(world: World, source: End, destination: End, *, packet: Packet) -> Half:
    direction = Direction.INGRESS
    workload = destination.workload
    if workload is None:
        return _at_host(world, source, destination)
    if source.workload == workload:
        return Half(direction, destination, True, "a pod that talks to itself never leaves its own network namespace")
    if source.node and source.node == workload.node:
        return Half(direction, destination, True, "a node always reaches its own pods (health checks depend on it)")
    return _judged(world, destination, direction, packet=packet)


def _at_host(world: World, source: End, destination: End) -> Half:
    direction = Direction.INGRESS
    if destination.node and source.workload is not None and source.workload.node == destination.node:
        action = world.state.config.get("DefaultEndpointToHostAction", "Drop").capitalize()
        reason = f"traffic from a pod to its own node: DefaultEndpointToHostAction is {action}"
        return Half(direction, destination, action != "Drop", reason)
    what = "a node" if destination.node else "an address outside the cluster"
    return Half(direction, destination, True, f"{what}: no ingress policy of a pod applies")


def _judged(world: World, end: End, direction: Direction, *, packet: Packet) -> Half:
    assert end.workload is not None
    judgement = judge(world.state, end.workload.id, direction=direction, packet=packet)
    decision = judgement.decided_by
    location = world.location(decision.owner, direction, decision.rule_index)
    bystanders = _bystanders(world, end.workload, direction)
    return Half(direction, end, judgement.allowed, decision.reason, judgement, location, bystanders)


def _bystanders(world: World, workload: Workload, direction: Direction) -> tuple[Bystander, ...]:
    endpoint = world.state.endpoints[workload.id]
    asked = {policy for tier in endpoint.tiers for policy in tier.policies(direction)}
    selecting = {policy for tier in endpoint.tiers for policy in (*tier.ingress, *tier.egress)}
    return tuple(
        Bystander(policy, f"is not about {direction.value.lower()}" if policy in selecting else "does not select it")
        for policy in world.policies
        if policy not in asked and policy.namespace in ("", workload.namespace)
    )
