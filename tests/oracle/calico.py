"""Calico policies and rules, read straight from the document: selection of endpoints, and one rule against one packet."""

from typing import Any

from tests.oracle.cluster import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    Cluster,
    Document,
    Entity,
    Sent,
    inside,
    meta,
    numeric,
    protocol_number,
    span,
)
from tests.oracle.selector import matches


def governs(policy: Document, endpoint: Entity, direction: str) -> bool:
    """Does the policy select this endpoint, and is it about this direction? In which chain it stands is not asked here."""
    return direction in policy_types(policy) and _selects(policy, endpoint)


def policy_types(policy: Document) -> list[str]:
    """As written; when absent, the directions that have rules, and Ingress when none has."""
    spec = policy["spec"]
    if spec.get("types"):
        return list(spec["types"])
    if spec.get("egress"):
        return ["Ingress", "Egress"] if spec.get("ingress") else ["Egress"]
    return ["Ingress"]


def _selects(policy: Document, endpoint: Entity) -> bool:
    spec = policy["spec"]
    selector, accounts = spec.get("selector") or "", spec.get("serviceAccountSelector") or ""
    if policy["kind"] in ("NetworkPolicy", "StagedNetworkPolicy"):
        if endpoint.namespace != meta(policy).get("namespace", "default"):
            return False
        return matches(selector, endpoint.labels) and (not accounts or matches(accounts, endpoint.labels, prefix="pcsa."))
    namespaces = spec.get("namespaceSelector") or ""
    # Rewriting replaces all() in the whole text: by "is in a namespace" first, else by "has a service account".
    everything = True
    if namespaces:
        everything = NAMESPACE in endpoint.labels
    elif accounts:
        everything = SERVICE_ACCOUNT in endpoint.labels
    if selector and not matches(selector, endpoint.labels, everything=everything):
        return False
    if namespaces and not matches(namespaces, endpoint.labels, prefix="pcns.", everything=everything):
        return False
    account_default = SERVICE_ACCOUNT in endpoint.labels
    return not accounts or matches(accounts, endpoint.labels, prefix="pcsa.", everything=account_default)


def action_of(rule: dict[str, Any]) -> str:
    """What a rule does. One that would pass but cannot be enforced denies: the rules behind it may allow."""
    action: str = rule["action"]
    return "Deny" if action == "Pass" and not _is_enforceable(rule) else action


def _is_enforceable(rule: dict[str, Any]) -> bool:
    return not rule.get("http")


def rule_matches(cluster: Cluster, rule: dict[str, Any], sent: Sent, *, namespace: str) -> bool:
    """Does every criterion of the rule hold? `namespace` is the policy's, "" for global policies and profiles.

    A rule that cannot be enforced (layer 7) fails closed: `action_of` says what then happens to everything.
    """
    if not _is_enforceable(rule):
        return bool(action_of(rule) == "Deny")
    if rule.get("ipVersion") not in (None, sent.family):
        return False
    protocol = None if rule.get("protocol") is None else protocol_number(rule["protocol"])
    if protocol is not None and protocol != sent.protocol:
        return False
    if (protocol == 1 and sent.family == 6) or (protocol == 58 and sent.family == 4):
        return False
    if rule.get("notProtocol") is not None and protocol_number(rule["notProtocol"]) == sent.protocol:
        return False
    if rule.get("icmp") and not _icmp_is(rule["icmp"], sent):
        return False
    if rule.get("notICMP") and _icmp_is(rule["notICMP"], sent):
        return False
    source, destination = rule.get("source") or {}, rule.get("destination") or {}
    for side in (source, destination):
        if side.get("services") and not _serves(
            cluster, side["services"], sent, is_destination=side is destination, namespace=namespace
        ):
            return False
    return _side_is(cluster, source, sent, address=sent.source, port=sent.source_port, namespace=namespace) and _side_is(
        cluster, destination, sent, address=sent.destination, port=sent.destination_port, namespace=namespace
    )


def _icmp_is(want: dict[str, Any], sent: Sent) -> bool:
    if want.get("type") is not None and want["type"] != sent.icmp_type:
        return False
    return want.get("code") is None or want["code"] == sent.icmp_code


def _side_is(cluster: Cluster, side: dict[str, Any], sent: Sent, *, address: str, port: int | None, namespace: str) -> bool:
    for field in ("nets", "notNets"):
        nets = [span(text) for text in side.get(field) or []]
        nets_of_family = [net for net in nets if net[0] == sent.family]
        if nets and not nets_of_family:
            return False  # a rule with networks of the other family only does not exist for this one
        within = any(inside(address, net) for net in nets_of_family)
        if nets and within is not (field == "nets"):
            return False
    if not _entity_is(cluster, side, address, namespace=namespace):
        return False
    if side.get("ports") and not _ports_hit(cluster, side, "ports", sent, address=address, port=port, namespace=namespace):
        return False
    return not _ports_hit(cluster, side, "notPorts", sent, address=address, port=port, namespace=namespace)


def _serves(cluster: Cluster, service: dict[str, Any], sent: Sent, *, is_destination: bool, namespace: str) -> bool:
    """Is the address, and as destination also the port, one of the service's? The slices say so, not the Service."""
    address = sent.destination if is_destination else sent.source
    for document in cluster.of_kind("EndpointSlice"):
        if (meta(document).get("labels") or {}).get("kubernetes.io/service-name") != service["name"]:
            continue
        if meta(document).get("namespace", "default") != (service.get("namespace") or namespace):
            continue
        addresses = [text for endpoint in document.get("endpoints") or [] for text in endpoint.get("addresses") or []]
        if not any(numeric(text) == numeric(address) for text in addresses):
            continue
        ports = [port for port in document.get("ports") or [] if port.get("port")]
        served = [(protocol_number(port.get("protocol") or "TCP"), port["port"]) for port in ports]
        if not is_destination or (sent.protocol, sent.destination_port) in served:
            return True
    return False


def _is_positive(side: dict[str, Any], namespace: str) -> bool:
    """Does the side ask for a known endpoint or network set, rather than only excluding some?"""
    if side.get("selector") or side.get("namespaceSelector") or side.get("serviceAccounts"):
        return True
    return bool(namespace and side.get("notSelector"))


def _entity_is(cluster: Cluster, side: dict[str, Any], address: str, *, namespace: str) -> bool:
    holders = [entity for entity in cluster.entities if entity.has_address(address)]
    if _is_positive(side, namespace):
        return any(_selected(side, entity, namespace=namespace) for entity in holders)
    excluded = side.get("notSelector") or ""
    return not excluded or not any(matches(excluded, entity.labels) for entity in holders)


def _selected(side: dict[str, Any], entity: Entity, *, namespace: str) -> bool:
    labels = entity.labels
    namespaces = side.get("namespaceSelector") or ""
    if namespaces:
        in_namespace = NAMESPACE in labels
        if not matches(namespaces, labels, prefix="pcns.", everything=in_namespace, nothing=not in_namespace):
            return False
    elif namespace and labels.get(NAMESPACE) != namespace:
        return False
    accounts = side.get("serviceAccounts") or {}
    if accounts.get("names") and labels.get(SERVICE_ACCOUNT) not in accounts["names"]:
        return False
    if accounts.get("selector") and not matches(accounts["selector"], labels, prefix="pcsa."):
        return False
    if side.get("selector") and not matches(side["selector"], labels):
        return False
    return not (side.get("notSelector") and matches(side["notSelector"], labels))


def _ports_hit(
    cluster: Cluster, side: dict[str, Any], field: str, sent: Sent, *, address: str, port: int | None, namespace: str
) -> bool:
    if port is None:
        return False
    return any(
        _port_is(cluster, side, entry, sent, address=address, port=port, namespace=namespace) for entry in side.get(field) or []
    )


def _port_is(
    cluster: Cluster, side: dict[str, Any], entry: object, sent: Sent, *, address: str, port: int, namespace: str
) -> bool:
    text = str(entry)
    first, _, last = text.partition(":")
    if first.isdigit():
        return int(first) <= port <= int(last or first)
    for entity in cluster.entities:
        if not entity.is_endpoint or not entity.has_address(address) or (text, sent.protocol, port) not in entity.ports:
            continue
        if not _is_positive(side, namespace) or _selected(side, entity, namespace=namespace):
            return True
    return False
