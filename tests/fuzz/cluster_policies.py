"""Random ClusterNetworkPolicies, with rules among them that nobody can resolve."""

from random import Random
from typing import Any

from tests.fuzz.rules import NAMESPACE_VALUES, NETS, PORT_NAMES, PORTS
from tests.fuzz.selectors import KEYS, random_label_selector

_NAMESPACE_KEYS = (*KEYS[:2], "kubernetes.io/metadata.name")


def random_cluster_policy(rng: Random, name: str) -> dict[str, Any]:
    """One policy of either tier."""
    spec: dict[str, Any] = {
        "tier": rng.choice(("Admin", "Baseline")),
        "priority": rng.choice((0, 1, 10, 1000)),
        "subject": _pods(rng),
    }
    for field in ("ingress", "egress"):
        if rng.random() < 0.7:
            spec[field] = [_rule(rng, field) for _ in range(rng.randint(1, 4))]
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def _pods(rng: Random) -> dict[str, Any]:
    namespaces = random_label_selector(rng, _NAMESPACE_KEYS, NAMESPACE_VALUES)
    if rng.random() < 0.5:
        return {"namespaces": namespaces}
    return {"pods": {"namespaceSelector": namespaces, "podSelector": random_label_selector(rng)}}


def _rule(rng: Random, field: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": rng.choice(("Accept", "Accept", "Deny", "Deny", "Pass"))}
    if rng.random() < 0.3:
        rule["name"] = "why"
    rule["from" if field == "ingress" else "to"] = [_peer(rng, field) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        peers = rule.get("from") or rule["to"]
        named = all("pods" in peer or "namespaces" in peer for peer in peers)  # others have no ports by name
        rule["protocols"] = [_protocol(rng, named=named) for _ in range(rng.randint(1, 3))]
    return rule


def _peer(rng: Random, field: str) -> dict[str, Any]:
    if field == "egress":
        kind = rng.random()
        if kind < 0.35:
            return {"networks": rng.sample((*NETS[4], *NETS[6], "0.0.0.0/0", "::/0"), rng.randint(1, 3))}
        if kind < 0.4:
            return rng.choice(({"nodes": random_label_selector(rng)}, {"domainNames": ["example.com"]}))
    return _pods(rng)


def _protocol(rng: Random, *, named: bool) -> dict[str, Any]:
    if named and rng.random() < 0.25:
        return {"destinationNamedPort": rng.choice(PORT_NAMES)}
    protocol = rng.choice(("tcp", "tcp", "udp", "sctp"))
    first = rng.choice(PORTS)
    shape = rng.random()
    if shape < 0.2:
        return {protocol: {}}
    if shape < 0.6:
        return {protocol: {"destinationPort": {"number": first}}}
    return {protocol: {"destinationPort": {"range": {"start": first, "end": first + rng.choice((1, 100, 400))}}}}
