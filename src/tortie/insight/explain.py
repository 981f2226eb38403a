"""Why one packet passes or does not: the source's egress, nodes on the way, the destination's ingress, each with its walk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tortie.api.services import ServicePort
from tortie.base.net import Address, Family
from tortie.insight.bystanders import Bystander, bystanders
from tortie.insight.ends import End, at_address, common_family, find, node_of, of_node, of_service, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.question import Question
from tortie.insight.route import Translation, route
from tortie.insight.world import World
from tortie.intent.keys import EndpointId, HostEndpointId
from tortie.intent.policy import Direction
from tortie.verdict.journey import Hook, Journey, Judge, Step, journey, replies
from tortie.verdict.judgement import Decider, Judgement, denied
from tortie.verdict.packet import ICMP, ICMPV6, PROTOCOLS_WITH_PORTS, Packet, protocol_name

_ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
_TO_ITSELF = "a pod that talks to itself never leaves its own network namespace"
_NODE_SENDS = frozenset({Hook.RAW_OUTPUT, Hook.FILTER_OUTPUT, Hook.MANGLE_POSTROUTING})
_NODE_RECEIVES = frozenset({Hook.RAW_PREROUTING, Hook.MANGLE_PREROUTING, Hook.FILTER_INPUT})
_WITHOUT_POLICY = frozenset({Decider.HOST_ACTION, Decider.NOT_POLICED, Decider.PEERING})


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
    hook: str = ""
    """Where a node is asked: which policies of which host endpoint, and at which of the kernel's hooks."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one question.

    `egress` is the last word of the sender's endpoint, `ingress` that of the receiver's; `way` is everything else that has a
    say, in the packet's order. Towards a service this is the answer for one backend, a denied one if there is any.
    """

    source: End
    destination: End
    packet: Packet
    egress: Half
    ingress: Half
    way: tuple[Half, ...] = ()
    notes: tuple[str, ...] = ()
    """What was assumed."""
    journey: Journey = field(default_factory=lambda: Journey(()))
    reply: Journey | None = None
    """How the first reply fares, where a node knows no connection that it could belong to."""
    service: End | None = None
    """The service that was asked for."""
    service_port: ServicePort | None = None
    backends: tuple["Explanation", ...] = ()
    """The answers for all backends of that service."""
    meaning: str = ""
    """What the address is that was asked for, where that is not simply the destination's."""
    pending: "Explanation | None" = None
    """The answer with staged policies in force; None if there are none."""

    @property
    def allowed(self) -> bool:
        """True if all that has a say lets the packet pass."""
        return self.egress.allowed and self.ingress.allowed and all(half.allowed for half in self.way)

    @property
    def deciding(self) -> Half:
        """What a person wants to hear of first: what denies, else the last that was asked."""
        for half in (self.egress, *self.way, self.ingress):
            if not half.allowed:
                return half
        if self.ingress.judgement is not None or (self.egress.judgement is None and self.destination.workload is not None):
            return self.ingress
        return self.egress

    @property
    def replies(self) -> str:
        """What becomes of answers to the packet."""
        if not self.allowed:
            return "There is nothing to reply to: the connection is never made."
        if self.reply is None:
            return "Replies pass without being asked: they belong to an allowed connection."
        why = "Replies need a rule of their own, because a doNotTrack policy keeps no connection"
        said = self.reply.deciding
        reason = "" if said is None else f" ({said.judgement.decided_by.reason})"
        return f"{why}: they {'pass' if self.reply.allowed else 'do not pass'}{reason}."


def explain(world: World, source: str, destination: str, *, question: Question) -> Explanation:
    """Answer for ends as a person writes them (see `ends.find`). Raises InsightError."""
    return explain_ends(world, find(world, source), find(world, destination), question=question)


def explain_ends(world: World, source: End, destination: End, *, question: Question, traced: bool = True) -> Explanation:
    """Answer for ends that are already resolved. Raises NoAddress.

    Without `traced` the answer is the same but for the walks, the bystanders and `pending`, and much quicker: for tables.
    """
    _refuse_what_sends_nothing(source)
    family = question.family or common_family(source, destination)
    asked = replace(question, family=family)
    if destination.service is not None:
        explanation = _to_service(world, source, destination, question=asked, traced=traced)
    elif destination.floating is not None:
        explanation = _to_floating(world, source, destination, question=asked, traced=traced)
    elif destination.virtual:
        explanation = _to_virtual(world, source, destination, question=asked, traced=traced)
    else:
        explanation = _directly(world, source, destination, question=asked, traced=traced)
    if source.nowhere:
        note = f"{source.text} counts as an address outside the cluster: {source.nowhere}"
        explanation = replace(explanation, notes=(*explanation.notes, note))
    pending = world.pending() if traced else None
    if pending is None:
        return explanation
    return replace(explanation, pending=explain_ends(pending, source, destination, question=question))


def _refuse_what_sends_nothing(source: End) -> None:
    if source.service is not None:
        raise InsightError(f"{source.text} is a service, which sends nothing: ask for the pods behind it")
    if source.floating is not None:
        owners = " or ".join(f"{workload.namespace}/{workload.name}" for workload, _ in source.floating.owners)
        raise InsightError(f"{source.text} is a floating address, which nothing is sent from: ask for {owners}, whose it is")
    if source.virtual:
        raise InsightError(
            f"{source.text} is where workloads find their node for BGP, which sends nothing from it: ask for node/NAME"
        )


def _answer(
    world: World,
    source: End,
    destination: End,
    *,
    packet: Packet,
    traced: bool,
    translation: Translation | None = None,
) -> Explanation:
    way = route(world, source, destination, packet=packet, translation=translation)
    judge_of: Callable[[str], Judge] = world.judge if traced else world.quick
    judged = journey(way.crossings, judge_of)
    sent, received, rest = _sides(judged.steps, source, destination)
    reply = replies(way.crossings, judged, judge_of) if any(judged.untracked) else None
    return Explanation(
        source=source,
        destination=destination,
        packet=packet,
        egress=_half(world, sent, end=source, traced=traced) if sent else _unasked_egress(source, destination),
        ingress=_half(world, received, end=destination, traced=traced) if received else _unasked_ingress(source, destination),
        way=tuple(_half(world, step, end=_end_of(world, step), traced=traced) for step in rest),
        notes=way.notes,
        journey=judged,
        reply=reply,
    )


def _directly(world: World, source: End, destination: End, *, question: Question, traced: bool) -> Explanation:
    """To an address that is its owner's own, which of a node's ports a service may have taken."""
    packet = _packet(source, destination, question=question)
    for service in world.services.values() if destination.node else ():
        port, what = service.takes_of_nodes(packet.protocol, packet.destination_port, address=packet.destination)
        if port is not None:
            end = replace(of_service(service), addresses=(packet.destination,))
            asked = replace(question, port=port.port)
            explanation = _to_service(world, source, end, question=asked, traced=traced, by_node=(destination.node, packet))
            number = f"{protocol_name(packet.protocol)} port {packet.destination_port} of {packet.destination}"
            return replace(explanation, meaning=f"{number} is the {what} of {end.text}: node/{destination.node} translates it")
    return _answer(world, source, destination, packet=packet, traced=traced)


def _to_floating(world: World, source: End, destination: End, *, question: Question, traced: bool) -> Explanation:
    """To the workload behind a floating address, whose own node translates it."""
    floating = destination.floating
    assert floating is not None
    here = node_of(source)
    workload, own = floating.leads_to(here)
    end, node = of_workload(workload), f"node/{workload.node}"
    sent = _packet(source, replace(destination, workload=workload), question=question)
    answer = _answer(
        world,
        source,
        end,
        packet=replace(sent, destination=own),
        translation=Translation(sent, workload.node),
        traced=traced,
    )
    who = (
        "policy before translation sees"
        if here in ("", workload.node)
        else f"policy before that, {source.text}'s egress too, sees"
    )
    meaning = f"{floating.address} is a floating address of {end.text}: {node} translates it to {own}; {who} {floating.address}"
    notes = []
    if here != workload.node and not _told_of(world, floating.address):
        notes.append(
            f"{floating.address} lies in no pool that other nodes are told of: the network is assumed to lead it to {node}"
        )
    if len(floating.owners) > 1:
        others = ", ".join(
            f"{each.namespace}/{each.name} on node/{each.node}" for each, _ in floating.owners if each != workload
        )
        notes.append(f"{floating.address} is also a floating address of {others}: which node gets the packet is assumed")
    return replace(answer, meaning=meaning, notes=(*answer.notes, *notes))


def _told_of(world: World, address: Address) -> bool:
    """True if other nodes learn of an address by BGP."""
    pools = [pool for pool in world.state.pools.values() if pool.cidr.contains(address)]
    return bool(pools) and all(pool.ipip_mode == pool.vxlan_mode == "Never" for pool in pools)


def _to_virtual(world: World, source: End, destination: End, *, question: Question, traced: bool) -> Explanation:
    """To the sender's own node, if it has this address: it does where a workload is its BGP peer."""
    name, text = node_of(source), destination.text
    packet = _packet(source, destination, question=question)
    ports = {end.port for end in world.peerings(name) if end.address == packet.destination}
    what = f"{text} is where workloads that are BGP peers find their own node"
    if not ports:
        whose = (
            f"and no workload of node/{name} is one (BGPPeer spec.localWorkloadSelector)" if name else "and nobody else does"
        )
        nothing = replace(destination, nowhere=f"{what}, {whose}: it leads nowhere")
        return _answer(world, source, nothing, packet=packet, traced=traced)
    node = replace(of_node(world, name), addresses=(packet.destination,), synthetic_address=False)
    meaning = f"{what}: from {source.text} it is node/{name} itself, which speaks BGP there at TCP port {min(ports)}"
    return replace(_answer(world, source, node, packet=packet, traced=traced), meaning=meaning)


def _to_service(
    world: World,
    source: End,
    destination: End,
    *,
    question: Question,
    traced: bool,
    by_node: tuple[str, Packet] | None = None,
) -> Explanation:
    """What becomes of a connection to a service: one answer for each backend that it may be led to.

    `by_node`: it goes to this node's own address, and as this packet; else the node that it meets first translates it.
    """
    service, family = destination.service, question.family
    assert service is not None
    assert family is not None
    port, backends = service.behind(question.protocol, question.port, family=family)
    own = next((address for address in destination.addresses if address.family is family), None)
    here, local = node_of(source), ""
    if by_node is not None and service.keeps_outside and here != by_node[0]:
        local = f"externalTrafficPolicy is Local, and no ready backend is on node/{by_node[0]}"
    elif by_node is None and service.keeps_inside and here:
        local = f"internalTrafficPolicy is Local, and no ready backend is on node/{here}"
    answers = []
    for backend in backends:
        end = at_address(world, backend.address)
        if local and node_of(end) != (here if by_node is None else by_node[0]):
            continue
        packet = _packet(source, end, question=replace(question, port=backend.port))
        translation = None
        if by_node is not None:
            translation = Translation(by_node[1], by_node[0], hides_sender=not service.keeps_outside)
        elif own is not None:
            translation = Translation(replace(packet, destination=own, destination_port=port.port))
        answers.append(_answer(world, source, end, packet=packet, translation=translation, traced=traced))
    if not answers:
        raise InsightError(f"nothing answers {source.text} at svc/{service.namespace}/{service.name}: its {local}")
    chosen = next((answer for answer in answers if not answer.allowed), answers[0])
    notes = list(chosen.notes)
    if not here and by_node is None:
        other = "" if service.keeps_outside else "; by another node kube-proxy would give it that node's address"
        notes.append(f"{source.text} is assumed to come in by the node of each backend{other}")
    return replace(chosen, service=destination, service_port=port, backends=tuple(answers), notes=tuple(notes))


def _packet(source: End, destination: End, *, question: Question) -> Packet:
    family = question.family
    assert family is not None
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
    ports = destination.node_ports if destination.workload is None else destination.workload.ports
    for port in ports:
        if port.name == name and port.protocol == protocol:
            return port.number
    known = ", ".join(f"{protocol_name(port.protocol).lower()}/{port.name}" for port in ports) or "none"
    raise InsightError(f"{destination.text} declares no {protocol_name(protocol)} port {name!r}; its named ports: {known}")


def _sides(steps: Sequence[Step], source: End, destination: End) -> tuple[Step | None, Step | None, list[Step]]:
    """The last word of the sender's endpoint, that of the receiver's, and all other steps in order."""
    sent = _last(steps, source, Direction.EGRESS, _NODE_SENDS)
    received = _last(steps, destination, Direction.INGRESS, _NODE_RECEIVES)
    return sent, received, [step for step in steps if step is not sent and step is not received]


def _last(steps: Sequence[Step], end: End, direction: Direction, hooks: frozenset[Hook]) -> Step | None:
    if end.workload is not None:
        own = [step for step in steps if step.direction is direction and step.endpoint == end.workload.id]
    else:
        # What a node forwards for others is no word of its own.
        own = [
            step
            for step in steps
            if step.direction is direction
            and end.node
            and step.node == end.node
            and step.hook in hooks
            and not isinstance(step.endpoint, EndpointId)
        ]
    return own[-1] if own else None


def _unasked_egress(source: End, destination: End) -> Half:
    if source.workload is not None:
        return Half(Direction.EGRESS, source, True, _TO_ITSELF)
    if source.node:
        return Half(Direction.EGRESS, source, True, "a node's own traffic: no host endpoint has a say")
    return Half(Direction.EGRESS, source, True, "the sender is outside the cluster: no egress policy applies")


def _unasked_ingress(source: End, destination: End) -> Half:
    if destination.nowhere:
        nothing = denied(Decider.NOWHERE, destination.nowhere)
        return Half(Direction.INGRESS, destination, False, destination.nowhere, nothing)
    if destination.workload is not None:
        return Half(Direction.INGRESS, destination, True, _TO_ITSELF)
    what = (
        "a node: no host endpoint has a say"
        if destination.node
        else "an address outside the cluster: no ingress policy applies"
    )
    return Half(Direction.INGRESS, destination, True, what)


def _half(world: World, step: Step, *, end: End, traced: bool) -> Half:
    decision = step.judgement.decided_by
    location = world.location(decision.owner, step.direction, decision.rule_index)
    others = bystanders(world, step) if traced and step.judgement.trace else ()
    judgement = None if decision.decider in _WITHOUT_POLICY else step.judgement
    return Half(step.direction, end, step.judgement.allowed, decision.reason, judgement, location, others, hook=_hook(step))


def _hook(step: Step) -> str:
    if isinstance(step.endpoint, HostEndpointId) and step.host_hook is not None:
        return f"{step.host_hook.value} policy of host endpoint {step.endpoint.name}, {step.hook.value}"
    return "" if isinstance(step.endpoint, EndpointId) else step.hook.value


def _end_of(world: World, step: Step) -> End:
    """Whose step it is, for steps that are no last word of an end."""
    if isinstance(step.endpoint, EndpointId):
        found = next((each for each in world.workloads.values() if each.id == step.endpoint), None)
        if found is not None:
            return of_workload(found)
    return End(f"node/{step.node}", (), node=step.node)
