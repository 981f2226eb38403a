"""Checks of network sets, nodes, pools and IPAM's own kinds (api.md, sections 3 and 4)."""

import base64
import binascii
import re
from collections.abc import Callable

from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_as_number as parse_as
from tortie.api.formats import parse_cidr, parse_mac, parse_net
from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration
from tortie.api.ippool import IPPool, IPReservation
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.api.node import Node, NodeBGP
from tortie.api.validation_cluster import check_conditions
from tortie.base.net import Address, Family, Interface, Prefix, parse_address, parse_interface, parse_prefix

_AFFINITY = re.compile(r"(host|virtual):[a-zA-Z0-9.\-_]+")
_NAMESPACE_LABEL = "projectcalico.org/namespace"
_BLOCK_SIZES = {Family.V4: (20, 32), Family.V6: (116, 128)}
_LINK_LOCAL = (parse_prefix("169.254.0.0/16"), parse_prefix("fe80::/10"))
_NODE_ADDRESS_TYPES = ("CalicoNodeIP", "InternalIP", "ExternalIP")


def check_network_set(findings: Findings, network_set: NetworkSet | GlobalNetworkSet) -> None:
    """A set of networks, namespaced or global."""
    nets = network_set.spec.nets
    findings.each(("spec", "nets"), nets, parse_cidr)
    findings.unique(("spec", "nets"), nets)
    if _NAMESPACE_LABEL in network_set.metadata.labels:
        findings.refuse(("metadata", "labels", _NAMESPACE_LABEL), None, "is set by the system and must not be given")


def check_node(findings: Findings, node: Node) -> None:
    """The spec of a node."""
    spec = node.spec
    if spec.bgp is not None:
        findings.require(spec.bgp != NodeBGP(), ("spec", "bgp"), reason="is empty: leave it out, or set an address")
        _check_node_bgp(findings, spec.bgp)
    optional_address(findings, ("spec", "ipv4VXLANTunnelAddr"), spec.ipv4_vxlan_tunnel_addr, Family.V4)
    optional_address(findings, ("spec", "ipv6VXLANTunnelAddr"), spec.ipv6_vxlan_tunnel_addr, Family.V6)
    for field, mac in (
        ("vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr),
        ("vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6),
    ):
        if mac:
            findings.parsed(("spec", field), mac, parse_mac)
    if spec.wireguard is not None:
        optional_address(
            findings, ("spec", "wireguard", "interfaceIPv4Address"), spec.wireguard.interface_ipv4_address, Family.V4
        )
        optional_address(
            findings, ("spec", "wireguard", "interfaceIPv6Address"), spec.wireguard.interface_ipv6_address, Family.V6
        )
    for index, address in enumerate(spec.addresses):
        path: Path = ("spec", "addresses", index)
        findings.parsed((*path, "address"), address.address, parse_interface)
        if address.type and address.type not in _NODE_ADDRESS_TYPES:
            findings.refuse((*path, "type"), address.type, f"must be one of {', '.join(_NODE_ADDRESS_TYPES)}")
    for number, interface in enumerate(spec.interfaces):
        findings.each(("spec", "interfaces", number, "addresses"), interface.addresses, parse_interface)
    if node.status is not None:
        for field, key in (
            ("wireguardPublicKey", node.status.wireguard_public_key),
            ("wireguardPublicKeyV6", node.status.wireguard_public_key_v6),
        ):
            if key:
                findings.parsed(("status", field), key, _wireguard_key)
        findings.each(("status", "podCIDRs"), node.status.pod_cidrs, parse_cidr)


def check_ip_pool(findings: Findings, pool: IPPool) -> None:
    """The spec of a pool, as far as it can be judged without the other pools. Numbers as in the table of pool rules."""
    spec = pool.spec
    check_conditions(findings, pool.status)
    if not spec.cidr:
        findings.refuse(("spec", "cidr"), None, "is required")
        prefix = None
    else:
        prefix = findings.parsed(("spec", "cidr"), spec.cidr, parse_net)
    if prefix is not None:
        _check_pool_range(findings, pool, prefix)
    findings.unique(("spec", "allowedUses"), spec.allowed_uses)
    encapsulated = spec.ipip_mode not in ("", "Never") or spec.vxlan_mode not in ("", "Never")
    if spec.ipip_mode not in ("", "Never") and spec.vxlan_mode not in ("", "Never"):
        findings.refuse(("spec", "vxlanMode"), spec.vxlan_mode, "must be Never while ipipMode is not")
    if "LoadBalancer" in spec.allowed_uses:
        uses = ("spec", "allowedUses")
        findings.require(len(spec.allowed_uses) == 1, uses, reason="LoadBalancer cannot be combined with other uses")
        findings.require(not encapsulated, uses, reason="a LoadBalancer pool cannot use IPIP or VXLAN")
        findings.require(
            not spec.disable_bgp_export, ("spec", "disableBGPExport"), reason="cannot be true in a LoadBalancer pool"
        )
        findings.require(
            spec.node_selector == "all()",
            ("spec", "nodeSelector"),
            value=spec.node_selector,
            reason="must be all() in a LoadBalancer pool",
        )
    if spec.namespace_selector and (not spec.allowed_uses or "Tunnel" in spec.allowed_uses):
        reason = "cannot be set while allowedUses contains Tunnel; set allowedUses to [Workload]"
        findings.refuse(("spec", "namespaceSelector"), spec.namespace_selector, reason)
    findings.selector(("spec", "nodeSelector"), spec.node_selector, may_be_global=False)
    findings.selector(("spec", "namespaceSelector"), spec.namespace_selector, may_be_global=False)


def check_ip_reservation(findings: Findings, reservation: IPReservation) -> None:
    """The spec of a reservation."""
    findings.each(("spec", "reservedCIDRs"), reservation.spec.reserved_cidrs, parse_cidr)
    findings.unique(("spec", "reservedCIDRs"), reservation.spec.reserved_cidrs)


def check_ipam_configuration(findings: Findings, configuration: IPAMConfiguration) -> None:
    """The spec of IPAM's configuration."""
    spec = configuration.spec
    findings.within(("spec", "ipCooldownSeconds"), spec.ip_cooldown_seconds, lowest=0, highest=1200)
    findings.within(("spec", "maxBlocksPerHost"), spec.max_blocks_per_host, lowest=0, highest=1_000_000)
    if not spec.strict_affinity:
        findings.require(
            spec.auto_allocate_blocks, ("spec", "autoAllocateBlocks"), reason="must be true unless strictAffinity is true"
        )
        findings.require(spec.max_blocks_per_host == 0, ("spec", "maxBlocksPerHost"), reason="needs strictAffinity to be true")


def check_ipam_block(findings: Findings, block: IPAMBlock) -> None:
    """The spec of a block: ordinals and indexes must point inside."""
    spec = block.spec
    prefix = findings.parsed(("spec", "cidr"), spec.cidr, parse_net)
    if spec.affinity is not None and _AFFINITY.fullmatch(spec.affinity) is None:
        findings.refuse(("spec", "affinity"), spec.affinity, "must be host:NAME or virtual:NAME")
    for index, attribute in enumerate(spec.allocations):
        if attribute is not None and not 0 <= attribute < len(spec.attributes):
            findings.refuse(("spec", "allocations", index), attribute, "points at no attribute")
    if prefix is not None and len(spec.allocations) != prefix.size:
        findings.refuse(("spec", "allocations"), None, f"must have {prefix.size} items, one for each address")
    for index, ordinal in enumerate(spec.unallocated):
        findings.within(("spec", "unallocated", index), ordinal, lowest=0, highest=max(0, len(spec.allocations) - 1))


def check_block_affinity(findings: Findings, affinity: BlockAffinity) -> None:
    """The spec of a claim."""
    spec = affinity.spec
    findings.parsed(("spec", "cidr"), spec.cidr, parse_net)
    findings.require(bool(spec.node), ("spec", "node"), reason="is required")
    findings.require(spec.type in ("", "host", "virtual"), ("spec", "type"), value=spec.type, reason="must be host or virtual")
    findings.require(not spec.deleted, ("spec", "deleted"), reason="cannot be set: delete the resource")


def _check_node_bgp(findings: Findings, bgp: NodeBGP) -> None:
    path = ("spec", "bgp")
    if bgp.as_number is not None:
        findings.parsed((*path, "asNumber"), bgp.as_number, parse_as)
    for field, text, family in (
        ("ipv4Address", bgp.ipv4_address, Family.V4),
        ("ipv6Address", bgp.ipv6_address, Family.V6),
    ):
        if text:
            findings.parsed((*path, field), text, _interface_of(family))
    optional_address(findings, (*path, "ipv4IPIPTunnelAddr"), bgp.ipv4_ipip_tunnel_addr, Family.V4)
    optional_address(findings, (*path, "routeReflectorClusterID"), bgp.route_reflector_cluster_id, Family.V4)


def _check_pool_range(findings: Findings, pool: IPPool, prefix: Prefix) -> None:
    spec = pool.spec
    if any(prefix.overlaps(link_local) for link_local in _LINK_LOCAL):
        findings.refuse(("spec", "cidr"), spec.cidr, "overlaps the link-local addresses")
    if prefix.family is Family.V6 and spec.ipip_mode not in ("", "Never"):
        findings.refuse(("spec", "ipipMode"), spec.ipip_mode, "must be Never: IPIP is not available for IPv6")
    lowest, highest = _BLOCK_SIZES[prefix.family]
    if not lowest <= spec.block_size <= highest:
        findings.refuse(("spec", "blockSize"), spec.block_size, f"must be from {lowest} to {highest}")
    elif prefix.length > spec.block_size and not spec.disabled:
        reason = f"is smaller than one block of /{spec.block_size}; a pool holds at least one"
        findings.refuse(("spec", "cidr"), spec.cidr, reason)


def optional_address(findings: Findings, path: Path, text: str, family: Family) -> None:
    """An address of one IP version; empty is unset."""
    if text:
        findings.parsed(path, text, address_of(family))


def address_of(family: Family) -> Callable[[str], Address]:
    """A parser of addresses of one IP version."""

    def parse(text: str) -> Address:
        try:
            address = parse_address(text)
        except ValueError as error:
            raise ValueError(f"must be an IPv{family.value} address") from error
        if address.family is not family:
            raise ValueError(f"must be an IPv{family.value} address")
        return address

    return parse


def _interface_of(family: Family) -> Callable[[str], Interface]:
    def parse(text: str) -> Interface:
        reason = f"must be an IPv{family.value} address with the length of its subnet, such as "
        reason += "172.18.0.2/24" if family is Family.V4 else "fd00::2/64"
        try:
            interface = parse_interface(text)
        except ValueError as error:
            raise ValueError(reason) from error
        if interface.address.family is not family:
            raise ValueError(reason)
        return interface

    return parse


def _wireguard_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be 32 bytes in base64") from error
    if len(key) != 32:
        raise ValueError("must be 32 bytes in base64")
    return key
