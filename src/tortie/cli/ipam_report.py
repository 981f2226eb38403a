"""What `tortie ipam check` found, address by address: lines for people and a report for programs (calicoctl.md, section 3)."""

import json
from collections.abc import Iterator
from typing import Any

from tortie import __version__
from tortie.api.cluster import ClusterInformation
from tortie.api.ipam import AllocationAttribute
from tortie.base.net import Address, parse_prefix
from tortie.ipam.blocks import RESERVED_HANDLE, address_of
from tortie.ipam.check import Snapshot, allocations, users_of

_TUNNELS = {
    "ipipTunnelAddress": "IPIP tunnel",
    "vxlanTunnelAddress": "VXLAN tunnel",
    "vxlanV6TunnelAddress": "VXLAN tunnel",
    "wireguardTunnelAddress": "WireGuard tunnel",
    "wireguardV6TunnelAddress": "WireGuard tunnel",
}


def type_of(attribute: AllocationAttribute) -> str:
    """What kind of thing an address is for, by its attributes."""
    kind = attribute.secondary.get("type", "")
    return _TUNNELS.get(kind, kind) or ("Workload" if attribute.secondary.get("pod") else "unknown")


def allocated_to(attribute: AllocationAttribute) -> str:
    """Who has an address: namespace and pod, else its handle."""
    pod = attribute.secondary.get("pod", "")
    return f"{attribute.secondary.get('namespace', '')}/{pod}" if pod else attribute.handle_id or "<none>"


def all_lines(snapshot: Snapshot) -> Iterator[str]:
    """One line for each allocated address."""
    users = users_of(snapshot)
    for item in sorted(allocations(snapshot), key=lambda item: item.address):
        state = "cooling down" if item.cooling else "in use by " + ", ".join(users.get(item.address, ["nobody"]))
        yield f"  {item.address} in block {item.block}, handle {item.handle or '<none>'}: {state}"


def report(snapshot: Snapshot, information: ClusterInformation) -> str:
    """The whole check as one JSON document."""
    held = {item.handle for item in allocations(snapshot) if not item.cooling}
    leaked = [handle for handle in snapshot.handles if handle.spec.handle_id not in held]
    found: dict[str, list[dict[str, Any]]] = {}
    users = users_of(snapshot)
    for address, entry in sorted(_entries(snapshot, users), key=lambda item: item[0]):
        found.setdefault(str(address), []).append(entry)
    document = {
        "version": __version__,
        "clusterGUID": information.spec.cluster_guid,
        "datastoreLocked": information.spec.datastore_ready is False,
        "clusterInformationRevision": information.metadata.resource_version,
        "clusterType": information.spec.cluster_type,
        "allocations": found,
        "leakedHandles": [
            {"ID": one.spec.handle_id, "UID": one.metadata.uid, "Revision": one.metadata.resource_version} for one in leaked
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _entries(snapshot: Snapshot, users: dict[Address, list[str]]) -> Iterator[tuple[Address, dict[str, Any]]]:
    for block in snapshot.blocks:
        cidr = parse_prefix(block.spec.cidr)
        owner = (block.spec.affinity or "").partition(":")[2]
        for ordinal, index in enumerate(block.spec.allocations):
            if index is None or index >= len(block.spec.attributes):
                continue
            attribute = block.spec.attributes[index]
            if attribute.handle_id == RESERVED_HANDLE:
                continue
            address = address_of(cidr, ordinal)
            node = attribute.secondary.get("node", "")
            yield (
                address,
                {
                    "ip": str(address),
                    "handle": attribute.handle_id,
                    "sequenceNumber": block.spec.sequence_number_for_allocation.get(str(ordinal)),
                    "pod": attribute.secondary.get("pod", ""),
                    "namespace": attribute.secondary.get("namespace", ""),
                    "node": node,
                    "type": attribute.secondary.get("type", ""),
                    "creationTimestamp": attribute.secondary.get("timestamp", ""),
                    "inUse": address in users,
                    "borrowed": bool(node) and node != owner,
                    "coolingDown": attribute.released_at is not None,
                    "owners": users.get(address, []),
                },
            )
