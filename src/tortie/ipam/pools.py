"""Which pools a request may use, which addresses are reserved, and in which order blocks are tried. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from random import Random

from tortie.api.ippool import IPPool
from tortie.api.selector import SelectorError, parse_selector
from tortie.base.net import Address, Family, Prefix, parse_prefix
from tortie.ipam.errors import NoQualifiedPool

DEFAULT_USES = ("Workload", "Tunnel")


class Reservations:
    """Addresses that automatic assignment leaves alone. Overlapping and adjacent CIDRs count as one range."""

    def __init__(self, cidrs: Iterable[Prefix]) -> None:
        self._ranges: dict[Family, list[tuple[int, int]]] = {Family.V4: [], Family.V6: []}
        for cidr in sorted(cidrs):
            ranges = self._ranges[cidr.family]
            first, last = cidr.value, cidr.last.value
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], last))
            else:
                ranges.append((first, last))

    def holds(self, address: Address) -> bool:
        """True if the address is reserved."""
        return self.end_of(address) is not None

    def end_of(self, address: Address) -> int | None:
        """The last address (its value) of the reserved range that an address lies in; None outside."""
        ranges = self._ranges[address.family]
        index = bisect_right(ranges, (address.value, 1 << 128)) - 1
        return ranges[index][1] if index >= 0 and address.value <= ranges[index][1] else None

    def covers(self, cidr: Prefix) -> bool:
        """True if every address of the prefix is reserved."""
        end = self.end_of(cidr.network)
        return end is not None and end >= cidr.last.value

    def count(self, cidr: Prefix) -> int:
        """How many addresses of the prefix are reserved."""
        overlaps = (min(last, cidr.last.value) - max(first, cidr.value) + 1 for first, last in self._ranges[cidr.family])
        return sum(overlap for overlap in overlaps if overlap > 0)


def cidr_of(pool: IPPool) -> Prefix | None:
    """The pool's network; None when it cannot be read."""
    try:
        return parse_prefix(pool.spec.cidr)
    except ValueError:
        return None


def block_length(pool: IPPool) -> int:
    """Prefix length of the pool's blocks."""
    return pool.spec.block_size or (122 if ":" in pool.spec.cidr else 26)


def is_enabled(pool: IPPool) -> bool:
    """True if addresses may be taken from it."""
    if pool.metadata.deletion_timestamp or pool.spec.disabled or cidr_of(pool) is None:
        return False
    conditions = pool.status.conditions if pool.status is not None else ()
    return not any(item.type == "Allocatable" and item.status == "False" for item in conditions)


def enabled_pools(pools: Iterable[IPPool], family: Family) -> list[IPPool]:
    """Enabled pools of one family, by name."""
    found = [pool for pool in pools if is_enabled(pool) and (":" in pool.spec.cidr) == (family is Family.V6)]
    return sorted(found, key=lambda pool: pool.metadata.name)


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels are selected; an empty selector selects all, one that cannot be read selects nothing."""
    if not selector.strip():
        return True
    try:
        return parse_selector(selector).matches(labels)
    except SelectorError:
        return False


def determine_pools(
    enabled: list[IPPool],
    *,
    requested: tuple[Prefix, ...],
    node: str,
    node_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
    use: str,
) -> list[IPPool]:
    """The pools that a request may use, in the order to try them. Raises NoQualifiedPool.

    Pools asked for by CIDR are taken without regard to selectors and assignment mode, but must allow the use.
    """
    if not any(block_length(pool) <= (128 if ":" in pool.spec.cidr else 32) for pool in enabled):
        raise NoQualifiedPool("cannot find a qualified ippool")
    if requested:
        by_cidr = {cidr_of(pool): pool for pool in reversed(enabled)}
        missing = [cidr for cidr in requested if cidr not in by_cidr]
        if missing:
            raise NoQualifiedPool(f"the given pool ({missing[0]}) does not exist, or is not enabled")
        chosen = [by_cidr[cidr] for cidr in requested]
    else:
        chosen = [
            pool
            for pool in enabled
            if pool.spec.assignment_mode == "Automatic"
            and selects(pool.spec.node_selector, node_labels)
            and selects(pool.spec.namespace_selector, namespace_labels)
        ]
        if not chosen:
            raise NoQualifiedPool(f"no configured Calico pools for node {node}")
    allowed = [pool for pool in chosen if use in (pool.spec.allowed_uses or DEFAULT_USES)]
    if not allowed:
        names = ", ".join(pool.metadata.name for pool in chosen)
        raise NoQualifiedPool(f"cannot find a qualified ippool: spec.allowedUses of {names} does not contain {use}")
    return allowed


def pool_of(pools: Iterable[IPPool], network: Address | Prefix) -> IPPool | None:
    """The pool that an address or a block lies in."""
    for pool in pools:
        cidr = cidr_of(pool)
        if cidr is not None and cidr.contains(network):
            return pool
    return None


def search_blocks(pool: IPPool, *, host: str, now: float, reservations: Reservations) -> Iterator[Prefix]:
    """The pool's blocks, once round from a start that depends on the host, without those that are wholly reserved.

    Different hosts start at different blocks, so that they seldom fight for one; with blocks of a single address the start is
    random. Reserved ranges are leapt over, not walked: an IPv6 pool has more blocks than anybody can count.
    """
    cidr = cidr_of(pool)
    length = block_length(pool)
    if cidr is None or length < cidr.length:
        return
    size = 1 << (cidr.family.bits - length)
    count = cidr.size // size
    seed = int(now * 1e9) if size == 1 else fnv1_32(host.encode())
    start = Random(seed).randrange(count)
    for first, end in ((start, count), (0, start)):
        index = first
        while index < end:
            block = Prefix(cidr.family, cidr.value + index * size, length)
            reserved_to = reservations.end_of(block.network)
            if reserved_to is not None and reserved_to >= block.last.value:
                index = (reserved_to + 1 - cidr.value) // size
                continue
            yield block
            index += 1


def fnv1_32(data: bytes) -> int:
    """The FNV-1 hash (not FNV-1a) in 32 bits."""
    value = 0x811C9DC5
    for byte in data:
        value = (value * 0x01000193) & 0xFFFFFFFF
        value ^= byte
    return value
