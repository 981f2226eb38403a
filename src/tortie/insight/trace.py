"""The way of one policy towards a kernel: what is stored, what it becomes, whom it selects on a node, sets, rules, chains."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tortie.api.resource import Key, Resource
from tortie.api.selector import SelectorError
from tortie.base.net import Family
from tortie.calc.selectors import policy_selector
from tortie.dataplane.render import endpoint as render_endpoint
from tortie.dataplane.render import host as render_host
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.names import Layer, policy_chain, set_name
from tortie.insight.document import API_VERSION
from tortie.insight.effective import owner_document, set_document
from tortie.insight.errors import InsightError
from tortie.insight.lint.subject import Subject, WrittenPolicy
from tortie.insight.world import World
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, SetId
from tortie.intent.policy import Direction, Policy, rules
from tortie.intent.sets import PortMember


@dataclass(frozen=True, slots=True)
class ChainUse:
    """A chain that the policy has on a node, and the endpoints whose chains jump to it."""

    name: str
    layer: Layer
    direction: Direction
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """One policy, up to what an agent would program. `policy` is None where no endpoint needs it."""

    id: PolicyId
    node: str
    """"" for all nodes together."""
    written: WrittenPolicy
    resource: Resource | None
    location: str
    policy: Policy | None
    here: tuple[str, ...]
    elsewhere: tuple[str, ...]
    why: str
    """Why it is in force here, or why not."""
    chains: tuple[ChainUse, ...]
    config: Config

    @property
    def active(self) -> bool:
        """True if the node enforces it."""
        return bool(self.chains)

    @property
    def programmed(self) -> Policy | None:
        """`policy` as an agent has it, which names rules by their place in the converted policy.

        One rule as its author wrote it may fill several places there. The kernel's comments count places.
        """
        if self.policy is None:
            return None
        ingress, egress = (
            tuple(
                replace(rule, origin=replace(rule.origin, index=place))
                for place, rule in zip(self._places(direction), rules(self.policy, direction), strict=True)
            )
            for direction in (Direction.INGRESS, Direction.EGRESS)
        )
        return replace(self.policy, ingress=ingress, egress=egress)

    def _places(self, direction: Direction) -> list[int]:
        """Which of the converted rules there are rules of intent for."""
        return [place for place, each in enumerate(self.written.rules[direction]) if each.rule is not None]


def find_policy(subject: Subject, text: str, kind: str = "") -> WrittenPolicy:
    """By `namespace/name`, or `name` for a global one; `kind` where several have that name. Raises InsightError."""
    namespace, slash, name = text.partition("/")
    if not slash:
        namespace, name = "", namespace
    found = [
        policy
        for policy in subject.policies
        if (policy.id.namespace, policy.id.name) == (namespace, name) and kind.lower() in ("", policy.id.kind.lower())
    ]
    if len(found) == 1:
        return found[0]
    if found:
        kinds = ", ".join(policy.id.kind for policy in found)
        raise InsightError(f"there are several policies {text}: say which with --kind ({kinds})")
    near = [str(policy.id) for policy in subject.policies if policy.id.name == name]
    hint = f"; there is {', '.join(near)}" if near else ""
    raise InsightError(f"there is no {kind or 'policy'} {text}{hint}")


def trace(world: World, text: str, *, kind: str = "", node: str = "") -> Trace:
    """Follow a policy. Raises InsightError if it is not there, ConfigError for configuration that an agent would refuse."""
    subject = Subject.of(world)
    written = find_policy(subject, text, kind)
    users = list(_users(world, written.id))
    here = [(user, uses) for user, uses in users if node in ("", user.node)]
    names = tuple(_name(world, user) for user, _ in here)
    elsewhere = tuple(f"{_name(world, user)} on {user.node}" for user, _ in users if node not in ("", user.node))
    return Trace(
        id=written.id,
        node=node,
        written=written,
        resource=subject.written.get(Key(*written.id)),
        location=world.locations.get((Key(*written.id), ""), ""),
        policy=world.state.policies.get(written.id),
        here=names,
        elsewhere=elsewhere,
        why=_why(subject, written, names, elsewhere, node=node),
        chains=() if written.staged else tuple(_chains(world, written.id, here)),
        config=parse(world.config(node)),
    )


_User = EndpointId | HostEndpointId
_Uses = frozenset[tuple[Layer, Direction]]


def _users(world: World, policy: PolicyId) -> Iterator[tuple[_User, _Uses]]:
    """Endpoints that ask a policy, and in which chains."""
    for endpoint_id, endpoint in sorted(world.state.endpoints.items()):
        uses = frozenset((layer, way) for owner, layer, way in render_endpoint.uses(endpoint) if owner == policy)
        if uses:
            yield endpoint_id, uses
    for host_id, host in sorted(world.state.host_endpoints.items()):
        uses = frozenset((layer, way) for owner, layer, way in render_host.uses(host) if owner == policy)
        if uses:
            yield host_id, uses


def _name(world: World, user: _User) -> str:
    if isinstance(user, HostEndpointId):
        return f"hep/{user.name}"
    return world.state.endpoints[user].workload


def _chains(world: World, policy: PolicyId, users: Iterable[tuple[_User, _Uses]]) -> Iterator[ChainUse]:
    found: dict[tuple[Layer, Direction], list[str]] = {}
    for user, uses in users:
        for use in sorted(uses, key=lambda each: (each[0], each[1].value)):
            found.setdefault(use, []).append(_name(world, user))
    for (layer, direction), names in found.items():
        yield ChainUse(policy_chain(policy, direction, layer), layer, direction, tuple(names))


def _why(subject: Subject, written: WrittenPolicy, here: Iterable[str], elsewhere: Iterable[str], *, node: str) -> str:
    where = f"on node {node}" if node else "anywhere"
    if written.staged:
        return (
            f"it is staged ({written.staged}): it is never enforced; `tortie policy diff --staged` shows what it would change"
        )
    if list(here):
        return f"it selects endpoints {where if node else 'here'}"
    if list(elsewhere):
        return f"it selects nobody {where}, only endpoints on other nodes"
    if written.is_for_hosts_only and not written.hosts:
        return "it is for host endpoints only and selects none"
    if written.workloads or written.hosts:
        return "what it selects is not enforced: no address, or an interface that another endpoint claims"
    try:
        return f"it selects nobody: {policy_selector(written.policy).text}"
    except SelectorError as error:
        return f"its selector cannot be read: {error}"


def trace_document(world: World, found: Trace, *, members: int | None = None) -> dict[str, Any]:
    """`kind: PolicyTrace`, without the kernel's part."""
    spec = found.written.policy.spec
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "PolicyTrace",
        "policy": str(found.id),
        "node": found.node or None,
        "stored": {"kind": found.id.kind, "namespace": found.id.namespace, "name": found.id.name},
        "converted": {
            "selector": _selector(found.written),
            "tier": spec.tier or "default",
            "order": spec.order,
            "types": [direction.value for direction in found.written.governs],
            "ingressRules": len(found.written.rules[Direction.INGRESS]),
            "egressRules": len(found.written.rules[Direction.EGRESS]),
        },
        "active": found.active,
        "why": found.why,
        "endpoints": list(found.here),
        "endpointsElsewhere": list(found.elsewhere),
        "sets": [],
        "intent": None,
        "chains": [
            {"chain": use.name, "layer": str(use.layer), "direction": use.direction.value, "usedBy": list(use.users)}
            for use in found.chains
        ],
    }
    if found.location:
        document["stored"]["location"] = found.location
    if found.resource is not None and found.resource.metadata.resource_version:
        document["stored"]["revision"] = found.resource.metadata.resource_version
    if found.written.staged:
        document["converted"]["staged"] = found.written.staged
    if found.policy is not None:
        document["sets"] = [
            set_document(world.state, set_id, members=members) | {"nft": _nft_sets(world, set_id)}
            for set_id in sets_of(found.policy)
        ]
        document["intent"] = {
            direction.value.lower(): owner_document(world, found.id, direction, members=members)["rules"]
            for direction in Direction
        }
    return document


def sets_of(policy: Policy) -> list[SetId]:
    """The sets that a policy's rules ask, each once."""
    found: dict[SetId, None] = {}
    for direction in Direction:
        for rule in rules(policy, direction):
            for side in (rule.source, rule.destination):
                for set_id in (*side.sets, *side.not_sets, *side.named_ports, *side.not_named_ports):
                    found.setdefault(set_id)
    return list(found)


def _nft_sets(world: World, set_id: SetId) -> list[str]:
    """The kernel's sets of an intent set: one for each family that it has members of; others are left out."""
    members = world.state.members.get(set_id, set())
    families = {each.address.family if isinstance(each, PortMember) else each.family for each in members}
    return [set_name(set_id, family) for family in Family if family in families]


def _selector(written: WrittenPolicy) -> str:
    try:
        return policy_selector(written.policy).text
    except SelectorError as error:
        return f"not readable: {error}"
