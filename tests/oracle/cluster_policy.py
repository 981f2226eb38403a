"""ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), read straight from the document.

Rules are asked in their order; Accept, Deny and Pass decide. A rule that speaks of what nobody can resolve here (nodes, domain
names, fields of a later version) fails closed: Deny and Pass become a Deny of everything, Accept allows nothing.
"""

from typing import Any

from tests.oracle.cluster import NAMESPACE, PROTOCOLS, Cluster, Document, Entity, Sent, inside, span
from tests.oracle.kubernetes import selects

TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
_WITH_PORTS = ("tcp", "udp", "sctp")


def governs(cluster: Cluster, policy: Document, pod: Entity, direction: str) -> bool:
    """Is the pod a subject, and does any rule say something about this direction?"""
    rules = policy["spec"].get(direction.lower()) or []
    if not pod.is_pod or not any(_is_understood(rule, direction) or rule["action"] != "Accept" for rule in rules):
        return False
    return _is_one_of(cluster, policy["spec"].get("subject") or {}, pod)


def verdict(cluster: Cluster, policy: Document, direction: str, sent: Sent) -> str | None:
    """What the first rule that matches says: Allow, Deny or Pass; None if none matches."""
    for rule in policy["spec"].get(direction.lower()) or []:
        if not _is_understood(rule, direction):
            if rule["action"] != "Accept":
                return "Deny"
        elif _matches(cluster, rule, direction, sent):
            return "Allow" if rule["action"] == "Accept" else str(rule["action"])
    return None


def _peers(rule: Document, direction: str) -> list[dict[str, Any]]:
    return rule.get("from" if direction == "Ingress" else "to") or []


def _is_understood(rule: Document, direction: str) -> bool:
    fields = ("namespaces", "pods") if direction == "Ingress" else ("namespaces", "pods", "networks")
    known = all(len(peer) == 1 and next(iter(peer)) in fields for peer in _peers(rule, direction))
    ways = (*_WITH_PORTS, "destinationNamedPort")
    return known and all(len(each) == 1 and next(iter(each)) in ways for each in rule.get("protocols") or [])


def _is_one_of(cluster: Cluster, peer: dict[str, Any], pod: Entity) -> bool:
    if "namespaces" in peer:
        return selects(peer["namespaces"] or {}, cluster.namespaces.get(pod.namespace, {}))
    if "pods" not in peer:
        return False
    both = peer["pods"] or {}
    if not selects(both.get("namespaceSelector") or {}, cluster.namespaces.get(pod.namespace, {})):
        return False
    return selects(both.get("podSelector") or {}, pod.raw_labels)


def _matches(cluster: Cluster, rule: Document, direction: str, sent: Sent) -> bool:
    other = sent.source if direction == "Ingress" else sent.destination
    protocols = rule.get("protocols") or []
    peers: list[dict[str, Any] | None] = [*_peers(rule, direction)]
    for peer in peers or [None]:
        if peer is not None and not _peer_is(cluster, peer, other):
            continue
        receiver = peer if direction == "Egress" else None
        if not protocols or any(_protocol_is(cluster, each, sent, receiver=receiver) for each in protocols):
            return True
    return False


def _peer_is(cluster: Cluster, peer: dict[str, Any], address: str) -> bool:
    if "networks" in peer:
        return any(inside(address, span(text)) for text in peer["networks"])
    if "namespaces" in peer:
        return any(each.has_address(address) and _is_in(peer["namespaces"] or {}, each) for each in cluster.entities)
    pod = cluster.endpoint_with(address)
    return pod is not None and pod.is_pod and _is_one_of(cluster, peer, pod)


def _is_in(selector: dict[str, Any], entity: Entity) -> bool:
    """Calico looks at what an entity inherits from its namespace: whatever has labels counts, not pods alone."""
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return NAMESPACE in entity.labels
    inherited = {key.removeprefix("pcns."): value for key, value in entity.labels.items() if key.startswith("pcns.")}
    return selects(selector, inherited)


def _protocol_is(cluster: Cluster, entry: dict[str, Any], sent: Sent, *, receiver: dict[str, Any] | None) -> bool:
    """`receiver`: the peer that the receiver is. Who calls the port so must be selected itself: that a network set which
    the peer selects holds the address is not enough."""
    name = entry.get("destinationNamedPort")
    if name is not None:
        wanted = (name, sent.protocol, sent.destination_port)
        return any(
            each.is_endpoint
            and each.has_address(sent.destination)
            and wanted in each.ports
            and (receiver is None or "namespaces" not in receiver or _is_in(receiver["namespaces"] or {}, each))
            for each in cluster.entities
        )
    ((protocol, what),) = entry.items()
    if sent.protocol != PROTOCOLS[protocol]:
        return False
    port = (what or {}).get("destinationPort")
    if not port:
        return True
    if "number" in port:
        return bool(sent.destination_port == port["number"])
    first, last = port["range"]["start"], port["range"]["end"]
    return sent.destination_port is not None and bool(first <= sent.destination_port <= last)
