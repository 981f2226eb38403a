"""What BIRD must do on one node: nodes, BGP configuration and peers, pools and own blocks in, one `intent.Bgp` out.

Level-based: the stage keeps the facts that matter of every resource it was told, and works out the whole value anew when one
of them changed. Removal is symmetrical; a torn-down stage holds nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from tortie.api.bgp import DEFAULT_AS_NUMBER, DEFAULT_LISTEN_PORT, BGPConfiguration, BGPConfigurationSpec, BGPPeer
from tortie.api.bgp_filter import BGPFilter
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.profile import Profile
from tortie.api.resource import Key, Resource, Update
from tortie.api.services import EndpointSlice, Service
from tortie.base.net import FAMILIES, Family, Interface, Prefix, is_peer_address, parse_interface, parse_prefix
from tortie.calc.bgp_filters import route_filter
from tortie.calc.bgp_peers import (
    Cluster,
    Mesh,
    NodeFacts,
    parse_as_number,
    password_optional,
    password_ref,
    sessions,
)
from tortie.calc.bgp_problems import (
    configuration_problems,
    is_interface_pattern,
    node_problems,
    peer_problems,
    restart_seconds,
)
from tortie.calc.bgp_services import ServiceAdvertisements
from tortie.calc.bgp_settings import NO_BGP_ENVIRONMENT, BgpEnvironment, advertisements, bfd_of, peering_addresses
from tortie.calc.bgp_workloads import LocalWorkloads
from tortie.calc.pools_hosts import intent_pool
from tortie.calc.problems import Problems
from tortie.intent.messages import BgpUpdate
from tortie.intent.route_filter import RouteFilter
from tortie.intent.routing import AGENT_PROTOCOL, Bgp, BgpPeer, Block, Pool

NORMAL_PRIORITY = 1024
"""The metric of a route of ours where BGPConfiguration does not say otherwise."""


_V = TypeVar("_V")


class BgpStage:
    """One node's BGP. `flush` answers only when the whole value differs from the last one handed over."""

    def __init__(
        self, node: str, problems: Problems | None = None, *, environment: BgpEnvironment = NO_BGP_ENVIRONMENT
    ) -> None:
        self._node = node
        self._environment = environment
        self._problems = problems if problems is not None else Problems()
        self._nodes: dict[str, NodeFacts] = {}
        self._configurations: dict[str, BGPConfigurationSpec] = {}
        self._peers: dict[str, BGPPeer] = {}
        self._pools: dict[str, Pool] = {}
        self._blocks: dict[str, Block] = {}
        self._filters: dict[str, RouteFilter | str] = {}
        self._annotations: dict[str, Mapping[str, str]] = {}
        self._services = ServiceAdvertisements(node, cluster_ips=environment.cluster_ips)
        self._workloads = LocalWorkloads(node)
        self._programs_no_encap = True
        self._exceptions: tuple[Prefix, ...] = ()
        self._agent_protocol = AGENT_PROTOCOL
        self._dirty = False
        self._last: Bgp | None = None

    def on_update(self, update: Update) -> None:
        """Take note of one resource; kinds that BGP does not depend on are ignored."""
        key, value = update
        self._report(key, value)
        match key.kind:
            case "Node":
                self._store(self._nodes, key.name, _node_facts(value) if isinstance(value, Node) else None)
            case "BGPConfiguration" if key.name == "default" or key.name.startswith("node."):
                self._on_configuration(key.name, value if isinstance(value, BGPConfiguration) else None)
            case "BGPPeer":
                self._store(self._peers, key.name, value if isinstance(value, BGPPeer) else None)
            case "BGPFilter":
                self._on_filter(key, value if isinstance(value, BGPFilter) else None)
            case "IPPool":
                self._store(self._pools, key.name, intent_pool(value) if isinstance(value, IPPool) else None)
            case "BlockAffinity":
                self._store(self._blocks, key.name, self._block(value) if isinstance(value, BlockAffinity) else None)
            case "WorkloadEndpoint":
                changed = self._workloads.on_endpoint(key, value if isinstance(value, WorkloadEndpoint) else None)
                self._dirty |= changed and self._peers_with_workloads()
            case "Profile":
                labels = value.spec.labels_to_apply if isinstance(value, Profile) else None
                changed = self._workloads.on_profile(key.name, labels)
                self._dirty |= changed and self._peers_with_workloads()
            case "KubernetesService":
                self._dirty |= self._services.on_service(key, value if isinstance(value, Service) else None)
            case "KubernetesEndpointSlice":
                self._dirty |= self._services.on_slice(key, value if isinstance(value, EndpointSlice) else None)

    def _peers_with_workloads(self) -> bool:
        return any(peer.spec.local_workload_selector for peer in self._peers.values())

    def on_routes(
        self, *, programs_no_encap: bool, exceptions: tuple[Prefix, ...], agent_protocol: int = AGENT_PROTOCOL
    ) -> None:
        """What was decided about BIRD's part of the routes (`routes`), and by what it knows the agent's."""
        before = (self._programs_no_encap, self._exceptions, self._agent_protocol)
        self._programs_no_encap, self._exceptions, self._agent_protocol = programs_no_encap, exceptions, agent_protocol
        self._dirty |= before != (programs_no_encap, exceptions, agent_protocol)

    def _report(self, key: Key, value: Resource | None) -> None:
        if isinstance(value, BGPConfiguration):
            self._problems.report(key, "bgp", configuration_problems(value))
        elif isinstance(value, BGPPeer):
            self._problems.report(key, "bgp", peer_problems(value))
        elif isinstance(value, Node):
            self._problems.report(key, "bgp", node_problems(value))
        elif key.kind in ("BGPConfiguration", "BGPPeer", "Node"):
            self._problems.report(key, "bgp", ())

    def _on_configuration(self, name: str, value: BGPConfiguration | None) -> None:
        self._store(self._configurations, name, None if value is None else value.spec)
        if name == "default":
            self._store(self._annotations, name, None if value is None else value.metadata.annotations)
            self._dirty |= self._services.on_configuration(None if value is None else value.spec)

    def _on_filter(self, key: Key, value: BGPFilter | None) -> None:
        """A filter that cannot be read as a whole is remembered as the reason why."""
        found: RouteFilter | str | None = None
        if value is not None:
            try:
                found = route_filter(value)
            except ValueError as error:
                found = str(error)
        sentences = [f"{found}: no peer that names this filter has a session"] if isinstance(found, str) else []
        self._problems.report(key, "bgp", sentences)
        self._store(self._filters, key.name, found)

    def flush(self) -> BgpUpdate | None:
        """The whole value, if it changed since the last flush. Never one where there is no BIRD."""
        if not self._dirty or not self._environment.speaks:
            return None
        self._dirty = False
        bgp = self._calculate()
        if bgp == self._last:
            return None
        self._last = bgp
        return BgpUpdate(bgp)

    def _store(self, index: dict[str, _V], name: str, value: _V | None) -> None:
        """Keep or forget one fact; only a difference makes the stage dirty."""
        if index.get(name) == value:
            return
        if value is None:
            del index[name]
        else:
            index[name] = value
        self._dirty = True

    def _block(self, affinity: BlockAffinity) -> Block | None:
        """This node's claim of a block. A pending one counts as absent; one about to go is listed, not exported."""
        spec = affinity.spec
        if spec.node != self._node or spec.type != "host" or spec.state == "pending" or spec.deleted:
            return None
        try:
            return Block(parse_prefix(spec.cidr), confirmed=spec.state in ("", "confirmed"))
        except ValueError:
            return None

    def _calculate(self) -> Bgp | None:
        """The whole value from all facts; None without a local node that has an address."""
        nodes = {name: self._with_port(facts) for name, facts in self._nodes.items()}
        local = nodes.get(self._node)
        if local is None or (local.ipv4 is None and local.ipv6 is None):
            return None
        shared = self._configurations.get("default", BGPConfigurationSpec())
        own = self._configurations.get(f"node.{self._node}", BGPConfigurationSpec())
        cluster = Cluster(
            local=local,
            nodes=nodes,
            as_number=parse_as_number(shared.as_number) or DEFAULT_AS_NUMBER,
            listen_port=_port(shared.listen_port),
            mesh=Mesh(
                enabled=shared.node_to_node_mesh_enabled is not False,
                password_ref=password_ref(shared.node_mesh_password),
                password_optional=password_optional(shared.node_mesh_password),
                restart_seconds=restart_seconds(shared.node_mesh_max_restart_time),
            ),
            filters=self._filters,
            bfd=bfd_of(self._annotations.get("default", {}), None),
            workloads=self._workloads,
            virtual=peering_addresses(shared),
        )
        families = tuple(family for family in FAMILIES if local.interface(family) is not None)
        peers = sessions(cluster, self._peers)
        return Bgp(
            node=self._node,
            as_number=cluster.as_of(local),
            router_id=_router_id(self._node, local.ipv4, wanted=self._environment.router_id),
            ipv4=local.ipv4,
            ipv6=local.ipv6,
            listen_port=cluster.port_of(local) or DEFAULT_LISTEN_PORT,
            bind_node_ip=shared.bind_mode == "NodeIP",
            log_level=self._log_level(),
            blocks=_of_families(self._blocks.values(), families),
            pools=_of_families(self._unique_pools(), families),
            peers=peers,
            ignored_interfaces=tuple(filter(is_interface_pattern, shared.ignored_interfaces)),
            cluster_id=local.cluster_id,
            ipv4_priority=_priority(shared.ipv4_normal_route_priority),
            ipv6_priority=_priority(shared.ipv6_normal_route_priority),
            programs_no_encap=self._programs_no_encap,
            exceptions=self._exceptions,
            agent_protocol=self._agent_protocol,
            filters=self._used_filters(peers),
            advertisements=advertisements(shared, own),
            services=self._services.routes(local.labels),
        )

    def _log_level(self) -> str:
        """The node's own configuration wins over the cluster's, that over the environment's word."""
        for name in (f"node.{self._node}", "default"):
            if name in self._configurations:
                return self._configurations[name].log_severity_screen or "Info"
        return self._environment.log_level or "Info"

    def _used_filters(self, peers: Iterable[BgpPeer]) -> tuple[RouteFilter, ...]:
        names = {name for peer in peers for name in peer.filters}
        found = (self._filters.get(name) for name in sorted(names))
        return tuple(each for each in found if isinstance(each, RouteFilter))

    def _with_port(self, facts: NodeFacts) -> NodeFacts:
        """A node's listen port stands in its own BGPConfiguration."""
        configuration = self._configurations.get(f"node.{facts.name}")
        return facts if configuration is None else replace(facts, listen_port=_port(configuration.listen_port))

    def _unique_pools(self) -> Iterable[Pool]:
        """Of two pools with one CIDR the lowest name wins."""
        chosen: dict[Prefix, Pool] = {}
        for name in sorted(self._pools):
            chosen.setdefault(self._pools[name].cidr, self._pools[name])
        return chosen.values()


_Routed = TypeVar("_Routed", Block, Pool)


def _of_families(items: Iterable[_Routed], families: tuple[Family, ...]) -> tuple[_Routed, ...]:
    """Those of the families that the node has, ordered by CIDR."""
    return tuple(sorted((item for item in items if item.cidr.family in families), key=lambda item: item.cidr))


def _port(value: int | None) -> int | None:
    """A port that is none counts as not set."""
    return value if value is not None and 1 <= value <= 65535 else None


def _priority(value: int | None) -> int:
    """A metric that is none counts as not set."""
    return value if value is not None and 1 <= value <= (1 << 31) - 2 else NORMAL_PRIORITY


def _node_facts(node: Node) -> NodeFacts:
    bgp = node.spec.bgp
    return NodeFacts(
        name=node.metadata.name,
        labels=dict(node.metadata.labels),
        ipv4=_interface(bgp.ipv4_address, Family.V4) if bgp is not None else None,
        ipv6=_interface(bgp.ipv6_address, Family.V6) if bgp is not None else None,
        as_number=parse_as_number(bgp.as_number) if bgp is not None else None,
        cluster_id=bgp.route_reflector_cluster_id if bgp is not None else "",
        listen_port=None,
    )


def _interface(text: str, family: Family) -> Interface | None:
    """The address as written; one that cannot be read, is of the wrong family, or is no node's, counts as none."""
    try:
        interface = parse_interface(text)
    except ValueError:
        return None
    return interface if interface.address.family is family and is_peer_address(interface.address) else None


def _router_id(node: str, ipv4: Interface | None, *, wanted: str) -> str:
    """As wanted; by itself the node's IPv4 address, else four bytes of its name's hash, moved below the multicast range."""
    if wanted not in ("", "hash"):
        return wanted
    if ipv4 is not None and not wanted:
        return str(ipv4.address)
    first, *rest = hashlib.sha256(node.encode()).digest()[:4]
    if first > 223:
        first -= 32
    return ".".join(str(octet) for octet in (first, *rest))
