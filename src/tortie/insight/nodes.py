"""Nodes: those that the input only mentions, and the configuration of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.kubernetes import Pod
from tortie.api.node import Node, NodeAddress
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_address
from tortie.calc.config import ConfigStage
from tortie.calc.pools_hosts import host
from tortie.calc.problems import Problems
from tortie.convert.nodes import calico_node
from tortie.insight.errors import InsightError
from tortie.insight.raw import map_at
from tortie.insight.synthetic import Supply


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node ready for conversion, and whether its address is made up."""

    node: Node
    synthetic_address: bool


def complete_nodes(resources: Sequence[Resource], pods: Iterable[Pod], supply: Supply) -> list[PlacedNode]:
    """Every node that the input holds or mentions, with at least one address.

    One without gets what its host endpoints expect and its pods tell of it; else what is made up.
    """
    nodes = {each.metadata.name: each for each in resources if isinstance(each, Node)}
    expected: dict[str, list[str]] = {}
    for each in resources:
        if isinstance(each, HostEndpoint) and each.spec.node:
            expected.setdefault(each.spec.node, []).extend(each.spec.expected_ips)
    for pod in pods:
        if pod.spec.node_name:
            expected.setdefault(pod.spec.node_name, []).extend(_told_by(pod))
    placed = []
    for name in dict.fromkeys((*nodes, *sorted(expected))):
        node = nodes.get(name) or Node(metadata=Metadata(name=name))
        known = host(node)
        if known.ipv4 is not None or known.ipv6 is not None:
            placed.append(PlacedNode(node, synthetic_address=False))
            continue
        said = list(dict.fromkeys(expected.get(name, ())))
        addresses = said or [str(address) for address in supply.take()]
        listed = tuple(NodeAddress(address=text, type="InternalIP") for text in addresses)
        spec = msgspec.structs.replace(node.spec, addresses=(*node.spec.addresses, *listed))
        placed.append(PlacedNode(msgspec.structs.replace(node, spec=spec), synthetic_address=not said))
    return placed


def _told_by(pod: Pod) -> Iterator[str]:
    """The addresses of its node that a pod's status holds: on its host's network they are the pod's own."""
    own = (*(each.ip for each in pod.status.pod_ips), pod.status.pod_ip) if pod.spec.host_network else ()
    for text in (*own, pod.status.host_ip):
        try:
            yield str(parse_address(text))
        except ValueError:
            continue  # empty, or no address: nothing is told


def is_kubernetes_node(document: Mapping[str, Any]) -> bool:
    """True for a raw core/v1 Node."""
    return (document.get("apiVersion"), document.get("kind")) == ("v1", "Node")


def node_of(document: Mapping[str, Any]) -> Node:
    """The Calico Node of a Kubernetes Node. Raises InsightError, naming the field, if it is malformed."""
    meta = map_at(document, "metadata", where="Node")
    where = f"Node {meta.get('name')}"
    status, spec = (map_at(document, part, where=where) for part in ("status", "spec"))
    try:
        metadata = msgspec.convert(
            {key: value for key, value in meta.items() if key in ("name", "labels", "annotations") and value}, Metadata
        )
        addresses = msgspec.convert(status.get("addresses") or [], tuple[NodeAddress, ...])
        pod_cidrs = msgspec.convert(spec.get("podCIDRs") or [], tuple[str, ...])
    except msgspec.ValidationError as error:
        raise InsightError(f"{where}: {error}") from error
    if not metadata.name:
        raise InsightError(f"{where}: metadata.name is missing")
    return calico_node(metadata, addresses=[(each.type, each.address) for each in addresses], pod_cidrs=pod_cidrs)


def configurations(updates: Sequence[Update], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The effective configuration of each node that has one of its own; the others have the cluster's."""
    felix = [update for update in updates if isinstance(update.value, FelixConfiguration)]
    if not any(update.key.name != "default" for update in felix):
        return {}
    labels = {update.key.name: update.value.metadata.labels for update in updates if isinstance(update.value, Node)}
    found = {}
    for name in names:
        stage = ConfigStage(name, Problems())
        for key, value in felix:
            stage.on_configuration(key, value if isinstance(value, FelixConfiguration) else None)
        stage.on_node(labels.get(name))
        found[name] = dict(stage.flush() or ())
    return found
