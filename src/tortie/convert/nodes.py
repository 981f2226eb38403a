"""What a Kubernetes Node says about Calico's Node, in annotations (conversions.md, section 9)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from tortie.api.node import Node, NodeAddress, NodeBGP, NodeInterface, NodeSpec, NodeStatus, NodeWireguard, OrchRef
from tortie.api.resource import Metadata
from tortie.base.decimals import number_up_to
from tortie.base.net import FAMILIES, Family, parse_address, parse_interface, parse_prefix
from tortie.convert.names import KUBERNETES
from tortie.convert.uid import converted_uid

_PREFIX = "projectcalico.org/"
_HOST_ADDRESSES = frozenset({"InternalIP", "ExternalIP"})
_T = TypeVar("_T")


def calico_node(
    metadata: Metadata,
    *,
    addresses: Sequence[tuple[str, str]] = (),
    pod_cidrs: Sequence[str] = (),
    use_pod_cidr: bool = False,
) -> Node:
    """The Calico Node of a Kubernetes Node: `addresses` are its status' (type, address) pairs, `pod_cidrs` its spec's.

    An annotation with an invalid value counts as absent. `use_pod_cidr`: tunnel addresses follow from the pod CIDR.
    """
    notes = {key.removeprefix(_PREFIX): value for key, value in metadata.annotations.items() if key.startswith(_PREFIX)}
    bgp = _bgp(notes, ipip=_first_host(pod_cidrs) if use_pod_cidr else "")
    labels = {**_json(notes.get("labels", ""), dict[str, str], {}), **metadata.labels}
    wireguard = NodeWireguard(
        interface_ipv4_address=_ip(notes.get("IPv4WireguardInterfaceAddr", ""), Family.V4)
        or (_first_host(pod_cidrs) if use_pod_cidr and notes.get("WireguardPublicKey") else ""),
        interface_ipv6_address=_ip(notes.get("IPv6WireguardInterfaceAddr", ""), Family.V6),
    )
    return Node(
        metadata=Metadata(
            name=metadata.name,
            labels=labels,
            annotations=_json(notes.get("annotations", ""), dict[str, str], {}),
            uid=converted_uid(metadata.uid),
            resource_version=metadata.resource_version,
            creation_timestamp=metadata.creation_timestamp,
        ),
        spec=NodeSpec(
            bgp=None if bgp == NodeBGP() else bgp,
            ipv4_vxlan_tunnel_addr=_ip(notes.get("IPv4VXLANTunnelAddr", ""), Family.V4),
            ipv6_vxlan_tunnel_addr=_ip(notes.get("IPv6VXLANTunnelAddr", ""), Family.V6),
            vxlan_tunnel_mac_addr=notes.get("VXLANTunnelMACAddr", ""),
            vxlan_tunnel_mac_addr_v6=notes.get("VXLANTunnelMACAddrV6", ""),
            orch_refs=(OrchRef(node_name=metadata.name, orchestrator=KUBERNETES),),
            wireguard=None if wireguard == NodeWireguard() else wireguard,
            addresses=_addresses(bgp, addresses),
            interfaces=_json(notes.get("Interfaces", ""), tuple[NodeInterface, ...], ()),
        ),
        status=_status(notes, pod_cidrs),
    )


def _bgp(notes: Mapping[str, str], *, ipip: str) -> NodeBGP:
    return NodeBGP(
        as_number=number_up_to(notes.get("ASNumber", ""), (1 << 32) - 1),
        ipv4_address=_interface(notes.get("IPv4Address", ""), Family.V4),
        ipv6_address=_interface(notes.get("IPv6Address", ""), Family.V6),
        ipv4_ipip_tunnel_addr=ipip or _ip(notes.get("IPv4IPIPTunnelAddr", ""), Family.V4),
        route_reflector_cluster_id=_ip(notes.get("RouteReflectorClusterID", ""), Family.V4),
    )


def _addresses(bgp: NodeBGP, addresses: Sequence[tuple[str, str]]) -> tuple[NodeAddress, ...]:
    own = [text for text in (bgp.ipv4_address, bgp.ipv6_address) if text]
    return (
        *(NodeAddress(address=text, type="CalicoNodeIP") for text in own),
        *(NodeAddress(address=text, type=kind) for kind, text in addresses if kind in _HOST_ADDRESSES),
    )


def _status(notes: Mapping[str, str], pod_cidrs: Sequence[str]) -> NodeStatus | None:
    status = NodeStatus(
        wireguard_public_key=notes.get("WireguardPublicKey", ""),
        wireguard_public_key_v6=notes.get("WireguardPublicKeyV6", ""),
        pod_cidrs=tuple(pod_cidrs),
    )
    return None if status == NodeStatus() else status


def _interface(text: str, family: Family) -> str:
    try:
        return text if parse_interface(text).address.family is family else ""
    except ValueError:
        return ""


def _ip(text: str, family: Family) -> str:
    try:
        return str(parse_address(text)) if parse_address(text).family is family else ""
    except ValueError:
        return ""


def _first_host(pod_cidrs: Sequence[str]) -> str:
    """The address after the base of the first IPv4 pod CIDR that has one."""
    for text in pod_cidrs:
        try:
            prefix = parse_prefix(text, strict=False)
        except ValueError:
            continue
        if prefix.family is FAMILIES[0] and not prefix.is_single:
            return str(prefix.network._replace(value=prefix.value + 1))
    return ""


def _json(text: str, kind: type[_T], default: _T) -> _T:
    try:
        return msgspec.json.decode(text, type=kind) if text else default
    except msgspec.DecodeError:
        return default
