"""Checks of ClusterNetworkPolicy: what the schema of policy.networking.k8s.io/v1alpha2 asks for."""

from collections.abc import Sequence

from tortie.api.cluster_policy import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    DestinationPort,
    EgressPeer,
    IngressPeer,
    NamespacedPods,
    ProtocolMatch,
)
from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_net, parse_port_name
from tortie.api.kubernetes import LabelSelector
from tortie.api.validation_kubernetes import check_label_selector
from tortie.base.net import Prefix

_TIERS = ("Admin", "Baseline")
_ACTIONS = ("Accept", "Deny", "Pass")
_LIMIT = 25
_LONGEST_NAME = 100


def check_cluster_network_policy(findings: Findings, policy: ClusterNetworkPolicy) -> None:
    """The spec of a ClusterNetworkPolicy."""
    spec = policy.spec
    findings.require(spec.tier in _TIERS, ("spec", "tier"), value=spec.tier, reason="must be Admin or Baseline")
    findings.within(("spec", "priority"), spec.priority, lowest=0, highest=1000)
    subject: Path = ("spec", "subject")
    _exactly_one(findings, subject, {"namespaces": spec.subject.namespaces, "pods": spec.subject.pods})
    _check_who(findings, subject, spec.subject.namespaces, spec.subject.pods)
    findings.at_most(("spec", "ingress"), spec.ingress, limit=_LIMIT)
    for index, ingress in enumerate(spec.ingress):
        _check_rule(findings, ("spec", "ingress", index), ingress, field="from", peers=ingress.from_)
    findings.at_most(("spec", "egress"), spec.egress, limit=_LIMIT)
    for index, egress in enumerate(spec.egress):
        _check_rule(findings, ("spec", "egress", index), egress, field="to", peers=egress.to)


def _check_rule(
    findings: Findings,
    path: Path,
    rule: ClusterIngressRule | ClusterEgressRule,
    *,
    field: str,
    peers: Sequence[IngressPeer | EgressPeer],
) -> None:
    findings.no_longer((*path, "name"), rule.name, limit=_LONGEST_NAME)
    findings.require(
        rule.action in _ACTIONS, (*path, "action"), value=rule.action, reason=f"must be one of {', '.join(_ACTIONS)}"
    )
    findings.require(bool(peers), (*path, field), reason="is required: at least one peer")
    findings.at_most((*path, field), peers, limit=_LIMIT)
    findings.at_most((*path, "protocols"), rule.protocols, limit=_LIMIT)
    for index, peer in enumerate(peers):
        _check_peer(findings, (*path, field, index), peer)
    named = False
    for index, protocol in enumerate(rule.protocols):
        _check_protocol(findings, (*path, "protocols", index), protocol)
        named = named or bool(protocol.destination_named_port)
    if named and any(isinstance(peer, EgressPeer) and (peer.networks or peer.nodes or peer.domain_names) for peer in peers):
        findings.refuse((*path, "protocols"), None, "destinationNamedPort needs peers that are pods: others name no ports")


def _check_peer(findings: Findings, path: Path, peer: IngressPeer | EgressPeer) -> None:
    ways: dict[str, object] = {"namespaces": peer.namespaces, "pods": peer.pods}
    if isinstance(peer, EgressPeer):
        ways |= {"nodes": peer.nodes, "networks": peer.networks or None, "domainNames": peer.domain_names or None}
        findings.each((*path, "networks"), peer.networks, _network)
        findings.unique((*path, "networks"), peer.networks)
        for field, items in (("networks", peer.networks), ("domainNames", peer.domain_names)):
            findings.at_most((*path, field), items, limit=_LIMIT)
        if peer.nodes is not None:
            check_label_selector(findings, (*path, "nodes"), peer.nodes)
    _exactly_one(findings, path, ways)
    _check_who(findings, path, peer.namespaces, peer.pods)


def _check_who(findings: Findings, path: Path, namespaces: LabelSelector | None, pods: NamespacedPods | None) -> None:
    if namespaces is not None:
        check_label_selector(findings, (*path, "namespaces"), namespaces)
    if pods is not None:
        check_label_selector(findings, (*path, "pods", "namespaceSelector"), pods.namespace_selector)
        check_label_selector(findings, (*path, "pods", "podSelector"), pods.pod_selector)


def _check_protocol(findings: Findings, path: Path, protocol: ProtocolMatch) -> None:
    matches = {"tcp": protocol.tcp, "udp": protocol.udp, "sctp": protocol.sctp}
    _exactly_one(findings, path, {**matches, "destinationNamedPort": protocol.destination_named_port or None})
    for field, match in matches.items():
        if match is not None and match.destination_port is not None:
            _check_port(findings, (*path, field, "destinationPort"), match.destination_port)
    if protocol.destination_named_port:
        findings.parsed((*path, "destinationNamedPort"), protocol.destination_named_port, parse_port_name)


def _check_port(findings: Findings, path: Path, port: DestinationPort) -> None:
    _exactly_one(findings, path, {"number": port.number, "range": port.range})
    findings.within((*path, "number"), port.number, lowest=1, highest=65535)
    if port.range is not None:
        findings.within((*path, "range", "start"), port.range.start, lowest=1, highest=65535)
        findings.within((*path, "range", "end"), port.range.end, lowest=1, highest=65535)
        findings.require(
            port.range.start <= port.range.end, (*path, "range", "end"), value=port.range.end, reason="must not be below start"
        )


def _exactly_one(findings: Findings, path: Path, ways: dict[str, object]) -> None:
    given = [field for field, value in ways.items() if value is not None]
    if len(given) != 1:
        found = f"; {' and '.join(given)} are given" if given else ""
        findings.refuse(path, None, f"needs exactly one of {', '.join(ways)}{found}")


def _network(text: str) -> Prefix:
    net = parse_net(text)
    if "/" not in text:
        raise ValueError(f"must be a CIDR with a mask, such as {net}")
    return net
