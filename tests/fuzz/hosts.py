"""Random host endpoints, node configuration and service ranges."""

from random import Random
from typing import Any

from tests.fuzz.layout import FAILSAFE_PORTS, LAYOUT, NODE, SERVICE_NETS
from tests.fuzz.rules import NETS, PORT_NAMES, PORTS
from tests.fuzz.selectors import random_labels

V3 = "projectcalico.org/v3"
PROFILES = ("p1", "p2", "p3", "projectcalico-default-allow")
"""p3 never exists."""


def random_hosts(rng: Random) -> list[dict[str, Any]]:
    """Host endpoints of this node, now and then of another, that may want the same interface."""
    return [_host_endpoint(rng, name) for name in rng.sample(("h1", "h2", "h3", "h4", "h5"), rng.randint(1, 4))]


def _host_endpoint(rng: Random, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"node": NODE if rng.random() < 0.93 else "n2"}
    if rng.random() < 0.75:
        spec["interfaceName"] = rng.choice(("ext0", "ext0", "ext1", "*", "*", "eth9"))
    if rng.random() < 0.4 or "interfaceName" not in spec:
        addresses = [address for own in LAYOUT.interfaces.values() for address in own]
        spec["expectedIPs"] = rng.sample((*addresses, "192.0.2.250"), rng.randint(1, 2))
    if rng.random() < 0.6:
        spec["profiles"] = rng.sample(PROFILES, rng.randint(1, 2))
    if rng.random() < 0.5:
        kinds = ("TCP", "UDP", "SCTP")
        spec["ports"] = [{"name": each, "port": rng.choice(PORTS), "protocol": rng.choice(kinds)} for each in PORT_NAMES[:2]]
    metadata = {"name": name, "labels": random_labels(rng)}
    return {"apiVersion": V3, "kind": "HostEndpoint", "metadata": metadata, "spec": spec}


def random_configuration(rng: Random) -> list[dict[str, Any]]:
    """FelixConfiguration of all nodes, and perhaps of this one; service ranges."""
    documents = [
        {"apiVersion": V3, "kind": "FelixConfiguration", "metadata": {"name": name}, "spec": _felix(rng)}
        for name in ("default", f"node.{NODE}")
        if rng.random() < 0.5
    ]
    if rng.random() < 0.5:
        fields = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
        spec = {each: [{"cidr": net} for net in rng.sample(SERVICE_NETS, rng.randint(1, 2))] for each in rng.sample(fields, 2)}
        documents.append({"apiVersion": V3, "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec})
    return documents


def random_pools(rng: Random) -> list[dict[str, Any]]:
    """Nodes, two of them strangers' addresses, and pools whose packets they may wrap up."""
    addresses = {
        NODE: ("192.0.2.254/24", "2001:db8:ff::1/64"),
        "n2": ("192.0.2.7/24", "2001:db8:9::7/64"),
        "n3": ("198.51.100.9/24", "2001:db8:a::9/64"),
    }
    documents: list[dict[str, Any]] = []
    for name, (four, six) in addresses.items():
        spec: dict[str, Any] = {
            "bgp": {"ipv4Address": four, "ipv6Address": six},
            "ipv4VXLANTunnelAddr": f"10.66.0.{name[1]}",
            "ipv6VXLANTunnelAddr": f"fd00:66::{name[1]}",
        }
        documents.append({"apiVersion": V3, "kind": "Node", "metadata": {"name": name}, "spec": spec})
    four_modes = rng.choice(({"ipipMode": "Always"}, {"vxlanMode": "CrossSubnet"}, {"vxlanMode": "Always"}, {}))
    six_modes = rng.choice(({"vxlanMode": "Always"}, {}))
    for name, cidr, modes in (("four", "10.65.0.0/16", four_modes), ("six", "fd00:65::/64", six_modes)):
        documents.append({"apiVersion": V3, "kind": "IPPool", "metadata": {"name": name}, "spec": {"cidr": cidr, **modes}})
    return documents


def _felix(rng: Random) -> dict[str, Any]:
    every: dict[str, Any] = {
        "workloadSourceSpoofing": rng.choice(("Any", "Any", "Disabled")),
        "allowVXLANPacketsFromWorkloads": rng.random() < 0.7,
        "allowIPIPPacketsFromWorkloads": rng.random() < 0.7,
        "serviceLoopPrevention": rng.choice(("Drop", "Reject", "Disabled")),
        "failsafeInboundHostPorts": _failsafes(rng),
        "failsafeOutboundHostPorts": _failsafes(rng),
        "disableConntrackInvalidCheck": rng.random() < 0.5,
        "nftablesFilterDenyAction": rng.choice(("Reject", "Drop")),
    }
    chosen = {name: every[name] for name in every if rng.random() < 0.35}
    if rng.random() < 0.8:
        chosen["defaultEndpointToHostAction"] = rng.choice(("Accept", "Return", "Return", "Drop"))
    return chosen


def _failsafes(rng: Random) -> list[dict[str, Any]]:
    entries = []
    for _ in range(rng.randint(0, 3)):
        entry: dict[str, Any] = {"protocol": rng.choice(("TCP", "TCP", "UDP")), "port": rng.choice((*FAILSAFE_PORTS, *PORTS))}
        if rng.random() < 0.4:
            entry["net"] = rng.choice((*NETS[4][4:6], *NETS[6][4:6]))
        entries.append(entry)
    return entries
