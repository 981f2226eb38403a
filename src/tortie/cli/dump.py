"""The file of `datastore migrate export`: calicoctl's, in three parts with a line `===` between them.

First v3 resources, a YAML list for each kind; then the ClusterInformation as JSON; then IPAM's data as JSON, under the keys and
in the form that etcd has them (datastore.md, section 1.2). Pure: text and resources.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.api.bgp import BGPPeer
from tortie.api.cluster import ClusterInformation
from tortie.api.documents import decode, encode, load_documents, to_yaml
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.ipam import AllocationAttribute, BlockAffinity, IPAMBlock, IPAMHandle, affinity_name
from tortie.api.kinds import KINDS
from tortie.api.node import Node
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Resource
from tortie.cli.files import InputError, checked
from tortie.cli.output import listing
from tortie.datastore import codec, layout

EXPORTED = (
    *("IPPool", "BGPPeer", "Tier", "GlobalNetworkPolicy", "StagedGlobalNetworkPolicy", "GlobalNetworkSet", "HostEndpoint"),
    *("KubeControllersConfiguration", "NetworkPolicy", "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy", "NetworkSet"),
    *("Node", "BGPConfiguration", "FelixConfiguration", "IPReservation", "BGPFilter"),
)
"""What calicoctl exports, in its order."""

DERIVED = ("Profile", "WorkloadEndpoint")
"""What Kubernetes makes of its own objects."""

KUBERNETES = (
    *("Namespace", "ServiceAccount", "Pod", "Service", "EndpointSlice", "KubernetesNetworkPolicy"),
    *("KubernetesService", "KubernetesEndpointSlice", "KubernetesClusterNetworkPolicy"),
)
REST = tuple(kind for kind in ("CalicoNodeStatus", *KUBERNETES, *DERIVED) if kind in KINDS)
"""What else there is to keep where everything is wanted, as it must be written: what others stand on comes first."""

IPAM = {"BlockAffinity": "block_affinities", "IPAMBlock": "blocks", "IPAMHandle": "handles", "IPAMConfiguration": "config"}
_SEPARATOR = "===\n"
_TUNNEL_HANDLES = (
    *("ipip-tunnel-addr-", "vxlan-tunnel-addr-", "vxlan-v6-tunnel-addr-"),
    *("wireguard-tunnel-addr-", "wireguard-v6-tunnel-addr-"),
)
_FROM_KUBERNETES = "knp.default."


@dataclass(frozen=True, slots=True)
class Dump:
    """What a file holds."""

    resources: tuple[Resource, ...]
    information: ClusterInformation
    ipam: tuple[Resource, ...]


def write(resources: Sequence[Resource], information: ClusterInformation, kinds: Sequence[str]) -> Iterable[str]:
    """The text of a file, in pieces. `resources` are of all kinds, IPAM's too; lists come in the order of `kinds`."""
    for kind in kinds:
        yield to_yaml([listing(KINDS[kind], (item for item in resources if item.kind == kind))])
        yield "---\n"
    yield _SEPARATOR
    yield json.dumps(encode(information), indent=2, ensure_ascii=False) + "\n"
    yield _SEPARATOR
    yield json.dumps(_ipam(resources), indent=2, ensure_ascii=False) + "\n"


def read(text: str, *, origin: str) -> Dump:
    """What a file holds, checked. Raises InputError and ValidationError, which name what is wrong."""
    # A whole line: indented text of a resource may well end in the same characters.
    parts = re.split(f"^{_SEPARATOR}", text, flags=re.MULTILINE)
    if len(parts) != 3:
        raise InputError(
            f"imported file {origin} is improperly formatted: three parts with a line === between them are expected, "
            f"not {len(parts)}. Try recreating it with 'tortie datastore migrate export'"
        )
    resources = checked(load_documents(parts[0], origin=origin))
    try:
        information = decode(json.loads(parts[1]))
    except ValueError as error:
        raise InputError(f"{origin}: the cluster's information is not JSON: {error}") from error
    if not isinstance(information, ClusterInformation):
        raise InputError(f"{origin}: the second part is no ClusterInformation")
    try:
        said = json.loads(parts[2])
    except ValueError as error:
        raise InputError(f"{origin}: IPAM's data is not JSON: {error}") from error
    return Dump(tuple(resources), information, tuple(_ipam_resources(said, origin)))


def without_identity(resource: Resource, *, keep_uid: bool) -> Resource:
    """The resource without what its old datastore gave it."""
    metadata = msgspec.structs.replace(
        resource.metadata, resource_version="", deletion_timestamp=None, managed_fields=None, self_link=""
    )
    if not keep_uid:
        metadata = msgspec.structs.replace(metadata, uid="", creation_timestamp=None)
    return msgspec.structs.replace(resource, metadata=metadata)


def said_of(resource: Resource) -> tuple[str, dict[str, Any]]:
    """An object of IPAM as etcd would have it: its key and its value."""
    entry = _entry(resource)
    return entry["Key"], entry["Value"]


def is_kept(resource: Resource) -> bool:
    """False for what every datastore has of itself, and for policies that stand for Kubernetes'."""
    if resource.key == DEFAULT_ALLOW.key:
        return False
    return not (resource.kind in ("NetworkPolicy", "StagedNetworkPolicy") and resource.key.name.startswith(_FROM_KUBERNETES))


def renamed_nodes(resources: Iterable[Resource]) -> dict[str, str]:
    """Nodes that Kubernetes calls otherwise, by the names that they have here."""
    names: dict[str, str] = {}
    for node in resources:
        if isinstance(node, Node):
            for reference in node.spec.orch_refs:
                if reference.orchestrator == "k8s" and reference.node_name not in ("", node.metadata.name):
                    names[node.metadata.name] = reference.node_name
    return names


def renamed(resource: Resource, names: Mapping[str, str]) -> Resource:
    """The resource with Kubernetes' names of its nodes, wherever it names one."""
    match resource:
        case Node():
            return _called(resource, names.get(resource.metadata.name, resource.metadata.name))
        case HostEndpoint(spec=host) if host.node in names:
            return msgspec.structs.replace(resource, spec=msgspec.structs.replace(host, node=names[host.node]))
        case BGPPeer(spec=peer) if peer.node in names:
            return msgspec.structs.replace(resource, spec=msgspec.structs.replace(peer, node=names[peer.node]))
        case BlockAffinity(spec=claim) if claim.node in names:
            spec = msgspec.structs.replace(claim, node=names[claim.node])
            return _called(msgspec.structs.replace(resource, spec=spec), affinity_name(spec.node, spec.cidr))
        case IPAMHandle(spec=handle):
            name = _tunnel_handle(handle.handle_id, names)
            return _called(
                msgspec.structs.replace(resource, spec=msgspec.structs.replace(handle, handle_id=name)),
                resource.metadata.name if name == handle.handle_id else name,
            )
        case IPAMBlock(spec=block):
            kind, _, owner = (block.affinity or "").partition(":")
            spec_of = msgspec.structs.replace(
                block,
                affinity=f"{kind}:{names[owner]}" if owner in names else block.affinity,
                attributes=tuple(_attribute(one, names) for one in block.attributes),
            )
            return msgspec.structs.replace(resource, spec=spec_of)
    if resource.kind in ("BGPConfiguration", "FelixConfiguration"):
        node = resource.metadata.name.removeprefix("node.")
        if node != resource.metadata.name and node in names:
            return _called(resource, f"node.{names[node]}")
    return resource


def _called(resource: Resource, name: str) -> Resource:
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, name=name))


def _attribute(attribute: AllocationAttribute, names: Mapping[str, str]) -> AllocationAttribute:
    secondary = attribute.secondary
    if secondary.get("node") in names:
        secondary = secondary | {"node": names[secondary["node"]]}
    return msgspec.structs.replace(attribute, secondary=secondary, handle_id=_tunnel_handle(attribute.handle_id, names))


def _tunnel_handle(handle: str, names: Mapping[str, str]) -> str:
    for prefix in _TUNNEL_HANDLES:
        node = handle.removeprefix(prefix)
        if node != handle and node in names:
            return prefix + names[node]
    return handle


def _entry(resource: Resource) -> dict[str, Any]:
    if isinstance(resource, IPAMHandle):
        # Kubernetes has names in lower case; the handle itself knows better.
        resource = _called(resource, resource.spec.handle_id)
    return {"Key": layout.path_of(resource), "Value": json.loads(codec.encode(resource)), "TTL": 0}


def _ipam(resources: Iterable[Resource]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for resource in resources:
        field = IPAM.get(resource.kind)
        if field is None:
            continue
        entry = _entry(resource)
        if field == "config":
            found[field] = entry
        else:
            found.setdefault(field, []).append(entry)
    return {field: found[field] for field in IPAM.values() if field in found}


def _ipam_resources(said: Any, origin: str) -> Iterable[Resource]:
    if not isinstance(said, dict) or set(said) - set(IPAM.values()):
        raise InputError(f"{origin}: IPAM's data must be a mapping of {', '.join(IPAM.values())}")
    for field in IPAM.values():
        entries = said.get(field) or []
        if not isinstance(entries, (dict, list)):
            raise InputError(f"{origin}: {field} must be a list")
        for entry in [entries] if isinstance(entries, dict) else entries:
            path = entry.get("Key") if isinstance(entry, dict) else None
            key = layout.key_of(path) if isinstance(path, str) else None
            if key is None or IPAM.get(key.kind) != field:
                raise InputError(f"{origin}: {field}: Key {path!r} is not a key of IPAM's")
            resource = codec.decode(key, str(path), json.dumps(entry.get("Value") or {}).encode(), revision="")
            if layout.path_of(resource) != path:
                raise InputError(f"{origin}: {field}: Value at Key {path!r} is of another block: its Key would be another")
            yield resource
