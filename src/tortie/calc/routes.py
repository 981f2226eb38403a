"""How this node reaches every destination of the cluster: pools, blocks, nodes and settings in, routes and tunnels out.

    affinities, endpoints, tunnels' addresses ─► route_owners ── who has it ──┐
    nodes ─► routing_facts ─┬─► wireguard_peers ── encrypted? ────────────────┼─► routes
    pools ──────────────────┼─► tunnels ── this node's ends ─► routing_ways ──┘
    parameters ─► routing_settings ─┘

The cost of a change is what it changes: one block, one address. What a node says of itself is considered once for each pool,
and only if that comes to something else are its destinations touched; the same holds for this node and for settings. A pool's
change concerns all.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from tortie.api.bgp import BGPConfiguration
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Key
from tortie.base.net import FAMILIES, Address, Family, Prefix
from tortie.calc.multimap import discard
from tortie.calc.prefix_index import PrefixIndex
from tortie.calc.problems import Problems
from tortie.calc.route_owners import RouteOwners
from tortie.calc.routing_facts import NodeFacts, PoolFacts, node_facts, pool_facts
from tortie.calc.routing_settings import RoutingSettings, read_settings
from tortie.calc.routing_ways import Decision, Ways
from tortie.calc.tunnels import overlay, vteps
from tortie.calc.wireguard_peers import WireguardKeys, peer
from tortie.intent.routes import ClusterRoute, Overlay, Owner, Vtep, WireguardPeer

_NOTHING: Mapping[str, str] = MappingProxyType({})
_PAIR = Key("BGPConfiguration", "", "default")
_STRICT = Key("FelixConfiguration", "", "default")


_Kind = tuple[str, Family]
"""A pool's name, "" for none."""


class _Verdict(NamedTuple):
    decision: Decision
    encrypted: bool


class Emit(Protocol):
    """Where values go, the same ones again and again included."""

    def overlay(self, value: Overlay | None) -> None:
        """This node's own ends."""

    def vtep(self, node: str, family: Family, value: Vtep | None) -> None:
        """Another node's end of a VXLAN."""

    def wireguard_peer(self, node: str, family: Family, value: WireguardPeer | None) -> None:
        """Another node in WireGuard."""

    def cluster_route(self, dst: Prefix, value: ClusterRoute | None) -> None:
        """The way to a destination."""


class Routes:
    """Level-based. Everything is decided in `flush`."""

    def __init__(
        self,
        node: str,
        emit: Emit,
        *,
        problems: Problems,
        backend: str = "bird",
        overrides: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._node = node
        self._emit = emit
        self._problems = problems
        self._backend = backend
        self._overrides = overrides
        self._stored: Mapping[str, str] = _NOTHING
        self._annotations: Mapping[str, str] = _NOTHING
        self._bird_programs: str | None = None
        self._settings = self._read_settings()
        self._overlay: Overlay | None = None
        self._has_key: tuple[bool, ...] = (False, False)
        self._ways = Ways(node, self._settings, None)
        self._pools: dict[str, PoolFacts] = {}
        self._pool_of: PrefixIndex[PoolFacts] = PrefixIndex()
        self._nodes: dict[str, NodeFacts] = {}
        self._nodes_at: dict[Address, set[str]] = {}
        self._dirty: set[Prefix] = set()
        self._dirty_nodes: set[str] = set()
        self._pools_changed = False
        self._settings_changed = False
        self._keys = WireguardKeys(self._dirty_nodes.add)
        self._owners = RouteOwners(node, self._dirty.add)
        self._owner_of: dict[Prefix, str] = {}
        self._owned_by: dict[str, set[Prefix]] = {}
        self._verdicts: dict[str, dict[_Kind, _Verdict]] = {}
        self._exceptions: set[Prefix] = set()
        self._exceptions_told: tuple[Prefix, ...] | None = ()

    @property
    def bird_programs_no_encap(self) -> bool:
        """BIRD writes the routes of pools without encapsulation."""
        return self._settings.no_encap is Owner.BIRD

    @property
    def exceptions(self) -> tuple[Prefix, ...]:
        """Destinations that BIRD programs although the pool's routes are otherwise the agent's, sorted."""
        if self._exceptions_told is None:
            self._exceptions_told = tuple(sorted(self._exceptions))
        return self._exceptions_told

    @property
    def agent_protocol(self) -> int:
        """By which the agent's routes to other nodes are known in the kernel."""
        return self._settings.agent_protocol

    def on_pool(self, key: Key, value: IPPool | None) -> None:
        """A pool came, changed or went. Of two with one CIDR the lowest name counts."""
        new = None if value is None else pool_facts(value)
        old = self._pools.get(key.name)
        if new == old:
            return
        if new is None:
            del self._pools[key.name]
        else:
            self._pools[key.name] = new
        for cidr in {each.pool.cidr for each in (old, new) if each is not None}:
            names = [name for name, each in self._pools.items() if each.pool.cidr == cidr]
            if names:
                self._pool_of.put(cidr, self._pools[min(names)])
            else:
                self._pool_of.pop(cidr)
        self._pools_changed = True

    def on_affinity(self, key: Key, value: BlockAffinity | None) -> None:
        """A claim of a block came, changed or went."""
        self._owners.on_affinity(key.name, value)

    def on_endpoint(self, key: Key, node: str, nets: Iterable[Prefix]) -> None:
        """A workload's addresses; nothing, and no node, when it is gone."""
        self._owners.on_singles(key, node, nets)

    def on_node(self, name: str, value: Node | None) -> None:
        """A node came, changed or went."""
        new = None if value is None else node_facts(value, is_local=name == self._node)
        old = self._nodes.get(name)
        if new == old:
            return
        self._move(name, old, new)
        if new is None:
            del self._nodes[name]
        else:
            self._nodes[name] = new
        singles = [each for family in FAMILIES for each in new.tunnel_addresses(family)] if new is not None else []
        self._owners.on_singles(Key("Node", "", name), name, sorted(singles))
        self._keys.on_node(name, new)
        self._dirty_nodes.add(name)

    def _move(self, name: str, old: NodeFacts | None, new: NodeFacts | None) -> None:
        """Note where a node is now. Whoever shares an address with it, or did, has something else to say of itself."""
        for family in FAMILIES:
            before, after = (None if each is None else each.address(family) for each in (old, new))
            if before == after:
                continue
            if before is not None:
                discard(self._nodes_at, before, name)
                self._dirty_nodes.update(self._nodes_at.get(before, ()))
            if after is not None:
                self._nodes_at.setdefault(after, set()).add(name)
                self._dirty_nodes.update(self._nodes_at[after])

    def on_bgp_configuration(self, key: Key, value: BGPConfiguration | None) -> None:
        """What BIRD is asked to program; only the cluster's own configuration says it."""
        if key.name == "default":
            self._bird_programs = None if value is None else value.spec.program_cluster_routes
            self._renew_settings()

    def on_parameters(self, texts: Mapping[str, str]) -> None:
        """The effective FelixConfiguration: raw texts by parameter."""
        self._stored = texts
        self._renew_settings()

    def on_annotations(self, annotations: Mapping[str, str]) -> None:
        """Annotations of the effective FelixConfiguration."""
        if annotations != self._annotations:
            self._annotations = annotations
            self._renew_settings()

    def _renew_settings(self) -> None:
        found = self._read_settings()
        if found != self._settings:
            self._settings = found
            self._settings_changed = True

    def _read_settings(self) -> RoutingSettings:
        texts = {**self._stored, **self._overrides}
        return read_settings(texts, backend=self._backend, bird_programs=self._bird_programs, annotations=self._annotations)

    def flush(self) -> None:
        """Emit what may have changed."""
        if self._pools_changed or self._settings_changed or self._node in self._dirty_nodes:
            self._renew()
            self._pools_changed = self._settings_changed = False
        nodes = set(self._dirty_nodes)
        for name in nodes:
            self._reconsider(name)
            self._problems.report(Key("Node", "", name), "wireguard", self._keys.problems(name))
        dirty = set(self._dirty)
        for dst in dirty:
            self._decide(dst, nodes)
        for name in nodes:
            self._tell_node(name)
            self._problems.report(Key("Node", "", name), "tunnels", self._shared(name))
        self._dirty.clear()
        self._dirty_nodes.clear()

    def _renew(self) -> None:
        """What all decisions rest on may have changed."""
        found = overlay(self._node, self._nodes.get(self._node), self._settings, self._pool_values())
        has_key = tuple(self._keys.usable(self._node, family) for family in FAMILIES)
        changed = self._pools_changed or self._settings_changed
        if not changed and (found, has_key) == (self._overlay, self._has_key):
            return
        self._overlay, self._has_key = found, has_key
        self._emit.overlay(self._overlay)
        self._ways = Ways(self._node, self._settings, self._overlay)
        self._problems.report(_PAIR, "routes", self._settings.problems if self._overlay is not None else ())
        strict = self._settings.strict_problem
        self._problems.report(_STRICT, "routes", [strict] if strict else ())
        self._dirty_nodes.update(self._nodes, self._verdicts)
        if self._pools_changed:
            self._verdicts.clear()
            self._dirty.update(self._owner_of)

    def _reconsider(self, name: str) -> None:
        """What a node is may be another now; that of its destinations only if a way to it is."""
        known = self._verdicts.get(name, {})
        fresh = {kind: self._consider(name, kind) for kind in known}
        if fresh != known:
            self._verdicts[name] = fresh
            self._dirty.update(self._owned_by.get(name, ()))

    def _pool_values(self) -> list[PoolFacts]:
        return [self._pools[name] for name in sorted(self._pools)]

    def _decide(self, dst: Prefix, changed: set[str]) -> None:
        """Find who has it, and the way there. Whose networks differ now is added to `changed`."""
        node = self._owners.owner(dst)
        before = self._owner_of.get(dst)
        if dst.is_single:
            changed.update(key.name for key in self._owners.holders(dst) if key.kind == "Node")
        if node != before:
            if before is not None:
                if discard(self._owned_by, before, dst):
                    self._verdicts.pop(before, None)
                changed.add(before)
            if node is None:
                del self._owner_of[dst]
            else:
                self._owner_of[dst] = node
                self._owned_by.setdefault(node, set()).add(dst)
                changed.add(node)
        route = None if node is None else self._route(dst, node)
        by_exception = route is not None and self._verdict(route.node, self._kind(dst)).decision.by_exception
        if by_exception != (dst in self._exceptions):
            (self._exceptions.add if by_exception else self._exceptions.discard)(dst)
            self._exceptions_told = None
        if route is not None or before is not None:
            self._emit.cluster_route(dst, route)

    def _kind(self, dst: Prefix) -> _Kind:
        """Destinations of one node and one kind have one way."""
        pool = self._pool_of.covering(dst)
        return ("" if pool is None else pool.name), dst.family

    def _route(self, dst: Prefix, node: str) -> ClusterRoute | None:
        """None: there needs to be none of its own. Outside the pools only blocks are ours to route."""
        kind = self._kind(dst)
        if dst.is_single and (node == self._node or (not kind[0] and self._owners.block_owner(dst) != node)):
            return None
        found, encrypted = self._verdict(node, kind)
        return ClusterRoute(
            dst=dst,
            way=found.way,
            owner=found.owner,
            node=node,
            next_hop=found.next_hop,
            encrypted=encrypted,
            reason=found.reason,
        )

    def _verdict(self, node: str, kind: _Kind) -> _Verdict:
        known = self._verdicts.setdefault(node, {})
        found = known.get(kind)
        if found is None:
            found = known[kind] = self._consider(node, kind)
        return found

    def _consider(self, node: str, kind: _Kind) -> _Verdict:
        """The way to one kind of a node's destinations, as of now."""
        name, family = kind
        pool = self._pools.get(name)
        if node == self._node:
            return _Verdict(self._ways.local(pool, family), encrypted=False)
        decision = self._ways.remote(node, self._nodes.get(node), pool, family)
        return _Verdict(decision, self._is_encrypted(node, family))

    def _is_encrypted(self, node: str, family: Family) -> bool:
        facts = self._nodes.get(node)
        return (
            family in self._settings.encrypts
            and facts is not None
            and facts.address(family) is not None
            and self._keys.usable(node, family)
            and self._keys.usable(self._node, family)
        )

    def _tell_node(self, name: str) -> None:
        """What other nodes are to this one besides destinations."""
        if name == self._node:
            return
        facts = self._nodes.get(name)
        known = vteps(facts, self._overlay) if facts is not None else ()
        ends = {each.family: each for each in known if not self._owners.has_in_vain(each.address, name)}
        for family in FAMILIES:
            self._emit.vtep(name, family, ends.get(family))
            found = None
            if facts is not None and self._overlay is not None and self._overlay.underlay(family) is not None:
                networks = self._owned_by.get(name, set()) | {
                    each for each in facts.tunnel_addresses(family) if self._owners.holder(each) == name
                }
                found = peer(facts, family, keys=self._keys, settings=self._settings, networks=networks)
            self._emit.wireguard_peer(name, family, found)

    def _shared(self, name: str) -> Iterable[str]:
        """What is wrong with a node's addresses and those of its ends: packets to one of two reach only one, or neither."""
        facts, own = self._nodes.get(name), Key("Node", "", name)
        if facts is None:
            return
        for family in FAMILIES:
            address = facts.address(family)
            twins = sorted(self._nodes_at[address] - {name}) if address is not None else []
            if twins:
                others = ", ".join(twins)
                yield f"its address {address} is also that of node {others}: give it another, or delete the Node that is gone"
            for each in sorted(facts.tunnel_addresses(family)):
                holders = [str(key) for key in self._owners.holders(each) if key != own]
                if holders:
                    yield f"its tunnel address {each.network} is also that of {', '.join(holders)}: give one of them another"

    def is_empty(self) -> bool:
        """True if nothing that was fed left a trace. Meaningful after a flush."""
        indexes = (
            self._pools,
            self._nodes,
            self._nodes_at,
            self._dirty,
            self._dirty_nodes,
            self._owner_of,
            self._owned_by,
            self._exceptions,
        )
        stages = (self._pool_of, self._keys, self._owners)
        considered = any(self._verdicts.values())
        return not (any(indexes) or considered or self._overlay) and all(stage.is_empty() for stage in stages)
