"""How full pools and blocks are. Pure: a snapshot in, figures out."""

from collections.abc import Iterator
from dataclasses import dataclass

from tortie.base.net import Address, Prefix, parse_prefix
from tortie.ipam.check import Snapshot, allocations
from tortie.ipam.pools import Reservations, cidr_of


@dataclass(frozen=True, slots=True)
class Usage:
    """Figures of one pool or block. An address may be in use and reserved; `free` ones are neither."""

    grouping: str
    cidr: Prefix
    total: int
    in_use: int
    reserved: int
    free: int


def usage(snapshot: Snapshot, reservations: Reservations, *, with_blocks: bool) -> Iterator[Usage]:
    """Every pool, by CIDR, followed by its blocks where asked for; blocks of no pool come last."""
    taken = [item.address for item in allocations(snapshot)]
    blocks = sorted(parse_prefix(block.spec.cidr) for block in snapshot.blocks)
    pools = sorted({cidr for pool in snapshot.pools if (cidr := cidr_of(pool)) is not None})
    for pool in pools:
        yield _usage("IP Pool", pool, taken, reservations)
        if with_blocks:
            yield from (_usage("Block", block, taken, reservations) for block in blocks if pool.contains(block))
    if with_blocks:
        strays = [block for block in blocks if not any(pool.contains(block) for pool in pools)]
        yield from (_usage("Block", block, taken, reservations) for block in strays)


def _usage(grouping: str, cidr: Prefix, taken: list[Address], reservations: Reservations) -> Usage:
    inside = [address for address in taken if cidr.contains(address)]
    unreserved = sum(1 for address in inside if not reservations.holds(address))
    reserved = reservations.count(cidr)
    return Usage(grouping, cidr, cidr.size, len(inside), reserved, cidr.size - reserved - unreserved)
