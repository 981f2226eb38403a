"""Checks of workload endpoints and host endpoints (api.md, section 3)."""

import re

import msgspec

from tortie.api.endpoint import IPNAT, EndpointPort, QoSControls, WorkloadEndpoint
from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import (
    PROTOCOLS_WITH_PORTS,
    parse_cidr,
    parse_dscp,
    parse_mac,
    parse_net,
    parse_port_name,
    parse_protocol,
)
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.names import parse_dns_subdomain, workload_endpoint_name
from tortie.api.policy import ProtocolText
from tortie.api.validation_network import optional_address
from tortie.base.net import Family, Prefix, parse_address

_INTERFACE = re.compile(r"\*|[a-zA-Z0-9_.-]{1,15}")
_CONTAINER_ID = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")


def check_workload_endpoint(findings: Findings, endpoint: WorkloadEndpoint) -> None:
    """The spec of a workload endpoint, and that its name follows from it."""
    spec = endpoint.spec
    if _named_parts_given(findings, endpoint):
        _check_endpoint_name(findings, endpoint)
    for field, value in (
        ("node", spec.node),
        ("orchestrator", spec.orchestrator),
        ("pod", spec.pod),
        ("workload", spec.workload),
        ("endpoint", spec.endpoint),
        ("serviceAccountName", spec.service_account_name),
    ):
        if value:
            findings.parsed(("spec", field), value, parse_dns_subdomain)
    if spec.container_id and _CONTAINER_ID.fullmatch(spec.container_id) is None:
        findings.refuse(("spec", "containerID"), spec.container_id, "must be letters, digits and dashes inside")
    _check_interface_name(findings, ("spec", "interfaceName"), spec.interface_name)
    if spec.mac:
        findings.parsed(("spec", "mac"), spec.mac, parse_mac)
    networks = findings.each(("spec", "ipNetworks"), spec.ip_networks, _single)
    for index, nat in enumerate(spec.ip_nats):
        _check_nat(findings, ("spec", "ipNATs", index), nat, networks)
    optional_address(findings, ("spec", "ipv4Gateway"), spec.ipv4_gateway, Family.V4)
    optional_address(findings, ("spec", "ipv6Gateway"), spec.ipv6_gateway, Family.V6)
    findings.each(("spec", "profiles"), spec.profiles, parse_dns_subdomain)
    for index, port in enumerate(spec.ports):
        _check_endpoint_port(findings, ("spec", "ports", index), port)
    findings.each(("spec", "allowSpoofedSourcePrefixes"), spec.allow_spoofed_source_prefixes, parse_cidr)
    if spec.qos_controls is not None:
        _check_limits(findings, ("spec", "qosControls"), spec.qos_controls)


def check_host_endpoint(findings: Findings, endpoint: HostEndpoint) -> None:
    """The spec of a host endpoint: which node, which interface of it, and what else it says."""
    spec = endpoint.spec
    if spec.node:
        findings.parsed(("spec", "node"), spec.node, parse_dns_subdomain)
    else:
        findings.refuse(("spec", "node"), None, "is required")
    if spec.interface_name:
        _check_interface_name(findings, ("spec", "interfaceName"), spec.interface_name)
    elif not spec.expected_ips:
        findings.refuse(("spec", "interfaceName"), None, "is required unless expectedIPs is set; * means all")
    findings.each(("spec", "expectedIPs"), spec.expected_ips, parse_address)
    findings.unique(("spec", "expectedIPs"), spec.expected_ips)
    findings.each(("spec", "profiles"), spec.profiles, parse_dns_subdomain)
    findings.unique(("spec", "profiles"), spec.profiles)
    for index, port in enumerate(spec.ports):
        path: Path = ("spec", "ports", index)
        _check_protocol(findings, (*path, "protocol"), port.protocol)
        findings.within((*path, "port"), port.port, lowest=1, highest=65535)
        findings.parsed((*path, "name"), port.name, parse_port_name)


def _check_interface_name(findings: Findings, path: Path, name: str) -> None:
    """The name of a network interface, or `*`."""
    if _INTERFACE.fullmatch(name) is None:
        findings.refuse(path, name, "must be the name of an interface: 1 to 15 letters, digits, and _ . -")


def _check_limits(findings: Findings, path: Path, limits: QoSControls) -> None:
    for field in msgspec.structs.fields(limits):
        value = getattr(limits, field.name)
        if field.name == "dscp":
            if value is not None:
                findings.parsed((*path, "dscp"), value, parse_dscp)
        else:
            findings.require(value >= 0, (*path, field.encode_name), value=value, reason="must be 0, no limit, or more")


def _named_parts_given(findings: Findings, endpoint: WorkloadEndpoint) -> bool:
    """Report the fields that the name is made of, where they are missing; the rest of the check needs them."""
    spec = endpoint.spec
    third = {"k8s": ("pod", spec.pod), "cni": ("containerID", spec.container_id), "libnetwork": ("workload", "libnetwork")}
    parts = [
        ("node", spec.node),
        ("orchestrator", spec.orchestrator),
        third.get(spec.orchestrator, ("workload", spec.workload)),
        ("endpoint", spec.endpoint),
    ]
    for field, value in parts:
        findings.require(bool(value), ("spec", field), reason="is required")
    return all(value for _, value in parts)


def _check_endpoint_name(findings: Findings, endpoint: WorkloadEndpoint) -> None:
    try:
        wanted = workload_endpoint_name(endpoint.spec)
    except ValueError:
        return  # a field that is no name is refused by itself
    if endpoint.metadata.name != wanted:
        reason = f"must be {wanted}, which follows from the spec"
        findings.refuse(("metadata", "name"), endpoint.metadata.name, reason)


def _check_nat(findings: Findings, path: Path, nat: IPNAT, networks: list[Prefix]) -> None:
    internal = findings.parsed((*path, "internalIP"), nat.internal_ip, parse_address)
    external = findings.parsed((*path, "externalIP"), nat.external_ip, parse_address)
    if internal is None or external is None:
        return
    if internal.family is not external.family:
        findings.refuse(path, None, "internalIP and externalIP must be of one IP version")
    if not any(network.contains(internal) for network in networks):
        findings.refuse((*path, "internalIP"), nat.internal_ip, "must be one of ipNetworks")


def _check_endpoint_port(findings: Findings, path: Path, port: EndpointPort) -> None:
    _check_protocol(findings, (*path, "protocol"), port.protocol)
    findings.within((*path, "port"), port.port, lowest=1, highest=65535)
    findings.within((*path, "hostPort"), port.host_port, lowest=0, highest=65535)
    if port.name:
        findings.parsed((*path, "name"), port.name, parse_port_name)
    else:
        findings.require(port.host_port != 0, (*path, "name"), reason="is required unless hostPort is set")
    if port.host_ip:
        findings.parsed((*path, "hostIP"), port.host_ip, parse_address)


def _check_protocol(findings: Findings, path: Path, protocol: ProtocolText) -> None:
    number = findings.parsed(path, protocol, parse_protocol)
    if number is not None and number not in PROTOCOLS_WITH_PORTS:
        findings.refuse(path, protocol, "must be TCP, UDP or SCTP")


def _single(text: str) -> Prefix:
    net = parse_net(text)
    if not net.is_single:
        raise ValueError(f"must be a single address: /{net.family.bits}")
    return net
