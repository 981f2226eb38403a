"""Random clusters as raw documents: a few namespaces, pods, sets, tiers and policies that interfere with each other a lot."""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.cluster_policies import random_cluster_policy
from tests.fuzz.hosts import random_configuration, random_hosts, random_pools
from tests.fuzz.layout import NODE, SPOOFS, STRANGERS
from tests.fuzz.rules import (
    ACCOUNTS,
    NAMESPACE_KEYS,
    NAMESPACE_VALUES,
    NAMESPACES,
    NETS,
    PORT_NAMES,
    PORTS,
    SERVICE_NAMESPACES,
    SERVICES,
    THEMES,
    Theme,
    random_host_rules,
    random_kubernetes_rule,
    random_rules,
)
from tests.fuzz.selectors import random_label_selector, random_labels, random_selector

Document = dict[str, Any]
V3 = "projectcalico.org/v3"
ORDERS = (None, 1, 1, 10, 1000, 1000, 5000.5)
_HOSTS = 0.55
"""How many of the clusters have host endpoints."""
_PLAIN = 0.3
"""How many have pods, sets and ordinary policies alone, which then meet each other more often."""


def random_cluster(rng: Random) -> list[Document]:
    """Documents of one cluster, all on one node."""
    theme = rng.choice(THEMES)
    is_plain = rng.random() < _PLAIN
    with_hosts = not is_plain and rng.random() < _HOSTS
    documents = [_document("v1", "Namespace", name, "", labels=random_labels(rng)) for name in NAMESPACES if rng.random() < 0.9]
    documents += [
        _document("v1", "ServiceAccount", "robot", name, labels=random_labels(rng)) for name in NAMESPACES if rng.random() < 0.5
    ]
    number = rng.randint(3, 7)
    documents += [_pod(rng, index) for index in range(1, number + 1)]
    documents += [_profile(rng, name, theme) for name in ("p1", "p2") if rng.random() < 0.7]
    documents += [_workload(rng, number + index) for index in range(1, rng.randint(1, 3))]
    documents += [_network_set(rng, f"set{index}") for index in range(rng.randint(0, 4))]
    documents += [_slice(rng, f"slice{index}", number) for index in range(rng.randint(0, 5))]
    documents += random_hosts(rng) if with_hosts else []
    documents += [] if is_plain else random_configuration(rng)
    documents += random_pools(rng) if rng.random() < 0.4 else []
    documents += [_tier(rng, name) for name in ("early", "late") if rng.random() < 0.6]
    documents += [
        _policy(rng, f"policy{rng.randint(0, 3)}-{index}", theme, with_hosts=with_hosts) for index in range(rng.randint(0, 6))
    ]
    documents += [_host_policy(rng, f"host{index}") for index in range(rng.randint(0, 5) if with_hosts else 0)]
    documents += [_kubernetes_policy(rng, f"np{index}") for index in range(rng.randint(0, 4))]
    if is_plain:
        return documents
    documents += [random_cluster_policy(rng, f"cnp{index}") for index in range(rng.choice((0, 0, 2, 3, 4)))]
    return documents + _staged(rng, documents, theme)


def _staged(rng: Random, documents: list[Document], theme: Theme) -> list[Document]:
    """Staged policies, half of them with the name of an enforced one."""
    made: dict[tuple[str, str, str], Document] = {}
    makers: list[Callable[[str], Document]] = [
        lambda name: _policy(rng, name, theme, with_hosts=rng.random() < 0.3),
        lambda name: _host_policy(rng, name),
        lambda name: _kubernetes_policy(rng, name),
    ]
    enforced = [each for each in documents if each["kind"] in ("NetworkPolicy", "GlobalNetworkPolicy")]
    for index in range(rng.choice((0, 0, 0, 1, 2, 3))):
        document = rng.choice(makers)(f"staged{index}")
        if enforced and rng.random() < 0.5:
            document = _changed(rng, rng.choice(enforced), theme)
        kind = "StagedKubernetesNetworkPolicy" if document["apiVersion"] != V3 else f"Staged{document['kind']}"
        action = rng.choice(("Set", "Set", "Set", "Delete", "Delete", "Learn", "Ignore", None))
        if action == "Delete":
            document["spec"] = {"tier": document["spec"]["tier"]} if "tier" in document["spec"] else {}
        if action is not None:
            document["spec"]["stagedAction"] = action
        document |= {"apiVersion": V3, "kind": kind}
        made[kind, document["metadata"].get("namespace", ""), document["metadata"]["name"]] = document
    return list(made.values())


def _changed(rng: Random, enforced: Document, theme: Theme) -> Document:
    """The same policy with other rules."""
    document = copy.deepcopy(enforced)
    for field, direction in (("ingress", "Ingress"), ("egress", "Egress")):
        if field in document["spec"] and rng.random() < 0.7:
            is_kubernetes = document["apiVersion"] != V3
            rules = [random_kubernetes_rule(rng, direction)] if is_kubernetes else random_rules(rng, direction, theme=theme)
            document["spec"][field] = rules
    return document


def _document(api: str, kind: str, name: str, namespace: str, *, labels: dict[str, str] | None = None, **rest: Any) -> Document:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _addresses(rng: Random, index: int) -> list[str]:
    both = [f"10.65.0.{index}", f"fd00:65::{index:x}"]
    return both if rng.random() < 0.8 else [rng.choice(both)]


def _ports(rng: Random) -> list[dict[str, Any]]:
    return [
        {"name": name, "containerPort": rng.choice(PORTS), "protocol": rng.choice(("TCP", "TCP", "UDP", "SCTP"))}
        for name in PORT_NAMES
        if rng.random() < 0.7
    ]


def _pod(rng: Random, index: int) -> Document:
    spec: dict[str, Any] = {"nodeName": NODE, "containers": [{"name": "main", "image": "i", "ports": _ports(rng)}]}
    if rng.random() < 0.5:
        spec["serviceAccountName"] = rng.choice(ACCOUNTS)
    addresses = _addresses(rng, index)
    status: dict[str, Any] = {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    if rng.random() < 0.05:
        status["phase"] = "Succeeded"
    pod = _document("v1", "Pod", f"pod{index}", rng.choice(NAMESPACES), labels=random_labels(rng), spec=spec, status=status)
    if rng.random() < 0.3:
        prefixes = json.dumps(rng.sample(SPOOFS, rng.randint(1, 3)))
        pod["metadata"]["annotations"] = {"cni.projectcalico.org/allowedSourcePrefixes": prefixes}
    return pod


def _workload(rng: Random, index: int) -> Document:
    namespace = rng.choice(NAMESPACES)
    fixed = {"projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "cni"}
    spec = {
        "node": NODE,
        "orchestrator": "cni",
        "containerID": f"c{index}",
        "endpoint": "eth0",
        "interfaceName": f"calic{index:010x}",
        "ipNetworks": [f"{address}/{128 if ':' in address else 32}" for address in _addresses(rng, index)],
        "profiles": rng.sample(("p1", "p2", f"kns.{namespace}", "projectcalico-default-allow"), rng.randint(0, 2)),
        "ports": [{"name": port["name"], "port": port["containerPort"], "protocol": port["protocol"]} for port in _ports(rng)],
    }
    if rng.random() < 0.3:
        spec["allowSpoofedSourcePrefixes"] = rng.sample(SPOOFS, rng.randint(1, 2))
    name = f"{NODE}-cni-c{index}-eth0"
    return _document(V3, "WorkloadEndpoint", name, namespace, labels=random_labels(rng) | fixed, spec=spec)


def _profile(rng: Random, name: str, theme: Theme) -> Document:
    spec = {
        "ingress": random_rules(rng, "Ingress", theme=theme, in_profile=True),
        "egress": random_rules(rng, "Egress", theme=theme, in_profile=True),
        "labelsToApply": random_labels(rng),
    }
    return _document(V3, "Profile", name, "", spec=spec)


def _slice(rng: Random, name: str, pods: int) -> Document:
    service, namespace = rng.choice(SERVICES), rng.choice(SERVICE_NAMESPACES)
    family = rng.choice((4, 6))
    members = [f"10.65.0.{index}" if family == 4 else f"fd00:65::{index:x}" for index in range(1, pods + 1)]
    addresses = rng.sample((*members, *STRANGERS["ext0"][family], *STRANGERS["ext1"][family]), rng.randint(1, 4))
    ports: list[dict[str, Any]] = [{"name": "a", "port": rng.choice(PORTS), "protocol": rng.choice(("TCP", "UDP", "SCTP"))}]
    if rng.random() < 0.4:
        ports.append({"name": "b", "port": rng.choice(PORTS)})
    if rng.random() < 0.2:
        ports.append({"name": "c"})
    return _document(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        name,
        namespace,
        labels={"kubernetes.io/service-name": service},
        addressType=f"IPv{family}",
        endpoints=[{"addresses": [each], "conditions": {"ready": rng.random() < 0.7}} for each in addresses],
        ports=ports if rng.random() < 0.9 else [],
    )


def _network_set(rng: Random, name: str) -> Document:
    outside = (NETS[4][4:6] + NETS[6][4:6]) * 2  # where strangers are: only a set makes a selector select them
    nets = sorted(set(rng.sample((*NETS[4], *NETS[6], *outside), rng.randint(0, 4))))
    namespace = rng.choice(("", *NAMESPACES))
    kind = "NetworkSet" if namespace else "GlobalNetworkSet"
    return _document(V3, kind, name, namespace, labels=random_labels(rng), spec={"nets": nets})


def _tier(rng: Random, name: str) -> Document:
    spec: dict[str, Any] = {}
    if rng.random() < 0.8:
        spec["order"] = rng.choice((10, 500, 2_000_000))
    if rng.random() < 0.6:
        spec["defaultAction"] = rng.choice(("Pass", "Deny"))
    return _document(V3, "Tier", name, "", spec=spec)


def _policy(rng: Random, name: str, theme: Theme, *, with_hosts: bool) -> Document:
    namespace = rng.choice(("", "", *NAMESPACES))
    spec: dict[str, Any] = {}
    if rng.random() < 0.6:
        spec["tier"] = rng.choice(("default", "early", "early", "late", "kube-admin", "kube-baseline"))
    order = rng.choice(ORDERS)
    if order is not None:
        spec["order"] = order
    if rng.random() < 0.7:
        spec["selector"] = random_selector(rng)
    if not namespace and rng.random() < 0.3:
        spec["namespaceSelector"] = random_selector(rng, NAMESPACE_KEYS, NAMESPACE_VALUES, depth=1)
    if rng.random() < 0.15:
        spec["serviceAccountSelector"] = random_selector(rng)
    if not namespace and with_hosts and rng.random() < 0.4:
        spec.pop("namespaceSelector", None)  # which no host endpoint fits
    kinds = ("applyOnForward", "applyOnForward", "doNotTrack", "preDNAT")
    for_hosts = "" if namespace or rng.random() < (0.4 if with_hosts else 0.9) else rng.choice(kinds)
    if for_hosts:
        spec |= {"applyOnForward": True, for_hosts: True}
    for field, direction in (("ingress", "Ingress"), ("egress", "Egress")):
        if rng.random() < 0.6 and not (for_hosts == "preDNAT" and field == "egress"):
            spec[field] = random_rules(rng, direction, theme=theme)
    if rng.random() < 0.5 and for_hosts != "preDNAT":
        spec["types"] = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return _document(V3, "NetworkPolicy" if namespace else "GlobalNetworkPolicy", name, namespace, spec=spec)


def _host_policy(rng: Random, name: str) -> Document:
    """A policy that very likely selects host endpoints, of one of the four kinds."""
    spec: dict[str, Any] = {}
    if rng.random() < 0.5:
        spec["tier"] = rng.choice(("default", "early", "late", "kube-admin"))
    if rng.random() < 0.5:
        spec["order"] = rng.choice((1, 10, 20))
    if rng.random() < 0.6:
        spec["selector"] = rng.choice(("all()", "!has(projectcalico.org/namespace)", random_selector(rng, depth=1)))
    kind = rng.choice(("", "applyOnForward", "doNotTrack", "doNotTrack", "preDNAT", "preDNAT"))
    if kind:
        spec |= {"applyOnForward": True, kind: True}
    spec["ingress"] = random_host_rules(rng, "Ingress")
    if kind == "preDNAT":
        return _document(V3, "GlobalNetworkPolicy", name, "", spec=spec)
    spec["egress"] = random_host_rules(rng, "Egress")
    if rng.random() < 0.4:
        spec["types"] = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return _document(V3, "GlobalNetworkPolicy", name, "", spec=spec)


def _kubernetes_policy(rng: Random, name: str) -> Document:
    spec: dict[str, Any] = {"podSelector": random_label_selector(rng)}
    for field, direction in (("ingress", "Ingress"), ("egress", "Egress")):
        if rng.random() < 0.6:
            spec[field] = [random_kubernetes_rule(rng, direction) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.7:
        spec["policyTypes"] = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return _document("networking.k8s.io/v1", "NetworkPolicy", name, rng.choice(NAMESPACES), spec=spec)
