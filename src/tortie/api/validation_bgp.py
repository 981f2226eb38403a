"""Checks of BGPConfiguration and BGPPeer (api.md, section 5)."""

import re

from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPassword, BGPPeer
from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_as_number, parse_cidr_with_mask, parse_community, parse_duration
from tortie.api.names import parse_dns_subdomain
from tortie.api.validation_network import address_of
from tortie.base.net import Address, Family, parse_address

_CLUSTER_WIDE_ONLY = (
    ("node_to_node_mesh_enabled", "nodeToNodeMeshEnabled"),
    ("as_number", "asNumber"),
    ("service_load_balancer_ips", "serviceLoadBalancerIPs"),
    ("service_external_ips", "serviceExternalIPs"),
    ("service_cluster_ips", "serviceClusterIPs"),
    ("node_mesh_password", "nodeMeshPassword"),
    ("node_mesh_max_restart_time", "nodeMeshMaxRestartTime"),
)
_IGNORED_INTERFACE = re.compile(r"(?!\*$)[a-zA-Z0-9_.*-]{1,15}")
_MAX_COMMUNITIES = 500
_MAX_COMMUNITIES_OF_A_PREFIX = 50
_SEVERITY = re.compile(r"(?i)(Trace|Debug|Info|Warning|Error|Fatal)?")


def check_bgp_configuration(findings: Findings, configuration: BGPConfiguration) -> None:
    """The spec of a BGP configuration, and what may stand in one that is not the cluster's."""
    spec = configuration.spec
    name = configuration.metadata.name
    if name and name != "default":
        if not name.startswith("node."):
            findings.refuse(("metadata", "name"), name, "must be default or node.NAME")
        for field, written in _CLUSTER_WIDE_ONLY:
            if getattr(spec, field) not in (None, ()):
                findings.refuse(("spec", written), None, "can only be set in the configuration named default")
    _check_numbers(findings, spec)
    if spec.node_to_node_mesh_enabled is False:
        for field, written in _CLUSTER_WIDE_ONLY[-2:]:
            if getattr(spec, field) is not None:
                findings.refuse(("spec", written), None, "cannot be set while nodeToNodeMeshEnabled is false")
    _check_password(findings, ("spec", "nodeMeshPassword"), spec.node_mesh_password)
    for index, interface in enumerate(spec.ignored_interfaces):
        if _IGNORED_INTERFACE.fullmatch(interface) is None:
            findings.refuse(
                ("spec", "ignoredInterfaces", index), interface, "must be an interface, possibly with *, but not * alone"
            )
    _check_communities(findings, spec)
    for field, blocks in (
        ("serviceClusterIPs", spec.service_cluster_ips),
        ("serviceExternalIPs", spec.service_external_ips),
        ("serviceLoadBalancerIPs", spec.service_load_balancer_ips),
    ):
        for index, block in enumerate(blocks):
            findings.parsed(("spec", field, index, "cidr"), block.cidr, parse_cidr_with_mask)
    for field, text, family in (
        ("localWorkloadPeeringIPV4", spec.local_workload_peering_ipv4, Family.V4),
        ("localWorkloadPeeringIPV6", spec.local_workload_peering_ipv6, Family.V6),
    ):
        if text:
            findings.parsed(("spec", field), text, address_of(family))


def check_bgp_peer(findings: Findings, peer: BGPPeer) -> None:
    """The spec of a peering."""
    spec = peer.spec
    _exclude(findings, ("node", spec.node), ("nodeSelector", spec.node_selector))
    _exclude(findings, ("peerIP", spec.peer_ip), ("peerSelector", spec.peer_selector))
    if spec.peer_selector and spec.as_number is not None:
        findings.refuse(("spec", "asNumber"), spec.as_number, "must be empty with peerSelector")
    if spec.local_workload_selector:
        _exclude(findings, ("localWorkloadSelector", spec.local_workload_selector), ("peerIP", spec.peer_ip))
        _exclude(findings, ("localWorkloadSelector", spec.local_workload_selector), ("peerSelector", spec.peer_selector))
        findings.require(spec.as_number is not None, ("spec", "asNumber"), reason="is required with localWorkloadSelector")
    elif not spec.peer_ip and not spec.peer_selector:
        findings.refuse(("spec", "peerIP"), None, "peerIP or peerSelector is required")
    for field, selector in (
        ("nodeSelector", spec.node_selector),
        ("peerSelector", spec.peer_selector),
        ("localWorkloadSelector", spec.local_workload_selector),
    ):
        findings.selector(("spec", field), selector)
    for field, number in (("asNumber", spec.as_number), ("localASNumber", spec.local_as_number)):
        if number is not None:
            findings.parsed(("spec", field), number, parse_as_number)
    _check_peer_addresses(findings, peer)
    findings.require(
        not (spec.keep_original_next_hop and spec.next_hop_mode is not None),
        ("spec", "nextHopMode"),
        value=spec.next_hop_mode,
        reason="cannot be set while keepOriginalNextHop is true",
    )
    for field, text in (("keepaliveTime", spec.keepalive_time), ("maxRestartTime", spec.max_restart_time)):
        if text is not None:
            findings.parsed(("spec", field), text, parse_duration)
    findings.within(("spec", "ttlSecurity"), spec.ttl_security, lowest=0, highest=255)
    findings.within(("spec", "numAllowedLocalASNumbers"), spec.num_allowed_local_as_numbers, lowest=0, highest=2**31 - 1)
    findings.each(("spec", "filters"), spec.filters, parse_dns_subdomain)
    _check_password(findings, ("spec", "password"), spec.password)


def parse_peer_address(text: str) -> Address:
    """`v4`, `v6`, `v4:port` or `[v6]:port`: the address. Raises ValueError."""
    found = re.fullmatch(r"\[(.+)\]:([0-9]{1,5})", text) or re.fullmatch(r"([0-9.]+):([0-9]{1,5})", text)
    if found is not None and not 1 <= int(found[2]) <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    try:
        return parse_address(found[1] if found else text)
    except ValueError as error:
        raise ValueError("must be an IP address, optionally with a port: 10.0.0.1, 10.0.0.1:179 or [fd00::1]:179") from error


def _check_peer_addresses(findings: Findings, peer: BGPPeer) -> None:
    spec = peer.spec
    address = findings.parsed(("spec", "peerIP"), spec.peer_ip, parse_peer_address) if spec.peer_ip else None
    if not spec.reachable_by:
        return
    gateway = findings.parsed(("spec", "reachableBy"), spec.reachable_by, parse_address)
    if not spec.peer_ip:
        findings.refuse(("spec", "reachableBy"), spec.reachable_by, "needs peerIP")
    elif address is not None and gateway is not None and address.family is not gateway.family:
        findings.refuse(("spec", "reachableBy"), spec.reachable_by, "must be of the same IP version as peerIP")


def _check_numbers(findings: Findings, spec: BGPConfigurationSpec) -> None:
    if spec.as_number is not None:
        findings.parsed(("spec", "asNumber"), spec.as_number, parse_as_number)
    findings.within(("spec", "listenPort"), spec.listen_port, lowest=1, highest=65535)
    findings.within(("spec", "ipv4NormalRoutePriority"), spec.ipv4_normal_route_priority, lowest=1, highest=2**31 - 2)
    findings.within(("spec", "ipv6NormalRoutePriority"), spec.ipv6_normal_route_priority, lowest=1, highest=2**31 - 2)
    if spec.node_mesh_max_restart_time is not None:
        findings.parsed(("spec", "nodeMeshMaxRestartTime"), spec.node_mesh_max_restart_time, parse_duration)
    if _SEVERITY.fullmatch(spec.log_severity_screen) is None:
        reason = "must be one of Trace, Debug, Info, Warning, Error, Fatal"
        findings.refuse(("spec", "logSeverityScreen"), spec.log_severity_screen, reason)


def _check_communities(findings: Findings, spec: BGPConfigurationSpec) -> None:
    findings.at_most(("spec", "communities"), spec.communities, limit=_MAX_COMMUNITIES)
    findings.at_most(("spec", "prefixAdvertisements"), spec.prefix_advertisements, limit=_MAX_COMMUNITIES)
    names = {community.name for community in spec.communities}
    for index, community in enumerate(spec.communities):
        path: Path = ("spec", "communities", index)
        findings.parsed((*path, "name"), community.name, parse_dns_subdomain)
        findings.parsed((*path, "value"), community.value, parse_community)
    if spec.communities and not spec.prefix_advertisements:
        findings.refuse(("spec", "communities"), None, "needs prefixAdvertisements that use them")
    for number, advertisement in enumerate(spec.prefix_advertisements):
        path = ("spec", "prefixAdvertisements", number)
        findings.parsed((*path, "cidr"), advertisement.cidr, parse_cidr_with_mask)
        findings.at_most((*path, "communities"), advertisement.communities, limit=_MAX_COMMUNITIES_OF_A_PREFIX)
        unnamed = [(index, text) for index, text in enumerate(advertisement.communities) if text not in names]
        for index, text in unnamed:
            findings.parsed((*path, "communities", index), text, parse_community)


def _check_password(findings: Findings, path: Path, password: BGPPassword | None) -> None:
    if password is not None and password.secret_key_ref is not None:
        findings.require(bool(password.secret_key_ref.key), (*path, "secretKeyRef", "key"), reason="is required")


def _exclude(findings: Findings, one: tuple[str, str], other: tuple[str, str]) -> None:
    if one[1] and other[1]:
        findings.refuse(("spec", other[0]), other[1], f"cannot be combined with {one[0]}")
