"""The wiring: updates in, intent out.

    updates ──┬── policies ─────────────► active_policies ──── match ────► endpoint_resolver ─┐
              │                            ▲  │ active                      ▲   ▲             │
              ├── tiers ───────────────────┼──┼─────────────────────────────┼───┘             │
              ├── endpoints, ─► local ─────┤  ▼                             │                 │
              │   host endpoints └─► active_profiles ─► rule_scanner        │                 │
              ├── profiles ─────┴── labels ┘  ▲            │ sets  └────────┼── rules ────────┤
              │       │                       └ profiles   ▼                │                 ▼
              ├── network sets ─► labelled ─────────────► ip_sets ── members ─────────► sequencer ─► messages
              ├── endpoint slices ──────────────────────► services ─ members ─────────────────▲
              ├── services, endpoint slices ─► balancers ─────────────────────────────────────┤
              ├── BGPConfiguration ─► service_nets ───────────────────────────────────────────┤
              ├── pools, nodes ─► pools_hosts ────────────────────────────────────────────────┤
              ├── configurations, nodes ─► config ──┬──────────────────────────────────────────┤
              │                                     ▼                                         │
              ├── pools, nodes, affinities, ─────► routes ────────────────────────────────────┤
              │   endpoints, BGPConfiguration       │ what BIRD programs                      │
              │                                     ▼                                         │
              └── pools, nodes, affinities, peers, services ─► bgp ───────────────────────────┘

Stages call one another directly and at once, except endpoint_resolver, config, routes and bgp, which collect and are asked at
the end of a flush. No stage depends on the order of updates, on having seen every step, or on the clock.

Staged policies are for whoever asks what would happen (insight): a node's agent leaves them out, so that they cost the node
nothing, no IP set above all.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from tortie.api.bgp import BGPConfiguration
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.api.node import Node
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.profile import Profile
from tortie.api.resource import Key, Resource, Update
from tortie.api.services import EndpointSlice, Service
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import PREDEFINED, Tier
from tortie.calc.active_policies import ActivePolicies, PolicySource
from tortie.calc.active_profiles import ActiveProfiles
from tortie.calc.balancers import Balancers
from tortie.calc.bgp import BgpStage
from tortie.calc.bgp_settings import NO_BGP_ENVIRONMENT, BgpEnvironment
from tortie.calc.config import ConfigStage
from tortie.calc.endpoint_resolver import EndpointResolver, LocalEndpoint, LocalHostEndpoint
from tortie.calc.ip_sets import IPSets, SetSpec
from tortie.calc.labelled import Labelled, labelled_endpoint, labelled_host_endpoint, labelled_network_set
from tortie.calc.local_endpoints import LocalEndpoints
from tortie.calc.local_host_endpoints import LocalHostEndpoints
from tortie.calc.pod_cidrs import PodCidrs
from tortie.calc.pools_hosts import Pools, host
from tortie.calc.problems import Problems
from tortie.calc.routes import Routes
from tortie.calc.rule_scanner import RuleScanner, SetUse
from tortie.calc.sequencer import Sequencer
from tortie.calc.service_nets import ServiceNets
from tortie.calc.services import ServiceSets
from tortie.intent.keys import AnyEndpointId, EndpointId, HostEndpointId, PolicyId, SetId
from tortie.intent.messages import InSync, Message
from tortie.intent.sets import Member

KINDS = (
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "KubernetesNetworkPolicy",
    "KubernetesClusterNetworkPolicy",
    "Tier",
    "Profile",
    "Namespace",
    "ServiceAccount",
    "NetworkSet",
    "GlobalNetworkSet",
    "WorkloadEndpoint",
    "HostEndpoint",
    "KubernetesEndpointSlice",
    "KubernetesService",
    "Node",
    "IPPool",
    "BlockAffinity",
    "BGPConfiguration",
    "BGPPeer",
    "BGPFilter",
    "FelixConfiguration",
)
"""What a syncer must deliver. Kubernetes kinds pass through `convert.feed.convert_update` on their way."""

STAGED_KINDS = ("StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy")
"""What a graph takes besides if it is asked for staged policies; otherwise it ignores them."""

_Wanted = TypeVar("_Wanted", bound=Resource)


class Graph:
    """Everything that one node must enforce, out of everything that the cluster says.

    `is_local(node name)` decides which endpoints get policy; by default those of `node` alone. Feed it with `on_updates` in
    any order and any number of times, ask for the outcome with `flush`. What it could not understand stands in `problems`.
    With `staged` the intent tells of staged policies too (intent.policy.enforced_twin); then it is not fit for a kernel.
    `backend` is CALICO_NETWORKING_BACKEND; `overrides` are raw texts of parameters that the node itself sets, by Calico's
    name: they are stronger than the datastore's; `bgp` is the same for BGP. With `use_pod_cidrs` a node's pod CIDRs are
    its blocks. Without a `node` there are no routes, for nobody asks from anywhere.
    """

    KINDS = KINDS

    def __init__(
        self,
        node: str,
        *,
        is_local: Callable[[str], bool] | None = None,
        staged: bool = False,
        backend: str = "bird",
        overrides: Mapping[str, str] = MappingProxyType({}),
        bgp: BgpEnvironment = NO_BGP_ENVIRONMENT,
        use_pod_cidrs: bool = False,
    ) -> None:
        self._node = node
        self._staged = staged
        self._problems = Problems()
        self._sequencer = Sequencer(self._members)
        self._ip_sets = IPSets(self._sequencer.member)
        self._services = ServiceSets(self._sequencer.member)
        self._scanner = RuleScanner(
            self._on_set_use,
            emit_policy=self._sequencer.policy,
            emit_profile=self._sequencer.profile,
            problems=self._problems,
        )
        self._resolver = EndpointResolver(
            self._sequencer.endpoint, emit_host=self._sequencer.host_endpoint, problems=self._problems
        )
        self._active_policies = ActivePolicies(self._on_active_policy, self._resolver.on_match, self._problems)
        self._active_profiles = ActiveProfiles(self._scanner.on_profile)
        is_local = is_local or (lambda name: name == node)
        self._local = LocalEndpoints(is_local, self._on_local_endpoint, self._problems)
        self._local_hosts = LocalHostEndpoints(is_local, self._on_local_host_endpoint, self._problems)
        self._balancers = Balancers(self._sequencer.balancer)
        self._service_nets = ServiceNets(self._sequencer.service_nets, self._problems)
        self._pools = Pools(self._sequencer.pool, self._problems)
        self._config = ConfigStage(node, self._problems)
        self._routes = Routes(node, self._sequencer, problems=self._problems, backend=backend, overrides=overrides)
        self._bgp = BgpStage(node, self._problems, environment=bgp)
        self._pod_cidrs = PodCidrs(self._on_pod_cidr, is_used=use_pod_cidrs)
        self._is_in_sync = False
        self._said_in_sync = False

    @property
    def problems(self) -> Mapping[Key, str]:
        """What is wrong with stored values, and what was done about it."""
        return self._problems.by_key()

    @property
    def evaluations(self) -> int:
        """How often any selector was evaluated against any set of labels: the work that grows with clusters."""
        return self._active_policies.evaluations + self._ip_sets.evaluations

    def on_updates(self, updates: Iterable[Update]) -> None:
        """Take in converted updates. Kinds that the graph does not know are ignored."""
        for update in updates:
            self._on_update(update)

    def on_in_sync(self) -> None:
        """The datastore has delivered all that it held."""
        self._is_in_sync = True

    def flush(self) -> list[Message]:
        """What changed since the last flush. Nothing before `on_in_sync`; the first flush after it ends with InSync."""
        if not self._is_in_sync:
            return []
        self._resolver.flush()
        config = self._config.flush()
        if config is not None:
            self._sequencer.config(config)
            self._routes.on_parameters(dict(config))
        self._routes.on_annotations(self._config.annotations)
        self._routes.flush()
        self._bgp.on_routes(
            programs_no_encap=self._routes.bird_programs_no_encap,
            exceptions=self._routes.exceptions,
            agent_protocol=self._routes.agent_protocol,
        )
        messages = self._sequencer.flush()
        bgp = self._bgp.flush()
        if bgp is not None:
            messages.append(bgp)
        if not self._said_in_sync:
            messages.append(InSync())
            self._said_in_sync = True
        return messages

    def is_empty(self) -> bool:
        """True if nothing that was ever fed left a trace. Meaningful after a flush."""
        stages = (
            self._problems,
            self._sequencer,
            self._ip_sets,
            self._services,
            self._balancers,
            self._scanner,
            self._resolver,
            self._active_policies,
            self._active_profiles,
            self._local,
            self._local_hosts,
            self._pools,
            self._config,
            self._routes,
            self._pod_cidrs,
        )
        return all(stage.is_empty() for stage in stages)

    def _on_update(self, update: Update) -> None:
        key, value = update
        match key.kind:
            case "WorkloadEndpoint":
                self._on_endpoint(key, _as(WorkloadEndpoint, value))
            case "NetworkPolicy" | "KubernetesNetworkPolicy":
                self._active_policies.on_policy(key, _as(NetworkPolicy, value))
            case "GlobalNetworkPolicy" | "KubernetesClusterNetworkPolicy":
                self._active_policies.on_policy(key, _as(GlobalNetworkPolicy, value))
            case "StagedNetworkPolicy" | "StagedKubernetesNetworkPolicy" if self._staged:
                self._active_policies.on_policy(key, _as(StagedNetworkPolicy, value))
            case "StagedGlobalNetworkPolicy" if self._staged:
                self._active_policies.on_policy(key, _as(StagedGlobalNetworkPolicy, value))
            case "HostEndpoint":
                self._on_host_endpoint(key, _as(HostEndpoint, value))
            case "KubernetesEndpointSlice":
                self._services.on_slice(key, _as(EndpointSlice, value))
                self._balancers.on_slice(key, _as(EndpointSlice, value))
            case "KubernetesService":
                self._balancers.on_service(key, _as(Service, value))
            case "Tier":
                self._on_tier(key, _as(Tier, value))
            case "Profile":
                self._on_profile(key.name, _as(Profile, value))
            case "NetworkSet":
                self._on_network_set(key, _as(NetworkSet, value))
            case "GlobalNetworkSet":
                self._on_network_set(key, _as(GlobalNetworkSet, value))
            case "IPPool":
                self._on_pool(key, _as(IPPool, value))
            case "BlockAffinity" if self._node:
                self._routes.on_affinity(key, _as(BlockAffinity, value))
            case "Node":
                self._on_node(key.name, _as(Node, value))
            case "FelixConfiguration":
                self._config.on_configuration(key, _as(FelixConfiguration, value))
            case "BGPConfiguration":
                self._on_bgp_configuration(key, _as(BGPConfiguration, value))
        self._bgp.on_update(update)

    def _on_tier(self, key: Key, tier: Tier | None) -> None:
        changed = tier is not None and key.name in PREDEFINED and tier.spec != PREDEFINED[key.name]
        self._problems.report(key, "tier", [f"spec: tier {key.name} keeps its own values"] if changed else ())
        self._resolver.on_tier(key.name, None if tier is None else tier.spec)

    def _on_endpoint(self, key: Key, endpoint: WorkloadEndpoint | None) -> None:
        labelled: Labelled | None = None
        problems: list[str] = []
        if endpoint is not None:
            labelled, problems = labelled_endpoint(endpoint)
        self._problems.report(key, "labels", problems)
        self._ip_sets.on_item(key, labelled)
        self._local.on_endpoint(key, endpoint, labelled)
        if self._node:
            node = "" if endpoint is None else endpoint.spec.node
            self._routes.on_endpoint(key, node, () if labelled is None else labelled.nets)

    def _on_local_endpoint(self, endpoint_id: EndpointId, endpoint: LocalEndpoint | None, labelled: Labelled | None) -> None:
        self._resolver.on_endpoint(endpoint_id, endpoint)
        self._on_selectable(endpoint_id, labelled)

    def _on_host_endpoint(self, key: Key, endpoint: HostEndpoint | None) -> None:
        labelled: Labelled | None = None
        problems: list[str] = []
        if endpoint is not None:
            labelled, problems = labelled_host_endpoint(endpoint)
        self._problems.report(key, "labels", problems)
        self._ip_sets.on_item(key, labelled)
        self._local_hosts.on_endpoint(key, endpoint, labelled)

    def _on_local_host_endpoint(
        self, endpoint_id: HostEndpointId, endpoint: LocalHostEndpoint | None, labelled: Labelled | None
    ) -> None:
        self._resolver.on_host_endpoint(endpoint_id, endpoint)
        self._on_selectable(endpoint_id, labelled)

    def _on_selectable(self, endpoint_id: AnyEndpointId, labelled: Labelled | None) -> None:
        if labelled is None:
            self._active_policies.on_endpoint_gone(endpoint_id)
            self._active_profiles.on_endpoint(endpoint_id, ())
        else:
            self._active_policies.on_endpoint(endpoint_id, labelled.labels, labelled.profiles)
            self._active_profiles.on_endpoint(endpoint_id, labelled.profiles)

    def _on_network_set(self, key: Key, network_set: NetworkSet | GlobalNetworkSet | None) -> None:
        labelled: Labelled | None = None
        problems: list[str] = []
        if network_set is not None:
            labelled, problems = labelled_network_set(network_set)
        self._problems.report(key, "nets", problems)
        self._ip_sets.on_item(key, labelled)

    def _on_profile(self, name: str, profile: Profile | None) -> None:
        labels = None if profile is None else profile.spec.labels_to_apply
        self._active_policies.on_profile(name, labels)
        self._ip_sets.on_profile(name, labels)
        self._active_profiles.on_profile(name, profile)

    def _on_node(self, name: str, node: Node | None) -> None:
        self._sequencer.host(name, None if node is None else host(node))
        if self._node:
            self._routes.on_node(name, node)
        self._pod_cidrs.on_node(name, node)
        if name == self._node:
            self._config.on_node(None if node is None else node.metadata.labels)

    def _on_pod_cidr(self, update: Update) -> None:
        self._routes.on_affinity(update.key, _as(BlockAffinity, update.value))
        self._bgp.on_update(update)

    def _on_pool(self, key: Key, pool: IPPool | None) -> None:
        self._pools.on_pool(key, pool)
        self._routes.on_pool(key, pool)

    def _on_bgp_configuration(self, key: Key, configuration: BGPConfiguration | None) -> None:
        self._service_nets.on_configuration(key, configuration)
        self._routes.on_bgp_configuration(key, configuration)

    def _on_active_policy(self, policy_id: PolicyId, source: PolicySource | None) -> None:
        self._resolver.on_policy(policy_id, None if source is None else source.placement)
        self._scanner.on_policy(policy_id, source)

    def _on_set_use(self, use: SetUse) -> None:
        if use.spec is None:
            (self._services if use.id in self._services else self._ip_sets).remove(use.id)
            self._sequencer.set_gone(use.id)
            return
        if isinstance(use.spec, SetSpec):
            self._ip_sets.add(use.id, use.spec)
        else:
            self._services.add(use.id, use.spec)
        self._sequencer.set_needed(use.spec.ipset)

    def _members(self, set_id: SetId) -> frozenset[Member]:
        return (self._services if set_id in self._services else self._ip_sets).members(set_id)


def _as(kind: type[_Wanted], value: Resource | None) -> _Wanted | None:
    """The value if it is what its key says."""
    return value if isinstance(value, kind) else None
