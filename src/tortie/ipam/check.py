"""Is IPAM's data consistent, in itself and with what uses addresses? Pure: a snapshot in, findings out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMBlockSpec, IPAMHandle
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Resource
from tortie.base.net import Address, Prefix, parse_interface, parse_prefix
from tortie.datastore.client import Client
from tortie.ipam.blocks import RESERVED_HANDLE, address_of, parse_time
from tortie.ipam.pools import is_enabled, pool_of

KINDS = ("IPAMBlock", "IPAMHandle", "BlockAffinity", "IPPool", "WorkloadEndpoint", "Node")


@dataclass(frozen=True, slots=True)
class Finding:
    """One inconsistency. Those that do not count are worth a line, and harm nobody."""

    kind: str
    text: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of IPAM and its users at one revision."""

    blocks: tuple[IPAMBlock, ...]
    handles: tuple[IPAMHandle, ...]
    affinities: tuple[BlockAffinity, ...]
    pools: tuple[IPPool, ...]
    endpoints: tuple[WorkloadEndpoint, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address that a block says is in use."""

    address: Address
    block: Prefix
    handle: str
    cooling: bool


async def read_snapshot(client: Client) -> Snapshot:
    """Everything that the checks look at, at one revision."""
    return snapshot_of((await client.list_many(KINDS)).whole())


def snapshot_of(resources: Sequence[Resource]) -> Snapshot:
    """Sort resources by kind."""
    return Snapshot(
        blocks=tuple(item for item in resources if isinstance(item, IPAMBlock)),
        handles=tuple(item for item in resources if isinstance(item, IPAMHandle)),
        affinities=tuple(item for item in resources if isinstance(item, BlockAffinity)),
        pools=tuple(item for item in resources if isinstance(item, IPPool)),
        endpoints=tuple(item for item in resources if isinstance(item, WorkloadEndpoint)),
        nodes=tuple(item for item in resources if isinstance(item, Node)),
    )


def allocations(snapshot: Snapshot) -> Iterator[Allocation]:
    """All addresses that blocks say are in use or cooling down, without those that Windows nodes keep."""
    for block in snapshot.blocks:
        cidr = parse_prefix(block.spec.cidr)
        for ordinal, index in enumerate(block.spec.allocations):
            if index is None or index >= len(block.spec.attributes):
                continue
            attribute = block.spec.attributes[index]
            if attribute.handle_id != RESERVED_HANDLE:
                cooling = attribute.released_at is not None
                yield Allocation(address_of(cidr, ordinal), cidr, attribute.handle_id, cooling)


def check_data(snapshot: Snapshot, *, now: float) -> tuple[Finding, ...]:
    """Blocks, handles and affinities among themselves."""
    return (
        *(finding for block in snapshot.blocks for finding in _invalid(block.spec, now)),
        *_overlapping(snapshot),
        *_handles(snapshot),
        *_owners(snapshot),
    )


def check_use(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Allocations against endpoints and nodes, both ways."""
    allocated = {item.address: item for item in allocations(snapshot)}
    used = users_of(snapshot)
    enabled = [pool for pool in snapshot.pools if is_enabled(pool)]
    findings = [
        Finding("unused", f"{address} is allocated to handle {allocated[address].handle!r} and not in use")
        for address in sorted(allocated.keys() - used.keys())
        if not allocated[address].cooling
    ]
    for address in sorted(used):
        users = ", ".join(used[address])
        if len(used[address]) > 1:
            findings.append(Finding("twice", f"{address} is in use by {users}"))
        if address in allocated and not allocated[address].cooling:
            continue
        if pool_of(enabled, address) is None:
            findings.append(Finding("outside", f"{address} is in use by {users} and not in any active IP pool"))
        else:
            findings.append(Finding("unallocated", f"{address} is in use by {users} and in an IP pool, but not allocated"))
    return tuple(findings)


def users_of(snapshot: Snapshot) -> dict[Address, list[str]]:
    """Addresses of workload endpoints and of nodes' tunnels, and who uses each."""
    used: dict[Address, list[str]] = {}
    for endpoint in snapshot.endpoints:
        for text in endpoint.spec.ip_networks:
            used.setdefault(parse_prefix(text, strict=False).network, []).append(str(endpoint.key))
    for node in snapshot.nodes:
        tunnels = [node.spec.bgp.ipv4_ipip_tunnel_addr if node.spec.bgp is not None else ""]
        tunnels += [node.spec.ipv4_vxlan_tunnel_addr, node.spec.ipv6_vxlan_tunnel_addr]
        if node.spec.wireguard is not None:
            tunnels += [node.spec.wireguard.interface_ipv4_address, node.spec.wireguard.interface_ipv6_address]
        for text in tunnels:
            if text:
                used.setdefault(parse_interface(text).address, []).append(f"a tunnel of {node.key}")
    return used


def _invalid(spec: IPAMBlockSpec, now: float) -> Iterator[Finding]:
    """The rules that every block keeps: each ordinal is either allocated, once, or unallocated, once."""
    size = parse_prefix(spec.cidr).size
    taken = {ordinal for ordinal, index in enumerate(spec.allocations) if index is not None}
    indexes = {index for index in spec.allocations if index is not None}
    wrong = []
    if len(spec.allocations) != size:
        wrong.append(f"{len(spec.allocations)} allocations for {size} addresses")
    if any(not 0 <= index < len(spec.attributes) for index in indexes):
        wrong.append("an allocation without its attribute")
    if set(range(len(spec.attributes))) - indexes:
        wrong.append("an attribute that nobody has")
    if any(parse_time(attribute.released_at) > now + 1 for attribute in spec.attributes):
        wrong.append("an address released in the future")
    if len(set(spec.unallocated)) != len(spec.unallocated) or not set(spec.unallocated) <= set(range(size)):
        wrong.append("unallocated ordinals that repeat or are out of range")
    if taken & set(spec.unallocated):
        wrong.append("ordinals both allocated and unallocated")
    if len(taken) + len(spec.unallocated) != size:
        wrong.append("ordinals neither allocated nor unallocated")
    for text in wrong:
        yield Finding("block", f"block {spec.cidr} is invalid: {text}")


def _overlapping(snapshot: Snapshot) -> Iterator[Finding]:
    """Blocks that share addresses could give one away twice."""
    previous: Prefix | None = None
    for cidr in sorted(parse_prefix(block.spec.cidr) for block in snapshot.blocks):
        if previous is not None and previous.contains(cidr.network):
            yield Finding("block", f"blocks {previous} and {cidr} overlap")
        if previous is None or not previous.contains(cidr):
            previous = cidr


def _handles(snapshot: Snapshot) -> Iterator[Finding]:
    """Every allocation is found through its handle, and no handle leads nowhere."""
    held: dict[str, dict[str, int]] = {}
    for item in allocations(snapshot):
        if item.handle and not item.cooling:
            counts = held.setdefault(item.handle, {})
            counts[str(item.block)] = counts.get(str(item.block), 0) + 1
    known = {handle.spec.handle_id: handle.spec.block for handle in snapshot.handles}
    for handle in sorted(known.keys() - held.keys()):
        yield Finding("handle", f"handle {handle!r} has no addresses")
    for handle in sorted(held):
        for cidr, count in sorted(held[handle].items()):
            if known.get(handle, {}).get(cidr, 0) < count:
                yield Finding(
                    "missing handle", f"handle {handle!r} does not count its {count} addresses in {cidr}", counts=False
                )


def _owners(snapshot: Snapshot) -> Iterator[Finding]:
    """One block, one owner."""
    owners = {block.spec.cidr: block.spec.affinity for block in snapshot.blocks}
    for affinity in snapshot.affinities:
        spec = affinity.spec
        if spec.state not in ("", "confirmed") or spec.deleted:
            continue
        if owners.get(spec.cidr) != f"{spec.type}:{spec.node}":
            whose = f"belongs to {owners[spec.cidr] or 'nobody'}" if spec.cidr in owners else "is no block"
            text = f"{spec.type}:{spec.node} has a confirmed affinity for {spec.cidr}, which {whose}"
            yield Finding("affinity", text, counts=False)
