"""The brute-force judge: raw documents and a packet in, yes or no out. See docs/architecture.md, "Three answers".

It asks everything for every packet, in the order that the reference states, and shares no code with the product.
"""

import math
from collections.abc import Sequence

from tests.oracle import calico, kubernetes
from tests.oracle.cluster import Cluster, Document, Entity, Sent, meta

_BUILT_IN_TIERS = {"kube-admin": (1000.0, "Pass"), "default": (1_000_000.0, "Deny"), "kube-baseline": (10_000_000.0, "Pass")}


class Oracle:
    """Judges packets in one cluster. All it prepares is the list of entities and the order of the policies."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.cluster = Cluster(documents)
        self.tiers = _tiers(self.cluster)

    def allows(self, sent: Sent) -> bool:
        """Both ends must let the packet pass; an end that is no endpoint of the cluster lets everything pass."""
        source, destination = self.cluster.endpoint_with(sent.source), self.cluster.endpoint_with(sent.destination)
        if source is not None and not self.allows_at(source, "Egress", sent):
            return False
        return destination is None or self.allows_at(destination, "Ingress", sent)

    def allows_probe(self, sender: tuple[str, str] | None, sent: Sent) -> bool:
        """As `allows`, but with the sender by (namespace, name): what it claims as its source may not be its own."""
        if sender is None:
            destination = self.cluster.endpoint_with(sent.destination)
            return destination is None or self.allows_at(destination, "Ingress", sent)
        for entity in self.cluster.entities:
            if entity.is_endpoint and (entity.namespace, entity.name) == sender:
                destination = self.cluster.endpoint_with(sent.destination)
                passes = self.allows_at(entity, "Egress", sent)
                return passes and (destination is None or self.allows_at(destination, "Ingress", sent))
        raise KeyError(sender)

    def allows_at(self, endpoint: Entity, direction: str, sent: Sent) -> bool:
        """One endpoint, one direction ("Ingress" or "Egress")."""
        if direction == "Egress" and not endpoint.has_address(sent.source):
            return False
        for _, default_action, policies in self.tiers:
            governing = [policy for policy in policies if _governs(policy, endpoint, direction)]
            if not governing:
                continue
            verdict = None
            for policy in governing:
                verdict = self._ask(policy, direction, sent)
                if verdict is not None:
                    break
            if verdict is None:
                verdict = "Pass" if default_action == "Pass" else "Deny"
            if verdict != "Pass":
                return verdict == "Allow"
        for name in endpoint.profiles:
            profile = self.cluster.profile(name)
            if profile is None:
                return False
            verdict = self._first_match((profile["spec"] or {}).get(direction.lower()) or [], sent, namespace="")
            if verdict in ("Allow", "Deny"):
                return verdict == "Allow"
        return False

    def _ask(self, policy: Document, direction: str, sent: Sent) -> str | None:
        if _is_kubernetes(policy):
            return "Allow" if kubernetes.allows(self.cluster, policy, direction, sent) else None
        namespace = meta(policy).get("namespace", "default") if policy["kind"] == "NetworkPolicy" else ""
        return self._first_match(policy["spec"].get(direction.lower()) or [], sent, namespace=namespace)

    def _first_match(self, rules: list[Document], sent: Sent, *, namespace: str) -> str | None:
        for rule in rules:
            if rule["action"] != "Log" and calico.rule_matches(self.cluster, rule, sent, namespace=namespace):
                return calico.action_of(rule)
        return None


def _tiers(cluster: Cluster) -> list[tuple[str, str, list[Document]]]:
    """Name, default action and policies in order, of every tier that a policy names; tiers that do not exist come last."""
    known = dict(_BUILT_IN_TIERS)
    for document in cluster.of_kind("Tier"):
        spec = document.get("spec") or {}
        if meta(document)["name"] not in _BUILT_IN_TIERS:
            order = spec.get("order")
            known[meta(document)["name"]] = (
                1_000_000.0 if order is None else float(order),
                spec.get("defaultAction") or "Deny",
            )
    by_tier: dict[str, list[Document]] = {}
    for policy in cluster.of_kind("NetworkPolicy") + cluster.of_kind("GlobalNetworkPolicy"):
        by_tier.setdefault(_tier(policy), []).append(policy)
    names = sorted(by_tier, key=lambda name: (name not in known, known.get(name, (math.inf, ""))[0], name))
    return [(name, known.get(name, (0.0, "Deny"))[1], sorted(by_tier[name], key=_order)) for name in names]


def _is_kubernetes(policy: Document) -> bool:
    return str(policy["apiVersion"]).startswith("networking.k8s.io/")


def _tier(policy: Document) -> str:
    return "default" if _is_kubernetes(policy) else policy["spec"].get("tier") or "default"


def _order(policy: Document) -> tuple[float, str]:
    kind = "KubernetesNetworkPolicy" if _is_kubernetes(policy) else policy["kind"]
    namespace = "" if kind == "GlobalNetworkPolicy" else meta(policy).get("namespace", "default")
    name = f"{meta(policy)['name']}/{namespace}/{kind}"
    order = 1000.0 if _is_kubernetes(policy) else policy["spec"].get("order")
    return (math.inf if order is None else float(order), name)


def _governs(policy: Document, endpoint: Entity, direction: str) -> bool:
    if _is_kubernetes(policy):
        return kubernetes.governs(policy, endpoint, direction)
    return calico.governs(policy, endpoint, direction)
