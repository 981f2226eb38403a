"""Checks of the Kubernetes objects that we read, so that a mistake in one is refused rather than half obeyed."""

import re

from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_cidr, parse_port_name
from tortie.api.kubernetes import (
    IPBlock,
    KubernetesNetworkPolicy,
    LabelSelector,
    LabelSelectorRequirement,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    Pod,
)
from tortie.api.names import parse_label_key, parse_label_value
from tortie.api.services import EndpointSlice, Service
from tortie.api.staged import StagedKubernetesNetworkPolicy, StagedKubernetesNetworkPolicySpec
from tortie.api.validation_network import address_of
from tortie.base.net import Family, Prefix, parse_address

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_HEADLESS = "None"
_POLICY_TYPES = ("Ingress", "Egress")
_PROTOCOLS = ("TCP", "UDP", "SCTP")


def check_kubernetes_policy(findings: Findings, policy: KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy) -> None:
    """The spec of a networking.k8s.io/v1 NetworkPolicy, enforced or staged."""
    spec = policy.spec
    if isinstance(spec, StagedKubernetesNetworkPolicySpec) and spec.staged_action == "Delete":
        findings.unset(spec, but=("staged_action",), reason="must be empty when stagedAction is Delete")
        return
    check_label_selector(findings, ("spec", "podSelector"), spec.pod_selector)
    findings.unique(("spec", "policyTypes"), spec.policy_types)
    for index, text in enumerate(spec.policy_types):
        findings.require(text in _POLICY_TYPES, ("spec", "policyTypes", index), value=text, reason="must be Ingress or Egress")
    for index, ingress in enumerate(spec.ingress):
        _check_rule(findings, ("spec", "ingress", index), "from", peers=ingress.from_, ports=ingress.ports)
    for index, egress in enumerate(spec.egress):
        _check_rule(findings, ("spec", "egress", index), "to", peers=egress.to, ports=egress.ports)


def check_pod(findings: Findings, pod: Pod) -> None:
    """The part of a pod that we read."""
    for index, address in enumerate(pod.status.pod_ips):
        findings.parsed(("status", "podIPs", index, "ip"), address.ip, parse_address)
    if pod.status.pod_ip:
        findings.parsed(("status", "podIP"), pod.status.pod_ip, parse_address)
    for number, container in enumerate(pod.spec.containers):
        for index, port in enumerate(container.ports):
            path: Path = ("spec", "containers", number, "ports", index)
            findings.within((*path, "containerPort"), port.container_port, lowest=1, highest=65535)
            findings.within((*path, "hostPort"), port.host_port or None, lowest=1, highest=65535)
            _check_protocol(findings, (*path, "protocol"), port.protocol)
            if port.name:
                findings.parsed((*path, "name"), port.name, parse_port_name)


def check_service(findings: Findings, service: Service) -> None:
    """The part of a service that we read."""
    spec = service.spec
    for field, text in (("clusterIP", spec.cluster_ip), ("loadBalancerIP", spec.load_balancer_ip)):
        if text not in ("", _HEADLESS):
            findings.parsed(("spec", field), text, parse_address)
    for field, texts in (("clusterIPs", spec.cluster_ips), ("externalIPs", spec.external_ips)):
        findings.each(("spec", field), tuple(text for text in texts if text != _HEADLESS), parse_address)
    for index, port in enumerate(spec.ports):
        findings.within(("spec", "ports", index, "port"), port.port, lowest=1, highest=65535)
        _check_protocol(findings, ("spec", "ports", index, "protocol"), port.protocol)


def check_endpoint_slice(findings: Findings, endpoint_slice: EndpointSlice) -> None:
    """The part of a slice that we read: addresses are of the type that it says."""
    family = {"IPv4": Family.V4, "IPv6": Family.V6}.get(endpoint_slice.address_type)
    if family is None and endpoint_slice.address_type != "FQDN":
        findings.refuse(("addressType",), endpoint_slice.address_type, "must be IPv4, IPv6 or FQDN")
    for number, endpoint in enumerate(endpoint_slice.endpoints):
        findings.require(bool(endpoint.addresses), ("endpoints", number, "addresses"), reason="is required")
        if family is not None:
            findings.each(("endpoints", number, "addresses"), endpoint.addresses, address_of(family))
    for index, port in enumerate(endpoint_slice.ports):
        findings.within(("ports", index, "port"), port.port, lowest=1, highest=65535)
        _check_protocol(findings, ("ports", index, "protocol"), port.protocol)


def _check_rule(
    findings: Findings,
    path: Path,
    field: str,
    *,
    peers: tuple[NetworkPolicyPeer, ...],
    ports: tuple[NetworkPolicyPort, ...],
) -> None:
    for index, peer in enumerate(peers):
        _check_peer(findings, (*path, field, index), peer)
    for index, port in enumerate(ports):
        _check_port(findings, (*path, "ports", index), port)


def _check_peer(findings: Findings, path: Path, peer: NetworkPolicyPeer) -> None:
    selectors = [selector for selector in (peer.pod_selector, peer.namespace_selector) if selector is not None]
    if not selectors and peer.ip_block is None:
        findings.refuse(path, None, "needs podSelector, namespaceSelector or ipBlock")
    if selectors and peer.ip_block is not None:
        findings.refuse((*path, "ipBlock"), None, "cannot be combined with selectors")
    if peer.pod_selector is not None:
        check_label_selector(findings, (*path, "podSelector"), peer.pod_selector)
    if peer.namespace_selector is not None:
        check_label_selector(findings, (*path, "namespaceSelector"), peer.namespace_selector)
    if peer.ip_block is not None:
        _check_ip_block(findings, (*path, "ipBlock"), peer.ip_block)


def _check_ip_block(findings: Findings, path: Path, block: IPBlock) -> None:
    cidr = findings.parsed((*path, "cidr"), block.cidr, _cidr_with_mask)
    for index, text in enumerate(block.except_):
        carved = findings.parsed((*path, "except", index), text, _cidr_with_mask)
        if cidr is not None and carved is not None and (not cidr.contains(carved) or cidr == carved):
            findings.refuse((*path, "except", index), text, f"must lie inside {cidr} and be smaller")


def _cidr_with_mask(text: str) -> Prefix:
    prefix = parse_cidr(text)
    if "/" not in text:
        raise ValueError(f"must be a CIDR with a mask, such as {prefix}")
    return prefix


def _check_port(findings: Findings, path: Path, port: NetworkPolicyPort) -> None:
    _check_protocol(findings, (*path, "protocol"), port.protocol)
    if isinstance(port.port, int):
        findings.within((*path, "port"), port.port, lowest=1, highest=65535)
    elif port.port is not None:
        hint = "; write a port number without quotes" if re.fullmatch(r"[0-9]+", port.port) else ""
        findings.parsed((*path, "port"), port.port, lambda name: _port_name(name, hint))
    if port.end_port is None:
        return
    if not isinstance(port.port, int):
        findings.refuse((*path, "endPort"), port.end_port, "needs a numeric port")
    else:
        findings.within((*path, "endPort"), port.end_port, lowest=max(1, port.port), highest=65535)


def _port_name(name: str, hint: str) -> str:
    try:
        return parse_port_name(name)
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from error


def _check_protocol(findings: Findings, path: Path, protocol: str) -> None:
    findings.require(protocol in _PROTOCOLS, path, value=protocol, reason=f"must be one of {', '.join(_PROTOCOLS)}")


def check_label_selector(findings: Findings, path: Path, selector: LabelSelector) -> None:
    """A selector of labels as Kubernetes writes it."""
    for key, value in selector.match_labels.items():
        findings.parsed((*path, "matchLabels", key), key, parse_label_key)
        findings.parsed((*path, "matchLabels", key), value, parse_label_value)
    for index, expression in enumerate(selector.match_expressions):
        _check_expression(findings, (*path, "matchExpressions", index), expression)


def _check_expression(findings: Findings, path: Path, expression: LabelSelectorRequirement) -> None:
    findings.parsed((*path, "key"), expression.key, parse_label_key)
    if expression.operator not in _OPERATORS:
        findings.refuse((*path, "operator"), expression.operator, f"must be one of {', '.join(_OPERATORS)}")
    elif expression.operator in ("In", "NotIn"):
        findings.require(bool(expression.values), (*path, "values"), reason=f"is required with {expression.operator}")
        findings.each((*path, "values"), expression.values, parse_label_value)
    else:
        findings.require(not expression.values, (*path, "values"), reason=f"must be empty with {expression.operator}")
