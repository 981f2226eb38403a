"""What a lab's datastore holds before its agents start: configurations, pools and nodes, as lab.yaml says."""

from tortie.api.bgp import BGPConfiguration
from tortie.api.documents import decode
from tortie.api.errors import ValidationError
from tortie.api.felix import FelixConfiguration
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.node import Node, NodeBGP
from tortie.api.node import NodeSpec as NodeResourceSpec
from tortie.api.resource import V3, Metadata, Resource
from tortie.api.validation import check
from tortie.base.net import Family, parse_prefix
from tortie.lab.spec import LabSpec, NodeSpec


def configurations(spec: LabSpec) -> list[Resource]:
    """BGPConfiguration and, if the lab says anything of it, FelixConfiguration; checked. Raises ValidationError."""
    found = [_default(BGPConfiguration, {"asNumber": spec.as_number, **spec.bgp})]
    if spec.felix or spec.felix_annotations:
        found.append(_default(FelixConfiguration, spec.felix, spec.felix_annotations))
    return found


def pools(spec: LabSpec) -> list[IPPool]:
    """The pools of the families that the lab has; checked. Raises ValidationError."""
    checked = [
        check(
            IPPool(
                metadata=Metadata(name=f"pool-{index}"),
                spec=IPPoolSpec(
                    cidr=pool.cidr,
                    block_size=pool.block_size,
                    nat_outgoing=pool.nat_outgoing,
                    ipip_mode=pool.ipip_mode,
                    vxlan_mode=pool.vxlan_mode,
                ),
            )
        )
        for index, pool in enumerate(spec.pools)
    ]
    return [pool for pool in checked if parse_prefix(pool.spec.cidr).family in map(Family, spec.families)]


def node_resource(node: NodeSpec) -> Node:
    """A node as it is known before its agent has said its addresses."""
    bgp = None
    if node.as_number or node.route_reflector_cluster_id:
        bgp = NodeBGP(as_number=node.as_number or None, route_reflector_cluster_id=node.route_reflector_cluster_id)
    return Node(metadata=Metadata(name=node.name, labels=node.labels), spec=NodeResourceSpec(bgp=bgp))


def problems_of_settings(spec: LabSpec) -> list[str]:
    """What the schema of the kinds refuses, in words that name the field of lab.yaml."""
    problems: list[str] = []
    try:
        configurations(spec)
    except ValidationError as error:
        problems += [f"felix or bgp: {each}" for each in error.errors]
    try:
        pools(spec)
    except ValidationError as error:
        problems += [f"pools: {each}" for each in error.errors]
    return problems


def _default(kind: type[Resource], spec: dict[str, object], annotations: dict[str, str] | None = None) -> Resource:
    metadata = {"name": "default", **({"annotations": annotations} if annotations else {})}
    return check(decode({"apiVersion": V3, "kind": kind.__name__, "metadata": metadata, "spec": spec}))
