"""Calico's Node as annotations of Kubernetes' (datastore.md, section 3.4): what to write so that it is read back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tortie.api.node import Node, NodeBGP, NodeStatus, NodeWireguard
from tortie.datastore.kubernetes.stored import Meta

_PREFIX = "projectcalico.org/"


def patch(node: Node, stored: Meta) -> bytes:
    """A merge patch that makes a Kubernetes Node say what Calico's does; `stored` is its metadata as it was read.

    What is empty is removed. Kubernetes' own labels stay Kubernetes': only those that it has not, or that differ, are ours.
    """
    labels = {name: text for name, text in node.metadata.labels.items() if (stored.labels or {}).get(name) != text}
    notes: dict[str, Any] = {_PREFIX + name: text or None for name, text in _notes(node).items()}
    notes[_PREFIX + "labels"] = _json(labels)
    notes[_PREFIX + "annotations"] = _json(node.metadata.annotations)
    metadata: dict[str, Any] = {"annotations": notes}
    if node.metadata.resource_version:
        metadata["resourceVersion"] = node.metadata.resource_version
    return msgspec.json.encode({"metadata": metadata})


def _notes(node: Node) -> dict[str, str]:
    spec, bgp = node.spec, node.spec.bgp or NodeBGP()
    wireguard, status = spec.wireguard or NodeWireguard(), node.status or NodeStatus()
    return {
        "IPv4Address": bgp.ipv4_address,
        "IPv6Address": bgp.ipv6_address,
        "ASNumber": "" if bgp.as_number is None else str(bgp.as_number),
        "RouteReflectorClusterID": bgp.route_reflector_cluster_id,
        "IPv4IPIPTunnelAddr": bgp.ipv4_ipip_tunnel_addr,
        "IPv4VXLANTunnelAddr": spec.ipv4_vxlan_tunnel_addr,
        "IPv6VXLANTunnelAddr": spec.ipv6_vxlan_tunnel_addr,
        "VXLANTunnelMACAddr": spec.vxlan_tunnel_mac_addr,
        "VXLANTunnelMACAddrV6": spec.vxlan_tunnel_mac_addr_v6,
        "IPv4WireguardInterfaceAddr": wireguard.interface_ipv4_address,
        "IPv6WireguardInterfaceAddr": wireguard.interface_ipv6_address,
        "WireguardPublicKey": status.wireguard_public_key,
        "WireguardPublicKeyV6": status.wireguard_public_key_v6,
        "Interfaces": msgspec.json.encode(spec.interfaces).decode() if spec.interfaces else "",
    }


def _json(texts: Mapping[str, str]) -> str | None:
    return msgspec.json.encode(texts, order="sorted").decode() if texts else None
