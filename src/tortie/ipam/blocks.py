"""The arithmetic of one block: which ordinals are free, who holds the others, since when. Pure; times are given.

An ordinal is an address's index in its block. `unallocated` is a queue: first in, first out; a released ordinal goes to its
end, after its cooldown if there is one. Every function returns a new spec; `next_revision` counts a write.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from tortie.api.ipam import AllocationAttribute, IPAMBlockSpec
from tortie.base.net import Address, Interface, Prefix, parse_prefix
from tortie.ipam.errors import AlreadyAssigned, ReleaseConflict

RESERVED_HANDLE = "windows-reserved-ipam-handle"
"""Addresses that Windows nodes keep for themselves; they do not make a block non-empty."""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """One address to release; with a handle or a sequence number only if it is still held by that very allocation."""

    address: Address
    handle: str = ""
    sequence_number: int | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """A block after a release: how many addresses each handle lost, and which were not allocated at all."""

    spec: IPAMBlockSpec
    counts: Mapping[str, int]
    addresses: tuple[Address, ...]
    unallocated: tuple[Address, ...] = ()


def new_block(cidr: Prefix, *, affinity: str | None, now: float) -> IPAMBlockSpec:
    """An empty block, all ordinals free in order. Its sequence starts at the present, so that it never repeats an old one."""
    return IPAMBlockSpec(
        cidr=str(cidr),
        affinity=affinity,
        affinity_claim_time=format_time(now),
        allocations=(None,) * cidr.size,
        unallocated=tuple(range(cidr.size)),
        sequence_number=int(now * 1e9),
    )


def format_time(now: float) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> float:
    """Seconds of an RFC 3339 time; what is missing or cannot be read counts as long ago."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def address_of(cidr: Prefix, ordinal: int) -> Address:
    """The address of an ordinal."""
    return Address(cidr.family, cidr.value + ordinal)


def next_revision(spec: IPAMBlockSpec) -> IPAMBlockSpec:
    """The spec as it is to be written: every write counts."""
    return msgspec.structs.replace(spec, sequence_number=spec.sequence_number + 1)


def is_empty(spec: IPAMBlockSpec) -> bool:
    """True if no address is in use or cooling down."""
    return all(
        index is None or (index < len(spec.attributes) and spec.attributes[index].handle_id == RESERVED_HANDLE)
        for index in spec.allocations
    )


def free_ordinals(spec: IPAMBlockSpec, reserved: Callable[[Address], bool]) -> list[int]:
    """Free ordinals in the order in which they are given away; reserved addresses are never offered."""
    cidr = parse_prefix(spec.cidr)
    return [ordinal for ordinal in spec.unallocated if not reserved(address_of(cidr, ordinal))]


def assign(
    spec: IPAMBlockSpec, count: int, *, owner: AllocationAttribute, reserved: Callable[[Address], bool]
) -> tuple[IPAMBlockSpec, tuple[Interface, ...]]:
    """Give away up to `count` addresses, as interfaces with the block's length."""
    cidr = parse_prefix(spec.cidr)
    ordinals = free_ordinals(spec, reserved)[:count]
    return _allocated(spec, ordinals, owner), tuple(Interface(address_of(cidr, ordinal), cidr.length) for ordinal in ordinals)


def assign_address(spec: IPAMBlockSpec, address: Address, *, owner: AllocationAttribute) -> IPAMBlockSpec:
    """Give away one address of the block. Raises AlreadyAssigned."""
    ordinal = address.value - parse_prefix(spec.cidr).value
    if spec.allocations[ordinal] is not None:
        raise AlreadyAssigned(address)
    return _allocated(spec, [ordinal], owner)


def holder(spec: IPAMBlockSpec, address: Address) -> AllocationAttribute | None:
    """Who has an address of the block; None if nobody. A cooling address has a holder with `released_at`."""
    ordinal = address.value - parse_prefix(spec.cidr).value
    index = spec.allocations[ordinal] if 0 <= ordinal < len(spec.allocations) else None
    return None if index is None or index >= len(spec.attributes) else spec.attributes[index]


def release(spec: IPAMBlockSpec, requests: Iterable[ReleaseRequest], *, now: float) -> Released:
    """Release addresses of this block. Raises ReleaseConflict, and then nothing of the block is released."""
    cidr = parse_prefix(spec.cidr)
    ordinals: list[int] = []
    missing: list[Address] = []
    for request in requests:
        ordinal = request.address.value - cidr.value
        attribute = holder(spec, request.address)
        if attribute is None or attribute.released_at is not None:
            missing.append(request.address)
            continue
        stored = spec.sequence_number_for_allocation.get(str(ordinal))
        if request.sequence_number is not None and stored is not None and stored != request.sequence_number:
            raise ReleaseConflict(
                f"IP address {request.address} was assigned anew (sequence number {stored}) and is not released"
            )
        if request.handle and plain_handle(request.handle) != plain_handle(attribute.handle_id):
            raise ReleaseConflict(
                f"IP address {request.address} is not released: held by handle {attribute.handle_id!r}, not {request.handle!r}"
            )
        ordinals.append(ordinal)
    return replace(_released(spec, list(dict.fromkeys(ordinals)), now), unallocated=tuple(missing))


def release_handle(spec: IPAMBlockSpec, handle: str, *, now: float) -> Released:
    """Release all addresses of one handle in this block; none is fine."""
    indexes = {
        index
        for index, attribute in enumerate(spec.attributes)
        if attribute.released_at is None and attribute.handle_id and plain_handle(attribute.handle_id) == plain_handle(handle)
    }
    return _released(spec, [ordinal for ordinal, index in enumerate(spec.allocations) if index in indexes], now)


def collect(spec: IPAMBlockSpec, *, now: float, cooldown_seconds: float) -> IPAMBlockSpec:
    """Free the ordinals whose cooldown is over (negative: at once), and drop attributes that nobody has any more."""
    cold = {
        index
        for index, attribute in enumerate(spec.attributes)
        if attribute.released_at is not None
        and (cooldown_seconds < 0 or parse_time(attribute.released_at) + cooldown_seconds <= now)
    }
    if not cold and len(set(spec.allocations) - {None}) == len(spec.attributes):
        return spec
    freed = [ordinal for ordinal, index in enumerate(spec.allocations) if index in cold]
    kept = sorted({index for index in spec.allocations if index is not None and index not in cold})
    if kept and kept[-1] >= len(spec.attributes):
        return spec  # somebody wrote a broken block; `check` reports it, and we must not make it worse
    renumbered = {old: new for new, old in enumerate(kept)}
    sequence = {key: value for key, value in spec.sequence_number_for_allocation.items() if int(key) not in set(freed)}
    return msgspec.structs.replace(
        spec,
        allocations=tuple(None if index is None or index in cold else renumbered[index] for index in spec.allocations),
        unallocated=(*spec.unallocated, *freed),
        attributes=tuple(spec.attributes[index] for index in kept),
        sequence_number_for_allocation=sequence,
    )


def _allocated(spec: IPAMBlockSpec, ordinals: list[int], owner: AllocationAttribute) -> IPAMBlockSpec:
    if not ordinals:
        return spec
    attributes = spec.attributes
    if owner in attributes:
        index = attributes.index(owner)
    else:
        index, attributes = len(attributes), (*attributes, owner)
    taken = set(ordinals)
    allocations = tuple(index if ordinal in taken else old for ordinal, old in enumerate(spec.allocations))
    numbers = spec.sequence_number_for_allocation | {str(ordinal): spec.sequence_number for ordinal in ordinals}
    return msgspec.structs.replace(
        spec,
        allocations=allocations,
        unallocated=tuple(ordinal for ordinal in spec.unallocated if ordinal not in taken),
        attributes=attributes,
        sequence_number_for_allocation=numbers,
    )


def _released(spec: IPAMBlockSpec, ordinals: list[int], now: float) -> Released:
    """Point ordinals at a fresh attribute that only says when they were released; `collect` frees them in time."""
    cidr = parse_prefix(spec.cidr)
    counts: dict[str, int] = {}
    for ordinal in ordinals:
        index = spec.allocations[ordinal]
        assert index is not None
        handle = spec.attributes[index].handle_id
        if handle:
            counts[handle] = counts.get(handle, 0) + 1
    if ordinals:
        released = set(ordinals)
        fresh = len(spec.attributes)
        spec = msgspec.structs.replace(
            spec,
            allocations=tuple(fresh if ordinal in released else index for ordinal, index in enumerate(spec.allocations)),
            attributes=(*spec.attributes, AllocationAttribute(released_at=format_time(now))),
        )
    return Released(spec, counts, tuple(address_of(cidr, ordinal) for ordinal in ordinals))


def plain_handle(handle: str) -> str:
    """Text after a carriage return is a remark of an old release, and no part of the handle."""
    return handle.partition("\r")[0]
