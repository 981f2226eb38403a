"""What the lab writes to an API server, and reads from it: pods, nodes and namespaces as documents, their status."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from tortie.lab.spec import SERVE, NodeSpec, PodSpec

Document = dict[str, Any]
SERVE_ANNOTATION = "lab.tortie.io/serve"
"""What a pod is to listen on; without it, every port that its containers declare."""
_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


# ---- what is written ----
def namespace_document(name: str, labels: Mapping[str, str]) -> Document:
    """A namespace; its default service account is the controllers' work."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def service_account_document(namespace: str, name: str) -> Document:
    """A service account."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def node_document(node: NodeSpec, labels: Mapping[str, str]) -> Document:
    """A node of lab.yaml, as a kubelet registers it, with more labels and with what Calico knows by annotations."""
    own = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}
    metadata: dict[str, Any] = {"name": node.name, "labels": {**own, **node.labels, **labels}}
    annotations = {
        "projectcalico.org/ASNumber": str(node.as_number or ""),
        "projectcalico.org/RouteReflectorClusterID": node.route_reflector_cluster_id,
    }
    if told := {key: value for key, value in annotations.items() if value}:
        metadata["annotations"] = told
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def node_status(name: str, addresses: Iterable[str], *, now: str) -> Document:
    """A node that is ready and has room."""
    room = {"cpu": "4", "memory": "8Gi", "pods": "250"}
    ready = {
        "type": "Ready", "status": "True", "reason": "LabReady", "message": "the lab is its kubelet",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }  # fmt: skip
    return {
        "capacity": room,
        "allocatable": room,
        "conditions": [ready],
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in addresses),
            {"type": "Hostname", "address": name},
        ],
    }


def pod_document(pod: PodSpec, node: str) -> Document:
    """A pod of lab.yaml. An empty node is left to whoever binds pods."""
    ports: list[Document] = []
    for name, text in pod.ports.items():
        protocol, _, number = text.partition(":")
        ports.append({"name": name, "containerPort": int(number), "protocol": protocol.upper()})
    annotations = {**pod.annotations, SERVE_ANNOTATION: ",".join(pod.serve)}
    spec: Document = {
        "serviceAccountName": pod.service_account,
        "containers": [{"name": "main", "image": "lab", "ports": ports}],
        # What the control plane adds otherwise would make a pod wait for a token nobody reads.
        "automountServiceAccountToken": False,
    }
    if node:
        spec["nodeName"] = node
    metadata = {"name": pod.pod, "namespace": pod.namespace, "labels": pod.labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def binding_document(pod: Document, node: str) -> Document:
    """The order to run a pod on a node, which is all that a scheduler says."""
    metadata = {"name": name_of(pod), "namespace": namespace_of(pod), "uid": uid_of(pod)}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}


def removal(pod: Document) -> Document:
    """Options of the DELETE that ends a pod for good, this one and no later one of its name."""
    preconditions = {"uid": uid_of(pod)}
    return {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": preconditions}


def running_status(pod: Document, *, addresses: Iterable[str], host_addresses: Iterable[str], now: str) -> Document:
    """The status of a pod whose containers all run."""
    pod_ips, host_ips = [{"ip": text} for text in addresses], [{"ip": text} for text in host_addresses]
    containers = [
        {
            "name": container["name"], "image": container.get("image", ""), "imageID": "", "restartCount": 0,
            "ready": True, "started": True, "state": {"running": {"startedAt": now}},
        }
        for container in pod["spec"].get("containers", ())
    ]  # fmt: skip
    status: Document = {
        "phase": "Running",
        "startTime": now,
        "podIPs": pod_ips,
        "hostIPs": host_ips,
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": now} for name in _CONDITIONS],
        "containerStatuses": containers,
    }
    if pod_ips:
        status["podIP"] = pod_ips[0]["ip"]
    if host_ips:
        status["hostIP"] = host_ips[0]["ip"]
    return status


def waiting_status(pod: Document, *, reason: str, message: str) -> Document:
    """The status of a pod whose sandbox could not be made."""
    waiting = {"waiting": {"reason": reason, "message": message}}
    containers = [
        {
            "name": entry["name"],
            "image": entry.get("image", ""),
            "imageID": "",
            "restartCount": 0,
            "ready": False,
            "state": waiting,
        }
        for entry in pod["spec"].get("containers", ())
    ]
    return {"phase": "Pending", "containerStatuses": containers}


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- what is read ----
def name_of(item: Document) -> str:
    """metadata.name."""
    return str(item["metadata"]["name"])


def namespace_of(item: Document) -> str:
    """metadata.namespace."""
    return str(item["metadata"].get("namespace", ""))


def uid_of(item: Document) -> str:
    """metadata.uid."""
    return str(item["metadata"].get("uid", ""))


def node_of(pod: Document) -> str:
    """Where it is bound to, empty if nowhere yet."""
    return str(pod["spec"].get("nodeName", ""))


def is_leaving(pod: Document) -> bool:
    """Somebody has deleted it."""
    return "deletionTimestamp" in pod["metadata"]


def is_finished(pod: Document) -> bool:
    """Its containers have ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_in_host_network(pod: Document) -> bool:
    """It lives in its node's own network namespace."""
    return bool(pod["spec"].get("hostNetwork"))


def is_ours_to_bind(pod: Document) -> bool:
    """It is bound nowhere, and asks for no scheduler of its own."""
    gated = bool(pod["spec"].get("schedulingGates"))
    return not node_of(pod) and not gated and pod["spec"].get("schedulerName", "default-scheduler") == "default-scheduler"


def served_ports(pod: Document) -> tuple[str, ...]:
    """What it listens on, as tcp:NUMBER and udp:NUMBER; what is neither is left out."""
    stated = pod["metadata"].get("annotations", {}).get(SERVE_ANNOTATION)
    if stated is not None:
        return tuple(text for text in (part.strip() for part in stated.split(",")) if SERVE.match(text))
    found = [
        f"{port.get('protocol', 'TCP').lower()}:{port['containerPort']}"
        for container in pod["spec"].get("containers", ())
        for port in container.get("ports", ())
    ]
    return tuple(dict.fromkeys(text for text in found if SERVE.match(text)))
