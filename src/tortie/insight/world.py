"""A whole cluster's intent, worked out by the same graph that an agent runs, with every endpoint counted as local."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tortie.api.defaults import with_defaults
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.kubernetes import Pod
from tortie.api.node import Node
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.api.services import EndpointSlice
from tortie.api.tier import PREDEFINED, Tier
from tortie.base.net import Address
from tortie.calc.graph import Graph
from tortie.convert.offline import convert_offline
from tortie.insight.nodes import complete_nodes, configurations
from tortie.insight.peering import peerings_of, virtual_addresses
from tortie.insight.services import Service, services_of
from tortie.insight.slices import derive_slices, with_namespace
from tortie.insight.synthetic import Supply, place
from tortie.insight.workloads import without_clashes
from tortie.insight.written import number_as_written
from tortie.intent.keys import EndpointId, PolicyId, ProfileId
from tortie.intent.policy import Direction
from tortie.intent.routing import WorkloadEnd
from tortie.intent.state import State
from tortie.verdict.journey import Judge, ThoroughJudge
from tortie.verdict.packet import protocol_number
from tortie.verdict.quick import QuickJudge
from tortie.verdict.settings import Settings, settings_of
from tortie.verdict.staged import has_staged, in_force

Locations = Mapping[tuple[Key, str], str]
"""`file:line` by resource and field path (`spec.ingress[0]`); path "" is the document itself."""


class NamedPort(NamedTuple):
    """A port that an endpoint declares by name; `protocol` is a number."""

    name: str
    protocol: int
    number: int


@dataclass(frozen=True, slots=True)
class Workload:
    """An endpoint by the name that people use: namespace and pod."""

    id: EndpointId
    namespace: str
    name: str
    node: str
    addresses: tuple[Address, ...]
    ports: tuple[NamedPort, ...] = ()
    synthetic_address: bool = False
    synthetic_node: bool = False


_POLICY_KINDS = frozenset(
    {
        "NetworkPolicy",
        "GlobalNetworkPolicy",
        "KubernetesNetworkPolicy",
        "KubernetesClusterNetworkPolicy",
        "StagedNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
    }
)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """What of a world is made up, and what the pods say that their endpoints do not."""

    pods: Mapping[tuple[str, str], tuple[bool, bool]] = field(default_factory=dict)
    """By namespace and name: the address, the node."""
    nodes: frozenset[str] = frozenset()
    """Nodes whose addresses are."""
    slices: tuple[EndpointSlice, ...] = ()
    host_pods: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Pods on their node's network, which have no endpoint: the node of each, by namespace and name."""


@dataclass(slots=True)
class _Asked:
    """What a world has already worked out for questions."""

    thorough: dict[str, Judge] = field(default_factory=dict)
    quick: dict[str, QuickJudge] = field(default_factory=dict)
    peerings: dict[str, tuple[WorkloadEnd, ...]] = field(default_factory=dict)
    pending: "World | None" = None


@dataclass(frozen=True, slots=True)
class World:
    """The intent of all nodes together, and what names in it mean to people."""

    state: State
    workloads: Mapping[tuple[str, str], Workload]
    policies: tuple[PolicyId, ...] = ()
    """All there are, whether or not they select anything."""
    locations: Locations = field(default_factory=dict)
    updates: tuple[Update, ...] = ()
    """What calc was fed with: Calico's kinds, after conversion."""
    written: tuple[Resource, ...] = ()
    """The resources before conversion, as their authors wrote them."""
    services: Mapping[tuple[str, str], Service] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Effective configuration of the nodes that have one of their own; `state.config` is that of the others."""
    synthetic_nodes: frozenset[str] = frozenset()
    """Nodes whose addresses are made up."""
    host_pods: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The node of each pod that is on its node's network, by namespace and name."""
    virtual: frozenset[Address] = frozenset()
    """Where workloads that are BGP peers find their own node."""
    _asked: _Asked = field(default_factory=_Asked, compare=False, repr=False)

    @classmethod
    def from_resources(
        cls, resources: Iterable[Resource], *, templates: Iterable[Pod] = (), locations: Locations | None = None
    ) -> "World":
        """From files: what an API server, a scheduler and IPAM would have filled in is filled in.

        `templates` are pods that stand for Deployments and the like (see `workloads`). Raises ConversionError.
        """
        given = [with_namespace(with_defaults(resource)) for resource in resources]
        pods = [resource for resource in given if isinstance(resource, Pod)]
        supply = Supply(given)
        placed = place([*pods, *without_clashes(templates, pods)], supply)
        ready = [entry.pod for entry in placed]
        nodes = complete_nodes(given, ready, supply)
        slices = derive_slices(given, ready)
        others = [resource for resource in given if not isinstance(resource, Pod | Node)]
        updates = convert_offline([*others, *slices, *(entry.node for entry in nodes), *ready])
        made_up = MadeUp(
            pods={
                (entry.pod.metadata.namespace or "default", entry.pod.metadata.name): (
                    entry.synthetic_address,
                    entry.synthetic_node,
                )
                for entry in placed
            },
            nodes=frozenset(entry.node.metadata.name for entry in nodes if entry.synthetic_address),
            slices=tuple(slices),
            host_pods={
                (pod.metadata.namespace or "default", pod.metadata.name): pod.spec.node_name
                for pod in ready
                if pod.spec.host_network
            },
        )
        return cls.from_updates(updates, written=given, made_up=made_up, locations=locations)

    @classmethod
    def from_updates(
        cls,
        updates: Iterable[Update],
        *,
        written: Iterable[Resource] = (),
        made_up: MadeUp | None = None,
        locations: Locations | None = None,
    ) -> "World":
        """From what a datastore lists, converted as for an agent.

        `written`: the resources before conversion, so that rules are numbered as their authors wrote them.
        """
        known, given, made_up = list(updates), tuple(written), made_up or MadeUp()
        state = State()
        graph = Graph(node="", is_local=lambda _: True, staged=True)
        graph.on_updates([*_always_there(known), *known])
        graph.on_in_sync()
        state.apply_all(graph.flush())
        number_as_written(state, given)
        workloads: dict[tuple[str, str], Workload] = {}
        for update in known:
            if isinstance(update.value, WorkloadEndpoint):
                workload = _workload(update.value, state, made_up.pods)
                if workload is not None:
                    workloads[workload.namespace, workload.name] = workload
        policies = tuple(sorted(PolicyId(*update.key) for update in known if update.value and update.key.kind in _POLICY_KINDS))
        names = {
            *state.hosts,
            *(workload.node for workload in workloads.values()),
            *(each.node for each in state.host_endpoints),
        }
        return cls(
            state,
            workloads,
            policies,
            locations or {},
            tuple(known),
            given,
            services=services_of(known, synthetic=made_up.slices),
            configs=configurations(known, names),
            synthetic_nodes=made_up.nodes,
            host_pods=made_up.host_pods,
            virtual=virtual_addresses(known),
        )

    @property
    def by_node(self) -> bool:
        """True if answers may depend on which node an end is on, for more than whether the ends share one."""
        return bool(self.state.host_endpoints or self.configs)

    def config(self, node: str) -> Mapping[str, str]:
        """The effective configuration of a node."""
        return self.configs.get(node, self.state.config)

    def settings(self, node: str) -> Settings:
        """What of it decides about packets."""
        return settings_of(self.config(node))

    def peerings(self, node: str) -> tuple[WorkloadEnd, ...]:
        """Through which interfaces, and where, workloads of a node that are BGP peers find it."""
        host = self.state.hosts.get(node)
        if host is None or not self.virtual:
            return ()
        if node not in self._asked.peerings:
            self._asked.peerings[node] = peerings_of(self.updates, host)
        return self._asked.peerings[node]

    def judge(self, node: str) -> Judge:
        """Who judges, with every reason, what happens on a node."""
        key = node if node in self.configs else ""
        if key not in self._asked.thorough:
            self._asked.thorough[key] = ThoroughJudge(replace(self.state, config=dict(self.config(node))))
        return self._asked.thorough[key]

    def quick(self, node: str) -> QuickJudge:
        """Who judges, without reasons, what happens on a node."""
        key = node if node in self.configs else ""
        known = self._asked.quick
        if key not in known:
            if "" not in known:
                known[""] = QuickJudge(self.state)
            known[key] = known[""].configured(dict(self.config(node)))
        return known[key]

    def pending(self) -> "World | None":
        """The world with staged policies in force; None if there are none."""
        if not has_staged(self.state):
            return None
        if self._asked.pending is None:
            self._asked.pending = replace(self, state=in_force(self.state), _asked=_Asked())
        return self._asked.pending

    def location(self, owner: PolicyId | ProfileId | None, direction: Direction, index: int | None) -> str:
        """`file:line` of a rule, else of its policy, else ""."""
        if owner is None:
            return ""
        key = _key(owner)
        path = "" if index is None else f"spec.{direction.value.lower()}[{index}]"
        return self.locations.get((key, path)) or self.locations.get((key, ""), "")


def _always_there(known: Sequence[Update]) -> list[Update]:
    """The predefined tiers and the built-in profile, unless listed: a fresh datastore holds them before anything else."""
    listed = {update.key for update in known}
    built_in: list[Resource] = [Tier(metadata=Metadata(name=name), spec=spec) for name, spec in PREDEFINED.items()]
    built_in.append(DEFAULT_ALLOW)
    return [Update(resource.key, resource) for resource in built_in if resource.key not in listed]


def _workload(
    endpoint: WorkloadEndpoint, state: State, made_up: Mapping[tuple[str, str], tuple[bool, bool]]
) -> Workload | None:
    """None for an endpoint that is not enforced: one without an address."""
    meta, spec = endpoint.metadata, endpoint.spec
    endpoint_id = EndpointId(spec.node, meta.namespace, meta.name)
    enforced = state.endpoints.get(endpoint_id)
    if enforced is None:
        return None
    name = spec.pod or spec.workload or meta.name
    address, node = made_up.get((meta.namespace, name), (False, False))
    return Workload(
        id=endpoint_id,
        namespace=meta.namespace,
        name=name,
        node=spec.node,
        addresses=tuple(prefix.network for prefix in enforced.addresses),
        ports=tuple(
            NamedPort(port.name, number, port.port)
            for port in spec.ports
            if port.name and (number := protocol_number(port.protocol)) is not None
        ),
        synthetic_address=address,
        synthetic_node=node,
    )


def _key(owner: PolicyId | ProfileId) -> Key:
    """The resource that a person wrote: for the profile of a namespace or of a service account that object."""
    if isinstance(owner, PolicyId):
        return Key(owner.kind, owner.namespace, owner.name)
    kind, _, name = owner.name.partition(".")
    if kind == "kns" and name:
        return Key("Namespace", "", name)
    if kind == "ksa" and "." in name:
        namespace, _, account = name.partition(".")
        return Key("ServiceAccount", namespace, account)
    return Key("Profile", "", owner.name)
