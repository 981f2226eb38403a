"""CalicoNodeStatus: a request to a node to report on itself, and its report (api.md, section 6)."""

from typing import Literal

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value

NodeStatusClass = Literal["Agent", "BGP", "Routes"]
SessionState = Literal["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"]


class BIRDStatus(Value, frozen=True, kw_only=True):
    """One BIRD."""

    state: Literal["", "Ready", "NotReady"] = ""
    version: str = ""
    router_id: str = msgspec.field(default="", name="routerID")
    last_boot_time: str = ""
    last_reconfiguration_time: str = ""


class NodeAgentStatus(Value, frozen=True, kw_only=True):
    """The BGP daemon by IP version."""

    bird_v4: BIRDStatus = BIRDStatus()
    bird_v6: BIRDStatus = BIRDStatus()


class NodePeerStatus(Value, frozen=True, kw_only=True):
    """One BGP session."""

    peer_ip: str = msgspec.field(default="", name="peerIP")
    type: Literal["NodeMesh", "NodePeer", "GlobalPeer"] | None = None
    state: SessionState | None = None
    since: str = ""


class NodeBGPStatus(Value, frozen=True, kw_only=True):
    """All sessions, and how many of them carry routes."""

    number_established_v4: int
    number_established_v6: int
    number_not_established_v4: int
    number_not_established_v6: int
    peers_v4: tuple[NodePeerStatus, ...] = ()
    peers_v6: tuple[NodePeerStatus, ...] = ()


class RouteSource(Value, frozen=True, kw_only=True):
    """Where a route was learned."""

    source_type: Literal["Kernel", "Static", "Direct", "NodeMesh", "BGPPeer"] | None = None
    peer_ip: str = msgspec.field(default="", name="peerIP")


class NodeRoute(Value, frozen=True, kw_only=True):
    """One route: FIB is the kernel's, RIB is known to BIRD only."""

    type: Literal["FIB", "RIB"] | None = None
    destination: str = ""
    gateway: str = ""
    interface: str = ""
    learned_from: RouteSource = RouteSource()


class NodeRouteStatus(Value, frozen=True, kw_only=True):
    """All routes by IP version."""

    routes_v4: tuple[NodeRoute, ...] = ()
    routes_v6: tuple[NodeRoute, ...] = ()


class CalicoNodeStatusSpec(Value, frozen=True, kw_only=True):
    """Whom is asked for what and how often; a period of 0 asks once."""

    node: str = ""
    classes: tuple[NodeStatusClass, ...] = ()
    update_period_seconds: int | None = None


class CalicoNodeStatusStatus(Value, frozen=True, kw_only=True):
    """The report: the parts that `spec.classes` asks for."""

    last_updated: str | None = None
    agent: NodeAgentStatus = NodeAgentStatus()
    bgp: NodeBGPStatus | None = None
    routes: NodeRouteStatus = NodeRouteStatus()


class CalicoNodeStatus(Resource, frozen=True, kw_only=True):
    """A node's report on itself."""

    api_version: str = V3
    kind: str = "CalicoNodeStatus"
    metadata: Metadata = Metadata()
    spec: CalicoNodeStatusSpec = CalicoNodeStatusSpec()
    status: CalicoNodeStatusStatus | None = None
