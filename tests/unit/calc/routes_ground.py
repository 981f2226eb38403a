"""A cluster of three nodes as calc tells it, for the tests of routes, tunnels and encrypted peers."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from tortie.api.bgp import BGPConfiguration
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.felix import FelixConfiguration
from tortie.api.ipam import BlockAffinity, BlockAffinitySpec
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_prefix
from tortie.calc.graph import Graph
from tortie.intent.messages import (
    Message,
)
from tortie.intent.routes import ClusterRoute, Owner, Way
from tortie.intent.state import State

HERE, NEAR, FAR = "here", "near", "far"
BLOCK_NEAR, BLOCK_FAR = "10.0.1.0/26", "10.0.2.0/26"


def key(letter: str) -> str:
    return base64.b64encode(letter.encode() * 32).decode()


class Cluster:
    """A graph and the state that its messages lead to. Three nodes: this one, one in its subnet, one in another."""

    def __init__(self, *resources: Resource, backend: str = "bird", **overrides: str) -> None:
        self.graph = Graph(HERE, backend=backend, overrides=overrides)
        self.state = State()
        self.last: list[Message] = []
        self.graph.on_in_sync()
        self.tell(node(HERE, "192.0.2.1/24"), node(NEAR, "192.0.2.2/24"), node(FAR, "198.51.100.3/24"))
        self.tell(block(HERE, "10.0.0.0/26"), block(NEAR, BLOCK_NEAR), block(FAR, BLOCK_FAR), *resources)

    def tell(self, *resources: Resource) -> "Cluster":
        self.graph.on_updates([Update(each.key, each) for each in resources])
        return self._flush()

    def forget(self, *resources: Resource) -> "Cluster":
        self.graph.on_updates([Update(each.key, None) for each in resources])
        return self._flush()

    def _flush(self) -> "Cluster":
        self.last = self.graph.flush()
        self.state.apply_all(self.last)
        return self

    def __getitem__(self, dst: str) -> ClusterRoute:
        return self.state.cluster_routes[parse_prefix(dst)]

    def way(self, dst: str) -> tuple[Way, Owner, str]:
        route = self[dst]
        return route.way, route.owner, "" if route.next_hop is None else str(route.next_hop)

    def destinations(self) -> set[str]:
        return {str(dst) for dst in self.state.cluster_routes}

    def problem(self, kind: str, name: str) -> str:
        return "; ".join(text for each, text in self.graph.problems.items() if (each.kind, each.name) == (kind, name))


def node(name: str, ipv4: str = "", ipv6: str = "", **fields: Any) -> Node:
    """`fields`: vxlan, vxlan6, mac, ipip, wg, key, key6, labels."""
    spec: dict[str, Any] = {
        "bgp": {"ipv4Address": ipv4, "ipv6Address": ipv6, "ipv4IPIPTunnelAddr": fields.get("ipip", "")},
        "ipv4VXLANTunnelAddr": fields.get("vxlan", ""),
        "ipv6VXLANTunnelAddr": fields.get("vxlan6", ""),
        "vxlanTunnelMACAddr": fields.get("mac", ""),
        "wireguard": {"interfaceIPv4Address": fields.get("wg", "")},
    }
    status = {"wireguardPublicKey": fields.get("key", ""), "wireguardPublicKeyV6": fields.get("key6", "")}
    metadata = {"name": name, "labels": fields.get("labels", {})}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Node)


def block(owner: str, cidr: str, state: Any = "confirmed", kind: str = "host", *, deleted: bool = False) -> BlockAffinity:
    spec = BlockAffinitySpec(state=state, node=owner, cidr=cidr, type=kind, deleted=deleted)
    return BlockAffinity(metadata=Metadata(name=f"{owner}-{cidr}"), spec=spec)


def pool(cidr: str = "10.0.0.0/16", name: str = "pool", **spec: Any) -> IPPool:
    return msgspec.convert({"metadata": {"name": name}, "spec": {"cidr": cidr} | spec}, IPPool)


def pod(name: str, owner: str, *nets: str) -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(orchestrator="k8s", node=owner, pod=name, endpoint="eth0", ip_networks=nets)
    return WorkloadEndpoint(metadata=Metadata(name=f"{owner}-k8s-{name}-eth0", namespace="ns"), spec=spec)


def felix(annotations: Mapping[str, str] = {}, **spec: Any) -> FelixConfiguration:
    return msgspec.convert({"metadata": {"name": "default", "annotations": annotations}, "spec": spec}, FelixConfiguration)


def bgp(programs: str) -> BGPConfiguration:
    return msgspec.convert({"metadata": {"name": "default"}, "spec": {"programClusterRoutes": programs}}, BGPConfiguration)


VXLAN_NODES = (
    node(HERE, "192.0.2.1/24", vxlan="10.0.0.1"),
    node(NEAR, "192.0.2.2/24", vxlan="10.0.1.1"),
    node(FAR, "198.51.100.3/24", vxlan="10.0.2.1", mac="66:00:00:00:00:03"),
)


WG_NODES = (
    node(HERE, "192.0.2.1/24", key=key("a")),
    node(NEAR, "192.0.2.2/24", key=key("b"), wg="10.0.1.63"),
    node(FAR, "198.51.100.3/24"),
)
