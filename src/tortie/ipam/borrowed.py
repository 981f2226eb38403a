"""Addresses that one node took from another node's block. Pure: a snapshot in, findings out."""

from collections.abc import Iterator
from dataclasses import dataclass

from tortie.api.ipam import AllocationAttribute
from tortie.base.net import Address, Prefix, parse_prefix
from tortie.ipam.blocks import RESERVED_HANDLE, address_of
from tortie.ipam.check import Snapshot


@dataclass(frozen=True, slots=True)
class Borrowed:
    """One address. `owner` is the node that the block belongs to, "" for nobody."""

    address: Address
    borrower: str
    block: Prefix
    owner: str
    attributes: AllocationAttribute


def borrowed(snapshot: Snapshot) -> Iterator[Borrowed]:
    """Every borrowed address, by address. Allocations that do not say their node are passed over (`without_node`)."""
    for address, block, owner, attribute in sorted(_allocations(snapshot), key=lambda item: item[0]):
        node = attribute.secondary.get("node", "")
        if node and node != owner:
            yield Borrowed(address, node, block, owner, attribute)


def without_node(snapshot: Snapshot) -> int:
    """How many allocations do not say which node they are on."""
    return sum(1 for *_, attribute in _allocations(snapshot) if not attribute.secondary.get("node"))


def _allocations(snapshot: Snapshot) -> Iterator[tuple[Address, Prefix, str, AllocationAttribute]]:
    for block in snapshot.blocks:
        cidr = parse_prefix(block.spec.cidr)
        owner = (block.spec.affinity or "").partition(":")[2]
        for ordinal, index in enumerate(block.spec.allocations):
            if index is None or index >= len(block.spec.attributes):
                continue
            attribute = block.spec.attributes[index]
            if attribute.handle_id != RESERVED_HANDLE and attribute.released_at is None:
                yield address_of(cidr, ordinal), cidr, owner, attribute
