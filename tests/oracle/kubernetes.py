"""Kubernetes NetworkPolicy as the Kubernetes documentation defines it, read straight from the document.

A pod is isolated in a direction if a policy of its namespace selects it and is of that type; what any rule of any such policy
allows is allowed. Nothing here goes through Calico's rule language.
"""

from typing import Any

from tests.oracle.cluster import PROTOCOLS, Cluster, Document, Entity, Sent, inside, meta, span


def governs(policy: Document, pod: Entity, direction: str) -> bool:
    """Does the policy select this pod, and is it about this direction ("Ingress" or "Egress")?"""
    if not pod.is_pod or pod.namespace != meta(policy).get("namespace", "default"):
        return False
    return direction in policy_types(policy) and selects(policy["spec"].get("podSelector") or {}, pod.raw_labels)


def policy_types(policy: Document) -> list[str]:
    """As written; when absent: Ingress always, Egress if the policy has any egress section with rules."""
    spec = policy["spec"]
    written: list[str] = list(spec.get("policyTypes") or [])
    return written or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def allows(cluster: Cluster, policy: Document, direction: str, sent: Sent) -> bool:
    """Does any rule of the policy allow the packet?"""
    rules: list[dict[str, Any]] = policy["spec"].get(direction.lower()) or []
    return any(_rule_allows(cluster, policy, rule or {}, direction, sent) for rule in rules)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """metav1.LabelSelector; an empty one selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        key, values = term["key"], term.get("values") or []
        holds = {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[term["operator"]]
        if not holds:
            return False
    return True


def _rule_allows(cluster: Cluster, policy: Document, rule: dict[str, Any], direction: str, sent: Sent) -> bool:
    peers = rule.get("from" if direction == "Ingress" else "to") or []
    other = sent.source if direction == "Ingress" else sent.destination
    if peers and not any(_peer_is(cluster, policy, peer, other) for peer in peers):
        return False
    ports = rule.get("ports") or []
    return not ports or any(_port_is(cluster, port or {}, sent) for port in ports)


def _peer_is(cluster: Cluster, policy: Document, peer: dict[str, Any], address: str) -> bool:
    block = peer.get("ipBlock")
    if block is not None:
        return inside(address, span(block["cidr"])) and not any(
            inside(address, span(text)) for text in block.get("except") or []
        )
    pod = cluster.endpoint_with(address)
    if pod is None or not pod.is_pod:
        return False
    namespace_selector, pod_selector = peer.get("namespaceSelector"), peer.get("podSelector")
    if namespace_selector is None:
        if pod.namespace != meta(policy).get("namespace", "default"):
            return False
    elif not selects(namespace_selector, cluster.namespaces.get(pod.namespace, {})):
        return False
    return pod_selector is None or selects(pod_selector, pod.raw_labels)


def _port_is(cluster: Cluster, port: dict[str, Any], sent: Sent) -> bool:
    protocol = PROTOCOLS[(port.get("protocol") or "TCP").lower()]
    if sent.protocol != protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        named = (wanted, protocol, sent.destination_port)
        # Kubernetes knows names of pods' ports only; Calico takes those of every endpoint, hosts' too.
        return any(each.is_endpoint and each.has_address(sent.destination) and named in each.ports for each in cluster.entities)
    last = port.get("endPort") or wanted
    return sent.destination_port is not None and wanted <= sent.destination_port <= last
