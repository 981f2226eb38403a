"""What a node's configuration and its host endpoints are, by asking all documents each time."""

from dataclasses import dataclass
from typing import Any

from tests.oracle.cluster import Cluster, Entity, Range, Sent, inside, meta, protocol_number, span

EVERY = "*"
_DEFAULT_FAILSAFES = {
    "Inbound": [("tcp", port) for port in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)] + [("udp", 68)],
    "Outbound": [("tcp", port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)] + [("udp", 53), ("udp", 67)],
}


@dataclass(frozen=True)
class Layout:
    """A node from outside: its name, the addresses of its own interfaces, and the interface towards every other place.

    `routes` are network and interface; workloads' addresses are not in it, the most exact network wins.
    """

    node: str
    interfaces: dict[str, tuple[str, ...]]
    routes: tuple[tuple[str, str], ...]

    def is_own(self, address: str) -> bool:
        """Is it one of the node's addresses?"""
        return any(inside(address, span(own)) for addresses in self.interfaces.values() for own in addresses)

    def way_to(self, address: str) -> str:
        """The interface by which a packet for it leaves."""
        fitting = [(span(net), name) for net, name in self.routes if inside(address, span(net))]
        return min(fitting, key=lambda each: each[0][2] - each[0][1])[1]


def configuration(cluster: Cluster, node: str) -> dict[str, Any]:
    """FelixConfiguration `default`, overlaid by the node's own."""
    merged: dict[str, Any] = {}
    for name in ("default", f"node.{node}"):
        for document in cluster.of_kind("FelixConfiguration"):
            if meta(document)["name"] == name:
                merged |= document.get("spec") or {}
    return merged


def is_failsafe(config: dict[str, Any], way: str, sent: Sent, *, untracked: bool) -> bool:
    """Is the packet for a port that must stay open? `way` is Inbound or Outbound. Untracked, replies of the other way too."""
    far_end = sent.source if way == "Inbound" else sent.destination
    if _is_listed(config, way, sent.protocol, port=sent.destination_port, far_end=far_end):
        return True
    other = "Outbound" if way == "Inbound" else "Inbound"
    return untracked and _is_listed(config, other, sent.protocol, port=sent.source_port, far_end=far_end)


def _is_listed(config: dict[str, Any], way: str, protocol: int, *, port: int | None, far_end: str) -> bool:
    written = config.get(f"failsafe{way}HostPorts")
    entries: list[tuple[str, int, Range | None]] = [(*entry, None) for entry in _DEFAULT_FAILSAFES[way]]
    if written is not None:
        entries = [(e.get("protocol") or "tcp", e["port"], span(e["net"]) if e.get("net") else None) for e in written]
    return any(
        protocol_number(name) == protocol and number == port and (net is None or inside(far_end, net))
        for name, number, net in entries
    )


def host_endpoint(cluster: Cluster, layout: Layout, interface: str) -> Entity | None:
    """Whose interface it is: the smallest name among those that name it or expect one of its addresses, else the smallest `*`.

    An interface that is none of the node's own, a workload's, can only be the `*` endpoint's.
    """
    mine = sorted((each for each in cluster.entities if each.is_host and each.node == layout.node), key=lambda each: each.name)
    if interface in layout.interfaces:
        for endpoint in mine:
            expected = not endpoint.interface and any(endpoint.has_address(own) for own in layout.interfaces[interface])
            if endpoint.interface == interface or expected:
                return endpoint
    return next((endpoint for endpoint in mine if endpoint.interface == EVERY), None)


def service_nets(cluster: Cluster) -> list[Range]:
    """Networks that only service addresses are in."""
    fields = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
    for document in cluster.of_kind("BGPConfiguration"):
        if meta(document)["name"] == "default":
            spec = document.get("spec") or {}
            return [span(entry["cidr"]) for each in fields for entry in spec.get(each) or []]
    return []


def tunnels(cluster: Cluster, sent: Sent, config: dict[str, Any]) -> bool:
    """Is the packet one that only nodes may send each other: IPIP (IPv4) or VXLAN, where a pool of its family uses that?"""
    if sent.protocol == 4 and sent.family == 4:
        return _some_pool(cluster, "ipipMode", 4)
    is_vxlan = sent.protocol == 17 and sent.destination_port == config.get("vxlanPort", 4789)
    return is_vxlan and _some_pool(cluster, "vxlanMode", sent.family)


def is_node(cluster: Cluster, address: str) -> bool:
    """Is it some node's address?"""
    fields = ("ipv4Address", "ipv6Address")
    found = [document["spec"]["bgp"].get(field) for document in cluster.of_kind("Node") for field in fields]
    return any(inside(address, span(text.partition("/")[0])) for text in found if text)


def _some_pool(cluster: Cluster, mode: str, family: int) -> bool:
    pools = [document["spec"] for document in cluster.of_kind("IPPool")]
    return any(pool.get(mode, "Never") != "Never" and span(pool["cidr"])[0] == family for pool in pools)
