"""The rules of one endpoint in the order in which packets meet them: tiers, profiles, the end; sets with their members."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tortie.insight.document import API_VERSION, owner_name
from tortie.insight.ends import find
from tortie.insight.errors import UnknownEnd
from tortie.insight.world import World
from tortie.intent.endpoint import Bandwidth, Endpoint, HostEndpoint, PacketRate, Tier
from tortie.intent.keys import PolicyId, ProfileId, SetId
from tortie.intent.policy import Direction, Match, PortRange, Rule, rules
from tortie.intent.sets import PortMember
from tortie.intent.state import State
from tortie.verdict.packet import PROTOCOL_NAMES

_HOST_STAGES = (
    ("untracked", "doNotTrack policies, before connection tracking"),
    ("pre_dnat", "preDNAT policies, before destination NAT"),
    ("forward", "applyOnForward policies, for traffic that the node forwards"),
    ("normal", "policies for traffic of the node itself"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One list of tiers and how it ends. `name` is "" for a workload, else the kind of a host endpoint's policies."""

    name: str
    about: str
    tiers: tuple[Tier, ...]
    profiles: tuple[ProfileId, ...]
    end: str
    """What happens to a packet that nothing decided."""


@dataclass(frozen=True, slots=True)
class Effective:
    """Everything that applies to one endpoint. `endpoint` is what it is called; `facts` are node, addresses and the like."""

    endpoint: str
    facts: Mapping[str, Any]
    limits: Mapping[str, str]
    stages: tuple[Stage, ...]


def effective(world: World, text: str) -> list[Effective]:
    """`namespace/pod`, `node/NAME` (all host endpoints of that node) or `hep/NAME`. Raises UnknownEnd.

    A pod on its node's network, and an address of a node, stand for that node.
    """
    kind, _, name = text.partition("/")
    if kind in ("node", "hep"):
        wanted = [
            endpoint
            for endpoint_id, endpoint in sorted(world.state.host_endpoints.items())
            if name == (endpoint_id.node if kind == "node" else endpoint_id.name)
        ]
        if wanted:
            return [_host(endpoint) for endpoint in wanted]
        if kind == "hep":
            raise UnknownEnd(f"host endpoint {name} is not in the input")
        find(world, text)
        raise UnknownEnd(f"{text} has no host endpoint: no policy applies to the node's own traffic")
    end = find(world, text)
    if end.node:
        return effective(world, f"node/{end.node}")
    if end.workload is None:
        raise UnknownEnd(f"{text} is no endpoint: ask for namespace/pod, node/NAME or hep/NAME")
    return [_workload(world, world.state.endpoints[end.workload.id])]


def _workload(world: World, endpoint: Endpoint) -> Effective:
    facts = {
        "node": endpoint.id.node,
        "interface": endpoint.interface,
        "addresses": [str(prefix.network) for prefix in endpoint.addresses],
    }
    if endpoint.allowed_source_prefixes:
        facts["allowedSourcePrefixes"] = [str(prefix) for prefix in endpoint.allowed_source_prefixes]
    stage = Stage("", "", endpoint.tiers, endpoint.profiles, "deny")
    return Effective(endpoint.workload, facts, dict(_limits(endpoint)), (stage,))


def _host(endpoint: HostEndpoint) -> Effective:
    facts: dict[str, Any] = {"node": endpoint.id.node, "interface": endpoint.interface or "the one with an expected address"}
    if endpoint.expected_addresses:
        facts["expectedAddresses"] = [str(address) for address in endpoint.expected_addresses]
    stages = []
    for name, about in _HOST_STAGES:
        normal = name == "normal"
        profiles = endpoint.profiles if normal else ()
        tiers: tuple[Tier, ...] = getattr(endpoint, name)
        if tiers or normal:
            stages.append(Stage(name, about, tiers, profiles, "deny" if normal else "go on"))
    limits = {} if endpoint.dscp is None else {"dscp": str(endpoint.dscp)}
    return Effective(f"hep/{endpoint.id.name}", facts, limits, tuple(stages))


def _limits(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    for name, bandwidth in (("ingressBandwidth", endpoint.ingress_bandwidth), ("egressBandwidth", endpoint.egress_bandwidth)):
        if bandwidth is not None:
            yield name, _bandwidth(bandwidth)
    for name, rate in (("ingressPacketRate", endpoint.ingress_packet_rate), ("egressPacketRate", endpoint.egress_packet_rate)):
        if rate is not None:
            yield name, _rate(rate)
    for name, most in (
        ("ingressMaxConnections", endpoint.ingress_max_connections),
        ("egressMaxConnections", endpoint.egress_max_connections),
    ):
        if most is not None:
            yield name, str(most)
    if endpoint.dscp is not None:
        yield "dscp", str(endpoint.dscp)


def _bandwidth(limit: Bandwidth) -> str:
    peak = f", peak {limit.peak_rate_bits} bit/s" if limit.peak_rate_bits else ""
    return f"{limit.rate_bits} bit/s, burst {limit.burst_bits} bits{peak}"


def _rate(limit: PacketRate) -> str:
    return f"{limit.packets_per_second} packets/s, burst {limit.burst}"


# ---- as a document ----
def effective_document(world: World, found: Sequence[Effective], *, members: int | None = None) -> dict[str, Any]:
    """`kind: EffectivePolicy`. `members` limits how many members of a set are listed; None lists all."""
    items = [
        {
            "endpoint": each.endpoint,
            **each.facts,
            "limits": dict(each.limits),
            **{
                direction.value.lower(): [_stage(world, stage, direction, members=members) for stage in each.stages]
                for direction in (Direction.INGRESS, Direction.EGRESS)
            },
        }
        for each in found
    ]
    return {"apiVersion": API_VERSION, "kind": "EffectivePolicy", "items": items}


def _stage(world: World, stage: Stage, direction: Direction, *, members: int | None) -> dict[str, Any]:
    document: dict[str, Any] = {"stage": stage.name} if stage.name else {}
    document["tiers"] = [
        {
            "tier": tier.name,
            "defaultAction": default_action(world.state, tier, direction),
            "policies": [owner_document(world, policy, direction, members=members) for policy in tier.policies(direction)],
        }
        for tier in stage.tiers
        if tier.policies(direction)
    ]
    document["profiles"] = [owner_document(world, profile, direction, members=members) for profile in stage.profiles]
    document["end"] = stage.end
    return document


def default_action(state: State, tier: Tier, direction: Direction) -> str:
    """`Pass` or `Deny`: what the tier does in this direction to what none of its policies decided."""
    enforced = [
        policy for policy in tier.policies(direction) if policy not in state.policies or not state.policies[policy].staged
    ]
    return "Pass" if tier.default_pass or not enforced else "Deny"


def owner_document(
    world: World, owner_id: PolicyId | ProfileId, direction: Direction, *, members: int | None = None
) -> dict[str, Any]:
    """A policy or profile with its rules of one direction."""
    owner = world.state.policies.get(owner_id) if isinstance(owner_id, PolicyId) else world.state.profiles.get(owner_id)
    key = "policy" if isinstance(owner_id, PolicyId) else "profile"
    document: dict[str, Any] = {key: owner_name(owner_id)}
    location = world.location(owner_id, direction, None)
    if location:
        document["location"] = location
    if owner is None:
        return document | {"missing": True, "rules": []}
    if getattr(owner, "staged", False):
        document["staged"] = True
    document["rules"] = [_rule(world, rule, members=members) for rule in rules(owner, direction)]
    return document


def _rule(world: World, rule: Rule, *, members: int | None) -> dict[str, Any]:
    document: dict[str, Any] = {"index": rule.origin.index, "action": rule.action.value}
    if rule.text:
        document["text"] = rule.text
    if rule.ip_version is not None:
        document["ipVersion"] = rule.ip_version
    for name, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        if protocol is not None:
            document[name] = PROTOCOL_NAMES.get(protocol, protocol)
    for name, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is not None:
            document[name] = {"type": icmp.type} | ({} if icmp.code is None else {"code": icmp.code})
    for name, side in (("source", rule.source), ("destination", rule.destination)):
        found = _side(world.state, side, members=members)
        if found:
            document[name] = found
    if rule.unenforceable is not None:
        document["unenforceable"] = rule.unenforceable
    location = world.location(rule.origin.owner, rule.origin.direction, rule.origin.index)
    return document | ({"location": location} if location else {})


def _side(state: State, side: Match, *, members: int | None) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, nets in (("nets", side.nets), ("notNets", side.not_nets)):
        if nets:
            document[name] = [str(net) for net in nets]
    for name, ports in (("ports", side.ports), ("notPorts", side.not_ports)):
        if ports:
            document[name] = [port_text(port) for port in ports]
    for name, ids in (
        ("sets", side.sets),
        ("notSets", side.not_sets),
        ("namedPorts", side.named_ports),
        ("notNamedPorts", side.not_named_ports),
    ):
        if ids:
            document[name] = [set_document(state, set_id, members=members) for set_id in ids]
    return document


def set_document(state: State, set_id: SetId, *, members: int | None = None) -> dict[str, Any]:
    """A set: where it comes from, how many members it has, and (the first of) them."""
    held = sorted(map(member_text, state.members.get(set_id, ())))
    origin = state.sets[set_id].origin if set_id in state.sets else set_id
    return {"id": set_id, "origin": origin, "count": len(held), "members": held if members is None else held[:members]}


def member_text(member: object) -> str:
    """An address, a network, or `address tcp/port`."""
    if isinstance(member, PortMember):
        return f"{member.address} {PROTOCOL_NAMES.get(member.protocol, str(member.protocol)).lower()}/{member.port}"
    text = str(member)
    return text.removesuffix("/32") if ":" not in text else text.removesuffix("/128")


def port_text(port: PortRange) -> str:
    """As policy writes it: 80, or 8000:8080."""
    return str(port.first) if port.first == port.last else f"{port.first}:{port.last}"
