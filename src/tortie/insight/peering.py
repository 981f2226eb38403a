"""Where workloads that are BGP peers find their own node (`localWorkloadPeeringIPV4` and `IPV6` of BGPConfiguration)."""

from collections.abc import Iterable

import msgspec

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.bgp_filter import BGPFilter
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata, Update
from tortie.base.net import Address
from tortie.calc.bgp import BgpStage
from tortie.calc.bgp_settings import peering_addresses
from tortie.calc.config import DEFAULT
from tortie.intent.routing import Host, WorkloadEnd


def virtual_addresses(updates: Iterable[Update]) -> frozenset[Address]:
    """The addresses that are every node's own for such workloads."""
    for update in updates:
        if isinstance(update.value, BGPConfiguration) and update.key.name == DEFAULT:
            return frozenset(peering_addresses(update.value.spec).values())
    return frozenset()


def peerings_of(updates: Iterable[Update], host: Host) -> tuple[WorkloadEnd, ...]:
    """The ends of one node, worked out as its agent does. A node that says nothing of BGP speaks it at the address it has."""
    stage = BgpStage(host.name)
    own = Node(metadata=Metadata(name=host.name))
    for update in updates:
        value = update.value
        if isinstance(value, Node) and update.key.name == host.name:
            own = value
        elif isinstance(value, BGPConfiguration | BGPFilter | Profile) or _is_about(value, host.name):
            stage.on_update(update)
    stage.on_update(Update(Key("Node", "", host.name), _speaking(own, host)))
    flushed = stage.flush()
    return () if flushed is None or flushed.bgp is None else flushed.bgp.workload_ends


def _is_about(value: object, node: str) -> bool:
    """Other sessions and other nodes' workloads decide nothing here, and there may be many."""
    if isinstance(value, BGPPeer):
        return bool(value.spec.local_workload_selector)
    return isinstance(value, WorkloadEndpoint) and value.spec.node == node


def _speaking(node: Node, host: Host) -> Node:
    if node.spec.bgp is not None:
        return node
    bgp = NodeBGP(ipv4_address=str(host.ipv4 or ""), ipv6_address=str(host.ipv6 or ""))
    spec: NodeSpec = msgspec.structs.replace(node.spec, bgp=bgp)
    return msgspec.structs.replace(node, spec=spec)
