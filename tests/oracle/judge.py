"""The brute-force judge: raw documents and a packet in, yes or no out. See docs/architecture.md, "Three answers".

It asks everything for every packet, in the order that the reference states, and shares no code with the product.
"""

import math
from collections.abc import Sequence

from tests.oracle import calico, cluster_policy, kubernetes
from tests.oracle.cluster import Cluster, Document, Entity, Sent, meta

_BUILT_IN_TIERS = {"kube-admin": (1000.0, "Pass"), "default": (1_000_000.0, "Deny"), "kube-baseline": (10_000_000.0, "Pass")}
_BEFORE_FILTER = ("untracked", "preDNAT")


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

    def allows_at(self, endpoint: Entity, direction: str, sent: Sent) -> bool:
        """One workload, one direction ("Ingress" or "Egress")."""
        if direction == "Egress" and not endpoint.has_address(sent.source):
            return False
        return self.decides(endpoint, direction, sent) == "Allow"

    def decides(self, endpoint: Entity, direction: str, sent: Sent, *, chain: str = "normal") -> str | None:
        """What the policies of one chain say, Allow or Deny; None where they leave the packet to what follows.

        Chains are `normal`, and of hosts also `untracked`, `preDNAT` and `forward`. Only normal ones end with profiles.
        """
        for _, default_action, policies in self.tiers:
            governing = [
                each for each in policies if _stands_in(each, chain) and _governs(self.cluster, each, endpoint, direction)
            ]
            if not governing:
                continue
            verdict = None
            for policy in governing:
                verdict = self._ask(policy, direction, sent)
                if verdict is not None:
                    break
            if verdict is None:
                verdict = "Pass" if default_action == "Pass" or chain in _BEFORE_FILTER else "Deny"
            if verdict != "Pass":
                return verdict
        return self._profiles_say(endpoint, direction, sent) if chain == "normal" else None

    def _profiles_say(self, endpoint: Entity, direction: str, sent: Sent) -> str:
        for name in endpoint.profiles:
            profile = self.cluster.profile(name)
            if profile is None:
                return "Deny"
            verdict = self._first_match((profile["spec"] or {}).get(direction.lower()) or [], sent, namespace="")
            if verdict in ("Allow", "Deny"):
                return str(verdict)
        return "Deny"

    def _ask(self, policy: Document, direction: str, sent: Sent) -> str | None:
        if _is_kubernetes(policy):
            return "Allow" if kubernetes.allows(self.cluster, policy, direction, sent) else None
        if policy["kind"] == "ClusterNetworkPolicy":
            return cluster_policy.verdict(self.cluster, policy, direction, sent)
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
    kinds = ("NetworkPolicy", "GlobalNetworkPolicy", "ClusterNetworkPolicy")
    for policy in (each for kind in kinds for each in cluster.of_kind(kind)):
        tier = _tier(policy)
        if tier:
            by_tier.setdefault(tier, []).append(policy)
    names = sorted(by_tier, key=lambda name: (name not in known, known.get(name, (math.inf, ""))[0], name))
    return [(name, known.get(name, (0.0, "Deny"))[1], sorted(by_tier[name], key=_order)) for name in names]


def _is_kubernetes(policy: Document) -> bool:
    return str(policy["apiVersion"]).startswith("networking.k8s.io/")


def _tier(policy: Document) -> str:
    if policy["kind"] == "ClusterNetworkPolicy":
        return cluster_policy.TIERS.get(policy["spec"].get("tier"), "")
    return "default" if _is_kubernetes(policy) else policy["spec"].get("tier") or "default"


def _order(policy: Document) -> tuple[float, str]:
    kind, order = policy["kind"], policy["spec"].get("order")
    if _is_kubernetes(policy):
        kind, order = "KubernetesNetworkPolicy", 1000
    elif kind == "ClusterNetworkPolicy":
        kind, order = "KubernetesClusterNetworkPolicy", policy["spec"]["priority"]
    is_global = kind in ("GlobalNetworkPolicy", "KubernetesClusterNetworkPolicy")
    namespace = "" if is_global else meta(policy).get("namespace", "default")
    return (math.inf if order is None else float(order), f"{meta(policy)['name']}/{namespace}/{kind}")


def _stands_in(policy: Document, chain: str) -> bool:
    """Of which chains the policy is; forward policy is ordinary policy too."""
    spec = policy["spec"]
    if spec.get("doNotTrack") or spec.get("preDNAT"):
        return chain == ("untracked" if spec.get("doNotTrack") else "preDNAT")
    return chain == "normal" or (chain == "forward" and bool(spec.get("applyOnForward")))


def _governs(cluster: Cluster, policy: Document, endpoint: Entity, direction: str) -> bool:
    if _is_kubernetes(policy):
        return kubernetes.governs(policy, endpoint, direction)
    if policy["kind"] == "ClusterNetworkPolicy":
        return cluster_policy.governs(cluster, policy, endpoint, direction)
    return calico.governs(policy, endpoint, direction)
