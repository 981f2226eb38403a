"""Which BGP sessions a node has: the node-to-node mesh, and what BGPPeer resources expand to.

Pure functions over small facts; `calc.bgp` keeps the facts. One session is one family: a node with both families has two
sessions with every dual-stack node.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tortie.api.bgp import DEFAULT_LISTEN_PORT, BGPPassword, BGPPeer
from tortie.api.selector import SelectorError, parse_selector
from tortie.base.decimals import number_up_to
from tortie.base.net import FAMILIES, Address, Family, Interface, parse_address
from tortie.calc.bgp_settings import bfd_of
from tortie.calc.bgp_workloads import LocalWorkloads
from tortie.intent.route_filter import RouteFilter
from tortie.intent.routing import Bfd, BgpPeer, LocalWorkload

_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|us|ns|h|m|s)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What BGP needs to know of a node. `as_number` and `listen_port` None: the cluster's."""

    name: str
    labels: Mapping[str, str]
    ipv4: Interface | None
    ipv6: Interface | None
    as_number: int | None
    cluster_id: str
    listen_port: int | None

    def interface(self, family: Family) -> Interface | None:
        """The node's address of one family."""
        return self.ipv4 if family is Family.V4 else self.ipv6


@dataclass(frozen=True, slots=True)
class Mesh:
    """Settings of the node-to-node mesh."""

    enabled: bool
    password_ref: tuple[str, str] | None
    password_optional: bool
    restart_seconds: int | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that sessions are worked out from."""

    local: NodeFacts
    nodes: Mapping[str, NodeFacts]
    as_number: int
    listen_port: int | None
    mesh: Mesh
    filters: Mapping[str, RouteFilter | str]
    """Every BGPFilter by name; one that cannot be read as the reason."""
    bfd: Bfd | None
    """For sessions that do not say otherwise."""
    workloads: LocalWorkloads
    virtual: Mapping[Family, Address]
    """Where workloads find their node, of the families for which that is configured."""

    def as_of(self, node: NodeFacts) -> int:
        """A node's AS number."""
        return node.as_number if node.as_number is not None else self.as_number

    def port_of(self, node: NodeFacts) -> int | None:
        """The port that a node listens on where one is configured."""
        return node.listen_port if node.listen_port is not None else self.listen_port

    def node_at(self, address: Address, *, as_number: int | None) -> NodeFacts | None:
        """The node that has this address and, where given, this AS number."""
        for name in sorted(self.nodes):
            node = self.nodes[name]
            interface = node.interface(address.family)
            if interface is not None and interface.address == address:
                return node if as_number is None or self.as_of(node) == as_number else None
        return None


def sessions(cluster: Cluster, peers: Mapping[str, BGPPeer]) -> tuple[BgpPeer, ...]:
    """All sessions of the local node, ordered by name.

    Two sessions with one address and port cannot both live, so the first wins of: global BGPPeers, then BGPPeers of
    some nodes and reverse peerings (each by name), then the mesh. So it does of two with one name (nodes with one address that
    listen on different ports), which would make BIRD refuse them all.
    """
    chosen: dict[tuple[Address, int], BgpPeer] = {}
    names: set[str] = set()
    for session in (*_configured(cluster, peers), *_mesh(cluster)):
        where = session.address.address, session.port
        if where not in chosen and session.name not in names:
            chosen[where] = session
            names.add(session.name)
    return tuple(sorted(chosen.values(), key=lambda session: (session.name, session.address)))


def parse_as_number(value: int | str | None) -> int | None:
    """An AS number from 64512, "64512" or "1.10" (asdot). None when unset or not an AS number."""
    if value is None or isinstance(value, int):
        return value if value is not None and 0 < value < 1 << 32 else None
    high, dot, low = value.partition(".")
    if not dot:
        return number_up_to(high, (1 << 32) - 1) or None
    first, second = number_up_to(high, 0xFFFF), number_up_to(low, 0xFFFF)
    return None if first is None or second is None else (first << 16 | second) or None


def parse_peer_ip(text: str) -> tuple[Address, int | None] | None:
    """`10.0.0.1`, `10.0.0.1:179`, `fd00::1` or `[fd00::1]:179`: the address and the port, if any. None when it is neither."""
    match = re.fullmatch(r"\[(.+)\](?::(\d{1,5}))?", text) or re.fullmatch(r"([\d.]+)(?::(\d{1,5}))?", text)
    host, port = (match[1], match[2]) if match else (text, None)
    try:
        return parse_address(host), int(port) if port else None
    except ValueError:
        return None


def parse_seconds(text: str | None) -> int | None:
    """A duration such as `90s`, `1m30s` or `1500ms`, rounded to seconds. None when unset or not a duration."""
    if not text or not _DURATION.fullmatch(text):
        return None
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    return int(sum(float(count) * units[unit] for count, unit in _PART.findall(text)) + 0.5)


def password_ref(password: BGPPassword | None) -> tuple[str, str] | None:
    """The secret's name and the key in it. Both are empty for a password that names no secret: nobody finds that one."""
    if password is None:
        return None
    reference = password.secret_key_ref
    return (reference.name, reference.key) if reference is not None else ("", "")


def password_optional(password: BGPPassword | None) -> bool:
    """True if the session may do without a secret that does not exist."""
    return password is not None and password.secret_key_ref is not None and password.secret_key_ref.optional is True


def _mesh(cluster: Cluster) -> Iterator[BgpPeer]:
    """One session with every other node; route reflectors are outside the mesh on both sides."""
    local = cluster.local
    if not cluster.mesh.enabled or local.cluster_id:
        return
    for _, node in sorted(cluster.nodes.items()):
        if node.name == local.name or node.cluster_id:
            continue
        for family in FAMILIES:
            own, theirs = local.interface(family), node.interface(family)
            if own is None or theirs is None or own.address == theirs.address:
                continue
            yield BgpPeer(
                name=f"Mesh_{_mangled(theirs.address)}",
                address=theirs,
                as_number=cluster.as_of(node),
                port=cluster.port_of(node) or DEFAULT_LISTEN_PORT,
                description=f"Connection to {node.name}",
                passive=_waits(theirs.address, own.address),
                restart_seconds=cluster.mesh.restart_seconds,
                password_ref=cluster.mesh.password_ref,
                password_optional=cluster.mesh.password_optional,
                bfd=cluster.bfd,
            )


@dataclass(frozen=True, slots=True)
class _Remote:
    """The other end of a session that a BGPPeer asks for."""

    address: Interface
    as_number: int
    port: int | None
    cluster_id: str
    node: NodeFacts | None
    by_address: bool


def _configured(cluster: Cluster, peers: Mapping[str, BGPPeer]) -> Iterator[BgpPeer]:
    """What the BGPPeer resources ask of the local node: global ones, then those of this node, then reverse peerings."""
    ordered = [peers[name] for name in sorted(peers)]
    for peer in ordered:
        if _is_global(peer):
            for remote in _remotes(cluster, peer):
                yield from _session(cluster, peer, remote, prefix="Global")
            yield from _workload_sessions(cluster, peer)
    for peer in ordered:
        if not _is_global(peer) and _applies(peer, cluster.local):
            for remote in _remotes(cluster, peer):
                yield from _session(cluster, peer, remote, prefix="Node")
            yield from _workload_sessions(cluster, peer)
        for remote in _reverse(cluster, peer):
            yield from _session(cluster, peer, remote, prefix="Node")


def _refusal(cluster: Cluster, peer: BGPPeer) -> str:
    """Why a peer has no session because of its filters: no session is safer than one that leaks routes."""
    for name in peer.spec.filters:
        found = cluster.filters.get(name)
        if found is None:
            return f"BGPPeer {peer.metadata.name} spec.filters: there is no BGPFilter {name!r}"
        if isinstance(found, str):
            return f"BGPPeer {peer.metadata.name} spec.filters: BGPFilter {name} cannot be used: {found}"
    return ""


def _is_global(peer: BGPPeer) -> bool:
    return not peer.spec.node and not peer.spec.node_selector


def _applies(peer: BGPPeer, node: NodeFacts) -> bool:
    if peer.spec.node:
        return peer.spec.node == node.name
    return not peer.spec.node_selector or _selects(peer.spec.node_selector, node)


def _selects(selector: str, node: NodeFacts) -> bool:
    """Whether a node is selected; a selector that cannot be read selects nothing."""
    try:
        return parse_selector(selector).matches(node.labels)
    except SelectorError:
        return False


def _remotes(cluster: Cluster, peer: BGPPeer) -> Iterator[_Remote]:
    """The other ends that a BGPPeer names, by address or by selector."""
    spec = peer.spec
    if spec.local_workload_selector:
        return
    if spec.peer_selector:
        for name in sorted(cluster.nodes):
            if _selects(spec.peer_selector, cluster.nodes[name]):
                yield from _node_ends(cluster, cluster.nodes[name], FAMILIES)
        return
    parsed = parse_peer_ip(spec.peer_ip)
    if parsed is None:
        return
    address, port = parsed
    wanted = parse_as_number(spec.as_number)
    node = cluster.node_at(address, as_number=wanted)
    number = wanted if wanted is not None else cluster.as_of(node) if node is not None else None
    if number is None:
        return
    if port is None:
        port = cluster.port_of(node) if node is not None else cluster.listen_port
    yield _Remote(Interface(address, address.family.bits), number, port, cluster_id="", node=node, by_address=True)


def _node_ends(cluster: Cluster, node: NodeFacts, families: tuple[Family, ...]) -> Iterator[_Remote]:
    for family in families:
        interface = node.interface(family)
        if interface is not None:
            port = cluster.port_of(node)
            yield _Remote(interface, cluster.as_of(node), port, cluster_id=node.cluster_id, node=node, by_address=False)


def _reverse(cluster: Cluster, peer: BGPPeer) -> Iterator[_Remote]:
    """Back from the selected end: the nodes that have this BGPPeer, when the local node is its other end."""
    spec, local = peer.spec, cluster.local
    if spec.reverse_peering == "Manual" or spec.local_workload_selector:
        return
    families: tuple[Family, ...] = FAMILIES
    if spec.peer_selector:
        if not _selects(spec.peer_selector, local):
            return
    else:
        parsed = parse_peer_ip(spec.peer_ip)
        if parsed is None:
            return
        address, port = parsed
        node = cluster.node_at(address, as_number=parse_as_number(spec.as_number))
        if node is None or node.name != local.name:
            return
        if port is not None and port != (cluster.port_of(local) or DEFAULT_LISTEN_PORT):
            return
        families = (address.family,)
    for name in sorted(cluster.nodes):
        if _applies(peer, cluster.nodes[name]):
            yield from _node_ends(cluster, cluster.nodes[name], families)


def _session(cluster: Cluster, peer: BGPPeer, remote: _Remote, *, prefix: str) -> Iterator[BgpPeer]:
    """The session with one other end. Nothing where that end is this node, or this node lacks the family."""
    spec, address = peer.spec, remote.address.address
    own = cluster.local.interface(address.family)
    if own is None or own.address == address:
        return
    local_as = parse_as_number(spec.local_as_number) if remote.by_address else None
    internal = remote.as_number == (local_as if local_as is not None else cluster.as_of(cluster.local))
    own_cluster = cluster.local.cluster_id
    suffix = f"_port_{remote.port}" if remote.port is not None else ""
    mode = spec.next_hop_mode or ("Keep" if spec.keep_original_next_hop and not internal else "Auto")
    session = BgpPeer(
        name=f"{prefix}_{_mangled(address)}{suffix}",
        address=remote.address,
        as_number=remote.as_number,
        port=remote.port if remote.port is not None else DEFAULT_LISTEN_PORT,
        description=f"BGPPeer {peer.metadata.name}",
        passive=prefix == "Global" and remote.by_address and remote.node is not None and _waits(address, own.address),
        is_mesh=False,
        next_hop_mode=mode,
        ttl_security=spec.ttl_security or 0,
        source_node_ip=spec.source_address != "None",
        restart_seconds=parse_seconds(spec.max_restart_time),
        keepalive_seconds=parse_seconds(spec.keepalive_time),
        rr_client=internal and bool(own_cluster) and remote.cluster_id != own_cluster,
        password_ref=password_ref(spec.password),
        password_optional=password_optional(spec.password),
        filters=spec.filters,
        bfd=bfd_of(peer.metadata.annotations, cluster.bfd),
        refused=_refusal(cluster, peer),
    )
    if remote.by_address:
        gateway = parse_peer_ip(spec.reachable_by) if spec.reachable_by else None
        same_family = gateway is not None and gateway[0].family is address.family
        session = replace(
            session,
            local_as_number=local_as,
            allowed_local_as=spec.num_allowed_local_as_numbers or 0,
            reachable_by=gateway[0] if gateway is not None and same_family else None,
        )
    yield session


def _workload_sessions(cluster: Cluster, peer: BGPPeer) -> Iterator[BgpPeer]:
    """Sessions with the workloads of this node that a BGPPeer selects, each of them opened by the workload."""
    number = parse_as_number(peer.spec.as_number)
    if not peer.spec.local_workload_selector or number is None:
        return
    for workload in cluster.workloads.selected(peer.spec.local_workload_selector):
        for family in FAMILIES:
            address = workload.address(family)
            if address is None:
                continue
            remote = _Remote(Interface(address, family.bits), number, None, cluster_id="", node=None, by_address=True)
            virtual = cluster.virtual.get(family)
            for session in _session(cluster, peer, remote, prefix="Local_Workload"):
                unset = (
                    f"BGPConfiguration default spec.localWorkloadPeeringIPV{family.value} is not set: a workload finds no node"
                )
                yield replace(
                    session,
                    description=f"BGPPeer {peer.metadata.name}, {workload.name}",
                    passive=True,
                    allowed_local_as=0,
                    reachable_by=None,
                    workload=None if virtual is None else LocalWorkload(workload.interface, virtual),
                    refused=session.refused or (unset if virtual is None else ""),
                )


def _waits(theirs: Address, own: Address) -> bool:
    """Of two nodes one opens the session: Calico compares the addresses as text, and both ends must agree."""
    return str(theirs) > str(own)


def _mangled(address: Address) -> str:
    return str(address).replace(".", "_").replace(":", "_")
