"""The oracle's own reading of raw documents: who exists, with which labels, addresses, ports and profiles.

Documents are what a YAML file holds, plain dicts. Nothing here is indexed: who has an address is found by asking everybody.
"""

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Document = dict[str, Any]
Range = tuple[int, int, int]
"""An IP version, the first and the last address as integers: all that a network means here."""

NAMESPACE = "projectcalico.org/namespace"
ORCHESTRATOR = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
_MAY_SPOOF = "cni.projectcalico.org/allowedSourcePrefixes"
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}


@dataclass
class Sent:
    """A packet as the oracle sees it; addresses are text."""

    source: str
    destination: str
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None

    @property
    def family(self) -> int:
        return numeric(self.source)[0]


_CLUSTER_SCOPED = (
    *(
        "BGPConfiguration",
        "ClusterNetworkPolicy",
        "FelixConfiguration",
        "GlobalNetworkPolicy",
        "GlobalNetworkSet",
        "HostEndpoint",
    ),
    *("IPPool", "Namespace", "Node", "Profile", "StagedGlobalNetworkPolicy", "Tier"),
)


@dataclass
class Entity:
    """Whatever has labels and addresses: a pod, another workload, a host endpoint, or a network set."""

    name: str
    namespace: str
    labels: dict[str, str]
    nets: list[Range]
    addresses: list[str] = field(default_factory=list)
    """Of endpoints: their addresses as text."""
    raw_labels: dict[str, str] = field(default_factory=dict)
    """Labels as the Kubernetes object carries them; what Kubernetes selectors look at."""
    is_endpoint: bool = False
    is_pod: bool = False
    profiles: list[str] = field(default_factory=list)
    ports: list[tuple[str, int, int]] = field(default_factory=list)
    """Named ports: name, protocol number, port."""
    is_host: bool = False
    node: str = ""
    interface: str = ""
    """Of host endpoints: "*" for all that no other claims, "" if the addresses say which one it is."""
    spoofs: list[Range] = field(default_factory=list)
    """What a pod may send from besides its own addresses, where the node's configuration lets it."""

    def has_address(self, address: str) -> bool:
        return any(inside(address, net) for net in self.nets)


class Cluster:
    """All documents, sorted by what they are."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)
        self.namespaces = {meta(d)["name"]: labels(d) for d in self.of_kind("Namespace")}
        for document in self.documents:  # nothing can stand in a namespace that does not exist
            if document["kind"] not in _CLUSTER_SCOPED:
                self.namespaces.setdefault(meta(document).get("namespace", "default"), {})
        for name, own in self.namespaces.items():
            own.setdefault("kubernetes.io/metadata.name", name)  # the API server writes it into every namespace
        self.entities: list[Entity] = []
        for document in self.documents:
            entity = self._entity(document)
            if entity is not None:
                self.entities.append(entity)

    def of_kind(self, kind: str) -> list[Document]:
        return [d for d in self.documents if d["kind"] == kind]

    def endpoint_with(self, address: str) -> Entity | None:
        """The workload that has an address."""
        for entity in self.entities:
            if entity.is_endpoint and not entity.is_host and entity.has_address(address):
                return entity
        return None

    def profile(self, name: str) -> Document | None:
        """A profile as a document with its spec; also those that Kubernetes objects imply."""
        if name == "projectcalico-default-allow":
            return {"spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}}
        for document in self.of_kind("Profile"):
            if meta(document)["name"] == name:
                return document
        for namespace, own in self.namespaces.items():
            if name == f"kns.{namespace}":
                inherited = {f"pcns.{key}": value for key, value in own.items()}
                inherited["pcns.projectcalico.org/name"] = namespace
                allow = [{"action": "Allow"}]
                return {"spec": {"ingress": allow, "egress": allow, "labelsToApply": inherited}}
        for document in self.of_kind("ServiceAccount"):
            account = meta(document)
            if name == f"ksa.{account.get('namespace', 'default')}.{account['name']}":
                inherited = {f"pcsa.{key}": value for key, value in labels(document).items()}
                inherited["pcsa.projectcalico.org/name"] = account["name"]
                return {"spec": {"labelsToApply": inherited}}
        for namespace in self.namespaces:
            if name.startswith(f"ksa.{namespace}."):  # a pod cannot name an account that does not exist
                account_name = name.removeprefix(f"ksa.{namespace}.")
                return {"spec": {"labelsToApply": {"pcsa.projectcalico.org/name": account_name}}}
        return None

    def _entity(self, document: Document) -> Entity | None:
        kind, version = document["kind"], document.get("apiVersion", "")
        if kind == "Pod":
            return self._pod(document)
        if kind == "WorkloadEndpoint":
            return self._workload(document)
        if kind == "HostEndpoint":
            return self._host(document)
        if kind == "NetworkSet" and version == "projectcalico.org/v3":
            namespace = meta(document).get("namespace", "default")
            own = {**labels(document), NAMESPACE: namespace}
            return Entity(meta(document)["name"], namespace, self._inherit(own, [f"kns.{namespace}"]), _nets(document))
        if kind == "GlobalNetworkSet":
            return Entity(meta(document)["name"], "", labels(document), _nets(document))
        return None

    def _pod(self, document: Document) -> Entity | None:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        if spec.get("hostNetwork") or status.get("phase") in ("Failed", "Succeeded"):
            return None
        namespace = meta(document).get("namespace", "default")
        account = spec.get("serviceAccountName") or "default"
        own = {key: value for key, value in labels(document).items() if not key.startswith(("pcns.", "pcsa."))}
        own.update({NAMESPACE: namespace, ORCHESTRATOR: "k8s", SERVICE_ACCOUNT: account})
        ports = [
            (port["name"], PROTOCOLS[port.get("protocol", "TCP").lower()], port["containerPort"])
            for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
            for port in container.get("ports") or []
            if port.get("name")
        ]
        profiles = [f"kns.{namespace}", f"ksa.{namespace}.{account}"]
        addresses = [entry["ip"] for entry in status.get("podIPs") or []]
        return Entity(
            name=meta(document)["name"],
            namespace=namespace,
            labels=self._inherit(own, profiles),
            nets=[span(address) for address in addresses],
            addresses=addresses,
            raw_labels=labels(document),
            is_endpoint=True,
            is_pod=True,
            profiles=profiles,
            ports=ports,
            node=spec.get("nodeName", ""),
            spoofs=[span(text) for text in json.loads((meta(document).get("annotations") or {}).get(_MAY_SPOOF, "[]"))],
        )

    def _workload(self, document: Document) -> Entity:
        spec = document["spec"]
        namespace = meta(document).get("namespace", "default")
        own = {key: value for key, value in labels(document).items() if not key.startswith(("pcns.", "pcsa."))}
        own.update({NAMESPACE: namespace, ORCHESTRATOR: spec["orchestrator"]})
        if spec.get("serviceAccountName"):
            own[SERVICE_ACCOUNT] = spec["serviceAccountName"]
        profiles = list(spec.get("profiles") or [])
        return Entity(
            name=meta(document)["name"],
            namespace=namespace,
            labels=self._inherit(own, profiles),
            nets=[span(net) for net in spec.get("ipNetworks") or []],
            addresses=[net.partition("/")[0] for net in spec.get("ipNetworks") or []],
            is_endpoint=True,
            profiles=profiles,
            ports=[(p["name"], protocol_number(p["protocol"]), p["port"]) for p in spec.get("ports") or [] if p.get("name")],
            node=spec.get("node", ""),
            spoofs=[span(text) for text in spec.get("allowSpoofedSourcePrefixes") or []],
        )

    def _host(self, document: Document) -> Entity:
        spec = document["spec"]
        profiles, expected = list(spec.get("profiles") or []), list(spec.get("expectedIPs") or [])
        return Entity(
            name=meta(document)["name"],
            namespace="",
            labels=self._inherit(labels(document), profiles),
            nets=[span(address) for address in expected],
            addresses=expected,
            is_endpoint=True,
            is_host=True,
            profiles=profiles,
            ports=[(p["name"], protocol_number(p["protocol"]), p["port"]) for p in spec.get("ports") or []],
            node=spec["node"],
            interface=spec.get("interfaceName") or "",
        )

    def _inherit(self, own: dict[str, str], profiles: Iterable[str]) -> dict[str, str]:
        result = dict(own)
        for name in profiles:
            found = self.profile(name)
            for key, value in ((found or {}).get("spec", {}).get("labelsToApply") or {}).items():
                result.setdefault(key, value)
        return result


@cache
def numeric(address: str) -> tuple[int, int]:
    """IP version and value of an address."""
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)


@cache
def span(net: str) -> Range:
    """A CIDR or an address as the range that it covers."""
    parsed = ipaddress.ip_network(net, strict=False)
    return parsed.version, int(parsed.network_address), int(parsed.broadcast_address)


def inside(address: str, net: Range) -> bool:
    """Does the network hold the address?"""
    version, value = numeric(address)
    return version == net[0] and net[1] <= value <= net[2]


def meta(document: Document) -> dict[str, Any]:
    """metadata."""
    found = document["metadata"]
    assert isinstance(found, dict)
    return found


def labels(document: Document) -> dict[str, str]:
    """metadata.labels, a copy."""
    return dict(meta(document).get("labels") or {})


def protocol_number(text: int | str) -> int:
    """`TCP` or 6 to 6."""
    return int(text) if isinstance(text, int) or str(text).isdigit() else PROTOCOLS[str(text).lower()]


def _nets(document: Document) -> list[Range]:
    return [span(text) for text in document["spec"].get("nets") or []]
